// BPF_MAP_TYPE_HASH: chained buckets, in Linux's order: as many buckets, the same hash, new elements in front.
// An element never moves. It is { next, hash, key rounded up to 8, value or values }.

import { E2BIG, EEXIST, EINVAL, ENOENT, ENOMEM } from "../src/uapi/errno.ts";
import { BPF_EXIST, BPF_F_LOCK, BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED, BPF_NOEXIST } from "../src/uapi/flags.ts";
import { allocate, allocateZeroed, free } from "./allocator.ts";
import { copy, equal } from "./bytes.ts";
import { jhash } from "./jhash.ts";
import { DEFERRED, DEPTH } from "./layout.ts";
import { MapHeader } from "./map.ts";
import { nextRandom } from "./random.ts";

@unmanaged
class Element {
  /** Stays when it is removed: who walks the bucket, and removed it meanwhile, comes on from it. */
  next: usize;
  /** Of one that is removed: the next of those that are free, or that are freed later. */
  hash: u32;
}

/** Allocates the buckets and, unless BPF_F_NO_PREALLOC, all elements with `copies` of a value: one, or one a CPU. */
export function initialize(map: MapHeader, copies: u32): i32 {
  const buckets = roundUpToPowerOfTwo(map.maxEntries);
  const bucketBytes = buckets * sizeof<usize>();
  const elementSize = <u64>offsetof<Element>() + keyStride(map) + <u64>map.stride * copies;
  // One more than max_entries, for the new element of an update that replaces.
  const preallocated = map.flags & BPF_F_NO_PREALLOC ? 0 : <u64>map.maxEntries + 1;
  if (elementSize > <u64>i32.MAX_VALUE || bucketBytes + elementSize * preallocated > <u64>i32.MAX_VALUE) return -ENOMEM;
  map.elementSize = <u32>elementSize;
  map.mask = <u32>buckets - 1;
  map.seed = map.flags & BPF_F_ZERO_SEED ? 0 : nextRandom();
  map.data = allocateZeroed(<usize>bucketBytes);
  if (!map.data) return -ENOMEM;
  if (preallocated) {
    map.elements = allocate(<usize>(elementSize * preallocated));
    if (!map.elements) {
      free(map.data);
      return -ENOMEM;
    }
    for (let index = <u32>preallocated; index > 0; --index) {
      giveFree(map, changetype<Element>(map.elements + (index - 1) * map.elementSize));
    }
  }
  map.memory = <u32>(bucketBytes + elementSize * preallocated);
  return 0;
}

export function destroy(map: MapHeader): void {
  if (map.elements) free(map.elements);
  else {
    for (let bucket: u32 = 0; bucket <= map.mask; ++bucket) {
      let element = load<usize>(bucketAt(map, bucket));
      while (element) {
        const next = changetype<Element>(element).next;
        free(element);
        element = next;
      }
    }
  }
  free(map.data);
}

/** Address of the value, in a per-CPU hash that of CPU 0. */
export function lookup(map: MapHeader, key: usize): usize {
  const element = find(map, key, hashOf(map, key));
  return element ? valueOf(map, element) : 0;
}

export function update(map: MapHeader, key: usize, value: usize, flags: u64): i32 {
  if ((flags & ~(<u64>BPF_F_LOCK)) > <u64>BPF_EXIST || flags & BPF_F_LOCK) return -EINVAL;
  const hash = hashOf(map, key);
  const old = find(map, key, hash);
  const error = checkExistence(map, old, flags);
  if (error) return error;
  const element = take(map);
  if (!element) return -ENOMEM;
  if (old) unlink(map, old);
  link(map, element, key, hash);
  copy(valueOf(map, element), value, map.valueSize);
  if (old) give(map, old);
  return 0;
}

/** 0 or -ENOENT. */
export function remove(map: MapHeader, key: usize): i32 {
  const element = find(map, key, hashOf(map, key));
  if (!element) return -ENOENT;
  unlink(map, element);
  give(map, element);
  return 0;
}

export function nextKey(map: MapHeader, key: usize, next: usize): i32 {
  let following: usize = 0;
  let bucket: u32 = 0;
  if (key) {
    const hash = hashOf(map, key);
    const current = find(map, key, hash);
    if (current) {
      following = current.next;
      bucket = (hash & map.mask) + 1;
    }
  }
  while (!following) {
    if (bucket > map.mask) return -ENOENT;
    following = load<usize>(bucketAt(map, bucket++));
  }
  copy(next, keyOf(changetype<Element>(following)), map.keySize);
  return 0;
}

export function hashBuckets(map: MapHeader): u32 {
  return map.mask + 1;
}

/** Address of the first key of a bucket; 0 where it is empty. */
export function hashFirstKey(map: MapHeader, bucket: u32): usize {
  const element = load<usize>(bucketAt(map, bucket));
  return element ? keyOf(changetype<Element>(element)) : 0;
}

/** Address of the key behind one in its bucket; 0 where that was the last. */
export function hashKeyBehind(_map: MapHeader, key: usize): usize {
  const next = changetype<Element>(key - offsetof<Element>()).next;
  return next ? keyOf(changetype<Element>(next)) : 0;
}

/** BPF_EXIST, BPF_NOEXIST, and whether a new element may be added. */
export function checkExistence(map: MapHeader, old: Element | null, flags: u64): i32 {
  if (old) return flags == BPF_NOEXIST ? -EEXIST : 0;
  if (flags == BPF_EXIST) return -ENOENT;
  return map.count >= map.maxEntries ? -E2BIG : 0;
}

export function hashOf(map: MapHeader, key: usize): u32 {
  return jhash(key, map.keySize, map.seed);
}

export function find(map: MapHeader, key: usize, hash: u32): Element | null {
  let element = changetype<Element | null>(load<usize>(bucketAt(map, hash & map.mask)));
  while (element) {
    if (element.hash == hash && equal(keyOf(element), key, map.keySize)) return element;
    element = changetype<Element | null>(element.next);
  }
  return null;
}

export function valueOf(map: MapHeader, element: Element): usize {
  return keyOf(element) + keyStride(map);
}

/** An element that is not in use, or null. */
export function take(map: MapHeader): Element | null {
  if (!map.elements) return changetype<Element | null>(allocate(map.elementSize));
  const element = changetype<Element>(map.freeElement);
  map.freeElement = element.hash;
  return element;
}

/** Puts an element in front of its bucket. To be called before its value is set: the key may lie in what was its value. */
export function link(map: MapHeader, element: Element, key: usize, hash: u32): void {
  copy(keyOf(element), key, map.keySize);
  const bucket = bucketAt(map, hash & map.mask);
  element.hash = hash;
  element.next = load<usize>(bucket);
  store<usize>(bucket, changetype<usize>(element));
  map.count += 1;
}

/** The first element of a bucket; 0 where it is empty. */
export function firstOf(map: MapHeader, bucket: u32): usize {
  return load<usize>(bucketAt(map, bucket));
}

/** The element behind another in its bucket, or 0. */
export function behind(element: usize): usize {
  return changetype<Element>(element).next;
}

export function keyAt(element: usize): usize {
  return keyOf(changetype<Element>(element));
}

/** Address of an element's value, in a per-CPU hash that of CPU 0. */
export function valueAt(map: MapHeader, element: usize): usize {
  return valueOf(map, changetype<Element>(element));
}

/** Frees elements that running programs might still have used. */
export function freeDeferred(): void {
  let element = load<usize>(DEFERRED);
  while (element) {
    const next = <usize>changetype<Element>(element).hash;
    free(element);
    element = next;
  }
  store<usize>(DEFERRED, 0);
}

function unlink(map: MapHeader, element: Element): void {
  let at = bucketAt(map, element.hash & map.mask);
  while (load<usize>(at) != changetype<usize>(element)) at = load<usize>(at) + offsetof<Element>("next");
  store<usize>(at, element.next);
  map.count -= 1;
}

/** Gives an element back: at once where preallocated, otherwise when no program runs. */
function give(map: MapHeader, element: Element): void {
  if (map.elements) giveFree(map, element);
  else if (load<u32>(DEPTH)) {
    element.hash = <u32>load<usize>(DEFERRED);
    store<usize>(DEFERRED, changetype<usize>(element));
  } else free(changetype<usize>(element));
}

function giveFree(map: MapHeader, element: Element): void {
  element.hash = <u32>map.freeElement;
  map.freeElement = changetype<usize>(element);
}

function bucketAt(map: MapHeader, index: u32): usize {
  return map.data + index * sizeof<usize>();
}

function keyOf(element: Element): usize {
  return changetype<usize>(element) + offsetof<Element>();
}

function keyStride(map: MapHeader): usize {
  return (map.keySize + 7) & ~7;
}

function roundUpToPowerOfTwo(value: u32): u64 {
  return value <= 1 ? 1 : (<u64>1) << (32 - clz(value - 1));
}
