// Conditional jumps: whether a condition is certain, and what each way tells about the registers it compared.
// Linux: kernel/bpf/verifier.c, is_branch_taken, regs_refine_cond_op, try_match_pkt_pointers, mark_ptr_or_null_regs

import type { Instruction } from "../../asm/instruction.ts";
import * as insn from "../../uapi/insn.ts";
import { BPF_MAP_TYPE_XSKMAP } from "../../uapi/map-types.ts";
import { follow } from "./links.ts";
import { hasLock } from "./locks.ts";
import { deny, reject } from "./refusal.ts";
import type { Bounds, Scalar } from "./scalar.ts";
import * as scalars from "./scalar.ts";
import { mapValues, type State } from "./state.ts";
import * as tnum from "./tnum.ts";
import { isPacket, isPointer, isScalar, type Pointer, type PointerKind, pointer, type Value } from "./values.ts";
import type { Walk } from "./walk.ts";

/** What a conditional jump does: certainly goes one way, or both; then `refine` tells a state which way it went. */
export interface Branch {
  readonly certain: boolean | undefined;
  refine(state: State, taken: boolean): void;
}

export function branch(walk: Walk, instruction: Instruction): Branch {
  const { opcode, dst, src, imm } = instruction;
  const wide = (opcode & 7) === insn.BPF_JMP;
  const code = opcode & 0xf0;
  const fromRegister = (opcode & insn.BPF_X) !== 0;
  const left = walk.read(dst);
  if ((fromRegister ? imm : src) !== 0) reject("opcode", "BPF_JMP/JMP32 uses reserved fields");
  const right = fromRegister ? walk.read(src) : scalars.constant(wide ? BigInt(imm) : BigInt.asUintN(32, BigInt(imm)));
  if (fromRegister && walk.mayNotLeak && isPointer(right) && !(isPacket(left) && isPacket(right))) {
    deny("leak", `R${src} pointer comparison prohibited`, src);
  }
  const bits = wide ? 64 : 32;
  if (isScalar(left) && isScalar(right)) {
    const certain = decide(code, bits, left, right);
    if (certain !== undefined) {
      walk.needExact(left);
      walk.needExact(right);
    }
    const learnWay = (state: State, taken: boolean) => {
      if (fromRegister && src === dst) return;
      const [first, second] = refine(code, bits, left, right, taken);
      learn(state, dst, left, first, right);
      if (fromRegister) learn(state, src, right, second, left);
    };
    return { certain, refine: learnWay };
  }
  const equality = code === insn.BPF_JEQ || code === insn.BPF_JNE;
  if (wide && equality && isPointer(left) && isScalar(right) && scalars.isZero(right)) {
    const { id, nullable } = left;
    if (!nullable && neverNull.includes(left.kind)) {
      if (fromRegister) walk.needExact(right);
      return { certain: code === insn.BPF_JNE, refine: () => {} };
    }
    // Linux learns it from an immediate 0 only.
    if (nullable && !fromRegister)
      return { certain: undefined, refine: (state, taken) => settleNull(state, id, taken === (code === insn.BPF_JEQ)) };
  }
  if (wide && fromRegister && isPacket(left) && isPacket(right)) {
    const check = packetCheck(code, left, right);
    if (check) {
      return {
        certain: undefined,
        refine: (state, taken) => {
          if (taken === check.taken) extendRange(state, check.pointer, check.open);
        },
      };
    }
  }
  if (walk.mayNotLeak && isPointer(left)) deny("leak", `R${dst} pointer comparison prohibited`, dst);
  return { certain: undefined, refine: () => {} };
}

/** Pointers whose comparison with NULL is certain, to Linux. */
const neverNull: readonly PointerKind[] = [
  "map_key",
  "map_value",
  "map_ptr",
  "mem",
  "ringbuf_mem",
  "sock",
  "sock_common",
];

/** Whether `a code b` holds for all numbers that they may be, for none, or for some. */
export function decide(code: number, bits: 32 | 64, a: Scalar, b: Scalar): boolean | undefined {
  const left = bits === 64 ? a.wide : a.narrow;
  const right = bits === 64 ? b.wide : b.narrow;
  const not = (certain: boolean | undefined) => (certain === undefined ? undefined : !certain);
  switch (code) {
    case insn.BPF_JEQ:
      return isEqual(bits, a, b);
    case insn.BPF_JNE:
      return not(isEqual(bits, a, b));
    case insn.BPF_JSET:
      return hasCommonBit(bits, a, b);
    case insn.BPF_JLT:
      return isLess(left.umin, left.umax, right.umin, right.umax);
    case insn.BPF_JGE:
      return not(isLess(left.umin, left.umax, right.umin, right.umax));
    case insn.BPF_JGT:
      return isLess(right.umin, right.umax, left.umin, left.umax);
    case insn.BPF_JLE:
      return not(isLess(right.umin, right.umax, left.umin, left.umax));
    case insn.BPF_JSLT:
      return isLess(left.smin, left.smax, right.smin, right.smax);
    case insn.BPF_JSGE:
      return not(isLess(left.smin, left.smax, right.smin, right.smax));
    case insn.BPF_JSGT:
      return isLess(right.smin, right.smax, left.smin, left.smax);
    case insn.BPF_JSLE:
      return not(isLess(right.smin, right.smax, left.smin, left.smax));
    default:
      return reject("opcode", `invalid BPF_JMP/JMP32 opcode ${code.toString(16)}`);
  }
}

function isLess(min: bigint, max: bigint, otherMin: bigint, otherMax: bigint): boolean | undefined {
  if (max < otherMin) return true;
  return min >= otherMax ? false : undefined;
}

const bitsOf = (bits: 32 | 64, scalar: Scalar) => (bits === 64 ? scalar.bits : tnum.low(scalar.bits));
const boundsOf = (bits: 32 | 64, scalar: Scalar) => (bits === 64 ? scalar.wide : scalar.narrow);

function isEqual(bits: 32 | 64, a: Scalar, b: Scalar): boolean | undefined {
  const left = bitsOf(bits, a);
  const right = bitsOf(bits, b);
  if (tnum.isConstant(left) && tnum.isConstant(right)) return left.value === right.value;
  const known = ~left.mask & ~right.mask;
  if ((left.value & known) !== (right.value & known)) return false;
  const differ = areApart(a.narrow, b.narrow) || (bits === 64 && areApart(a.wide, b.wide));
  return differ ? false : undefined;
}

const areApart = (a: Bounds, b: Bounds): boolean =>
  a.umin > b.umax || a.umax < b.umin || a.smin > b.smax || a.smax < b.smin;

/** Linux tells only where one of them is constant. */
function hasCommonBit(bits: 32 | 64, a: Scalar, b: Scalar): boolean | undefined {
  const left = bitsOf(bits, a);
  const right = bitsOf(bits, b);
  if (!tnum.isConstant(left) && !tnum.isConstant(right)) return undefined;
  if ((left.value & right.value) !== 0n) return true;
  return ((left.value | left.mask) & (right.value | right.mask)) === 0n ? false : undefined;
}

/** The condition that holds where the jump is not taken. */
const opposite: Readonly<Record<number, number>> = {
  [insn.BPF_JEQ]: insn.BPF_JNE,
  [insn.BPF_JNE]: insn.BPF_JEQ,
  [insn.BPF_JGT]: insn.BPF_JLE,
  [insn.BPF_JLE]: insn.BPF_JGT,
  [insn.BPF_JGE]: insn.BPF_JLT,
  [insn.BPF_JLT]: insn.BPF_JGE,
  [insn.BPF_JSGT]: insn.BPF_JSLE,
  [insn.BPF_JSLE]: insn.BPF_JSGT,
  [insn.BPF_JSGE]: insn.BPF_JSLT,
  [insn.BPF_JSLT]: insn.BPF_JSGE,
};

/** The condition with its sides exchanged. */
const mirrored: Readonly<Record<number, number>> = {
  [insn.BPF_JGT]: insn.BPF_JLT,
  [insn.BPF_JGE]: insn.BPF_JLE,
  [insn.BPF_JSGT]: insn.BPF_JSLT,
  [insn.BPF_JSGE]: insn.BPF_JSLE,
};

/** What two numbers are where `a code b` holds (`taken`), or does not; impossible numbers where that cannot be. */
export function refine(code: number, bits: 32 | 64, a: Scalar, b: Scalar, taken: boolean): readonly [Scalar, Scalar] {
  if (code === insn.BPF_JSET) return taken ? haveCommonBit(bits, a, b) : haveNoCommonBit(bits, a, b);
  const holds = taken ? code : opposite[code]!;
  const mirror = mirrored[holds];
  if (mirror === undefined) return hold(holds, bits, a, b);
  const [second, first] = hold(mirror, bits, b, a);
  return [first, second];
}

/** Puts what was learnt of a register in its place, and in those that are linked with it. */
function learn(state: State, register: number, before: Scalar, learnt: Scalar, from: Scalar): void {
  const after = withoutContradiction(learnt);
  if (scalars.isConstant(before) || !after) return;
  const origins = before.origins | from.origins;
  const { id, added } = before;
  state.frames[state.frames.length - 1]!.registers[register] = { ...after, id, added, origins };
  if (id === 0) return;
  mapValues(state, (value) =>
    isScalar(value) && value.id === id ? { ...follow(value, before, after), origins: origins | value.origins } : value,
  );
}

/** Where no number fits, the way is never taken: then Linux goes on with the number that the bits tell, if it is one. */
function withoutContradiction(learnt: Scalar): Scalar | undefined {
  if (scalars.isPossible(learnt)) return learnt;
  return tnum.isConstant(learnt.bits) ? scalars.constant(learnt.bits.value) : undefined;
}

/** What both are when `a code b`, for ==, !=, < and <=. */
function hold(code: number, bits: 32 | 64, a: Scalar, b: Scalar): readonly [Scalar, Scalar] {
  const left = { ...boundsOf(bits, a) };
  const right = { ...boundsOf(bits, b) };
  switch (code) {
    case insn.BPF_JEQ: {
      const both = {
        smin: max(left.smin, right.smin),
        smax: min(left.smax, right.smax),
        umin: max(left.umin, right.umin),
        umax: min(left.umax, right.umax),
      };
      const known = tnum.intersect(bitsOf(bits, a), bitsOf(bits, b));
      return [rebuild(bits, a, both, known), rebuild(bits, b, both, known)];
    }
    case insn.BPF_JNE:
      exclude(bits, left, b);
      exclude(bits, right, a);
      break;
    case insn.BPF_JLT:
      left.umax = min(left.umax, right.umax - 1n);
      right.umin = max(left.umin + 1n, right.umin);
      break;
    case insn.BPF_JLE:
      left.umax = min(left.umax, right.umax);
      right.umin = max(left.umin, right.umin);
      break;
    case insn.BPF_JSLT:
      left.smax = min(left.smax, right.smax - 1n);
      right.smin = max(left.smin + 1n, right.smin);
      break;
    default:
      left.smax = min(left.smax, right.smax);
      right.smin = max(left.smin, right.smin);
  }
  return [rebuild(bits, a, left, bitsOf(bits, a)), rebuild(bits, b, right, bitsOf(bits, b))];
}

/** Takes a constant away from the ends of ranges. */
function exclude(bits: 32 | 64, bounds: { -readonly [Key in keyof Bounds]: bigint }, other: Scalar): void {
  if (!tnum.isConstant(bitsOf(bits, other))) return;
  const { umin, smin } = boundsOf(bits, other);
  if (bounds.umin === umin) bounds.umin++;
  if (bounds.umax === umin) bounds.umax--;
  if (bounds.smin === smin) bounds.smin++;
  if (bounds.smax === smin) bounds.smax--;
}

function haveCommonBit(bits: 32 | 64, a: Scalar, b: Scalar): readonly [Scalar, Scalar] {
  const one = (mask: Scalar, scalar: Scalar) => {
    const known = bitsOf(bits, mask);
    const single = tnum.isConstant(known) && known.value !== 0n && (known.value & (known.value - 1n)) === 0n;
    return single ? rebuild(bits, scalar, boundsOf(bits, scalar), tnum.or(bitsOf(bits, scalar), known)) : scalar;
  };
  return [one(b, a), one(a, b)];
}

function haveNoCommonBit(bits: 32 | 64, a: Scalar, b: Scalar): readonly [Scalar, Scalar] {
  const clear = (mask: Scalar, scalar: Scalar) => {
    const known = bitsOf(bits, mask);
    if (!tnum.isConstant(known)) return scalar;
    const rest = tnum.and(bitsOf(bits, scalar), tnum.constant(~known.value));
    return rebuild(bits, scalar, boundsOf(bits, scalar), rest);
  };
  return [clear(b, a), clear(a, b)];
}

function rebuild(bits: 32 | 64, scalar: Scalar, bounds: Bounds, known: tnum.Tnum): Scalar {
  return bits === 64
    ? scalars.settle(known, bounds, scalar.narrow)
    : scalars.settle(tnum.withLow(scalar.bits, known), scalar.wide, bounds);
}

const max = (a: bigint, b: bigint) => (a > b ? a : b);
const min = (a: bigint, b: bigint) => (a < b ? a : b);

/** All copies of a pointer are NULL, or none is. A reference that was not got need not be released. */
function settleNull(state: State, id: number, isNull: boolean): void {
  const change = (value: Value): Value => {
    if (!isPointer(value) || value.id !== id || !value.nullable) return value;
    if (!isNull) return withoutNull(value);
    if (value.reference === id) {
      state.references = state.references.filter((reference) => reference.id !== value.reference);
    }
    return scalars.ZERO;
  };
  mapValues(state, change);
}

/** A pointer that is not NULL. One that may point to a lock keeps its id, which tells locks apart. */
function withoutNull(value: Pointer): Pointer {
  if (value.map?.inner) return { ...value, kind: "map_ptr", nullable: false, id: 0, map: value.map.inner };
  if (value.map?.type === BPF_MAP_TYPE_XSKMAP) return pointer("xdp_sock");
  return { ...value, nullable: false, id: hasLock(value.map) ? value.id : 0 };
}

interface PacketCheck {
  readonly pointer: Pointer;
  /** Whether the byte at the pointer is in the packet too. */
  readonly open: boolean;
  /** The way on which the pointer is known to be before the end. */
  readonly taken: boolean;
}

/** For `left code right`: which side is compared with the end, and what is learnt on which way. */
const packetChecks: Readonly<Record<number, { readonly taken: boolean; readonly open: boolean }>> = {
  [insn.BPF_JGT]: { taken: false, open: false },
  [insn.BPF_JGE]: { taken: false, open: true },
  [insn.BPF_JLT]: { taken: true, open: true },
  [insn.BPF_JLE]: { taken: true, open: false },
};

function packetCheck(code: number, left: Pointer, right: Pointer): PacketCheck | undefined {
  if (isEndFor(left, right)) {
    const check = packetChecks[code];
    return check && { pointer: left, ...check };
  }
  const check = packetChecks[mirrored[code] ?? swapped[code] ?? -1];
  return isEndFor(right, left) && check ? { pointer: right, ...check } : undefined;
}

const swapped: Readonly<Record<number, number>> = { [insn.BPF_JLT]: insn.BPF_JGT, [insn.BPF_JLE]: insn.BPF_JGE };

/** Whether `end` bounds `start`: data_end for the packet, the packet's begin for what lies before it. */
const isEndFor = (start: Pointer, end: Pointer) =>
  start.kind === "pkt"
    ? end.kind === "pkt_end"
    : start.kind === "pkt_meta" && end.kind === "pkt" && end.offset === 0 && scalars.isZero(end.variable);

const MAX_PACKET_OFFSET = 0xffff;

function extendRange(state: State, { kind, id, offset, variable }: Pointer, open: boolean): void {
  if (offset < 0 || (offset === 0 && open)) return;
  if (Number(variable.wide.umax) + offset > MAX_PACKET_OFFSET) return;
  const range = offset + (open ? 1 : 0);
  mapValues(state, (value) =>
    isPointer(value) && value.kind === kind && value.id === id && value.range < range
      ? pointer(kind, { ...value, range })
      : value,
  );
}
