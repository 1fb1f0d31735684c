// One BPF instruction and its 8 bytes; a 64-bit immediate load takes 16.
// Linux: Documentation/bpf/standardization/instruction-set.rst

import { BPF_DW, BPF_IMM, BPF_LD } from "../uapi/insn.ts";

/** An 8-byte slot of a program, as bytecode counts them: a 64-bit immediate load is two slots, the second with opcode 0. */
export interface Instruction {
  /** Class, operation, and source or width and mode. */
  readonly opcode: number;
  readonly dst: number;
  readonly src: number;
  /** Signed, 16 bits. */
  readonly off: number;
  /** Signed, 32 bits. */
  readonly imm: number;
}

/** Bytes of a slot. */
export const INSTRUCTION_SIZE = 8;

/** Opcode of a 64-bit immediate load, which takes two slots. */
export const LD_IMM64 = BPF_LD | BPF_IMM | BPF_DW;

/** Decodes little-endian bytecode, whose length is a multiple of 8. */
export function decodeInstructions(bytes: Uint8Array): Instruction[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const instructions: Instruction[] = [];
  for (let at = 0; at + INSTRUCTION_SIZE <= bytes.length; at += INSTRUCTION_SIZE) {
    const registers = view.getUint8(at + 1);
    instructions.push({
      opcode: view.getUint8(at),
      dst: registers & 15,
      src: registers >> 4,
      off: view.getInt16(at + 2, true),
      imm: view.getInt32(at + 4, true),
    });
  }
  return instructions;
}

export function encodeInstructions(instructions: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(instructions.length * INSTRUCTION_SIZE);
  const view = new DataView(bytes.buffer);
  instructions.forEach(({ opcode, dst, src, off, imm }, index) => {
    const at = index * INSTRUCTION_SIZE;
    view.setUint8(at, opcode);
    view.setUint8(at + 1, dst | (src << 4));
    view.setInt16(at + 2, off, true);
    view.setInt32(at + 4, imm, true);
  });
  return bytes;
}
