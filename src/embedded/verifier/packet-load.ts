// Loads from the packet as classic BPF has them, BPF_LD with BPF_ABS or BPF_IND: r6 is the context, r0 gets the number.
// Linux: kernel/bpf/verifier.c, check_ld_abs

import type { Instruction } from "../../asm/instruction.ts";
import * as insn from "../../uapi/insn.ts";
import { checkUnmodified } from "./memory.ts";
import { deny, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { isPointer } from "./values.ts";
import type { Walk } from "./walk.ts";

const NAME = "BPF_LD_[ABS|IND]";
const CONTEXT = 6;

export function loadFromPacket(walk: Walk, { opcode, dst, src, off }: Instruction): void {
  const isIndirect = (opcode & 0xe0) === insn.BPF_IND;
  if (!walk.model.packetLoads) reject("opcode", `${NAME} instructions not allowed for this program type`);
  if (dst !== 0 || off !== 0 || (!isIndirect && src !== 0)) reject("opcode", `${NAME} uses reserved fields`);
  // Outside of the packet it ends the function that it is in.
  if (walk.structure.starts.length > 1) {
    reject("unsupported", `${NAME} in a program with several functions is not in the embedded kernel`);
  }
  const context = walk.read(CONTEXT);
  walk.checkReleased(NAME);
  if (context.kind !== "ctx") {
    reject("context", "at the time of BPF_LD_ABS|IND R6 != pointer to skb", CONTEXT);
  }
  if (isIndirect && isPointer(walk.read(src)) && walk.mayNotLeak) {
    deny("leak", `R${src} leaks addr into packet offset`, src);
  }
  checkUnmodified(context, CONTEXT);
  for (let register = 1; register <= 5; register++) walk.write(register, undefined);
  walk.write(0, scalars.UNKNOWN);
}
