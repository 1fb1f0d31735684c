// States kept to cut the search short: a path that comes to an instruction in a state that an explored one covers need not go on.
//
// What must agree is found while exploring, by provenance: at a checkpoint each scalar is labelled with its place, a value computed
// from others carries the union of their labels, and when the verdict comes to rest on a scalar's value (an address, a size, a branch
// taken for certain) its places become precise, in this checkpoint and, through what each held, in those before. Likewise a stack
// slot matters only if it is read later. Everything else may differ. Linux finds the same by walking instructions backwards.

import { addedAlike } from "./links.ts";
import type { Scalar } from "./scalar.ts";
import * as scalars from "./scalar.ts";
import {
  copyState,
  type Frame,
  INVALID,
  MISC,
  registerPlace,
  type Slot,
  SPILL,
  type State,
  slotPlace,
  typeOf,
  ZERO,
} from "./state.ts";
import { isScalar, type Pointer, type Value } from "./values.ts";

export interface Checkpoint {
  readonly state: State;
  readonly parent: Checkpoint | undefined;
  /** Paths through here that are not explored to their ends. While there are any, it covers nothing. */
  branches: number;
  /** Places whose scalars must be no wider than here. */
  precise: bigint;
  /** Stack places that are read later on. */
  read: bigint;
  /** Stack places wholly written between the parent and here. */
  readonly written: bigint;
  /** For each labelled place, the places at the parent from which its scalar came. */
  readonly provenance: readonly (readonly [place: bigint, origins: bigint])[];
  hits: number;
  misses: number;
}

/** Keeps a copy of `state` and labels the scalars of `state` with their places. */
export function takeCheckpoint(state: State): Checkpoint {
  const provenance: [bigint, bigint][] = [];
  const label = (value: Value | undefined, place: bigint): Value | undefined => {
    if (!isScalar(value)) return value;
    if (value.origins) provenance.push([place, value.origins]);
    return { ...value, origins: place };
  };
  const copy = copyState(state);
  const checkpoint: Checkpoint = {
    state: copy,
    parent: state.parent,
    branches: 1,
    precise: 0n,
    read: 0n,
    written: state.written,
    provenance,
    hits: 0,
    misses: 0,
  };
  state.frames.forEach(({ registers, stack }, frame) => {
    for (let register = 0; register < 10; register++) {
      registers[register] = label(registers[register], registerPlace(frame, register));
    }
    stack.forEach((slot, index) => {
      if (isScalar(slot?.value)) {
        stack[index] = { types: slot.types, value: label(slot.value, slotPlace(frame, index))! };
      }
    });
  });
  state.parent = checkpoint;
  state.written = 0n;
  return checkpoint;
}

/** The verdict rests on the exact content of `scalar`. */
export function markPrecise(state: State, scalar: Scalar): void {
  let places = scalar.origins;
  for (let at = state.parent; at && places; at = at.parent) {
    const added = places & ~at.precise;
    if (!added) return;
    at.precise |= added;
    places = 0n;
    for (const [place, origins] of at.provenance) if (added & place) places |= origins;
  }
}

/** The stack places are read. */
export function markRead(state: State, places: bigint): void {
  let wanted = places & ~state.written;
  for (let at = state.parent; at && wanted; at = at.parent) {
    wanted &= ~at.read;
    at.read |= wanted;
    wanted &= ~at.written;
  }
}

/** What later paths asked of `old` is asked of `state` too, which it covers. */
export function inherit(state: State, old: Checkpoint): void {
  markRead(state, old.read);
  if (!old.precise) return;
  state.frames.forEach(({ registers, stack }, frame) => {
    registers.forEach((value, register) => {
      if (register < 10 && isScalar(value) && old.precise & registerPlace(frame, register)) markPrecise(state, value);
    });
    stack.forEach((slot, index) => {
      if (isScalar(slot?.value) && old.precise & slotPlace(frame, index)) markPrecise(state, slot.value);
    });
  });
}

/**
 * Whether all that may happen from `state` was explored from `old`.
 *
 * @param live registers of each frame that are read later, as bits
 * @param exact everything must be equal: used to find that a loop makes no progress
 */
export function covers(old: Checkpoint, state: State, live: readonly number[], exact: boolean): boolean {
  const before = old.state;
  if (before.frames.length !== state.frames.length || before.references.length !== state.references.length)
    return false;
  const ids = new Map<number, number>();
  const sameLock = before.lock?.map === state.lock?.map && sameId(ids, before.lock?.id ?? 0, state.lock?.id ?? 0);
  const sameReferences = before.references.every(({ id }, index) => sameId(ids, id, state.references[index]!.id));
  return (
    sameLock &&
    sameReferences &&
    before.frames.every((frame, number) => {
      const now = state.frames[number]!;
      if (frame.subprogram !== now.subprogram || frame.returnTo !== now.returnTo) return false;
      return (
        registersCovered(old, frame, now, number, live[number]!, exact, ids) &&
        stackCovered(old, frame, now, number, exact, ids)
      );
    })
  );
}

function registersCovered(
  old: Checkpoint,
  before: Frame,
  now: Frame,
  frame: number,
  live: number,
  exact: boolean,
  ids: Map<number, number>,
): boolean {
  for (let register = 0; register < 10; register++) {
    if (!(live & (1 << register))) continue;
    const precise = exact || (old.precise & registerPlace(frame, register)) !== 0n;
    if (!valueCovered(before.registers[register], now.registers[register], precise, exact, ids)) return false;
  }
  return true;
}

function stackCovered(
  old: Checkpoint,
  before: Frame,
  now: Frame,
  frame: number,
  exact: boolean,
  ids: Map<number, number>,
): boolean {
  const slots = exact ? Math.max(before.stack.length, now.stack.length) : before.stack.length;
  for (let index = 0; index < slots; index++) {
    const place = slotPlace(frame, index);
    if (!exact && !(old.read & place)) continue;
    if (!slotCovered(before.stack[index], now.stack[index], exact || (old.precise & place) !== 0n, exact, ids))
      return false;
  }
  return true;
}

function slotCovered(
  before: Slot | undefined,
  now: Slot | undefined,
  precise: boolean,
  exact: boolean,
  ids: Map<number, number>,
): boolean {
  if (before === now)
    return before?.value === undefined || valueCovered(before.value, before.value, precise, exact, ids);
  if (exact && before?.types !== now?.types) return false;
  if (!before) return true;
  if (!now) return before.types === INVALID;
  if (before.value) {
    if (before.types !== now.types || !now.value) return false;
    return valueCovered(before.value, now.value, precise, exact, ids);
  }
  for (let byte = 0; byte < 8; byte++) {
    const type = typeOf(before.types, byte);
    const other = typeOf(now.types, byte);
    if (type === INVALID || type === other) continue;
    if (type === MISC && (other === ZERO || (other === SPILL && isScalar(now.value)))) continue;
    return false;
  }
  return now.value === undefined || isScalar(now.value);
}

function valueCovered(
  before: Value | undefined,
  now: Value | undefined,
  precise: boolean,
  exact: boolean,
  ids: Map<number, number>,
): boolean {
  if (!before) return !exact || now === undefined;
  if (!now) return false;
  if (before.kind === "scalar") {
    if (now.kind !== "scalar") return false;
    if (!precise) return true;
    if (exact) return scalars.equal(before, now) && addedAlike(before, now) && sameId(ids, before.id, now.id);
    return scalars.contains(before, now) && linkKept(ids, before, now);
  }
  return now.kind !== "scalar" && pointerCovered(before, now, exact, ids);
}

function pointerCovered(before: Pointer, now: Pointer, exact: boolean, ids: Map<number, number>): boolean {
  return (
    before.kind === now.kind &&
    before.nullable === now.nullable &&
    before.offset === now.offset &&
    before.map === now.map &&
    before.frame === now.frame &&
    before.size === now.size &&
    (exact ? before.range === now.range : before.range <= now.range) &&
    (exact ? scalars.equal(before.variable, now.variable) : scalars.contains(before.variable, now.variable)) &&
    sameId(ids, before.id, now.id) &&
    sameId(ids, before.reference, now.reference)
  );
}

/** Ids agree if they pair off one to one. */
function sameId(ids: Map<number, number>, before: number, now: number): boolean {
  if (before === 0 || now === 0) return before === now;
  const known = ids.get(before);
  if (known !== undefined) return known === now;
  for (const taken of ids.values()) if (taken === now) return false;
  ids.set(before, now);
  return true;
}

/** A scalar that was linked to nothing may be linked now, but not the other way round. */
function linkKept(ids: Map<number, number>, before: Scalar, now: Scalar): boolean {
  if (before.id === 0) return true;
  if (now.id !== 0) return addedAlike(before, now) && sameId(ids, before.id, now.id);
  return !ids.has(before.id) && ids.set(before.id, -before.id) !== undefined;
}
