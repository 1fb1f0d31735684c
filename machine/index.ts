// The machine's exports. Only i32 crosses into JavaScript; the names are explained where TypeScript holds them, src/embedded/machine.ts.

import {
  allocate,
  allocatePages,
  allocateZeroed,
  bytesInUse,
  free,
  freePages,
  initializeAllocator,
} from "./allocator.ts";
import * as arena from "./arena.ts";
import { arenaAt, arenaMap, arenaUserPages } from "./arena.ts";
import { devmapHashSet, devmapHashTake } from "./devmap-hash.ts";
import { hashBuckets, hashCopyBuckets, hashFirstKey, hashKeyBehind } from "./hash.ts";
import { programRun } from "./interpreter.ts";
import { BUDGET, CPUS, RESULT } from "./layout.ts";
import * as maps from "./map.ts";
import {
  MapHeader,
  mapCreate,
  mapData,
  mapDelete,
  mapDestroy,
  mapLookup,
  mapMemory,
  mapNextKey,
  mapPeek,
  mapPop,
  mapSetFields,
} from "./map.ts";
import { programFree, programLoad, programSetArena } from "./program.ts";
import { seedRandom } from "./random.ts";
import * as ringbuf from "./ringbuf.ts";
import * as userRingbuf from "./user-ringbuf.ts";
import { userRingbufPeek, userRingbufRelease, userRingbufSampleLength } from "./user-ringbuf.ts";

// asc resolves no file extension in `export … from`.
export {
  allocate,
  allocatePages,
  allocateZeroed,
  arenaAt,
  arenaMap,
  arenaUserPages,
  bytesInUse,
  devmapHashSet,
  devmapHashTake,
  free,
  freePages,
  hashBuckets,
  hashCopyBuckets,
  hashFirstKey,
  hashKeyBehind,
  mapCreate,
  mapData,
  mapDelete,
  mapDestroy,
  mapLookup,
  mapMemory,
  mapNextKey,
  mapPeek,
  mapPop,
  mapSetFields,
  programFree,
  programLoad,
  programRun,
  programSetArena,
  userRingbufPeek,
  userRingbufRelease,
  userRingbufSampleLength,
};

export function initialize(cpus: u32, pageLimit: u32, seed: u32): void {
  store<u32>(CPUS, cpus);
  store<u32>(BUDGET, u32.MAX_VALUE);
  seedRandom(seed);
  initializeAllocator(pageLimit);
}

export function mapUpdate(map: MapHeader, key: usize, value: usize, flags: u32): i32 {
  return maps.mapUpdate(map, key, value, flags);
}

export function mapUpdatePerCpu(map: MapHeader, key: usize, values: usize, flags: u32): i32 {
  return maps.mapUpdatePerCpu(map, key, values, flags);
}

export function mapPush(map: MapHeader, value: usize, flags: u32): i32 {
  return maps.mapPush(map, value, flags);
}

export function ringbufReserve(map: MapHeader, bytes: u32): usize {
  return ringbuf.ringbufReserve(map, bytes);
}

export function ringbufSubmit(record: usize, flags: u32): void {
  ringbuf.ringbufSubmit(record, flags);
}

export function ringbufDiscard(record: usize, flags: u32): void {
  ringbuf.ringbufDiscard(record, flags);
}

export function ringbufOutput(map: MapHeader, data: usize, bytes: u32, flags: u32): i32 {
  return ringbuf.ringbufOutput(map, data, bytes, flags);
}

export function arenaAllocate(map: MapHeader, pointer: u32, pointerHigh: u32, count: u32, flags: u32): void {
  store<u64>(RESULT, arena.arenaAllocate(map, join(pointer, pointerHigh), count, flags));
}

export function arenaReserve(map: MapHeader, pointer: u32, pointerHigh: u32, count: u32): i32 {
  return arena.arenaReserve(map, join(pointer, pointerHigh), count);
}

export function arenaFree(map: MapHeader, pointer: u32, pointerHigh: u32, count: u32): void {
  arena.arenaFree(map, join(pointer, pointerHigh), count);
}

export function userRingbufBegin(map: MapHeader, flags: u32): i32 {
  return userRingbuf.userRingbufBegin(map, flags);
}

export function userRingbufEnd(map: MapHeader, samples: u32, flags: u32): void {
  userRingbuf.userRingbufEnd(map, samples, flags);
}

function join(low: u32, high: u32): u64 {
  return ((<u64>high) << 32) | low;
}
