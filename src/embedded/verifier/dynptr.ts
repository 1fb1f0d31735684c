// Dynptrs as arguments of helpers: 16 bytes of stack that a helper makes one, or that are one.
// Linux: kernel/bpf/verifier.c, process_dynptr_func, mark_stack_slots_dynptr, dynptr_get_spi

import { checkUnmodified } from "./memory.ts";
import { deny, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { beginDynptr, dynptrAt, slotIndex, storeStack } from "./stack.ts";
import type { Dynptr } from "./state.ts";
import { isPointer, type Pointer, typeName, type Value } from "./values.ts";
import type { Walk } from "./walk.ts";

/** Checks that a register points to a dynptr, on the stack or the kernel's. */
export function useDynptr(walk: Walk, value: Value, register: number): Pick<Dynptr, "id" | "reference"> {
  const base = checkPlace(value, register);
  if (base.kind === "dynptr_ptr") return { id: base.id, reference: 0 };
  return find(walk, base, register);
}

/** Checks that a register points to a dynptr of a record; gives the reference that its release ends. */
export function releaseDynptr(walk: Walk, value: Value, register: number): number {
  const base = checkPlace(value, register);
  if (base.kind === "dynptr_ptr") reject("dynptr", "cannot release unowned const bpf_dynptr", register);
  const { index, problem } = placeOf(base);
  if (!walk.state.frames[base.frame]!.stack[index]?.dynptr?.reference) {
    reject("reference", `${problem}arg ${register} is an unacquired reference`, register);
  }
  return find(walk, base, register).reference;
}

/** Makes a dynptr on the stack that a register points to. */
export function makeDynptr(walk: Walk, value: Value, register: number, kind: Dynptr["kind"]): void {
  const base = checkPlace(value, register);
  if (base.kind === "dynptr_ptr") reject("dynptr", "Dynptr has to be an uninitialized dynptr", register);
  const { index, problem } = placeOf(base);
  if (problem) reject("dynptr", `${problem}Dynptr has to be an uninitialized dynptr`, register);
  for (const offset of [0, 8]) storeStack(walk, { register, offset, size: 8 }, base, scalars.UNKNOWN, undefined);
  const reference = kind === "ringbuf" ? walk.acquire() : 0;
  beginDynptr(walk, base.frame, index, { kind, id: walk.newId(), reference });
}

function checkPlace(value: Value, register: number): Pointer {
  if (!isPointer(value) || value.nullable || (value.kind !== "fp" && value.kind !== "dynptr_ptr")) {
    deny("helper-argument", `R${register} type=${typeName(value)} expected=fp, dynptr_ptr`, register);
  }
  if (value.kind === "dynptr_ptr") checkUnmodified(value, register);
  return value;
}

function find(walk: Walk, base: Pointer, register: number): Dynptr {
  const { index, problem } = placeOf(base);
  const dynptr = dynptrAt(walk, base.frame, index);
  if (!dynptr) reject("dynptr", `${problem}Expected an initialized dynptr as arg #${register - 1}`, register);
  return dynptr;
}

/** The stack slot that a register points to; or one that is none, and a line that says why no dynptr can begin there. */
function placeOf({ offset, variable }: Pointer): { readonly index: number; readonly problem: string } {
  if (!scalars.isConstant(variable)) return { index: -1, problem: "dynptr has to be at a constant offset\n" };
  const at = offset + Number(scalars.numberOf(variable));
  const fits = at % 8 === 0 && at <= -16;
  return fits
    ? { index: slotIndex(at), problem: "" }
    : { index: -1, problem: `cannot pass in dynptr at an offset=${at}\n` };
}
