// Functions that build instructions, for programs written by hand. Each returns its slots; `program` joins them and resolves labels.

import * as insn from "../uapi/insn.ts";
import { type Instruction, LD_IMM64 } from "./instruction.ts";

/** A register: r0 to r10. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
export const r0 = { register: 0 } as const;
export const r1 = { register: 1 } as const;
export const r2 = { register: 2 } as const;
export const r3 = { register: 3 } as const;
export const r4 = { register: 4 } as const;
export const r5 = { register: 5 } as const;
export const r6 = { register: 6 } as const;
export const r7 = { register: 7 } as const;
export const r8 = { register: 8 } as const;
export const r9 = { register: 9 } as const;
export const r10 = { register: 10 } as const;

type Reg = { readonly register: Register };
/** A register, or a signed 32-bit immediate. */
type Operand = Reg | number;

/** A slot of a program that is being built: `to` names the label that its `off` (of a call or a load, its `imm`) must reach. */
export interface Slot extends Instruction {
  readonly to?: string;
}
/** A place that jumps name. */
interface Label {
  readonly label: string;
}
export type Item = Slot | readonly Slot[] | Label;

const slot = (opcode: number, fields: Partial<Slot> = {}): Slot => ({
  opcode,
  dst: 0,
  src: 0,
  off: 0,
  imm: 0,
  ...fields,
});

const withOperand = (opcode: number, operand: Operand, fields: Partial<Slot>): Slot =>
  typeof operand === "number"
    ? slot(opcode | insn.BPF_K, { ...fields, imm: operand | 0 })
    : slot(opcode | insn.BPF_X, { ...fields, src: operand.register });

const aluOps = {
  add: insn.BPF_ADD,
  sub: insn.BPF_SUB,
  mul: insn.BPF_MUL,
  div: insn.BPF_DIV,
  or: insn.BPF_OR,
  and: insn.BPF_AND,
  lsh: insn.BPF_LSH,
  rsh: insn.BPF_RSH,
  mod: insn.BPF_MOD,
  xor: insn.BPF_XOR,
  mov: insn.BPF_MOV,
  arsh: insn.BPF_ARSH,
} as const;
export type AluOp = keyof typeof aluOps;

/** 64-bit `dst op= operand`. */
export const alu64 = (op: AluOp, dst: Reg, operand: Operand): Slot =>
  withOperand(insn.BPF_ALU64 | aluOps[op], operand, { dst: dst.register });
/** 32-bit `dst op= operand`; the upper half of dst becomes zero. */
export const alu32 = (op: AluOp, dst: Reg, operand: Operand): Slot =>
  withOperand(insn.BPF_ALU | aluOps[op], operand, { dst: dst.register });

export const mov = (dst: Reg, operand: Operand): Slot => alu64("mov", dst, operand);
export const add = (dst: Reg, operand: Operand): Slot => alu64("add", dst, operand);

/** `dst = src`, an address of user space in the program's arena, as a pointer that the program may follow. */
export const castToArena = (dst: Reg, src: Reg): Slot =>
  slot(insn.BPF_ALU64 | insn.BPF_MOV | insn.BPF_X, { ...castOperands(dst, src), imm: 1 });
/** `dst = src`, a pointer in the program's arena, as the address that user space has for it. */
export const castToUser = (dst: Reg, src: Reg): Slot =>
  slot(insn.BPF_ALU64 | insn.BPF_MOV | insn.BPF_X, { ...castOperands(dst, src), imm: 1 << 16 });

const castOperands = (dst: Reg, src: Reg): Partial<Slot> => ({
  dst: dst.register,
  src: src.register,
  off: insn.BPF_ADDR_SPACE_CAST,
});

/** `dst = value`, all 64 bits; two slots. */
export function loadImm64(dst: Reg, value: bigint): readonly Slot[] {
  const low = Number(BigInt.asIntN(32, value));
  const high = Number(BigInt.asIntN(32, value >> 32n));
  return [slot(LD_IMM64, { dst: dst.register, imm: low }), slot(0, { imm: high })];
}
/** `dst = map`, by file descriptor; two slots. */
export const loadMapFd = (dst: Reg, fd: number): readonly Slot[] => [
  slot(LD_IMM64, { dst: dst.register, src: insn.BPF_PSEUDO_MAP_FD, imm: fd }),
  slot(0),
];
/** `dst = address of a map's value + offset`, by file descriptor; two slots. */
export const loadMapValue = (dst: Reg, fd: number, offset: number): readonly Slot[] => [
  slot(LD_IMM64, { dst: dst.register, src: insn.BPF_PSEUDO_MAP_VALUE, imm: fd }),
  slot(0, { imm: offset }),
];
/** `dst = address of a function of the same program`, by label; two slots. */
export const loadFunction = (dst: Reg, to: string): readonly Slot[] => [
  slot(LD_IMM64, { dst: dst.register, src: insn.BPF_PSEUDO_FUNC, imm: -1, to }),
  slot(0),
];

const widths = { b: insn.BPF_B, h: insn.BPF_H, w: insn.BPF_W, dw: insn.BPF_DW } as const;
/** Bytes: b 1, h 2, w 4, dw 8. */
export type Width = keyof typeof widths;

/** `dst = *(width *)(src + off)`, zero-extended. */
export const load = (width: Width, dst: Reg, src: Reg, off: number): Slot =>
  slot(insn.BPF_LDX | insn.BPF_MEM | widths[width], { dst: dst.register, src: src.register, off });
/** `dst = *(width *)(src + off)`, sign-extended. */
export const loadSigned = (width: "b" | "h" | "w", dst: Reg, src: Reg, off: number): Slot =>
  slot(insn.BPF_LDX | insn.BPF_MEMSX | widths[width], { dst: dst.register, src: src.register, off });
/** `*(width *)(dst + off) = operand`. */
export const store = (width: Width, dst: Reg, off: number, operand: Operand): Slot =>
  typeof operand === "number"
    ? slot(insn.BPF_ST | insn.BPF_MEM | widths[width], { dst: dst.register, off, imm: operand | 0 })
    : slot(insn.BPF_STX | insn.BPF_MEM | widths[width], { dst: dst.register, src: operand.register, off });
/** Atomic operation on `*(width *)(dst + off)` with src; `op` is the `imm` of the encoding, `BPF_ADD | BPF_FETCH` for example. */
export const atomic = (width: "w" | "dw", op: number, dst: Reg, off: number, src: Reg): Slot =>
  slot(insn.BPF_STX | insn.BPF_ATOMIC | widths[width], { dst: dst.register, src: src.register, off, imm: op });

const jumpOps = {
  jeq: insn.BPF_JEQ,
  jgt: insn.BPF_JGT,
  jge: insn.BPF_JGE,
  jset: insn.BPF_JSET,
  jne: insn.BPF_JNE,
  jsgt: insn.BPF_JSGT,
  jsge: insn.BPF_JSGE,
  jlt: insn.BPF_JLT,
  jle: insn.BPF_JLE,
  jslt: insn.BPF_JSLT,
  jsle: insn.BPF_JSLE,
} as const;
export type JumpOp = keyof typeof jumpOps;

/** Jumps to the label if `dst op operand`, compared in 64 bits. */
export const jump = (op: JumpOp, dst: Reg, operand: Operand, to: string): Slot =>
  withOperand(insn.BPF_JMP | jumpOps[op], operand, { dst: dst.register, to });
/** Jumps to the label if `dst op operand`, compared in 32 bits. */
export const jump32 = (op: JumpOp, dst: Reg, operand: Operand, to: string): Slot =>
  withOperand(insn.BPF_JMP32 | jumpOps[op], operand, { dst: dst.register, to });
export const goto = (to: string): Slot => slot(insn.BPF_JMP | insn.BPF_JA, { to });
/** Calls a helper by its number, `BPF_FUNC_…`. */
export const call = (helper: number): Slot => slot(insn.BPF_JMP | insn.BPF_CALL, { imm: helper });
/** Calls a function of the kernel (a kfunc) by its id in the BTF of vmlinux. */
export const callKernelFunction = (btfId: number): Slot =>
  slot(insn.BPF_JMP | insn.BPF_CALL, { src: insn.BPF_PSEUDO_KFUNC_CALL, imm: btfId });
/** Calls a function of the same program, by label. */
export const callLocal = (to: string): Slot =>
  slot(insn.BPF_JMP | insn.BPF_CALL, { src: insn.BPF_PSEUDO_CALL, imm: -1, to });
export const exit = (): Slot => slot(insn.BPF_JMP | insn.BPF_EXIT);
export const label = (name: string): Label => ({ label: name });

/**
 * Joins items to a program and resolves its labels.
 *
 * @throws RangeError where a jump names a label that is not there
 */
export function program(...items: readonly Item[]): Instruction[] {
  const slots: Slot[] = [];
  const labels = new Map<string, number>();
  for (const item of items) {
    if ("label" in item) labels.set(item.label, slots.length);
    else slots.push(...(Array.isArray(item) ? item : [item as Slot]));
  }
  return slots.map(({ to, ...instruction }, index) => {
    if (to === undefined) return instruction;
    const target = labels.get(to);
    if (target === undefined) throw new RangeError(`no label "${to}" in this program`);
    const distance = target - index - 1;
    const isFar = instruction.opcode === (insn.BPF_JMP | insn.BPF_CALL) || instruction.opcode === LD_IMM64;
    return isFar ? { ...instruction, imm: distance } : { ...instruction, off: distance };
  });
}
