// What all maps have in common: the header that a map pointer points to, and the way to each type's operations.

import { EINVAL, ENOENT, ENOMEM, EOPNOTSUPP } from "../src/uapi/errno.ts";
import {
  BPF_MAP_TYPE_ARENA,
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_ARRAY_OF_MAPS,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_CGROUP_ARRAY,
  BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE_CGRP_STORAGE,
  BPF_MAP_TYPE_CPUMAP,
  BPF_MAP_TYPE_DEVMAP,
  BPF_MAP_TYPE_DEVMAP_HASH,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_HASH_OF_MAPS,
  BPF_MAP_TYPE_INODE_STORAGE,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  BPF_MAP_TYPE_PROG_ARRAY,
  BPF_MAP_TYPE_QUEUE,
  BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
  BPF_MAP_TYPE_RINGBUF,
  BPF_MAP_TYPE_SK_STORAGE,
  BPF_MAP_TYPE_SOCKHASH,
  BPF_MAP_TYPE_SOCKMAP,
  BPF_MAP_TYPE_STACK,
  BPF_MAP_TYPE_STACK_TRACE,
  BPF_MAP_TYPE_TASK_STORAGE,
  BPF_MAP_TYPE_USER_RINGBUF,
  BPF_MAP_TYPE_XSKMAP,
} from "../src/uapi/map-types.ts";
import { allocateZeroed, free } from "./allocator.ts";
import * as arena from "./arena.ts";
import * as array from "./array.ts";
import * as bloom from "./bloom.ts";
import * as devmapHash from "./devmap-hash.ts";
import * as hash from "./hash.ts";
import { CPU, CPUS } from "./layout.ts";
import * as trie from "./lpm-trie.ts";
import * as lru from "./lru.ts";
import * as percpuArray from "./percpu-array.ts";
import * as percpuHash from "./percpu-hash.ts";
import * as pointerArray from "./pointer-array.ts";
import * as queue from "./queue.ts";
import * as ringbuf from "./ringbuf.ts";

/** A map's header. `mapCreate` zeroes it and sets the first seven fields; the rest is each type's own. */
@unmanaged
export class MapHeader {
  type: u32;
  keySize: u32;
  /** Bytes of a value as a user sees it. */
  valueSize: u32;
  maxEntries: u32;
  flags: u32;
  /** Bytes from one value to the next, or from one CPU's value to the next: valueSize rounded up to 8. */
  stride: u32;
  /** map_extra. */
  extra: u64;
  /** Bytes taken. */
  memory: u32;
  /** Array: the values. Hash: the buckets. Trie: its root. Ring buffer: the consumer page. Queue, stack: the values. Bloom filter: the bits. Arena: what its pages are. */
  data: usize;
  /** Hash: number of buckets - 1. Ring buffer: bytes of data - 1. Bloom filter: number of bits - 1. */
  mask: u32;
  /** Hash, trie: elements in it. Bloom filter: hash functions. */
  count: u32;
  seed: u32;
  /** Hash: bytes of an element. */
  elementSize: u32;
  /** Hash: the memory that elements are cut from, what of it was never used, and the first element that was given back. */
  chunks: usize;
  unused: usize;
  unusedEnd: usize;
  freeElement: usize;
  /** Hash: the first removed element that is given back when no program runs, and the next map that has some. */
  deferred: usize;
  nextDeferred: usize;
  /** Hash, preallocated: the element that takes the place of the next one that a program replaces. */
  spare: usize;
  /** LRU hash: its lists. */
  lru: usize;
  /** Special fields of a value, as values.ts has them; 0 where there are none. */
  fields: usize;
  /** Whether one of them is a bpf_spin_lock. */
  hasLock: bool;
}

/** A map of checked attributes, or -errno. map_extra comes in two halves. */
export function mapCreate(
  type: u32,
  keySize: u32,
  valueSize: u32,
  maxEntries: u32,
  flags: u32,
  extra: u32,
  extraHigh: u32,
): i32 {
  if (max(keySize, valueSize) > <u32>i32.MAX_VALUE) return -ENOMEM;
  const address = allocateZeroed(offsetof<MapHeader>());
  if (!address) return -ENOMEM;
  const map = changetype<MapHeader>(address);
  map.type = type;
  map.keySize = keySize;
  map.valueSize = valueSize;
  map.maxEntries = maxEntries;
  map.flags = flags;
  map.stride = (valueSize + 7) & ~7;
  map.extra = ((<u64>extraHigh) << 32) | extra;
  const error = initialize(map);
  if (error) {
    free(address);
    return error;
  }
  map.memory += offsetof<MapHeader>();
  return <i32>address;
}

export function mapDestroy(map: MapHeader): void {
  switch (map.type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      array.destroy(map);
      break;
    case BPF_MAP_TYPE_DEVMAP_HASH:
      devmapHash.destroy(map);
      break;
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
    case BPF_MAP_TYPE_PERCPU_HASH:
      hash.destroy(map);
      break;
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      lru.destroy(map);
      break;
    case BPF_MAP_TYPE_LPM_TRIE:
      trie.destroy(map);
      break;
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      queue.destroy(map);
      break;
    case BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE_USER_RINGBUF:
      ringbuf.destroy(map);
      break;
    case BPF_MAP_TYPE_BLOOM_FILTER:
      bloom.destroy(map);
      break;
    case BPF_MAP_TYPE_ARENA:
      arena.destroy(map);
      break;
    default:
      if (isPointerArray(map)) array.destroy(map);
  }
  free(map.fields);
  free(changetype<usize>(map));
}

/** Bytes that the map takes. */
export function mapMemory(map: MapHeader): u32 {
  return map.memory;
}

/** Gives a new map the special fields of its values: a block of memory, laid out as values.ts says, that goes with it. */
export function mapSetFields(map: MapHeader, fields: usize, hasLock: bool): void {
  map.fields = fields;
  map.hasLock = hasLock;
}

export function mapData(map: MapHeader): usize {
  return map.type == BPF_MAP_TYPE_ARENA ? arena.region(map) : map.data;
}

/** Address of a key's value, in a per-CPU map that of CPU 0; 0 where there is none. A map of maps gives the address of a map. */
export function mapLookup(map: MapHeader, key: usize): usize {
  // The two that are hot, before a call and a jump through a table.
  if (map.type == BPF_MAP_TYPE_HASH) return hash.lookup(map, key);
  if (map.type == BPF_MAP_TYPE_ARRAY) return array.lookup(map, key);
  return lookupOther(map, key);
}

/** As `mapLookup`, but of one CPU, and as a program does it, which keeps the key in an LRU hash. bpf_map_lookup_elem, bpf_map_lookup_percpu_elem. */
export function mapLookupOn(map: MapHeader, key: usize, cpu: u32): usize {
  const value = mapLookup(map, key);
  if (!value) return 0;
  if (map.lru) lru.touch(map, value);
  if (!isPerCpu(map)) return value;
  return cpu < load<u32>(CPUS) ? value + cpu * map.stride : 0;
}

/** Sets a value, in a per-CPU map that of the running CPU. 0 or -errno. */
export function mapUpdate(map: MapHeader, key: usize, value: usize, flags: u64): i32 {
  if (map.type == BPF_MAP_TYPE_HASH || map.type == BPF_MAP_TYPE_HASH_OF_MAPS) {
    return hash.update(map, key, value, flags);
  }
  if (map.type == BPF_MAP_TYPE_ARRAY) return array.update(map, key, value, flags);
  return updateOther(map, key, value, flags);
}

/** Sets the values of all CPUs, which lie a stride apart. 0 or -errno. */
export function mapUpdatePerCpu(map: MapHeader, key: usize, values: usize, flags: u64): i32 {
  switch (map.type) {
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return percpuArray.updateAll(map, key, values, flags);
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return percpuHash.updateAll(map, key, values, flags);
    default:
      return -EINVAL;
  }
}

/** 0 or -errno. */
export function mapDelete(map: MapHeader, key: usize): i32 {
  switch (map.type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
    case BPF_MAP_TYPE_PERCPU_HASH:
      return hash.remove(map, key);
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return lru.remove(map, key);
    case BPF_MAP_TYPE_LPM_TRIE:
      return trie.remove(map, key);
    default:
      return -EINVAL;
  }
}

/** Copies the key behind `key` to `next`, the first one where `key` is 0 or missing. 0 or -errno. */
export function mapNextKey(map: MapHeader, key: usize, next: usize): i32 {
  switch (map.type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return array.nextKey(map, key, next);
    case BPF_MAP_TYPE_DEVMAP_HASH:
      return devmapHash.nextKey(map, key, next);
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return hash.nextKey(map, key, next);
    case BPF_MAP_TYPE_LPM_TRIE:
      return trie.nextKey(map, key, next);
    default:
      return isPointerArray(map) ? array.nextKey(map, key, next) : -ENOENT;
  }
}

/** Adds a value to a map without keys. bpf_map_push_elem. 0 or -errno. */
export function mapPush(map: MapHeader, value: usize, flags: u64): i32 {
  switch (map.type) {
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      return queue.push(map, value, flags);
    case BPF_MAP_TYPE_BLOOM_FILTER:
      return bloom.push(map, value, flags);
    default:
      return -EOPNOTSUPP;
  }
}

/** Takes a value out and copies it to `value`. bpf_map_pop_elem. 0 or -errno. */
export function mapPop(map: MapHeader, value: usize): i32 {
  switch (map.type) {
    case BPF_MAP_TYPE_QUEUE:
      return queue.queuePop(map, value);
    case BPF_MAP_TYPE_STACK:
      return queue.stackPop(map, value);
    default:
      return -EOPNOTSUPP;
  }
}

/** Copies the value that would be taken to `value`; a Bloom filter reads `value` and looks for it. bpf_map_peek_elem. 0 or -errno. */
export function mapPeek(map: MapHeader, value: usize): i32 {
  switch (map.type) {
    case BPF_MAP_TYPE_QUEUE:
      return queue.queuePeek(map, value);
    case BPF_MAP_TYPE_STACK:
      return queue.stackPeek(map, value);
    case BPF_MAP_TYPE_BLOOM_FILTER:
      return bloom.peek(map, value);
    default:
      return -EOPNOTSUPP;
  }
}

export function isPerCpu(map: MapHeader): bool {
  switch (map.type) {
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return true;
    default:
      return false;
  }
}

/** Whether it is an array of addresses. */
function isPointerArray(map: MapHeader): bool {
  switch (map.type) {
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
    case BPF_MAP_TYPE_CGROUP_ARRAY:
    case BPF_MAP_TYPE_CPUMAP:
    case BPF_MAP_TYPE_DEVMAP:
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
    case BPF_MAP_TYPE_PROG_ARRAY:
    case BPF_MAP_TYPE_STACK_TRACE:
    case BPF_MAP_TYPE_XSKMAP:
      return true;
    default:
      return false;
  }
}

function lookupOther(map: MapHeader, key: usize): usize {
  switch (map.type) {
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return percpuArray.lookup(map, key);
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return hash.find(map, key);
    case BPF_MAP_TYPE_HASH_OF_MAPS: {
      const value = hash.find(map, key);
      return value ? load<usize>(value) : 0;
    }
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
    case BPF_MAP_TYPE_CPUMAP:
    case BPF_MAP_TYPE_DEVMAP:
    case BPF_MAP_TYPE_XSKMAP:
      return pointerArray.lookup(map, key);
    case BPF_MAP_TYPE_DEVMAP_HASH:
      return devmapHash.lookup(map, key);
    case BPF_MAP_TYPE_LPM_TRIE:
      return trie.lookup(map, key);
    default:
      return 0;
  }
}

function updateOther(map: MapHeader, key: usize, value: usize, flags: u64): i32 {
  switch (map.type) {
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return percpuArray.update(map, key, value, flags, load<u32>(CPU));
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return percpuHash.update(map, key, value, flags, load<u32>(CPU));
    case BPF_MAP_TYPE_LRU_HASH:
      return lru.update(map, key, value, flags);
    case BPF_MAP_TYPE_LPM_TRIE:
      return trie.update(map, key, value, flags);
    default:
      return -EINVAL;
  }
}

function initialize(map: MapHeader): i32 {
  switch (map.type) {
    case BPF_MAP_TYPE_ARRAY:
      return array.initialize(map, 1);
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return array.initialize(map, load<u32>(CPUS));
    case BPF_MAP_TYPE_DEVMAP_HASH:
      return devmapHash.initialize(map);
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      // One more element than max_entries, for an update that replaces.
      return hash.initialize(map, 1, 0, 1);
    case BPF_MAP_TYPE_PERCPU_HASH:
      return hash.initialize(map, load<u32>(CPUS), 0, 0);
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return lru.initialize(map);
    case BPF_MAP_TYPE_LPM_TRIE:
      return 0;
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      return queue.initialize(map);
    case BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE_USER_RINGBUF:
      return ringbuf.initialize(map);
    case BPF_MAP_TYPE_BLOOM_FILTER:
      return bloom.initialize(map);
    case BPF_MAP_TYPE_ARENA:
      return arena.initialize(map);
    case BPF_MAP_TYPE_SOCKMAP:
    case BPF_MAP_TYPE_SOCKHASH:
    case BPF_MAP_TYPE_CGROUP_STORAGE:
    case BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:
    case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
    case BPF_MAP_TYPE_SK_STORAGE:
    case BPF_MAP_TYPE_INODE_STORAGE:
    case BPF_MAP_TYPE_TASK_STORAGE:
    case BPF_MAP_TYPE_CGRP_STORAGE:
      // Elements belong to sockets, cgroups and the like, which the machine does not know.
      return 0;
    default:
      return isPointerArray(map) ? pointerArray.initialize(map) : -EINVAL;
  }
}
