// BPF_MAP_TYPE_HASH: chained buckets, in Linux's order: as many buckets, the same hash, new elements in front.
// An element never moves. It is { next, hash, key rounded up to 8, value or values }, in an LRU hash with a node in front.

import { E2BIG, EEXIST, EINVAL, ENOENT, ENOMEM } from "../src/uapi/errno.ts";
import { BPF_EXIST, BPF_F_LOCK, BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED, BPF_NOEXIST } from "../src/uapi/flags.ts";
import { allocate, allocateZeroed, free } from "./allocator.ts";
import { copy, equal } from "./bytes.ts";
import { Jhash, jhash } from "./jhash.ts";
import { DEFERRED, DEPTH, PAGE_BYTES, RESULT } from "./layout.ts";
import { MapHeader } from "./map.ts";
import { nextRandom } from "./random.ts";
import { clearFields, setValue, Values } from "./values.ts";

@unmanaged
export class Element {
  /** Stays when it is removed: who walks the bucket, and removed it meanwhile, comes on from it. */
  next: usize;
  /** Of one that is removed: the next of those that are free, or that will be. */
  hash: u32;
}

/** A piece of memory that elements are cut from; they follow it. */
@unmanaged
class Chunk {
  next: usize;
  /** Keeps the elements 8-aligned. */
  reserved: u32;
}

/** What the allocator puts in front of a block; with it, chunks are whole pages. */
const BLOCK_HEADER: usize = 8;
/** A map's chunks grow with it, by an eighth of what it has, up to this. */
const LARGEST_CHUNK: u32 = 1 << 20;

/**
 * Allocates the buckets and, unless BPF_F_NO_PREALLOC, room for all elements with `copies` of a value: one, or one a CPU.
 * Each element has `front` bytes before it.
 */
export function initialize(map: MapHeader, copies: u32, front: u32, spare: u32): i32 {
  const buckets = roundUpToPowerOfTwo(map.maxEntries);
  const bucketBytes = buckets * sizeof<usize>();
  const elementSize = front + <u64>offsetof<Element>() + keyStride(map) + <u64>map.stride * copies;
  const preallocated = map.flags & BPF_F_NO_PREALLOC ? 0 : elementSize * (<u64>map.maxEntries + spare);
  if (elementSize > <u64>i32.MAX_VALUE || bucketBytes + preallocated > <u64>i32.MAX_VALUE) return -ENOMEM;
  map.elementSize = <u32>elementSize;
  map.mask = <u32>buckets - 1;
  map.seed = map.flags & BPF_F_ZERO_SEED ? 0 : nextRandom();
  map.data = allocateZeroed(<usize>bucketBytes);
  if (!map.data) return -ENOMEM;
  map.memory = <u32>bucketBytes;
  if (preallocated && !addChunk(map, <u32>preallocated)) {
    free(map.data);
    return -ENOMEM;
  }
  if (preallocated && spare) map.spare = changetype<usize>(take(map));
  return 0;
}

export function destroy(map: MapHeader): void {
  if (map.deferred) forgetDeferred(map);
  let chunk = map.chunks;
  while (chunk) {
    const next = changetype<Chunk>(chunk).next;
    free(chunk);
    chunk = next;
  }
  free(map.data);
}

/** Address of the value, in a per-CPU hash that of CPU 0. */
export function lookup(map: MapHeader, key: usize): usize {
  const bytes = map.keySize;
  if (bytes == 4) {
    const wanted = load<u32>(key);
    let element = load<usize>(bucketAt(map, Jhash.of4(key, map.seed) & map.mask));
    // The first one before the loop, which costs the engine a check of its own.
    if (!element) return 0;
    if (load<u32>(element, KEY) == wanted) return element + KEY + 8;
    do element = load<usize>(element);
    while (element && load<u32>(element, KEY) != wanted);
    return element ? element + KEY + 8 : 0;
  }
  if (bytes == 16) {
    const first = load<u64>(key);
    const second = load<u64>(key, 8);
    let element = load<usize>(bucketAt(map, Jhash.of16(key, map.seed) & map.mask));
    if (!element) return 0;
    if (load<u64>(element, KEY) == first && load<u64>(element, KEY + 8) == second) return element + KEY + 16;
    do element = load<usize>(element);
    while (element && (load<u64>(element, KEY) != first || load<u64>(element, KEY + 8) != second));
    return element ? element + KEY + 16 : 0;
  }
  return find(map, key);
}

/** As `lookup`, for maps that are looked up less often. */
export function find(map: MapHeader, key: usize): usize {
  const link = findLink(map, key, hashOf(map, key));
  return link ? load<usize>(link) + KEY + keyStride(map) : 0;
}

export function update(map: MapHeader, key: usize, value: usize, flags: u64): i32 {
  const existence = flags & ~(<u64>BPF_F_LOCK);
  if (existence > <u64>BPF_EXIST || (existence != flags && !map.hasLock)) return -EINVAL;
  const hash = Inlined.hashOf(map, key);
  const link = Inlined.findLink(map, key, hash);
  if (existence || !link) {
    const error = checkExistence(map, link, existence);
    if (error) return error;
  }
  if (!link) {
    const element = take(map);
    if (!element) return -ENOMEM;
    insert(map, element, key, hash);
    Values.replace(map, valueOf(map, element), value);
    return 0;
  }
  const old = load<Element>(link);
  if (existence != flags) {
    setValue(map, valueOf(map, old), value);
    return 0;
  }
  // Where no program runs, nobody has the old element's address: it may be the new one, which Linux puts in front.
  let element: Element | null = old;
  if (load<u32>(DEPTH)) {
    element = map.spare ? changetype<Element>(map.spare) : take(map);
    if (!element) return -ENOMEM;
  }
  const bucket = bucketAt(map, hash & map.mask);
  store<usize>(link, old.next);
  element.next = load<usize>(bucket);
  store<usize>(bucket, changetype<usize>(element));
  element.hash = hash;
  Inlined.copyKey(map, keyOf(element), key);
  Values.replace(map, valueOf(map, element), value);
  if (element != old) giveReplaced(map, old);
  return 0;
}

/** 0 or -ENOENT. */
export function remove(map: MapHeader, key: usize): i32 {
  const link = findLink(map, key, hashOf(map, key));
  if (!link) return -ENOENT;
  give(map, unlink(map, link));
  return 0;
}

export function nextKey(map: MapHeader, key: usize, next: usize): i32 {
  let following: usize = 0;
  let bucket: u32 = 0;
  if (key) {
    const hash = hashOf(map, key);
    const link = findLink(map, key, hash);
    if (link) {
      following = load<Element>(link).next;
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

/**
 * Copies the keys and values of whole buckets, from `bucket` on, as long as they fit: at most `room` of each, side by side.
 * How many; the next bucket is left at RESULT.
 */
export function hashCopyBuckets(
  map: MapHeader,
  bucket: u32,
  room: u32,
  keys: usize,
  values: usize,
  valueBytes: u32,
): u32 {
  let count: u32 = 0;
  for (; bucket <= map.mask; ++bucket) {
    let at = count;
    let element = load<usize>(bucketAt(map, bucket));
    for (; element && at < room; element = load<usize>(element)) {
      copy(keys + at * map.keySize, element + KEY, map.keySize);
      copy(values + at * valueBytes, valueOf(map, changetype<Element>(element)), valueBytes);
      at += 1;
    }
    if (element) break;
    count = at;
  }
  store<u32>(RESULT, bucket);
  return count;
}

/** BPF_EXIST, BPF_NOEXIST, and whether a new element may be added. */
export function checkExistence(map: MapHeader, link: usize, flags: u64): i32 {
  if (link) return flags == BPF_NOEXIST ? -EEXIST : 0;
  if (flags == BPF_EXIST) return -ENOENT;
  return map.count >= map.maxEntries ? -E2BIG : 0;
}

export function hashOf(map: MapHeader, key: usize): u32 {
  return Inlined.hashOf(map, key);
}

/** Where the address of a key's element stands: in its bucket, or in the element before it. 0 where the key is missing. */
export function findLink(map: MapHeader, key: usize, hash: u32): usize {
  return Inlined.findLink(map, key, hash);
}

export function keyOf(element: Element): usize {
  return changetype<usize>(element) + offsetof<Element>();
}

export function valueOf(map: MapHeader, element: Element): usize {
  return keyOf(element) + keyStride(map);
}

/** Address of the value that belongs to a key of an element, in a per-CPU hash that of CPU 0. */
export function valueBehind(map: MapHeader, key: usize): usize {
  return key + keyStride(map);
}

/** The element that a value belongs to. */
export function elementOf(map: MapHeader, value: usize): Element {
  return changetype<Element>(value - keyStride(map) - offsetof<Element>());
}

/** An element that is not in use, or null. */
export function take(map: MapHeader): Element | null {
  const element = map.freeElement;
  if (!element) return takeUnused(map);
  map.freeElement = changetype<Element>(element).hash;
  return changetype<Element>(element);
}

/** Puts an element in front of its bucket. To be called before its value is set: the key may lie in what was its value. */
export function insert(map: MapHeader, element: Element, key: usize, hash: u32): void {
  copyKey(map, keyOf(element), key);
  const bucket = bucketAt(map, hash & map.mask);
  element.hash = hash;
  element.next = load<usize>(bucket);
  store<usize>(bucket, changetype<usize>(element));
  map.count += 1;
}

/** Takes an element, found by its link, out of its bucket. */
export function unlink(map: MapHeader, link: usize): Element {
  const element = load<Element>(link);
  store<usize>(link, element.next);
  map.count -= 1;
  return element;
}

/** Where the address of an element in the map stands. */
export function linkOf(map: MapHeader, element: Element): usize {
  let link = bucketAt(map, element.hash & map.mask);
  while (load<usize>(link) != changetype<usize>(element)) link = load<usize>(link);
  return link;
}

/** Frees elements that running programs might still have used. */
export function freeDeferred(): void {
  let address = load<usize>(DEFERRED);
  while (address) {
    const map = changetype<MapHeader>(address);
    let element = map.deferred;
    while (element) {
      const next = <usize>changetype<Element>(element).hash;
      giveFree(map, changetype<Element>(element));
      element = next;
    }
    map.deferred = 0;
    address = map.nextDeferred;
  }
  store<usize>(DEFERRED, 0);
}

const HASH: usize = offsetof<Element>("hash");
const KEY: usize = offsetof<Element>();

/** An element that never was in use, or null. */
function takeUnused(map: MapHeader): Element | null {
  if (map.unusedEnd - map.unused < map.elementSize && !addChunk(map, nextChunkSize(map))) return null;
  const unused = map.unused;
  map.unused = unused + map.elementSize;
  return changetype<Element>(unused);
}

function copyKey(map: MapHeader, to: usize, from: usize): void {
  Inlined.copyKey(map, to, from);
}

/** An element of a preallocated map takes the place of the next one that is replaced. */
function giveReplaced(map: MapHeader, element: Element): void {
  if (!map.spare) {
    give(map, element);
    return;
  }
  if (map.fields) clearFields(map, valueOf(map, element));
  map.spare = changetype<usize>(element);
}

/** Gives an element back: at once where preallocated, otherwise when no program runs. */
function give(map: MapHeader, element: Element): void {
  if (map.fields) clearFields(map, valueOf(map, element));
  if (map.flags & BPF_F_NO_PREALLOC && load<u32>(DEPTH)) giveLater(map, element);
  else giveFree(map, element);
}

function giveLater(map: MapHeader, element: Element): void {
  if (!map.deferred) {
    map.nextDeferred = load<usize>(DEFERRED);
    store<usize>(DEFERRED, changetype<usize>(map));
  }
  element.hash = <u32>map.deferred;
  map.deferred = changetype<usize>(element);
}

function giveFree(map: MapHeader, element: Element): void {
  element.hash = <u32>map.freeElement;
  map.freeElement = changetype<usize>(element);
}

/** The map is gone before its removed elements could be freed. */
function forgetDeferred(map: MapHeader): void {
  let link: usize = DEFERRED;
  while (load<usize>(link) != changetype<usize>(map)) link = load<usize>(link) + offsetof<MapHeader>("nextDeferred");
  store<usize>(link, map.nextDeferred);
}

function nextChunkSize(map: MapHeader): u32 {
  const grown = min(max((map.memory >> 3) & ~(PAGE_BYTES - 1), PAGE_BYTES), LARGEST_CHUNK);
  const least = <u32>offsetof<Chunk>() + map.elementSize;
  return max(grown - <u32>(BLOCK_HEADER + offsetof<Chunk>()), least) - <u32>offsetof<Chunk>();
}

/** Makes room for elements of `bytes` bytes together, or for one element where that is all that memory has. */
function addChunk(map: MapHeader, bytes: u32): bool {
  let chunk = allocate(offsetof<Chunk>() + bytes);
  if (!chunk) {
    if (!map.chunks) return false;
    bytes = map.elementSize;
    chunk = allocate(offsetof<Chunk>() + bytes);
    if (!chunk) return false;
  }
  changetype<Chunk>(chunk).next = map.chunks;
  map.chunks = chunk;
  map.unused = chunk + offsetof<Chunk>();
  map.unusedEnd = map.unused + bytes;
  map.memory += bytes;
  return true;
}

/** What is compiled into an update, and into the functions of the same names: a call costs as much as what they do. */
class Inlined {
  @inline
  static hashOf(map: MapHeader, key: usize): u32 {
    const bytes = map.keySize;
    if (bytes == 4) return Jhash.of4(key, map.seed);
    if (bytes == 8) return Jhash.of8(key, map.seed);
    if (bytes == 16) return Jhash.of16(key, map.seed);
    return jhash(key, bytes, map.seed);
  }

  @inline
  static findLink(map: MapHeader, key: usize, hash: u32): usize {
    const bytes = map.keySize;
    let link = bucketAt(map, hash & map.mask);
    let element = load<usize>(link);
    if (bytes == 4) {
      const wanted = load<u32>(key);
      if (!element) return 0;
      if (load<u32>(element, KEY) == wanted) return link;
      while (element && load<u32>(element, KEY) != wanted) {
        link = element;
        element = load<usize>(element);
      }
    } else if (bytes == 8) {
      const wanted = load<u64>(key);
      while (element && load<u64>(element, KEY) != wanted) {
        link = element;
        element = load<usize>(element);
      }
    } else if (bytes == 16) {
      const first = load<u64>(key);
      const second = load<u64>(key, 8);
      if (!element) return 0;
      if (load<u64>(element, KEY) == first && load<u64>(element, KEY + 8) == second) return link;
      while (element && (load<u64>(element, KEY) != first || load<u64>(element, KEY + 8) != second)) {
        link = element;
        element = load<usize>(element);
      }
    } else {
      while (element && (load<u32>(element, HASH) != hash || !equal(element + KEY, key, bytes))) {
        link = element;
        element = load<usize>(element);
      }
    }
    return element ? link : 0;
  }

  @inline
  static copyKey(map: MapHeader, to: usize, from: usize): void {
    const bytes = map.keySize;
    if (bytes == 4) store<u32>(to, load<u32>(from));
    else if (bytes == 16) {
      store<u64>(to, load<u64>(from));
      store<u64>(to, load<u64>(from, 8), 8);
    } else copy(to, from, bytes);
  }
}

function bucketAt(map: MapHeader, index: u32): usize {
  return map.data + index * sizeof<usize>();
}

function keyStride(map: MapHeader): usize {
  return (map.keySize + 7) & ~7;
}

export function roundUpToPowerOfTwo(value: u32): u64 {
  return value <= 1 ? 1 : (<u64>1) << (32 - clz(value - 1));
}
