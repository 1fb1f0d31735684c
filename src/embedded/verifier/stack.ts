// Reading and writing the stack, byte by byte; values stored whole come back whole.
// Linux: kernel/bpf/verifier.c, check_stack_write_fixed_off, check_stack_read_fixed_off and the var_off forms

import { MAX_BPF_STACK } from "../../uapi/insn.ts";
import { markRead } from "./checkpoint.ts";
import { deny, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { type Dynptr, INVALID, MISC, type Slot, SPILL, slotPlace, typeOf, ZERO } from "./state.ts";
import { MAX_DIRECT_VALUE_OFFSET } from "./structure.ts";
import * as tnum from "./tnum.ts";
import { isPointer, isScalar, type Pointer, type Value } from "./values.ts";
import type { Walk } from "./walk.ts";

/** Stack bytes from `from` (inclusive) to `to` (exclusive), relative to the frame's r10: negative. */
interface Extent {
  readonly from: number;
  readonly to: number;
  /** Whether every access begins at `from`. */
  readonly fixed: boolean;
}

/** The bytes that an access of `size` bytes may touch; refuses what leaves the stack. */
export function stackExtent(
  walk: Walk,
  register: number,
  base: Pointer,
  offset: number,
  size: number,
  verb: string,
): Extent {
  const at = base.offset + offset;
  const { variable } = base;
  const fixed = scalars.isConstant(variable);
  const { smin, smax } = variable.wide;
  const limit = BigInt(MAX_DIRECT_VALUE_OFFSET);
  if (!fixed && (smax >= limit || smin <= -limit)) {
    deny("stack-bounds", `invalid unbounded variable-offset${verb} stack R${register}`, register);
  }
  const from = at + Number(smin);
  const to = at + Number(smax) + size;
  if (from < -MAX_BPF_STACK || to > 0 || from >= 0) {
    const words = fixed
      ? `invalid${verb} stack R${register} off=${from} size=${size}`
      : `invalid variable-offset${verb} stack R${register} var_off=${tnum.print(variable.bits)} off=${at} size=${size}`;
    (from < -MAX_BPF_STACK || from >= 0 ? deny : reject)("stack-bounds", words, register);
  }
  const subprogram = walk.state.frames[base.frame]!.subprogram;
  walk.stackDepths[subprogram] = Math.max(walk.stackDepths[subprogram]!, -from);
  return { from, to, fixed };
}

/** Stores a number, or the value of a register, in the stack. */
export function storeStack(
  walk: Walk,
  { register, offset, size }: { readonly register: number; readonly offset: number; readonly size: number },
  base: Pointer,
  value: Value,
  valueRegister: number | undefined,
): void {
  // The kernel's dynptr ends with the callback that was given it: what is kept of a pointer to it is a number.
  if (value.kind === "dynptr_ptr") {
    storeStack(walk, { register, offset, size }, base, scalars.UNKNOWN, undefined);
    return;
  }
  const extent = stackExtent(walk, register, base, offset, size, " write to");
  const { stack } = walk.state.frames[base.frame]!;
  if (isPointer(value) && value.kind === "fp" && base.frame !== walk.depth) {
    reject("spilled-pointer", "cannot spill pointers to stack into stack frame of the caller", register);
  }
  for (let index = slotIndex(extent.from); index >= slotIndex(extent.to - 1); index--) {
    endDynptr(walk, base.frame, index);
  }
  if (!extent.fixed) {
    storeBytes(walk, base.frame, extent, MISC, !walk.mayNotLeak || isScalar(value));
    return;
  }
  const index = slotIndex(extent.from);
  const aligned = extent.from % 8 === 0;
  if (isPointer(value) && (size !== 8 || !aligned)) deny("spilled-pointer", "invalid size of register spill", register);
  if (walk.mayNotLeak && size !== 8 && isPointer(stack[index]?.value)) {
    deny("spilled-pointer", "attempt to corrupt spilled pointer on stack", register);
  }
  if (aligned) {
    const before = size === 8 ? 0 : (withoutSpill(stack[index])?.types ?? 0);
    stack[index] = { types: withTypes(before, 0, size, SPILL), value: spilled(walk, value, valueRegister, size) };
    if (size === 8) walk.state.written |= slotPlace(base.frame, index);
    return;
  }
  const zero = isScalar(value) && scalars.isZero(value);
  if (zero) walk.needExact(value);
  storeBytes(walk, base.frame, extent, zero ? ZERO : MISC, true);
}

/** What a load of `size` bytes gives. */
export function loadStack(walk: Walk, register: number, base: Pointer, offset: number, size: number): Value {
  const extent = stackExtent(walk, register, base, offset, size, " read from");
  const { from, to } = extent;
  const { stack } = walk.state.frames[base.frame]!;
  touch(walk, base.frame, extent);
  const slot = stack[slotIndex(from)];
  if (extent.fixed && slot?.value) {
    const { value } = slot;
    if (isPointer(value) && (from % 8 !== 0 || size !== 8))
      deny("spilled-pointer", "invalid size of register fill", register);
    if (from % 8 === 0 && size <= 8 && typeOf(slot.types, size - 1) === SPILL) {
      return isScalar(value) ? scalars.truncate(value, size) : value;
    }
  }
  let zero = true;
  for (let at = from; at < to; at++) {
    const slot = stack[slotIndex(at)];
    const type = slot ? typeOf(slot.types, byteIndex(at)) : INVALID;
    zero &&= type === ZERO;
    const unreadable = type === INVALID ? walk.mayNotLeak : type === SPILL && isPointer(slot!.value) && walk.mayNotLeak;
    if (!unreadable && !slot?.dynptr) continue;
    const words = extent.fixed
      ? `invalid read from stack off ${from}+${at - from} size ${size}`
      : `invalid read from stack R${register} var_off ${tnum.print(base.variable.bits)}+${at - from} size ${size}`;
    deny("stack-uninitialised", words, register);
  }
  return zero ? scalars.ZERO : scalars.ofSize(size);
}

/** A helper reads `size` bytes, or writes them. */
export function giveStackToHelper(
  walk: Walk,
  register: number,
  base: Pointer,
  size: number,
  access: { readonly write: boolean; readonly whole: boolean },
): void {
  const extent = stackExtent(walk, register, base, 0, size, access.write ? " write to" : " read from");
  const { from, to } = extent;
  const { stack } = walk.state.frames[base.frame]!;
  const overwritten = access.write && access.whole && extent.fixed;
  if (access.write && walk.mayNotLeak) {
    for (let at = from; at < to; at++) {
      if (isPointer(stack[slotIndex(at)]?.value)) {
        deny("spilled-pointer", "attempt to corrupt spilled pointer on stack", register);
      }
    }
  }
  if (overwritten) {
    for (let at = from; at < to; at++) {
      if (!stack[slotIndex(at)]?.dynptr) continue;
      deny("dynptr", `potential write to dynptr at off=${at} disallowed`, register);
    }
  } else {
    touch(walk, base.frame, extent);
    for (let at = from; at < to; at++) {
      const slot = stack[slotIndex(at)];
      const type = slot ? typeOf(slot.types, byteIndex(at)) : INVALID;
      const readable =
        type === SPILL ? isScalar(slot!.value) || !walk.mayNotLeak : type !== INVALID || !walk.mayNotLeak;
      if (readable && !slot?.dynptr) continue;
      const offset = extent.fixed ? `off ${from}` : `var_off ${tnum.print(base.variable.bits)}`;
      deny("stack-uninitialised", `invalid read from stack R${register} ${offset}+${at - from} size ${size}`, register);
    }
  }
  if (access.write) storeBytes(walk, base.frame, extent, MISC, overwritten);
}

/** Makes 16 bytes of stack, which were just stored to and whose first slot is `index`, a dynptr of this id. */
export function beginDynptr(walk: Walk, frame: number, index: number, dynptr: Omit<Dynptr, "isFirst">): void {
  for (const half of [index, index - 1]) {
    walk.state.frames[frame]!.stack[half] = { types: 0, dynptr: { ...dynptr, isFirst: half === index } };
  }
}

/** Ends the dynptr that a slot is half of, for it is overwritten. */
function endDynptr(walk: Walk, frame: number, index: number): void {
  const { stack } = walk.state.frames[frame]!;
  const dynptr = stack[index]?.dynptr;
  if (!dynptr) return;
  if (dynptr.reference) reject("dynptr", "cannot overwrite referenced dynptr");
  const first = dynptr.isFirst ? index : index + 1;
  for (const half of [first, first - 1]) stack[half] = { types: 0 };
  walk.forget((value) => isPointer(value) && value.dynptr === dynptr.id);
}

/** The dynptr whose first half a slot is. */
export function dynptrAt(walk: Walk, frame: number, index: number): Dynptr | undefined {
  const { stack } = walk.state.frames[frame]!;
  const dynptr = stack[index]?.dynptr;
  if (!dynptr?.isFirst) return undefined;
  markRead(walk.state, slotPlace(frame, index) | slotPlace(frame, index - 1));
  return dynptr;
}

/** What `size` bytes keep of a value: where that is all of it, it stays linked with its register. */
function spilled(walk: Walk, value: Value, register: number | undefined, size: number): Value {
  if (isPointer(value)) return value;
  const fits = size === 8 || value.wide.umax >> BigInt(8 * size) === 0n;
  return fits && register !== undefined ? walk.link(register) : scalars.truncate(value, size);
}

/**
 * The number in 4 bytes of stack that a pointer points to, if it is known.
 * As on Linux they are zero bytes, or a number stored in 4 bytes, or the upper half of one stored in 8:
 * of that the whole is given, which is 0 in the upper half wherever it is small enough for a key.
 */
export function constantKey(walk: Walk, { kind, offset, variable, frame }: Pointer): bigint | undefined {
  if (kind !== "fp" || !scalars.isConstant(variable)) return undefined;
  const at = offset + Number(scalars.numberOf(variable));
  const slot = walk.state.frames[frame]!.stack[slotIndex(at)];
  if (!slot) return undefined;
  const first = byteIndex(at);
  const type = typeOf(slot.types, first);
  let end = first;
  while (end < 8 && typeOf(slot.types, end) === type) end++;
  if (type === ZERO && end - first >= 4) return 0n;
  if (type !== SPILL || end - first !== 4 || !isScalar(slot.value) || !scalars.isConstant(slot.value)) return undefined;
  walk.needExact(slot.value);
  return slot.value.bits.value;
}

/** Bytes of a slot that stay known when its spilled value is lost. */
function withoutSpill(slot: Slot | undefined): Slot | undefined {
  if (!slot?.value) return slot;
  let { types } = slot;
  for (let byte = 0; byte < 8; byte++)
    if (typeOf(types, byte) === SPILL) types = withTypes(types, byte, byte + 1, MISC);
  return { types };
}

/** Every byte of the extent becomes `type`; where only some may be written, a zero becomes MISC and a byte without a value stays so. */
function storeBytes(walk: Walk, frame: number, { from, to, fixed }: Extent, type: number, certain: boolean): void {
  const { stack } = walk.state.frames[frame]!;
  for (let index = slotIndex(to - 1); index <= slotIndex(from); index++) {
    const start = -8 * (index + 1);
    const first = Math.max(from, start) - start;
    const last = Math.min(to, start + 8) - start;
    const before = withoutSpill(stack[index])?.types ?? 0;
    let types = before;
    for (let byte = first; byte < last; byte++) {
      if ((fixed && certain) || typeOf(before, byte) !== INVALID) types = withTypes(types, byte, byte + 1, type);
    }
    stack[index] = { types };
    if (fixed && certain && last - first === 8) walk.state.written |= slotPlace(frame, index);
  }
}

function touch(walk: Walk, frame: number, { from, to }: Extent): void {
  let places = 0n;
  for (let index = slotIndex(to - 1); index <= slotIndex(from); index++) places |= slotPlace(frame, index);
  markRead(walk.state, places);
}

export const slotIndex = (at: number) => Math.floor((-at - 1) / 8);
const byteIndex = (at: number) => at + 8 * (slotIndex(at) + 1);

function withTypes(types: number, first: number, last: number, type: number): number {
  let result = types;
  for (let byte = first; byte < last; byte++) result = (result & ~(3 << (2 * byte))) | (type << (2 * byte));
  return result;
}
