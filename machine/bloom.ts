// BPF_MAP_TYPE_BLOOM_FILTER: a set of bits, of which each value has as many as there are hash functions.
// Linux: kernel/bpf/bloom_filter.c

import { EINVAL, ENOENT, ENOMEM } from "../src/uapi/errno.ts";
import { BPF_F_ZERO_SEED } from "../src/uapi/flags.ts";
import { allocatePages, freePages } from "./allocator.ts";
import { jhash } from "./jhash.ts";
import { MapHeader } from "./map.ts";
import { nextRandom } from "./random.ts";

const DEFAULT_HASHES: u32 = 5;
const SMALLEST_BITS: u64 = 64;
const LARGEST_BITS: u64 = 1 << 32;

/** About 7/5 bits for each value and hash function, which is 1/ln 2, rounded up to a power of two. */
export function initialize(map: MapHeader): i32 {
  const hashes = map.extra ? <u32>map.extra : DEFAULT_HASHES;
  const bits = bitsFor(<u64>map.maxEntries * hashes);
  map.data = allocatePages(<usize>(bits / 8));
  if (!map.data) return -ENOMEM;
  map.memory = <u32>(bits / 8);
  map.mask = <u32>(bits - 1);
  map.count = hashes;
  map.seed = map.flags & BPF_F_ZERO_SEED ? 0 : nextRandom();
  return 0;
}

export function destroy(map: MapHeader): void {
  freePages(map.data, map.memory - offsetof<MapHeader>());
}

/** Adds a value. 0, or -EINVAL for any flag. */
export function push(map: MapHeader, value: usize, flags: u64): i32 {
  if (flags) return -EINVAL;
  for (let index: u32 = 0; index < map.count; ++index) {
    const bit = bitOf(map, value, index);
    const at = map.data + (bit >> 3);
    store<u8>(at, load<u8>(at) | maskOf(bit));
  }
  return 0;
}

/** 0 where the value may have been added, -ENOENT where it has not. */
export function peek(map: MapHeader, value: usize): i32 {
  for (let index: u32 = 0; index < map.count; ++index) {
    const bit = bitOf(map, value, index);
    if (!(load<u8>(map.data + (bit >> 3)) & maskOf(bit))) return -ENOENT;
  }
  return 0;
}

function bitsFor(marks: u64): u64 {
  if (marks > <u64>u32.MAX_VALUE) return LARGEST_BITS;
  const bits = (marks / 5) * 7;
  if (bits > LARGEST_BITS / 2) return LARGEST_BITS;
  return bits <= SMALLEST_BITS ? SMALLEST_BITS : (<u64>1) << (64 - clz(bits - 1));
}

function bitOf(map: MapHeader, value: usize, index: u32): u32 {
  return jhash(value, map.valueSize, map.seed + index) & map.mask;
}

function maskOf(bit: u32): u8 {
  return <u8>((<u32>1) << (bit & 7));
}
