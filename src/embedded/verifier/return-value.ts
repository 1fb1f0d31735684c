// What a program, or a function that a helper calls, may return.
// Linux: kernel/bpf/verifier.c, check_return_code, verbose_invalid_scalar

import { reject } from "./refusal.ts";
import type { Scalar } from "./scalar.ts";
import * as scalars from "./scalar.ts";
import type { Walk } from "./walk.ts";

/** Refuses a result outside of `range`, which is inclusive. */
export function checkReturn(walk: Walk, result: Scalar, [min, max]: readonly [number, number], where: string): void {
  walk.needExact(result);
  const { smin, smax } = result.wide;
  if (smin >= BigInt(min) && smax <= BigInt(max)) return;
  const { all } = scalars.WIDE;
  const known = `${smin > all.smin ? ` smin=${smin}` : ""}${smax < all.smax ? ` smax=${smax}` : ""}`;
  const words = `${where} the register R0 has${known || " unknown scalar value"}`;
  reject("return-value", `${words} should have been in [${min}, ${max}]`, 0);
}
