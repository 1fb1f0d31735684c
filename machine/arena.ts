// BPF_MAP_TYPE_ARENA: pages that a program and user space share, at addresses that are the same for both in their lower 32 bits.
// Its pages are one region of the machine's memory, taken when the arena is first mapped or first allocated from. An arena may be
// larger than that region: pages behind it can neither be allocated nor mapped, as if memory had run out.
// User space takes a page by touching it, which the machine cannot see: a page that holds anything but zeros was touched.
// For programs: arenaAt (loads and stores), arenaAllocate, arenaReserve and arenaFree (the kfuncs), arenaUserStart (address casts).
// Linux: kernel/bpf/arena.c

import { EBUSY, EINVAL, ENOMEM } from "../src/uapi/errno.ts";
import { allocatePages, allocateZeroed, free, freePages } from "./allocator.ts";
import { PAGE_BYTES } from "./layout.ts";
import { MapHeader } from "./map.ts";

/** Most bytes of a region. */
const REGION_LIMIT: u64 = 256 << 20;
/** The half of an address that a program's pointers leave out. */
const UPPER: u64 = ~(<u64>u32.MAX_VALUE);

// What a page is.
const FREE: u8 = 0;
const RESERVED: u8 = 1;
const PRESENT: u8 = 2;

/** At the map's data, followed by a byte for each page. */
@unmanaged
class Arena {
  /** Address of the first page as pointers hold it: map_extra, or where it was mapped first. */
  userStart: u64;
  /** Bytes that may be mapped, 0 while nobody has said. */
  userBytes: u64;
  region: usize;
  regionBytes: u32;
}

export function initialize(map: MapHeader): i32 {
  const bytes = offsetof<Arena>() + map.maxEntries;
  map.data = allocateZeroed(bytes);
  if (!map.data) return -ENOMEM;
  map.memory = <u32>bytes;
  const arena = arenaOf(map);
  arena.userStart = map.extra;
  if (map.extra) arena.userBytes = <u64>map.maxEntries * PAGE_BYTES;
  return 0;
}

export function destroy(map: MapHeader): void {
  const arena = arenaOf(map);
  if (arena.region) freePages(arena.region, arena.regionBytes);
  free(map.data);
}

/**
 * Address of `bytes` bytes that a pointer's lower half points to, for a program's access; 0 where a page of them is not present:
 * there a load gives 0, and a store has no effect.
 */
export function arenaAt(map: MapHeader, pointer: u32, bytes: u32): usize {
  const arena = arenaOf(map);
  const offset = pointer - <u32>arena.userStart;
  if (<u64>offset + bytes > arena.regionBytes) return 0;
  const last = (offset + bytes - 1) / PAGE_BYTES;
  for (let page = offset / PAGE_BYTES; page <= last; ++page) if (!isPresent(map, page)) return 0;
  return arena.region + offset;
}

/** bpf_arena_alloc_pages: the pointer to `count` new pages, at `pointer` or, for 0, anywhere; 0 where they cannot be had. */
export function arenaAllocate(map: MapHeader, pointer: u64, count: u32, flags: u64): u64 {
  const arena = arenaOf(map);
  const pages = <u32>(arena.userBytes / PAGE_BYTES);
  if (flags || !count || count > pages || pointer & (PAGE_BYTES - 1) || !takeRegion(map)) return 0;
  let page = pointer ? pageOf(arena, pointer) : findFree(map, count);
  if (pointer) {
    if (page > pages - count || !areFree(map, page, count)) return 0;
  } else {
    while (page != NONE && !areFree(map, page, count)) page = findFree(map, count);
    if (page == NONE) return 0;
  }
  if ((<u64>page + count) * PAGE_BYTES > arena.regionBytes) return 0;
  memory.fill(statesOf(map) + page, PRESENT, count);
  const low = <u32>arena.userStart + page * PAGE_BYTES;
  return (arena.userStart & UPPER) | low;
}

/** bpf_arena_reserve_pages: keeps pages from being allocated. 0, -EINVAL outside the arena, -EBUSY where one is taken. */
export function arenaReserve(map: MapHeader, pointer: u64, count: u32): i32 {
  const arena = arenaOf(map);
  if (!count || pointer & (PAGE_BYTES - 1)) return 0;
  const page = pageOf(arena, pointer);
  if (<u64>page + count > arena.userBytes / PAGE_BYTES) return -EINVAL;
  if (!areFree(map, page, count)) return -EBUSY;
  memory.fill(statesOf(map) + page, RESERVED, count);
  return 0;
}

/** bpf_arena_free_pages: pages lose their content, and may be allocated again. */
export function arenaFree(map: MapHeader, pointer: u64, count: u32): void {
  const arena = arenaOf(map);
  if (!count || !pointer) return;
  const offset = (<u32>pointer & ~(PAGE_BYTES - 1)) - <u32>arena.userStart;
  if (offset >= arena.userBytes) return;
  const page = offset / PAGE_BYTES;
  const end = <u32>min(<u64>page + count, min(arena.userBytes / PAGE_BYTES, map.maxEntries));
  if (page >= end) return;
  memory.fill(statesOf(map) + page, FREE, end - page);
  const pastRegion = arena.regionBytes / PAGE_BYTES;
  if (page < pastRegion) memory.fill(arena.region + offset, 0, (min(end, pastRegion) - page) * PAGE_BYTES);
}

/** What bpf_addr_space_cast puts above a pointer's lower half. */
export function arenaUserStart(map: MapHeader): u64 {
  return arenaOf(map).userStart;
}

/** Address of the pages for user space to map `bytes` of them; 0 where memory does not suffice. */
export function arenaMap(map: MapHeader, bytes: u32): usize {
  // The 4 GiB of the largest arena come as 0.
  if (!bytes || bytes > REGION_LIMIT) return 0;
  const arena = arenaOf(map);
  const isFirst = !arena.userBytes;
  if (isFirst) arena.userBytes = bytes;
  if (takeRegion(map) && bytes <= arena.regionBytes) {
    if (!arena.userStart) arena.userStart = arena.region;
    return arena.region;
  }
  if (isFirst) arena.userBytes = 0;
  return 0;
}

/** Pages that may be mapped; 0 while nobody has said. */
export function arenaUserPages(map: MapHeader): u32 {
  return <u32>(arenaOf(map).userBytes / PAGE_BYTES);
}

/** The region's address; 0 while it was not taken. */
export function region(map: MapHeader): usize {
  return arenaOf(map).region;
}

const NONE: u32 = u32.MAX_VALUE;

function takeRegion(map: MapHeader): bool {
  const arena = arenaOf(map);
  if (arena.region) return true;
  const bytes = <u32>min(arena.userBytes, REGION_LIMIT);
  arena.region = allocatePages(bytes);
  if (!arena.region) return false;
  arena.regionBytes = bytes;
  map.memory += bytes;
  return true;
}

/** The first page of the smallest run of free pages that suffices, as on Linux; NONE where there is none. */
function findFree(map: MapHeader, count: u32): u32 {
  const states = statesOf(map);
  const end = min(map.maxEntries, arenaOf(map).regionBytes / PAGE_BYTES);
  let best = NONE;
  let bestLength = NONE;
  let start: u32 = 0;
  for (let page: u32 = 0; page <= end; ++page) {
    if (page < end && load<u8>(states + page) == FREE) continue;
    const length = page - start;
    if (length >= count && length < bestLength) {
      best = start;
      bestLength = length;
    }
    start = page + 1;
  }
  return best;
}

/** Whether pages are free; those that user space has touched are taken from now on. */
function areFree(map: MapHeader, page: u32, count: u32): bool {
  if (<u64>page + count > map.maxEntries) return false;
  for (let end = page + count; page < end; ++page) {
    if (isPresent(map, page) || load<u8>(statesOf(map) + page) != FREE) return false;
  }
  return true;
}

function isPresent(map: MapHeader, page: u32): bool {
  const at = statesOf(map) + page;
  if (page >= map.maxEntries) return false;
  const state = load<u8>(at);
  if (state == PRESENT) return true;
  if (state != FREE || !wasTouched(map, page)) return false;
  store<u8>(at, PRESENT);
  return true;
}

function wasTouched(map: MapHeader, page: u32): bool {
  const arena = arenaOf(map);
  if (page >= arena.regionBytes / PAGE_BYTES) return false;
  const start = arena.region + page * PAGE_BYTES;
  for (let at = start; at < start + PAGE_BYTES; at += 8) if (load<u64>(at)) return true;
  return false;
}

function pageOf(arena: Arena, pointer: u64): u32 {
  return (<u32>pointer - <u32>arena.userStart) / PAGE_BYTES;
}

function statesOf(map: MapHeader): usize {
  return map.data + offsetof<Arena>();
}

function arenaOf(map: MapHeader): Arena {
  return changetype<Arena>(map.data);
}
