// A refusal explained from the verifier's own state: where the bad value was made, and which branches led to its use.

import { disassemble } from "../../asm/disassembler.ts";
import type { Diagnosis, PathStep } from "../../diagnosis/diagnosis.ts";
import { rules } from "../../diagnosis/rules.ts";
import { sourceOf } from "./log.ts";
import type { Refusal } from "./refusal.ts";
import { printState } from "./state.ts";
import { print } from "./values.ts";
import type { VerifierInput } from "./verify.ts";
import type { Walk } from "./walk.ts";

/** Steps of the path that are told. */
const MAX_STEPS = 8;

/** @param walk the path that was refused; absent where none was walked */
export function diagnose(input: VerifierInput, refusal: Refusal, walk: Walk | undefined): Diagnosis {
  const { category, title, suggestion } = rules[refusal.rule];
  const instruction = refusal.instruction ?? walk?.at;
  return {
    category,
    title,
    reason: refusal.message.split("\n").at(-1)!,
    ...(instruction === undefined
      ? {}
      : { at: { ...place(input, instruction), registers: walk ? printState(walk.state) : "" } }),
    path: walk ? causalPath(input, walk, refusal.register) : [],
    suggestion,
  };
}

function causalPath(input: VerifierInput, walk: Walk, register: number | undefined): PathStep[] {
  const { registers, madeAt } = walk.frame;
  const made = register === undefined ? -1 : madeAt[register]!;
  const steps: PathStep[] = [];
  for (let step = walk.state.history; step && steps.length < MAX_STEPS && step.instruction > made; step = step.before) {
    const { text, ...where } = place(input, step.instruction);
    steps.unshift({ ...where, text: `${text}: ${step.text}` });
  }
  if (made < 0) return steps;
  const { text, ...where } = place(input, made);
  const value = registers[register!];
  return [{ ...where, text: `${text}: makes R${register}${value ? `, ${print(value)}` : ""}` }, ...steps];
}

function place(input: VerifierInput, instruction: number) {
  const source = sourceOf(input.lines, instruction);
  const text = disassemble(input.instructions[instruction]!, input.instructions[instruction + 1]);
  return { instruction, text, ...(source ? { source } : {}) };
}
