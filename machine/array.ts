// BPF_MAP_TYPE_ARRAY: values side by side, all there from the start.

import { E2BIG, EEXIST, EINVAL, ENOENT, ENOMEM } from "../src/uapi/errno.ts";
import { BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST } from "../src/uapi/flags.ts";
import { allocatePages, freePages } from "./allocator.ts";
import { MapHeader } from "./map.ts";
import { setValue, Values } from "./values.ts";

/** Allocates `copies` of each value: one, or one a CPU. */
export function initialize(map: MapHeader, copies: u32): i32 {
  const element = <u64>map.stride * copies;
  const bytes = element * map.maxEntries;
  if (max(element, bytes) > <u64>i32.MAX_VALUE) return -ENOMEM;
  map.data = allocatePages(<usize>bytes);
  if (!map.data) return -ENOMEM;
  map.memory = <u32>bytes;
  return 0;
}

export function destroy(map: MapHeader): void {
  freePages(map.data, map.memory - offsetof<MapHeader>());
}

export function lookup(map: MapHeader, key: usize): usize {
  const index = load<u32>(key);
  return index < map.maxEntries ? map.data + index * map.stride : 0;
}

export function update(map: MapHeader, key: usize, value: usize, flags: u64): i32 {
  const error = checkUpdate(map, key, flags);
  if (error) return error;
  const old = map.data + load<u32>(key) * map.stride;
  if (flags & BPF_F_LOCK) setValue(map, old, value);
  else Values.replace(map, old, value);
  return 0;
}

/** The errors of an update, in Linux's order. */
export function checkUpdate(map: MapHeader, key: usize, flags: u64): i32 {
  const index = load<u32>(key);
  if (!flags) return index < map.maxEntries ? 0 : -E2BIG;
  if ((flags & ~(<u64>BPF_F_LOCK)) > <u64>BPF_EXIST) return -EINVAL;
  if (index >= map.maxEntries) return -E2BIG;
  if (flags & BPF_NOEXIST) return -EEXIST;
  return flags & BPF_F_LOCK && !map.hasLock ? -EINVAL : 0;
}

export function nextKey(map: MapHeader, key: usize, next: usize): i32 {
  const index = key ? load<u32>(key) : u32.MAX_VALUE;
  if (index == map.maxEntries - 1) return -ENOENT;
  store<u32>(next, index < map.maxEntries ? index + 1 : 0);
  return 0;
}
