// BPF_MAP_TYPE_PERCPU_HASH and BPF_MAP_TYPE_LRU_PERCPU_HASH: hashes whose elements hold a value for each CPU; a key that is there
// is updated in place.

import { EINVAL, ENOMEM } from "../src/uapi/errno.ts";
import { BPF_EXIST } from "../src/uapi/flags.ts";
import { checkExistence, Element, findLink, hashOf, insert, take, valueOf } from "./hash.ts";
import * as lru from "./lru.ts";
import { MapHeader } from "./map.ts";
import { setValue, setValues, zeroValues } from "./values.ts";

/** Sets the value of one CPU; those of the others are zero in a new element. */
export function update(map: MapHeader, key: usize, value: usize, flags: u64, cpu: u32): i32 {
  const values = findOrAdd(map, key, flags);
  if (values < 0) return values;
  setValue(map, <usize>values + cpu * map.stride, value);
  return 0;
}

/** Sets the values of all CPUs. */
export function updateAll(map: MapHeader, key: usize, values: usize, flags: u64): i32 {
  const target = findOrAdd(map, key, flags);
  if (target < 0) return target;
  setValues(map, <usize>target, values);
  return 0;
}

/** Address of the values of a key, which are zero where it is new, or -errno. */
function findOrAdd(map: MapHeader, key: usize, flags: u64): i32 {
  if (flags > <u64>BPF_EXIST) return -EINVAL;
  if (map.lru) return lru.findOrAdd(map, key, flags);
  const hash = hashOf(map, key);
  const link = findLink(map, key, hash);
  const error = checkExistence(map, link, flags);
  if (error) return error;
  if (link) return <i32>valueOf(map, load<Element>(link));
  const element = take(map);
  if (!element) return -ENOMEM;
  const values = valueOf(map, element);
  insert(map, element, key, hash);
  zeroValues(map, values);
  return <i32>values;
}
