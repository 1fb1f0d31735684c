// BPF_MAP_TYPE_QUEUE and BPF_MAP_TYPE_STACK: values in a circle of max_entries + 1 places, of which one stays free.
// Linux: kernel/bpf/queue_stack_maps.c

import { E2BIG, EINVAL, ENOENT, ENOMEM } from "../src/uapi/errno.ts";
import { BPF_EXIST, BPF_NOEXIST } from "../src/uapi/flags.ts";
import { allocate, free } from "./allocator.ts";
import { copy } from "./bytes.ts";
import { MapHeader } from "./map.ts";

/** At the map's data, in front of the places. */
@unmanaged
class Circle {
  /** Place of the next value. */
  head: u32;
  /** Place of the oldest value; the head where there is none. */
  tail: u32;
}

export function initialize(map: MapHeader): i32 {
  const bytes = offsetof<Circle>() + (<u64>map.maxEntries + 1) * map.valueSize;
  if (bytes > <u64>i32.MAX_VALUE) return -ENOMEM;
  map.data = allocate(<usize>bytes);
  if (!map.data) return -ENOMEM;
  map.memory = <u32>bytes;
  const circle = circleOf(map);
  circle.head = 0;
  circle.tail = 0;
  return 0;
}

export function destroy(map: MapHeader): void {
  free(map.data);
}

/** Adds a value. In a full map BPF_EXIST makes room by dropping the oldest one. 0 or -errno. */
export function push(map: MapHeader, value: usize, flags: u64): i32 {
  if (flags & BPF_NOEXIST || flags > <u64>BPF_EXIST) return -EINVAL;
  const circle = circleOf(map);
  const head = behind(map, circle.head);
  if (head == circle.tail) {
    if (flags != BPF_EXIST) return -E2BIG;
    circle.tail = behind(map, circle.tail);
  }
  copy(placeAt(map, circle.head), value, map.valueSize);
  circle.head = head;
  return 0;
}

/** Copies the oldest value to `value`, or zeros where there is none: -ENOENT. */
export function queuePeek(map: MapHeader, value: usize): i32 {
  return read(map, value, circleOf(map).tail);
}

/** As `queuePeek`, and takes it out. */
export function queuePop(map: MapHeader, value: usize): i32 {
  const error = queuePeek(map, value);
  if (error) return error;
  const circle = circleOf(map);
  circle.tail = behind(map, circle.tail);
  return 0;
}

/** Copies the newest value to `value`, or zeros where there is none: -ENOENT. */
export function stackPeek(map: MapHeader, value: usize): i32 {
  return read(map, value, newest(map));
}

/** As `stackPeek`, and takes it out. */
export function stackPop(map: MapHeader, value: usize): i32 {
  const error = stackPeek(map, value);
  if (error) return error;
  circleOf(map).head = newest(map);
  return 0;
}

function read(map: MapHeader, value: usize, place: u32): i32 {
  const circle = circleOf(map);
  if (circle.head == circle.tail) {
    memory.fill(value, 0, map.valueSize);
    return -ENOENT;
  }
  copy(value, placeAt(map, place), map.valueSize);
  return 0;
}

function newest(map: MapHeader): u32 {
  const head = circleOf(map).head;
  return head ? head - 1 : map.maxEntries;
}

function behind(map: MapHeader, place: u32): u32 {
  return place == map.maxEntries ? 0 : place + 1;
}

function placeAt(map: MapHeader, place: u32): usize {
  return map.data + offsetof<Circle>() + place * map.valueSize;
}

function circleOf(map: MapHeader): Circle {
  return changetype<Circle>(map.data);
}
