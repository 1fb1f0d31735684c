// A program's instructions on arena pointers as the machine takes them: pointers are the lower halves of addresses, so that operations
// on them have 32 bits, and accesses have modes of their own.
// Linux: kernel/bpf/verifier.c, bpf_convert_ctx_accesses, do_misc_fixups

import { BPF_PROBE_ATOMIC, BPF_PROBE_MEM32, BPF_PROBE_MEM32SX } from "../../machine/layout.ts";
import type { Instruction } from "../asm/instruction.ts";
import { BPF_F_NO_USER_CONV } from "../uapi/flags.ts";
import * as insn from "../uapi/insn.ts";

/** @param inArena slots of the instructions that work on arena pointers */
export function withArenaAccesses(
  instructions: readonly Instruction[],
  inArena: ReadonlySet<number>,
  arenaFlags: number,
): Instruction[] {
  return instructions.map((instruction, at) => {
    if (isCast(instruction)) return withCast(instruction, arenaFlags);
    if (!inArena.has(at)) return instruction;
    const { opcode } = instruction;
    const mode = modes[opcode & 0xe0];
    const isAlu = (opcode & 7) === insn.BPF_ALU64;
    return { ...instruction, opcode: isAlu ? (opcode & ~7) | insn.BPF_ALU : (opcode & ~0xe0) | mode! };
  });
}

const MOV64 = insn.BPF_ALU64 | insn.BPF_MOV | insn.BPF_X;
const TO_KERNEL = 1;

const isCast = ({ opcode, off }: Instruction): boolean => opcode === MOV64 && off === insn.BPF_ADDR_SPACE_CAST;

/** Only a cast to user space that is wanted adds an upper half. */
function withCast(cast: Instruction, arenaFlags: number): Instruction {
  if (cast.imm !== TO_KERNEL && (arenaFlags & BPF_F_NO_USER_CONV) === 0) return cast;
  return { ...cast, opcode: insn.BPF_ALU | insn.BPF_MOV | insn.BPF_X, off: 0, imm: 0 };
}

const modes: Readonly<Record<number, number>> = {
  [insn.BPF_MEM]: BPF_PROBE_MEM32,
  [insn.BPF_MEMSX]: BPF_PROBE_MEM32SX,
  [insn.BPF_ATOMIC]: BPF_PROBE_ATOMIC,
};
