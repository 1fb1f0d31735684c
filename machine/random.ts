// Random numbers that a seed reproduces: xorshift64*, whose state lies in memory.

import { RANDOM } from "./layout.ts";

export function seedRandom(seed: u32): void {
  // Any state but zero: an odd multiple of an odd number.
  store<u64>(RANDOM, (((<u64>seed) << 1) | 1) * 0x9e3779b97f4a7c15);
}

export function nextRandom(): u32 {
  let state = load<u64>(RANDOM);
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  store<u64>(RANDOM, state);
  return <u32>((state * 0x2545f4914f6cdd1d) >> 32);
}
