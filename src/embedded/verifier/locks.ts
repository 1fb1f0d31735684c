// bpf_spin_lock and bpf_spin_unlock: one lock at a time, in the value of a map, and nothing called while it is held.
// Linux: kernel/bpf/verifier.c, process_spin_lock

import type { Instruction } from "../../asm/instruction.ts";
import { BPF_FUNC_spin_unlock } from "../../uapi/helper-ids.ts";
import type { SpecialField } from "../btf-fields.ts";
import { deny, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { typeName, type Value } from "./values.ts";
import type { VerifierMap } from "./verify.ts";
import type { Walk } from "./walk.ts";

/** Whether values of the map hold a lock. */
export const hasLock = (map: VerifierMap | undefined): boolean => map !== undefined && lockOf(map) !== undefined;

/** Checks the argument of bpf_spin_lock or bpf_spin_unlock, and takes or releases the lock. */
export function useLock(walk: Walk, value: Value, register: number, unlocks: boolean): void {
  if (value.kind !== "map_value" || value.nullable) {
    const rule = value.kind === "map_value" ? "null-check" : "helper-argument";
    deny(rule, `R${register} type=${typeName(value)} expected=map_value, ptr_`, register);
  }
  const map = value.map!;
  if (!scalars.isConstant(value.variable)) {
    const words = "doesn't have constant offset. bpf_spin_lock has to be at the constant offset";
    reject("lock", `R${register} ${words}`, register);
  }
  if (!map.typed) reject("lock", `map '${map.name}' has to have BTF in order to use bpf_spin_lock`, register);
  const field = lockOf(map);
  if (!field) reject("lock", `map '${map.name}' has no valid bpf_spin_lock`, register);
  const at = value.offset + Number(scalars.numberOf(value.variable));
  if (at !== field.offset) {
    reject("lock", `off ${at} doesn't point to 'struct bpf_spin_lock' that is at ${field.offset}`, register);
  }
  const { lock } = walk.state;
  if (!unlocks) {
    if (lock) reject("lock", "Locking two bpf_spin_locks are not allowed", register);
    walk.state.lock = { map, id: value.id };
    return;
  }
  if (!lock) reject("lock", "bpf_spin_unlock without taking a lock", register);
  if (lock.map !== map || lock.id !== value.id) reject("lock", "bpf_spin_unlock of different lock", register);
  walk.state.lock = undefined;
}

/** Refuses the call of a helper while a lock is held, but for the one that unlocks. */
export function checkUnlocked(walk: Walk, call: Instruction): void {
  if (!walk.state.lock || (call.src === 0 && call.imm === BPF_FUNC_spin_unlock)) return;
  reject("lock", "function calls are not allowed while holding a lock");
}

const lockOf = (map: VerifierMap): SpecialField | undefined => map.fields?.find(({ kind }) => kind === "spin_lock");
