// Tristate numbers: 64 bits, each known or unknown. A bit set in `mask` is unknown, and then clear in `value`.
// Linux: kernel/bpf/tnum.c

export interface Tnum {
  readonly value: bigint;
  readonly mask: bigint;
}

const ALL = (1n << 64n) - 1n;
const u64 = (value: bigint) => BigInt.asUintN(64, value);

export const UNKNOWN: Tnum = { value: 0n, mask: ALL };

export const constant = (value: bigint): Tnum => ({ value: u64(value), mask: 0n });
export const isConstant = (a: Tnum): boolean => a.mask === 0n;
const make = (value: bigint, mask: bigint): Tnum => ({ value: value & ~mask, mask });

/** The smallest tnum that holds every number from `min` to `max`, both unsigned. */
export function range(min: bigint, max: bigint): Tnum {
  const bits = bitLength(min ^ max);
  if (bits > 63) return UNKNOWN;
  const delta = (1n << BigInt(bits)) - 1n;
  return { value: min & ~delta, mask: delta };
}

export function add(a: Tnum, b: Tnum): Tnum {
  const sum = a.value + b.value;
  const chi = (sum + a.mask + b.mask) ^ sum;
  const mask = u64(chi | a.mask | b.mask);
  return make(u64(sum), mask);
}

export function subtract(a: Tnum, b: Tnum): Tnum {
  const difference = a.value - b.value;
  const chi = (difference + a.mask) ^ (difference - b.mask);
  const mask = u64(chi | a.mask | b.mask);
  return make(u64(difference), mask);
}

export function and(a: Tnum, b: Tnum): Tnum {
  const value = a.value & b.value;
  return { value, mask: (a.value | a.mask) & (b.value | b.mask) & ~value };
}

export function or(a: Tnum, b: Tnum): Tnum {
  const value = a.value | b.value;
  return { value, mask: (a.mask | b.mask) & ~value };
}

export const xor = (a: Tnum, b: Tnum): Tnum => make(a.value ^ b.value, a.mask | b.mask);

export function multiply(a: Tnum, b: Tnum): Tnum {
  let mask: Tnum = { value: 0n, mask: 0n };
  let { value, mask: unknown } = a;
  let shifted = b;
  while (value !== 0n || unknown !== 0n) {
    if (value & 1n) mask = add(mask, { value: 0n, mask: shifted.mask });
    else if (unknown & 1n) mask = add(mask, { value: 0n, mask: shifted.value | shifted.mask });
    value >>= 1n;
    unknown >>= 1n;
    shifted = shiftLeft(shifted, 1n);
  }
  return add(constant(a.value * b.value), mask);
}

export const shiftLeft = (a: Tnum, by: bigint): Tnum => ({ value: u64(a.value << by), mask: u64(a.mask << by) });
export const shiftRight = (a: Tnum, by: bigint): Tnum => ({ value: a.value >> by, mask: a.mask >> by });

/** Arithmetic shift of the low `bits` bits; the rest of the result is zero. */
export function shiftRightSigned(a: Tnum, by: bigint, bits: number): Tnum {
  const shift = (half: bigint) => BigInt.asUintN(bits, BigInt.asIntN(bits, half) >> by);
  return { value: shift(a.value), mask: shift(a.mask) };
}

/** What is known when a number lies in both. Where they contradict each other, some known bits win. */
export function intersect(a: Tnum, b: Tnum): Tnum {
  return make(a.value | b.value, a.mask & b.mask);
}

/** The low 32 bits; the rest is zero. */
export const low = (a: Tnum): Tnum => ({ value: BigInt.asUintN(32, a.value), mask: BigInt.asUintN(32, a.mask) });
/** The low `bits` bits; the rest is zero. */
export const truncate = (a: Tnum, bits: number): Tnum => ({
  value: BigInt.asUintN(bits, a.value),
  mask: BigInt.asUintN(bits, a.mask),
});
/** `a` with its low 32 bits replaced by those of `b`. */
export const withLow = (a: Tnum, b: Tnum): Tnum => ({
  value: ((a.value >> 32n) << 32n) | BigInt.asUintN(32, b.value),
  mask: ((a.mask >> 32n) << 32n) | BigInt.asUintN(32, b.mask),
});

/** Whether every number of `inner` is one of `outer`. */
export const contains = (outer: Tnum, inner: Tnum): boolean =>
  (inner.mask & ~outer.mask) === 0n && outer.value === (inner.value & ~outer.mask);

/** Whether every number of `a` is a multiple of `size`, a power of two. */
export const isAligned = (a: Tnum, size: number): boolean => ((a.value | a.mask) & BigInt(size - 1)) === 0n;

/** As logs print it: `(0x0; 0xff)`. */
export const print = (a: Tnum): string => `(0x${a.value.toString(16)}; 0x${a.mask.toString(16)})`;

const bitLength = (value: bigint): number => (value === 0n ? 0 : value.toString(2).length);
