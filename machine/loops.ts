// Loops over the machine's map operations, for bench/machine.ts, which compiles them with the machine. Not part of the machine that is shipped.

import { allocate, initialize } from "./index.ts";
import { DEPTH } from "./layout.ts";
import { MapHeader, mapCreate, mapLookup, mapUpdate } from "./map.ts";

// asc resolves no file extension in `export … from`.
export { allocate, initialize, mapCreate };

/** Looks up `calls` keys, `stride` apart; the sum of the values' first 8 bytes. A key is its number in its first 4 bytes. */
export function lookupLoop(map: MapHeader, key: usize, entries: u32, calls: u32, stride: u32): u32 {
  let sum: u64 = 0;
  let number: u32 = 0;
  for (let call: u32 = 0; call < calls; ++call) {
    store<u32>(key, number);
    const value = mapLookup(map, key);
    if (value) sum += load<u64>(value);
    number += stride;
    if (number >= entries) number -= entries;
  }
  return <u32>sum;
}

/** Writes, as a program does, `calls` keys, `stride` apart; how many writes failed. */
export function updateLoop(map: MapHeader, key: usize, value: usize, entries: u32, calls: u32, stride: u32): u32 {
  let failed: u32 = 0;
  store<u32>(DEPTH, 1);
  let number: u32 = 0;
  for (let call: u32 = 0; call < calls; ++call) {
    store<u32>(key, number);
    store<u64>(value, call);
    if (mapUpdate(map, key, value, 0)) failed += 1;
    number += stride;
    if (number >= entries) number -= entries;
  }
  store<u32>(DEPTH, 0);
  return failed;
}
