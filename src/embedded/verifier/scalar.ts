// What is known about a number in a register: its bits, and its ranges as signed and unsigned, 64-bit and 32-bit number.
// Scalars never change; each operation makes a new one.
// Linux: kernel/bpf/verifier.c, reg_bounds_sync and scalar_min_max_*

import type { Tnum } from "./tnum.ts";
import * as tnum from "./tnum.ts";

/** Inclusive ranges of a number of some width, read as signed and as unsigned. */
export interface Bounds {
  readonly smin: bigint;
  readonly smax: bigint;
  readonly umin: bigint;
  readonly umax: bigint;
}

export interface Scalar {
  readonly kind: "scalar";
  readonly bits: Tnum;
  readonly wide: Bounds;
  /** Of the low 32 bits. */
  readonly narrow: Bounds;
  /** Scalars with the same id, unless 0, hold the same number, but for what was added to each. */
  readonly id: number;
  readonly added: Added | undefined;
  /** Places at the last checkpoint on whose exact content this knowledge rests: see checkpoint.ts. */
  readonly origins: bigint;
}

/** What was added to a number since it got its id: `by` modulo 2^`bits`, the upper bits of the sum zero. */
interface Added {
  readonly by: bigint;
  readonly bits: 32 | 64;
}

interface Width {
  readonly bits: number;
  readonly all: Bounds;
}
const widthOf = (bits: number): Width => {
  const half = 1n << BigInt(bits - 1);
  return { bits, all: { smin: -half, smax: half - 1n, umin: 0n, umax: 2n * half - 1n } };
};
export const WIDE = widthOf(64);
export const NARROW = widthOf(32);

export const UNKNOWN: Scalar = {
  kind: "scalar",
  bits: tnum.UNKNOWN,
  wide: WIDE.all,
  narrow: NARROW.all,
  id: 0,
  added: undefined,
  origins: 0n,
};

/** The number `value`, taken modulo 2^64. */
export function constant(value: bigint, origins = 0n): Scalar {
  return {
    kind: "scalar",
    bits: tnum.constant(value),
    wide: exactly(WIDE, value),
    narrow: exactly(NARROW, value),
    id: 0,
    added: undefined,
    origins,
  };
}
export const ZERO = constant(0n);

export const isConstant = (scalar: Scalar): boolean => scalar.bits.mask === 0n;
export const isZero = (scalar: Scalar): boolean => scalar.bits.mask === 0n && scalar.bits.value === 0n;
/** The number, signed, of a scalar that is constant. */
export const numberOf = (scalar: Scalar): bigint => scalar.wide.smin;

/** Any number of `size` bytes, zero-extended or sign-extended. */
export function ofSize(size: number, signed = false): Scalar {
  if (size === 8) return UNKNOWN;
  return (signed ? SIGNED_OF_SIZE : UNSIGNED_OF_SIZE)[size]!;
}

/** Any number from `min` to `max`, signed. */
export function inRange(min: bigint, max: bigint): Scalar {
  return settle(tnum.UNKNOWN, { ...WIDE.all, smin: min, smax: max }, NARROW.all);
}

/** Whether everything that `inner` may be, `outer` may be too. */
export function contains(outer: Scalar, inner: Scalar): boolean {
  return tnum.contains(outer.bits, inner.bits) && within(outer.wide, inner.wide) && within(outer.narrow, inner.narrow);
}

export function equal(a: Scalar, b: Scalar): boolean {
  return (
    a.bits.value === b.bits.value && a.bits.mask === b.bits.mask && same(a.wide, b.wide) && same(a.narrow, b.narrow)
  );
}

/** The same number, linked with those that have the id. */
export const withId = (scalar: Scalar, id: number): Scalar => ({ ...scalar, id, added: undefined });

export type BinaryOp = "add" | "sub" | "mul" | "and" | "or" | "xor" | "lsh" | "rsh" | "arsh";

/** `a op b` in 64 bits, or in 32 with the upper half zero. A shift by an unknown count gives any number, as on Linux. */
export function binary(op: BinaryOp, bits: 32 | 64, a: Scalar, b: Scalar): Scalar {
  const calculate = exact[op];
  if (calculate && isConstant(a) && isConstant(b)) {
    const result = calculate(a.bits.value, b.bits.value);
    return constant(bits === 64 ? result : u32(result), a.origins | b.origins);
  }
  const known = bits === 64 ? compute(op, a, b) : compute32(op, a, b);
  if (known === UNKNOWN) return UNKNOWN;
  const result = bits === 64 ? known : zeroExtend(known);
  return result.bits.mask === tnum.UNKNOWN.mask && same(result.wide, WIDE.all) && same(result.narrow, NARROW.all)
    ? UNKNOWN
    : { ...result, origins: a.origins | b.origins };
}

/** The low 32 bits, zero-extended. */
export const truncate32 = (a: Scalar): Scalar => ({ ...zeroExtend(a), origins: a.origins });

/** The low `size` bytes, zero-extended. */
export function truncate(a: Scalar, size: number): Scalar {
  const bits = size * 8;
  if (a.wide.umax >> BigInt(bits) === 0n) return a;
  if (size === 4) return truncate32(a);
  const max = (1n << BigInt(bits)) - 1n;
  const sameUpper = a.wide.umin >> BigInt(bits) === a.wide.umax >> BigInt(bits);
  const bounds = sameUpper ? { umin: a.wide.umin & max, umax: a.wide.umax & max } : { umin: 0n, umax: max };
  const wide = { smin: bounds.umin, smax: bounds.umax, ...bounds };
  return { ...settle(tnum.truncate(a.bits, bits), wide, wide), origins: a.origins };
}

/** The low `size` bytes, sign-extended to 64 bits, or to 32 with the upper half zero. */
export function signExtend(a: Scalar, size: number, to: 32 | 64): Scalar {
  if (size === 8) return a;
  const bits = size * 8;
  const source = to === 64 ? a.wide : a.narrow;
  if (isConstant(a)) return sized(constant(BigInt.asIntN(bits, a.bits.value), a.origins), to);
  const fits = source.smin >> BigInt(bits) === source.smax >> BigInt(bits);
  const first = BigInt.asIntN(bits, source.smin);
  const last = BigInt.asIntN(bits, source.smax);
  const known = fits && first <= last && first >= 0n === last >= 0n;
  const half = 1n << BigInt(bits - 1);
  const result = known ? inRange(first, last) : inRange(-half, half - 1n);
  return { ...sized(result, to), origins: a.origins };
}

/** The low `size` bytes with their order reversed, zero-extended. */
export function swapBytes(a: Scalar, size: number): Scalar {
  const swap = (value: bigint) => {
    let result = 0n;
    for (let byte = 0; byte < size; byte++) result = (result << 8n) | ((value >> BigInt(8 * byte)) & 0xffn);
    return result;
  };
  const bits = { value: swap(a.bits.value), mask: swap(a.bits.mask) };
  return { ...settle(bits, WIDE.all, NARROW.all), origins: a.origins };
}

const sized = (a: Scalar, bits: 32 | 64): Scalar => (bits === 64 ? a : truncate32(a));

/** A scalar from what is known of it, each part sharpened by the others; contradictions stay visible: see `isPossible`. */
export function settle(bits: Tnum, wide: Bounds, narrow: Bounds): Scalar {
  const draft: Draft = { bits, wide: { ...wide }, narrow: { ...narrow } };
  tightenByBits(draft);
  for (let round = 0; round < 3; round++) deduce(draft);
  boundBits(draft);
  tightenByBits(draft);
  return {
    kind: "scalar",
    bits: draft.bits,
    wide: draft.wide,
    narrow: draft.narrow,
    id: 0,
    added: undefined,
    origins: 0n,
  };
}

/** Whether some number fits what is claimed of `a`. */
export const isPossible = ({ bits, wide, narrow }: Scalar): boolean =>
  wide.smin <= wide.smax &&
  wide.umin <= wide.umax &&
  narrow.smin <= narrow.smax &&
  narrow.umin <= narrow.umax &&
  (bits.value & bits.mask) === 0n;

/** As logs print it: `5`, or `scalar(umax=255,var_off=(0x0; 0xff))`. */
export function print(scalar: Scalar): string {
  if (isConstant(scalar)) return printSigned(numberOf(scalar));
  const { id, added } = scalar;
  const sum = added ? `${added.by < 0n ? "" : "+"}${added.by}` : "";
  const parts = [...(id ? [`id=${id}${sum}`] : []), ...printRanges(scalar)];
  return `scalar(${parts.join(",")})`;
}

/** `smin=0,smax=umax=255`, `var_off=…` of a scalar that is not constant. */
export function printRanges({ bits, wide, narrow }: Scalar): string[] {
  const all: readonly [name: string, value: bigint, omit: boolean][] = [
    ["smin", wide.smin, wide.smin === WIDE.all.smin],
    ["smax", wide.smax, wide.smax === WIDE.all.smax],
    ["umin", wide.umin, wide.umin === 0n],
    ["umax", wide.umax, wide.umax === WIDE.all.umax],
    ["smin32", narrow.smin, narrow.smin === NARROW.all.smin],
    ["smax32", narrow.smax, narrow.smax === NARROW.all.smax],
    ["umin32", narrow.umin, narrow.umin === 0n],
    ["umax32", narrow.umax, narrow.umax === NARROW.all.umax],
  ];
  const groups = new Map<bigint, string[]>();
  for (const [name, value, omit] of all) {
    if (!omit) groups.set(value, [...(groups.get(value) ?? []), name]);
  }
  const parts = [...groups].map(
    ([value, names]) => `${names.join("=")}=${names[0]!.startsWith("s") ? printSigned(value) : printUnsigned(value)}`,
  );
  if (bits.mask !== tnum.UNKNOWN.mask) parts.push(`var_off=${tnum.print(bits)}`);
  return parts;
}

export const printSigned = (value: bigint): string =>
  value >= -0x8000n && value <= 0x7fffn ? `${value}` : `0x${BigInt.asUintN(64, value).toString(16)}`;
const printUnsigned = (value: bigint): string => (value <= 0xffffn ? `${value}` : `0x${value.toString(16)}`);

interface Draft {
  bits: Tnum;
  wide: { smin: bigint; smax: bigint; umin: bigint; umax: bigint };
  narrow: { smin: bigint; smax: bigint; umin: bigint; umax: bigint };
}

const max = (a: bigint, b: bigint) => (a > b ? a : b);
const min = (a: bigint, b: bigint) => (a < b ? a : b);
const s64 = (value: bigint) => BigInt.asIntN(64, value);
const u64 = (value: bigint) => BigInt.asUintN(64, value);
const s32 = (value: bigint) => BigInt.asIntN(32, value);
const u32 = (value: bigint) => BigInt.asUintN(32, value);

function exactly({ bits }: Width, value: bigint): Bounds {
  const signed = BigInt.asIntN(bits, value);
  const unsigned = BigInt.asUintN(bits, value);
  return { smin: signed, smax: signed, umin: unsigned, umax: unsigned };
}

const within = (outer: Bounds, inner: Bounds) =>
  outer.smin <= inner.smin && outer.smax >= inner.smax && outer.umin <= inner.umin && outer.umax >= inner.umax;
const same = (a: Bounds, b: Bounds) => a.smin === b.smin && a.smax === b.smax && a.umin === b.umin && a.umax === b.umax;

const SIGNED_OF_SIZE: Record<number, Scalar> = {};
const UNSIGNED_OF_SIZE: Record<number, Scalar> = {};
for (const size of [1, 2, 4]) {
  const half = 1n << BigInt(size * 8 - 1);
  SIGNED_OF_SIZE[size] = inRange(-half, half - 1n);
  UNSIGNED_OF_SIZE[size] = inRange(0n, 2n * half - 1n);
}

function tightenByBits(draft: Draft): void {
  tightenWidth(draft.wide, draft.bits, WIDE);
  tightenWidth(draft.narrow, tnum.low(draft.bits), NARROW);
}

function tightenWidth(bounds: Draft["wide"], { value, mask }: Tnum, { bits, all }: Width): void {
  const sign = 1n << BigInt(bits - 1);
  bounds.smin = max(bounds.smin, BigInt.asIntN(bits, value | (mask & sign)));
  bounds.smax = min(bounds.smax, BigInt.asIntN(bits, value | (mask & all.smax)));
  bounds.umin = max(bounds.umin, value);
  bounds.umax = min(bounds.umax, value | mask);
}

function deduce({ wide, narrow }: Draft): void {
  deduceNarrow(wide, narrow);
  deduceWide(wide);
  deduceMixed(wide, narrow);
}

function deduceNarrow(wide: Draft["wide"], narrow: Draft["narrow"]): void {
  const unsigned = (from: bigint, to: bigint) => {
    narrow.umin = max(narrow.umin, u32(from));
    narrow.umax = min(narrow.umax, u32(to));
  };
  const signed = (from: bigint, to: bigint) => {
    narrow.smin = max(narrow.smin, s32(from));
    narrow.smax = min(narrow.smax, s32(to));
  };
  if (wide.umin >> 32n === wide.umax >> 32n) {
    unsigned(wide.umin, wide.umax);
    if (s32(wide.umin) <= s32(wide.umax)) signed(wide.umin, wide.umax);
  }
  if (wide.smin >> 32n === wide.smax >> 32n) {
    if (u32(wide.smin) <= u32(wide.smax)) unsigned(wide.smin, wide.smax);
    if (s32(wide.smin) <= s32(wide.smax)) signed(wide.smin, wide.smax);
  }
  if (u32((wide.umin >> 32n) + 1n) === u32(wide.umax >> 32n) && s32(wide.umin) < 0n && s32(wide.umax) >= 0n) {
    signed(wide.umin, wide.umax);
  }
  if (u32((wide.smin >> 32n) + 1n) === u32(wide.smax >> 32n) && s32(wide.smin) < 0n && s32(wide.smax) >= 0n) {
    signed(wide.smin, wide.smax);
  }
  if (s32(narrow.umin) <= s32(narrow.umax)) signed(narrow.umin, narrow.umax);
  if (u32(narrow.smin) <= u32(narrow.smax)) unsigned(narrow.smin, narrow.smax);
  else if (narrow.umax < u32(narrow.smin)) {
    narrow.smin = s32(narrow.umin);
    narrow.umax = min(narrow.umax, u32(narrow.smax));
  } else if (u32(narrow.smax) < narrow.umin) {
    narrow.smax = s32(narrow.umax);
    narrow.umin = max(narrow.umin, u32(narrow.smin));
  }
}

function deduceWide(wide: Draft["wide"]): void {
  if (s64(wide.umin) <= s64(wide.umax)) {
    wide.smin = max(wide.smin, s64(wide.umin));
    wide.smax = min(wide.smax, s64(wide.umax));
  }
  if (u64(wide.smin) <= u64(wide.smax)) {
    wide.umin = max(wide.umin, u64(wide.smin));
    wide.umax = min(wide.umax, u64(wide.smax));
  } else if (wide.umax < u64(wide.smin)) {
    wide.smin = s64(wide.umin);
    wide.umax = min(wide.umax, u64(wide.smax));
  } else if (u64(wide.smax) < wide.umin) {
    wide.smax = s64(wide.umax);
    wide.umin = max(wide.umin, u64(wide.smin));
  }
}

function deduceMixed(wide: Draft["wide"], narrow: Draft["narrow"]): void {
  const replaceLow = (value: bigint, low: bigint) => ((value >> 32n) << 32n) + u32(low);
  wide.umin = max(wide.umin, replaceLow(wide.umin, narrow.umin));
  wide.umax = min(wide.umax, replaceLow(wide.umax, narrow.umax));
  wide.smin = max(wide.smin, replaceLow(wide.smin, narrow.umin));
  wide.smax = min(wide.smax, replaceLow(wide.smax, narrow.umax));
  if (narrow.smin >= 0n && wide.smin >= NARROW.all.smin && wide.smax <= NARROW.all.smax) {
    wide.smin = narrow.smin;
    wide.smax = narrow.smax;
    wide.umin = narrow.smin;
    wide.umax = narrow.smax;
  }
}

function boundBits(draft: Draft): void {
  const { wide, narrow } = draft;
  const bits = tnum.intersect(draft.bits, tnum.range(wide.umin, wide.umax));
  draft.bits = tnum.withLow(bits, tnum.intersect(tnum.low(bits), tnum.range(narrow.umin, narrow.umax)));
}

function zeroExtend({ bits, narrow }: Scalar): Scalar {
  const signed = narrow.smin >= 0n ? { smin: narrow.smin, smax: narrow.smax } : { smin: 0n, smax: NARROW.all.umax };
  return settle(tnum.low(bits), { ...signed, umin: narrow.umin, umax: narrow.umax }, narrow);
}

const exact: { readonly [Op in BinaryOp]?: (a: bigint, b: bigint) => bigint } = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
};
const bitsOf = {
  add: tnum.add,
  sub: tnum.subtract,
  mul: tnum.multiply,
  and: tnum.and,
  or: tnum.or,
  xor: tnum.xor,
} as const;
const boundsOf = {
  add: addBounds,
  sub: subtractBounds,
  mul: multiplyBounds,
  and: andBounds,
  or: orBounds,
  xor: xorBounds,
};

function compute(op: BinaryOp, a: Scalar, b: Scalar): Scalar {
  if (op === "lsh" || op === "rsh" || op === "arsh") {
    if (!isConstant(b) || b.wide.umax >= 64n) return UNKNOWN;
    return shift(op, a, b.wide.umax);
  }
  const bits = bitsOf[op](a.bits, b.bits);
  return settle(
    bits,
    boundsOf[op](WIDE, a.wide, b.wide, bits),
    boundsOf[op](NARROW, a.narrow, b.narrow, tnum.low(bits)),
  );
}

/** Only the low 32 bits of the result mean something. */
function compute32(op: BinaryOp, a: Scalar, b: Scalar): Scalar {
  if (op === "lsh" || op === "rsh" || op === "arsh") {
    if (!tnum.isConstant(tnum.low(b.bits)) || b.narrow.umax >= 32n) return UNKNOWN;
    return shift32(op, a, b.narrow.umax);
  }
  const bits = tnum.low(bitsOf[op](tnum.low(a.bits), tnum.low(b.bits)));
  return settle(tnum.withLow(tnum.UNKNOWN, bits), WIDE.all, boundsOf[op](NARROW, a.narrow, b.narrow, bits));
}

function shift(op: "lsh" | "rsh" | "arsh", a: Scalar, by: bigint): Scalar {
  const { all } = WIDE;
  if (op === "lsh") {
    const fits = a.wide.umax <= 1n << (63n - by);
    const unsigned = fits ? { umin: a.wide.umin << by, umax: a.wide.umax << by } : { umin: 0n, umax: all.umax };
    const signed =
      by === 32n ? { smin: a.narrow.smin << 32n, smax: a.narrow.smax << 32n } : { smin: all.smin, smax: all.smax };
    return settle(tnum.shiftLeft(a.bits, by), { ...signed, ...unsigned }, shiftLeftNarrow(a.narrow, by));
  }
  if (op === "rsh") {
    const wide = { ...all, umin: a.wide.umin >> by, umax: a.wide.umax >> by };
    return settle(tnum.shiftRight(a.bits, by), wide, NARROW.all);
  }
  const wide = { ...all, smin: a.wide.smin >> by, smax: a.wide.smax >> by };
  return settle(tnum.shiftRightSigned(a.bits, by, 64), wide, NARROW.all);
}

function shift32(op: "lsh" | "rsh" | "arsh", a: Scalar, by: bigint): Scalar {
  const { all } = NARROW;
  const low = tnum.low(a.bits);
  if (op === "lsh") return settle(tnum.low(tnum.shiftLeft(low, by)), WIDE.all, shiftLeftNarrow(a.narrow, by));
  if (op === "rsh") {
    const narrow = { ...all, umin: a.narrow.umin >> by, umax: a.narrow.umax >> by };
    return settle(tnum.shiftRight(low, by), WIDE.all, narrow);
  }
  const narrow = { ...all, smin: a.narrow.smin >> by, smax: a.narrow.smax >> by };
  return settle(tnum.shiftRightSigned(low, by, 32), WIDE.all, narrow);
}

function shiftLeftNarrow({ umin, umax }: Bounds, by: bigint): Bounds {
  if (by > 31n || umax > 1n << (31n - by)) return NARROW.all;
  return { ...NARROW.all, umin: umin << by, umax: umax << by };
}

function addBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  return wrap(width, a.smin + b.smin, a.smax + b.smax, a.umin + b.umin, a.umax + b.umax);
}

function subtractBounds(width: Width, a: Bounds, b: Bounds): Bounds {
  return wrap(width, a.smin - b.smax, a.smax - b.smin, a.umin - b.umax, a.umax - b.umin);
}

/** Ranges of a sum or difference: unknown where some, but not all, of its values leave the width. */
function wrap({ bits, all }: Width, smin: bigint, smax: bigint, umin: bigint, umax: bigint): Bounds {
  const signedFits = smin >= all.smin && smax <= all.smax;
  const unsignedFits = umin >> BigInt(bits) === umax >> BigInt(bits);
  return {
    smin: signedFits ? smin : all.smin,
    smax: signedFits ? smax : all.smax,
    umin: unsignedFits ? BigInt.asUintN(bits, umin) : 0n,
    umax: unsignedFits ? BigInt.asUintN(bits, umax) : all.umax,
  };
}

function multiplyBounds({ all }: Width, a: Bounds, b: Bounds): Bounds {
  const products = [a.smin * b.smin, a.smin * b.smax, a.smax * b.smin, a.smax * b.smax];
  const smin = products.reduce(min);
  const smax = products.reduce(max);
  const signedFits = smin >= all.smin && smax <= all.smax;
  const unsignedFits = a.umax * b.umax <= all.umax;
  return {
    smin: signedFits ? smin : all.smin,
    smax: signedFits ? smax : all.smax,
    umin: unsignedFits ? a.umin * b.umin : 0n,
    umax: unsignedFits ? a.umax * b.umax : all.umax,
  };
}

function andBounds(width: Width, a: Bounds, b: Bounds, bits: Tnum): Bounds {
  return fromUnsigned(width, bits.value, min(a.umax, b.umax));
}

function orBounds(width: Width, a: Bounds, b: Bounds, bits: Tnum): Bounds {
  return fromUnsigned(width, max(a.umin, b.umin), bits.value | bits.mask);
}

function xorBounds(width: Width, _a: Bounds, _b: Bounds, bits: Tnum): Bounds {
  return fromUnsigned(width, bits.value, bits.value | bits.mask);
}

function fromUnsigned({ bits, all }: Width, umin: bigint, umax: bigint): Bounds {
  const smin = BigInt.asIntN(bits, umin);
  const smax = BigInt.asIntN(bits, umax);
  return smin <= smax ? { smin, smax, umin, umax } : { smin: all.smin, smax: all.smax, umin, umax };
}
