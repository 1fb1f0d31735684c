// What the verifier knows at one point of one path: the call frames with their registers and stacks, and the references held.
// Values and slots never change, so that a copy of a state shares them.

import { E2BIG } from "../../uapi/errno.ts";
import { MAX_BPF_STACK, MAX_CALL_FRAMES } from "../../uapi/insn.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { Refusal } from "./refusal.ts";
import { isPointer, isScalar, pointer, print, type Value } from "./values.ts";
import type { VerifierMap } from "./verify.ts";

/** What a byte of the stack holds. */
export const INVALID = 0;
export const MISC = 1;
export const ZERO = 2;
export const SPILL = 3;

/** Eight bytes of stack. A spilled value begins at byte 0. */
export interface Slot {
  /** Two bits for each byte, byte 0 lowest. */
  readonly types: number;
  readonly value?: Value;
  /** Half of a dynptr; then no byte holds anything that can be read. */
  readonly dynptr?: Dynptr;
}

/** A dynptr of 16 bytes of stack. */
export interface Dynptr {
  readonly kind: "local" | "ringbuf";
  /** Whether this is its first half: the lower address. */
  readonly isFirst: boolean;
  readonly id: number;
  /** Id of the reference that must be released; 0 where none. */
  readonly reference: number;
}

export interface Frame {
  /** Index of the subprogram. */
  readonly subprogram: number;
  /** Slot of the instruction to return to: of a callback, the call of the helper that calls it, which may call it again. */
  readonly returnTo: number;
  readonly isCallback: boolean;
  /** How many times in a row a helper that this frame calls has called back. */
  callbacks: number;
  readonly registers: (Value | undefined)[];
  /** Slot of the instruction that gave each register its value; -1 where none did. */
  readonly madeAt: number[];
  /** Slot 0 is at fp-8, slot 1 at fp-16, … */
  readonly stack: (Slot | undefined)[];
}

/** Something acquired that must be released. */
export interface Reference {
  readonly id: number;
  /** Slot of the call that acquired it. */
  readonly instruction: number;
}

/** A bpf_spin_lock that is held: which map's, and the id of the pointer through which it was taken. */
export interface Lock {
  readonly map: VerifierMap;
  readonly id: number;
}

/** A branch or call that the path took; the newest first. */
export interface Step {
  readonly instruction: number;
  readonly text: string;
  readonly before: Step | undefined;
}

export interface State {
  frames: Frame[];
  references: readonly Reference[];
  /** Callbacks that were entered on this path. */
  callbacks: number;
  lock: Lock | undefined;
  /** The last checkpoint on the path. */
  parent: Checkpoint | undefined;
  /** Stack places wholly written since that checkpoint. */
  written: bigint;
  history: Step | undefined;
}

export const STACK_SLOTS = MAX_BPF_STACK / 8;

export function newFrame(subprogram: number, returnTo: number, isCallback = false): Frame {
  return {
    subprogram,
    returnTo,
    isCallback,
    callbacks: 0,
    registers: new Array<Value | undefined>(11).fill(undefined),
    madeAt: new Array<number>(11).fill(-1),
    stack: [],
  };
}

/** Enters a function, which gets a stack of its own. */
export function enterFrame(state: State, callee: Frame): void {
  const { frames } = state;
  if (frames.length >= MAX_CALL_FRAMES) {
    throw new Refusal(E2BIG, "call-depth", `the call stack of ${frames.length + 1} frames is too deep`);
  }
  callee.registers[10] = pointer("fp", { frame: frames.length });
  state.written |= framePlaces(frames.length);
  frames.push(callee);
}

export const copyState = (state: State): State => ({ ...state, frames: state.frames.map(copyFrame) });

/** Replaces every value, in registers and spilled, that `change` gives another for. */
export function mapValues(state: State, change: (value: Value) => Value | undefined): void {
  for (const { registers, stack } of state.frames) {
    registers.forEach((value, index) => {
      if (value) registers[index] = change(value);
    });
    stack.forEach((slot, index) => {
      if (!slot?.value) return;
      const value = change(slot.value);
      if (value !== slot.value) stack[index] = value ? { ...slot, value } : { types: scrubbed(slot.types) };
    });
  }
}

/** Types of a slot whose spilled value must not be read any more. */
const scrubbed = (types: number): number => {
  let result = 0;
  for (let byte = 0; byte < 8; byte++)
    result |= (typeOf(types, byte) === SPILL ? INVALID : typeOf(types, byte)) << (2 * byte);
  return result;
};

export const typeOf = (types: number, byte: number): number => (types >> (2 * byte)) & 3;

// A place is a register or stack slot of a frame, as a bit of a set that is a bigint.
const PLACES_PER_FRAME = 10 + STACK_SLOTS;
const bits: bigint[] = [];
for (let index = 0; index < 8 * PLACES_PER_FRAME; index++) bits.push(1n << BigInt(index));
const FRAME_PLACES = (1n << BigInt(PLACES_PER_FRAME)) - 1n;

export const registerPlace = (frame: number, register: number): bigint => bits[frame * PLACES_PER_FRAME + register]!;
export const slotPlace = (frame: number, slot: number): bigint => bits[frame * PLACES_PER_FRAME + 10 + slot]!;
const framePlaces = (frame: number): bigint => FRAME_PLACES << BigInt(frame * PLACES_PER_FRAME);

/** The registers and slots of the innermost frame, or of the one given: `R1=ctx() R10=fp0 fp-8=5`. */
export function printState(state: State, number = state.frames.length - 1): string {
  const frame = state.frames[number]!;
  const parts = number > 0 ? [`frame${number}:`] : [];
  frame.registers.forEach((value, register) => {
    if (value) parts.push(`R${register}=${print(value)}`);
  });
  frame.stack.forEach((slot, index) => {
    if (slot) parts.push(`fp${-8 * (index + 1)}=${printSlot(slot)}`);
  });
  for (const { id } of state.references) parts.push(`refs=${id}`);
  return parts.join(" ");
}

/** A slot as logs print it: its value, or a letter for each byte from the highest. */
export function printSlot({ types, value, dynptr }: Slot): string {
  if (dynptr) return `dynptr_${dynptr.kind}(id=${dynptr.id}${dynptr.reference ? `,ref_id=${dynptr.reference}` : ""})`;
  const letters = "?m0r";
  if (value && (isPointer(value) || types === 0xffff)) return print(value);
  let text = "";
  for (let byte = 7; byte >= 0; byte--) text += letters[typeOf(types, byte)];
  return isScalar(value) ? `${text.replace(/r+/, "")}${print(value)}` : text;
}

const copyFrame = (frame: Frame): Frame => ({
  ...frame,
  registers: frame.registers.slice(),
  madeAt: frame.madeAt.slice(),
  stack: frame.stack.slice(),
});
