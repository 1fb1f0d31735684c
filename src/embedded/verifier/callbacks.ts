// Functions that helpers call: entered like subprograms, with arguments that the helper makes up, as often as it takes
// until another turn changes nothing that was not allowed for. Numbers that differ from turn to turn and decided nothing are widened.
// Linux: kernel/bpf/verifier.c, push_callback_call, prepare_func_exit, widen_imprecise_scalars

import * as helperIds from "../../uapi/helper-ids.ts";
import type { CallbackArgument } from "../helpers/prototypes.ts";
import { type Checkpoint, sameCall } from "./checkpoint.ts";
import { deny, reject } from "./refusal.ts";
import { checkReturn } from "./return-value.ts";
import * as scalars from "./scalar.ts";
import { copyState, enterFrame, type Frame, newFrame, registerPlace, type State, slotPlace } from "./state.ts";
import { isScalar, type Pointer, pointer, type Value } from "./values.ts";
import type { Walk } from "./walk.ts";

/** A path that begins with a callback. */
export interface Callback {
  readonly state: State;
  /** Slot. */
  readonly start: number;
}

/** The value of a load that names the subprogram at `start`. */
export function functionPointer({ input, structure }: Walk, start: number): Pointer {
  const { functions } = input;
  if (!functions) reject("callback", "missing btf func_info");
  if (!functions[structure.subprogramOf[start]!]!.isStatic) reject("callback", "callback function not static");
  return pointer("func", { start });
}

/**
 * The path on which the helper calls the function in r2 once more; undefined where it does not.
 * To be called before the registers of the caller change.
 */
export function enterCallback(
  walk: Walk,
  helper: number,
  callsBack: readonly CallbackArgument[],
): Callback | undefined {
  const caller = walk.frame;
  if (helper === helperIds.BPF_FUNC_loop) {
    const turns = caller.registers[1]!;
    walk.needExact(turns);
    if (isScalar(turns) && BigInt(caller.callbacks) >= turns.wide.umax) {
      caller.callbacks = 0;
      return undefined;
    }
  }
  const { start } = caller.registers[2] as Pointer;
  const state = copyState(walk.state);
  const callee = newFrame(walk.structure.subprogramOf[start]!, walk.at, true);
  callsBack.forEach((argument, index) => {
    callee.registers[index + 1] = argumentOf(walk, caller, argument);
    callee.madeAt[index + 1] = walk.at;
  });
  state.frames.at(-1)!.callbacks++;
  enterFrame(state, callee);
  state.callbacks++;
  caller.callbacks = 0;
  return { state, start };
}

/** Ends a callback; what differs from its helper's last call, and decided nothing, may be any number from now on. */
export function leaveCallback(walk: Walk, result: Value | undefined): void {
  if (!isScalar(result)) deny("callback", "R0 not a scalar value", 0);
  checkReturn(walk, result, [0, 1], "At callback return");
  const { frames } = walk.state;
  const { returnTo } = frames.pop()!;
  const before = lastCall(walk.state, returnTo);
  if (before) widen(walk.state, before);
}

function argumentOf(walk: Walk, { registers }: Frame, argument: CallbackArgument): Value | undefined {
  const map = (registers[1] as Pointer).map;
  switch (argument) {
    case "index":
      return scalars.UNKNOWN;
    case "map":
      return registers[1];
    case "map key":
      return pointer("map_key", { map: map! });
    case "map value":
      return pointer("map_value", { map: map! });
    case "sample":
      return pointer("dynptr_ptr", { id: walk.newId() });
    case "context":
      return registers[3];
  }
}

/** The last checkpoint at the same call of the same frames. */
function lastCall({ frames, parent }: State, slot: number): Checkpoint | undefined {
  for (let at = parent; at; at = at.parent) {
    const before = at.state.frames;
    const isSame = at.at === slot && before.length === frames.length;
    if (isSame && before.every((frame, number) => sameCall(frame, frames[number]!))) return at;
  }
  return undefined;
}

function widen({ frames }: State, { state, precise }: Checkpoint): void {
  frames.forEach(({ registers, stack }, frame) => {
    const before = state.frames[frame]!;
    registers.forEach((now, register) => {
      if (register < 10 && !(precise & registerPlace(frame, register)) && differs(before.registers[register], now)) {
        registers[register] = scalars.UNKNOWN;
      }
    });
    stack.forEach((slot, index) => {
      if (slot && !(precise & slotPlace(frame, index)) && differs(before.stack[index]?.value, slot.value)) {
        stack[index] = { types: slot.types, value: scalars.UNKNOWN };
      }
    });
  });
}

const differs = (before: Value | undefined, now: Value | undefined): boolean =>
  isScalar(before) && isScalar(now) && !scalars.equal(before, now);
