// Calls of the kernel's own functions, by BTF id.
// Linux: kernel/bpf/verifier.c, add_kfunc_call, check_kfunc_call, check_kfunc_args

import type { Instruction } from "../../asm/instruction.ts";
import { BPF_F_SLEEPABLE } from "../../uapi/flags.ts";
import type { KernelFunction, KernelFunctionParameter } from "../kernel-functions.ts";
import { deny, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { isPointer, isScalar } from "./values.ts";
import type { VerifierInput } from "./verify.ts";
import type { Walk } from "./walk.ts";

/** A call of nothing, which loaders leave where the kernel lacks a function, must not be reached. */
export const isMissing = ({ imm, off }: Instruction): boolean => imm === 0 && off === 0;

/** The function that the call at a slot names. */
export function findKernelFunction(
  { gplCompatible, kernelFunctions }: VerifierInput,
  { imm, off }: Instruction,
  at: number,
): KernelFunction {
  if (!gplCompatible) {
    const words = "cannot call kernel function from non-GPL compatible program";
    reject("unknown-helper", words, undefined, at);
  }
  if (off !== 0) reject("unsupported", "kernel modules are not in the embedded kernel", undefined, at);
  const named = kernelFunctions?.get(imm);
  return named ?? reject("unknown-helper", `kernel btf_id ${imm >>> 0} is not a function`, undefined, at);
}

export function callKernelFunction(walk: Walk, call: Instruction): void {
  if (call.dst !== 0) reject("opcode", "BPF_CALL uses reserved fields");
  if (isMissing(call)) reject("unknown-helper", "invalid kernel function call not eliminated in verifier pass");
  const { name, parameters, returns } = findKernelFunction(walk.input, call, walk.at);
  if ((walk.input.flags & BPF_F_SLEEPABLE) === 0) {
    deny("unknown-helper", `program must be sleepable to call sleepable kfunc ${name}`);
  }
  parameters.forEach((parameter, index) => {
    checkArgument(walk, parameter, index);
  });
  for (let register = 0; register <= 5; register++) walk.write(register, undefined);
  if (returns !== "void") walk.write(0, scalars.UNKNOWN);
}

function checkArgument(walk: Walk, { takes }: KernelFunctionParameter, index: number): void {
  if (takes === "ignored") return;
  const register = index + 1;
  const value = walk.frame.registers[register];
  if (takes === "number") {
    if (!isScalar(value)) reject("helper-argument", `R${register} is not a scalar`, register);
    return;
  }
  if (isScalar(value) ? scalars.isZero(value) : isPointer(value) && value.nullable) {
    deny("null-check", `Possibly NULL pointer passed to trusted arg${index}`, register);
  }
  if (!isPointer(value) || !value.map) reject("helper-argument", `pointer in R${register} isn't map pointer`, register);
  if (value.kind !== "map_ptr") reject("helper-argument", `R${register} must be referenced or trusted`, register);
}
