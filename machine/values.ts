// Values with special fields (locks, timers, …), which an update leaves alone and a new or freed value has zero.
// Linux: copy_map_value and bpf_obj_free_fields

import { copy } from "./bytes.ts";
import { CPUS } from "./layout.ts";
import { MapHeader } from "./map.ts";

/** A special field of a map's value. They lie in a list in the order of their offsets, a field of 0 bytes behind the value at its end. */
@unmanaged
class Field {
  offset: u32;
  size: u32;
}

/** What is compiled into the updates that are hot: a call costs more than it does. */
export class Values {
  /** Sets a value that programs have not used yet, or that loses its timers and pointers. */
  @inline
  static replace(map: MapHeader, to: usize, from: usize): void {
    if (map.fields) {
      setBetweenFields(map, to, from);
      clearFields(map, to);
    } else if (map.valueSize == 8) store<u64>(to, load<u64>(from));
    else copy(to, from, map.valueSize);
  }
}

/** As `Values.replace`, where it is not hot. */
export function replaceValue(map: MapHeader, to: usize, from: usize): void {
  Values.replace(map, to, from);
}

/** Copies a value but for its special fields. */
export function setValue(map: MapHeader, to: usize, from: usize): void {
  if (map.fields) setBetweenFields(map, to, from);
  else copy(to, from, map.valueSize);
}

/** Sets the values of all CPUs, which lie a stride apart. */
export function setValues(map: MapHeader, to: usize, from: usize): void {
  const bytes = map.stride * load<u32>(CPUS);
  if (!map.fields) copy(to, from, bytes);
  else for (let at: u32 = 0; at < bytes; at += map.stride) setBetweenFields(map, to + at, from + at);
}

/** Zeroes the values of all CPUs. */
export function zeroValues(map: MapHeader, values: usize): void {
  memory.fill(values, 0, map.stride * load<u32>(CPUS));
}

/** Zeroes the special fields of a value. */
export function clearFields(map: MapHeader, value: usize): void {
  let at = map.fields;
  if (!at) return;
  for (let field = changetype<Field>(at); field.size; field = changetype<Field>(at)) {
    memory.fill(value + field.offset, 0, field.size);
    at += offsetof<Field>();
  }
}

function setBetweenFields(map: MapHeader, to: usize, from: usize): void {
  let at = map.fields;
  let copied: u32 = 0;
  while (true) {
    const field = changetype<Field>(at);
    copy(to + copied, from + copied, field.offset - copied);
    if (!field.size) return;
    copied = field.offset + field.size;
    at += offsetof<Field>();
  }
}
