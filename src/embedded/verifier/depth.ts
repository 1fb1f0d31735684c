// The stack that a chain of calls uses: at most 512 bytes over at most 8 frames.
// Linux: kernel/bpf/verifier.c, check_max_stack_depth

import type { Instruction } from "../../asm/instruction.ts";
import { E2BIG } from "../../uapi/errno.ts";
import { MAX_BPF_STACK, MAX_CALL_FRAMES } from "../../uapi/insn.ts";
import { deny, Refusal } from "./refusal.ts";
import { isLocalCall, isTailCall, namesFunction, type Structure } from "./structure.ts";

/** Bytes to which the stack of a function is rounded up. */
const GRANULE = 16;

/** @param depths bytes of stack of each subprogram */
export function checkStackDepth(
  instructions: readonly Instruction[],
  { starts, subprogramOf }: Structure,
  depths: readonly number[],
): void {
  const calls = starts.map(() => new Set<number>());
  const tailCalls = new Set<number>();
  instructions.forEach((instruction, at) => {
    if (isTailCall(instruction)) tailCalls.add(subprogramOf[at]!);
    if (isLocalCall(instruction) || namesFunction(instruction))
      calls[subprogramOf[at]!]!.add(subprogramOf[at + 1 + instruction.imm]!);
  });
  const rounded = (subprogram: number): number => Math.ceil(depths[subprogram]! / GRANULE) * GRANULE;
  // Deepest stack and longest chain from each subprogram; calls that go in a circle were refused while walking.
  const known: ({ readonly bytes: number; readonly frames: number } | undefined)[] = [];
  const measure = (subprogram: number, above: number): { readonly bytes: number; readonly frames: number } => {
    const done = known[subprogram];
    if (above + (done?.frames ?? 1) > MAX_CALL_FRAMES) {
      throw new Refusal(E2BIG, "call-depth", `the call stack of ${MAX_CALL_FRAMES} frames is too deep !`);
    }
    if (done) return done;
    let below = { bytes: 0, frames: 0 };
    for (const callee of calls[subprogram]!) {
      const chain = measure(callee, above + 1);
      below = { bytes: Math.max(below.bytes, chain.bytes), frames: Math.max(below.frames, chain.frames) };
    }
    const result = { bytes: rounded(subprogram) + below.bytes, frames: below.frames + 1 };
    known[subprogram] = result;
    return result;
  };
  const { bytes, frames } = measure(0, 0);
  checkTailCalls(calls, tailCalls, rounded);
  if (bytes > MAX_BPF_STACK) {
    deny("stack-depth", `combined stack size of ${frames} calls is ${bytes}. Too large`);
  }
}

/** Bytes of stack that callers of a function with a tail call stay below: the next program begins a stack of its own. */
const MAX_STACK_ABOVE_TAIL_CALL = 256;

function checkTailCalls(
  calls: readonly ReadonlySet<number>[],
  tailCalls: ReadonlySet<number>,
  sizeOf: (subprogram: number) => number,
): void {
  const deepest = new Map<number, number>();
  const visit = (subprogram: number, above: number): void => {
    if ((deepest.get(subprogram) ?? -1) >= above) return;
    deepest.set(subprogram, above);
    if (subprogram > 0 && tailCalls.has(subprogram) && above >= MAX_STACK_ABOVE_TAIL_CALL) {
      const words = "tail_calls are not allowed when call stack of previous frames is";
      deny("stack-depth", `${words} ${above} bytes. Too large`);
    }
    for (const callee of calls[subprogram]!) visit(callee, above + sizeOf(subprogram));
  };
  visit(0, 0);
}
