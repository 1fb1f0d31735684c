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
  type Dynptr,
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
  /** Slot. */
  readonly at: number;
  readonly parent: Checkpoint | undefined;
  /** Checkpoints before it on its path. */
  readonly depth: number;
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
  /** A checkpoint before it to which a path from here came back: until that is done, more may be asked of this one. */
  loop: Checkpoint | undefined;
  /** States that ended here while more could be asked of it: what is asked, is asked of them too. */
  readonly dependents: State[];
}

/** How a state is compared with a kept one. */
export type Comparison =
  /** Everything is equal: the program makes no progress. */
  | "equal"
  /** All of it is covered, for it is not known yet what matters. */
  | "all"
  /** What matters is covered. */
  | "relevant";

/** Keeps a copy of `state` and labels the scalars of `state` with their places. */
export function takeCheckpoint(state: State, at: number): Checkpoint {
  const provenance: [bigint, bigint][] = [];
  const label = (value: Value | undefined, place: bigint): Value | undefined => {
    if (!isScalar(value)) return value;
    if (value.origins) provenance.push([place, value.origins]);
    return { ...value, origins: place };
  };
  const copy = copyState(state);
  const checkpoint: Checkpoint = {
    state: copy,
    at,
    parent: state.parent,
    depth: (state.parent?.depth ?? 0) + 1,
    branches: 1,
    precise: 0n,
    read: 0n,
    written: state.written,
    provenance,
    hits: 0,
    misses: 0,
    loop: undefined,
    dependents: [],
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
    for (const dependent of at.dependents) markPlacesPrecise(dependent, added);
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
    if (wanted) for (const dependent of at.dependents) markRead(dependent, wanted);
    wanted &= ~at.written;
  }
}

/** What later paths asked of `old`, or will ask, is asked of `state` too, which it covers. */
export function inherit(state: State, old: Checkpoint): void {
  if (!isFinal(old)) joinLoop(state, old);
  markRead(state, old.read);
  markPlacesPrecise(state, old.precise);
}

/** Whether all that is asked of a checkpoint is known: no path from it is open, nor from one to which a path from it came back. */
export function isFinal({ branches, loop }: Checkpoint): boolean {
  return branches === 0 && (loop === undefined || isFinal(loop));
}

/** The checkpoints of the path of `state` lie on a loop that ends in `old`. */
function joinLoop(state: State, old: Checkpoint): void {
  old.dependents.push(state);
  let entry = old;
  // What is open lies on the path that is walked, for paths are walked depth first.
  while (entry.branches === 0) entry = entry.loop!;
  for (let at = state.parent; at && at !== entry; at = at.parent) {
    if (!at.loop || at.loop.depth > entry.depth || isFinal(at.loop)) at.loop = entry;
  }
}

function markPlacesPrecise(state: State, places: bigint): void {
  if (!places) return;
  state.frames.forEach(({ registers, stack }, frame) => {
    registers.forEach((value, register) => {
      if (register < 10 && isScalar(value) && places & registerPlace(frame, register)) markPrecise(state, value);
    });
    stack.forEach((slot, index) => {
      if (isScalar(slot?.value) && places & slotPlace(frame, index)) markPrecise(state, slot.value);
    });
  });
}

/** Whether two frames belong to the same call. */
export const sameCall = (a: Frame, b: Frame): boolean =>
  a.subprogram === b.subprogram && a.returnTo === b.returnTo && a.isCallback === b.isCallback;

/**
 * Whether all that may happen from `state` was explored from `old`.
 *
 * @param live registers of each frame that are read later, as bits
 */
export function covers(old: Checkpoint, state: State, live: readonly number[], comparison: Comparison): boolean {
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
      // A helper that called back more often before may have fewer turns left.
      if (!sameCall(frame, now) || frame.callbacks > now.callbacks) return false;
      return (
        registersCovered(old, frame, now, number, live[number]!, comparison, ids) &&
        stackCovered(old, frame, now, number, comparison, ids)
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
  comparison: Comparison,
  ids: Map<number, number>,
): boolean {
  const exact = comparison === "equal";
  for (let register = 0; register < 10; register++) {
    if (!(live & (1 << register))) continue;
    const precise = comparison !== "relevant" || (old.precise & registerPlace(frame, register)) !== 0n;
    if (!valueCovered(before.registers[register], now.registers[register], precise, exact, ids)) return false;
  }
  return true;
}

function stackCovered(
  old: Checkpoint,
  before: Frame,
  now: Frame,
  frame: number,
  comparison: Comparison,
  ids: Map<number, number>,
): boolean {
  const exact = comparison === "equal";
  const relevant = comparison === "relevant";
  const slots = exact ? Math.max(before.stack.length, now.stack.length) : before.stack.length;
  for (let index = 0; index < slots; index++) {
    const place = slotPlace(frame, index);
    if (relevant && !(old.read & place)) continue;
    const precise = !relevant || (old.precise & place) !== 0n;
    if (!slotCovered(before.stack[index], now.stack[index], precise, exact, ids)) return false;
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
  if (!before) return !exact || !now?.dynptr;
  if (before.dynptr || now?.dynptr) return sameDynptr(ids, before.dynptr, now?.dynptr);
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

function sameDynptr(ids: Map<number, number>, before: Dynptr | undefined, now: Dynptr | undefined): boolean {
  if (!before || !now || before.kind !== now.kind || before.isFirst !== now.isFirst) return false;
  return sameId(ids, before.id, now.id) && sameId(ids, before.reference, now.reference);
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
    before.start === now.start &&
    (exact ? before.range === now.range : before.range <= now.range) &&
    (exact ? scalars.equal(before.variable, now.variable) : scalars.contains(before.variable, now.variable)) &&
    sameId(ids, before.id, now.id) &&
    before.dynptr === now.dynptr &&
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
