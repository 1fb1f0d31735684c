// BPF_MAP_TYPE_PERCPU_ARRAY: an array whose elements hold a value for each CPU, side by side.

import { EINVAL } from "../src/uapi/errno.ts";
import { BPF_EXIST } from "../src/uapi/flags.ts";
import { checkUpdate } from "./array.ts";
import { CPUS } from "./layout.ts";
import { MapHeader } from "./map.ts";
import { setValue, setValues } from "./values.ts";

/** Address of CPU 0's value. */
export function lookup(map: MapHeader, key: usize): usize {
  const index = load<u32>(key);
  return index < map.maxEntries ? map.data + index * map.stride * load<u32>(CPUS) : 0;
}

/** Sets the value of one CPU. */
export function update(map: MapHeader, key: usize, value: usize, flags: u64, cpu: u32): i32 {
  const error = checkUpdate(map, key, flags);
  if (error) return error;
  setValue(map, lookup(map, key) + cpu * map.stride, value);
  return 0;
}

/** Sets the values of all CPUs. */
export function updateAll(map: MapHeader, key: usize, values: usize, flags: u64): i32 {
  if (flags > <u64>BPF_EXIST) return -EINVAL;
  const error = checkUpdate(map, key, flags);
  if (error) return error;
  setValues(map, lookup(map, key), values);
  return 0;
}
