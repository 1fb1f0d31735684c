// Scalars that hold the same number, or differ by a constant: what is learnt of one is learnt of all.
// Linux: kernel/bpf/verifier.c, sync_linked_regs, adjust_reg_min_max_vals, BPF_ADD_CONST

import type { Scalar } from "./scalar.ts";
import * as scalars from "./scalar.ts";

/** `result` of adding `amount` to `before`, linked with what `before` was linked with, where the link holds. */
export function linkSum(op: "add" | "sub", bits: 32 | 64, before: Scalar, amount: Scalar, result: Scalar): Scalar {
  const by = constantOf(op, bits, amount);
  // A register that was moved already is linked no more. In 32 bits the difference holds for numbers of 32 bits only.
  const holds = by !== undefined && !before.added && (bits === 64 || before.wide.umax <= scalars.NARROW.all.umax);
  if (before.id === 0 || !holds || scalars.isConstant(result)) return result;
  const added = { by: op === "add" ? by : -by, bits };
  return { ...result, id: before.id, added, origins: before.origins | amount.origins };
}

/** What `value` is when `known`, which is linked with it, is `now`. */
export function follow(value: Scalar, known: Scalar, now: Scalar): Scalar {
  const { id, added } = value;
  if (added && known.added && added.bits !== known.added.bits) return value;
  const by = (added?.by ?? 0n) - (known.added?.by ?? 0n);
  const bits = (added ?? known.added)?.bits ?? 64;
  const result = by === 0n ? now : scalars.binary("add", bits, now, scalars.constant(by));
  return scalars.isPossible(result) ? { ...result, id, added } : value;
}

/** Whether both differ by as much from what they are linked with. */
export const addedAlike = ({ added: a }: Scalar, { added: b }: Scalar): boolean =>
  a?.by === b?.by && a?.bits === b?.bits;

/** The number that an instruction of `bits` bits adds or subtracts, if it is known and what is added has 32 bits, signed. */
function constantOf(op: "add" | "sub", bits: 32 | 64, { wide, narrow }: Scalar): bigint | undefined {
  const { smin, smax } = bits === 64 ? wide : narrow;
  const { all } = scalars.NARROW;
  const least = op === "add" ? all.smin : -all.smax;
  return smin === smax && smin >= least && smin <= all.smax ? smin : undefined;
}
