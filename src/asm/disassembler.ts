// Instructions as text, in the form of the kernel's verifier log.
// Linux: kernel/bpf/disasm.c

import * as helperIds from "../uapi/helper-ids.ts";
import * as insn from "../uapi/insn.ts";
import { namesByNumber } from "../uapi/names.ts";
import { type Instruction, LD_IMM64 } from "./instruction.ts";

/**
 * One instruction as text: `r1 += 8`, `if r1 != 0x0 goto pc+3`, `call bpf_map_lookup_elem#1`.
 *
 * @param next the second slot of a 64-bit immediate load
 * @returns text of an opcode that is none: `BUG_00`
 */
export function disassemble(instruction: Instruction, next?: Instruction): string {
  const { opcode } = instruction;
  switch (opcode & 7) {
    case insn.BPF_ALU:
    case insn.BPF_ALU64:
      return alu(instruction);
    case insn.BPF_LD:
      return loadConstant(instruction, next);
    case insn.BPF_LDX:
      return load(instruction);
    case insn.BPF_ST:
      return (opcode & 0xe0) === insn.BPF_MEM
        ? `*(${type(opcode)} *)(r${instruction.dst} ${plus(instruction.off)}) = ${instruction.imm}`
        : bug("st", opcode);
    case insn.BPF_STX:
      return storeRegister(instruction);
    default:
      return jump(instruction);
  }
}

const types: Readonly<Record<number, string>> = {
  [insn.BPF_W]: "u32",
  [insn.BPF_H]: "u16",
  [insn.BPF_B]: "u8",
  [insn.BPF_DW]: "u64",
};
const signedTypes: Readonly<Record<number, string>> = { [insn.BPF_W]: "s32", [insn.BPF_H]: "s16", [insn.BPF_B]: "s8" };
const type = (opcode: number) => types[opcode & 0x18]!;

const operators: Readonly<Record<number, string>> = {
  [insn.BPF_ADD]: "+=",
  [insn.BPF_SUB]: "-=",
  [insn.BPF_MUL]: "*=",
  [insn.BPF_DIV]: "/=",
  [insn.BPF_OR]: "|=",
  [insn.BPF_AND]: "&=",
  [insn.BPF_LSH]: "<<=",
  [insn.BPF_RSH]: ">>=",
  [insn.BPF_MOD]: "%=",
  [insn.BPF_XOR]: "^=",
  [insn.BPF_MOV]: "=",
  [insn.BPF_ARSH]: "s>>=",
};
const signedOperators: Readonly<Record<number, string>> = { [insn.BPF_DIV]: "s/=", [insn.BPF_MOD]: "s%=" };

const comparisons: Readonly<Record<number, string>> = {
  [insn.BPF_JEQ]: "==",
  [insn.BPF_JGT]: ">",
  [insn.BPF_JLT]: "<",
  [insn.BPF_JGE]: ">=",
  [insn.BPF_JLE]: "<=",
  [insn.BPF_JSET]: "&",
  [insn.BPF_JNE]: "!=",
  [insn.BPF_JSGT]: "s>",
  [insn.BPF_JSLT]: "s<",
  [insn.BPF_JSGE]: "s>=",
  [insn.BPF_JSLE]: "s<=",
};

const atomics: Readonly<Record<number, string>> = {
  [insn.BPF_ADD]: "add",
  [insn.BPF_OR]: "or",
  [insn.BPF_AND]: "and",
  [insn.BPF_XOR]: "xor",
};
const atomicOperators: Readonly<Record<number, string>> = {
  [insn.BPF_ADD]: "+=",
  [insn.BPF_OR]: "|=",
  [insn.BPF_AND]: "&=",
  [insn.BPF_XOR]: "^=",
};

const helpers = namesByNumber(helperIds, "BPF_FUNC_");

const plus = (offset: number) => (offset < 0 ? `${offset}` : `+${offset}`);
const hex = (value: number) => `0x${(value >>> 0).toString(16)}`;
const bug = (where: string, opcode: number) => `BUG_${where}_${opcode.toString(16).padStart(2, "0")}`;
const isRegister = (opcode: number) => (opcode & insn.BPF_X) !== 0;

function alu({ opcode, dst, src, off, imm }: Instruction): string {
  const wide = (opcode & 7) === insn.BPF_ALU64;
  const letter = wide ? "r" : "w";
  const operation = opcode & 0xf0;
  if (operation === insn.BPF_END) {
    if (wide) return `r${dst} = bswap${imm} r${dst}`;
    return `r${dst} = ${isRegister(opcode) ? "be" : "le"}${imm} r${dst}`;
  }
  if (operation === insn.BPF_NEG) return `${letter}${dst} = -${letter}${dst}`;
  const signed = off === 1 ? signedOperators[operation] : undefined;
  const operator = signed ?? operators[operation];
  if (!operator) return bug("alu", opcode);
  if (!isRegister(opcode)) return `${letter}${dst} ${operator} ${imm}`;
  if (wide && operation === insn.BPF_MOV && off === insn.BPF_ADDR_SPACE_CAST) {
    return `r${dst} = addr_space_cast(r${src}, ${imm >>> 16}, ${imm & 0xffff})`;
  }
  const cast = operation === insn.BPF_MOV && off !== 0 ? `(s${off})` : "";
  return `${letter}${dst} ${operator} ${cast}${letter}${src}`;
}

function loadConstant({ opcode, dst, src, imm }: Instruction, next: Instruction | undefined): string {
  if (opcode === LD_IMM64) {
    if (!next) return bug("ld", opcode);
    return `r${dst} = 0x${((BigInt(next.imm >>> 0) << 32n) | BigInt(imm >>> 0)).toString(16)}`;
  }
  const mode = opcode & 0xe0;
  if (mode === insn.BPF_ABS) return `r0 = *(${type(opcode)} *)skb[${imm}]`;
  if (mode === insn.BPF_IND) return `r0 = *(${type(opcode)} *)skb[r${src} + ${imm}]`;
  return bug("ld", opcode);
}

function load({ opcode, dst, src, off }: Instruction): string {
  const mode = opcode & 0xe0;
  if (mode !== insn.BPF_MEM && mode !== insn.BPF_MEMSX) return bug("ldx", opcode);
  const name = mode === insn.BPF_MEM ? type(opcode) : signedTypes[opcode & 0x18];
  return `r${dst} = *(${name} *)(r${src} ${plus(off)})`;
}

function storeRegister({ opcode, dst, src, off, imm }: Instruction): string {
  const mode = opcode & 0xe0;
  const place = `(${type(opcode)} *)(r${dst} ${plus(off)})`;
  if (mode === insn.BPF_MEM) return `*${place} = r${src}`;
  if (mode !== insn.BPF_ATOMIC) return bug("stx", opcode);
  const wide = (opcode & 0x18) === insn.BPF_DW;
  const letter = wide ? "r" : "w";
  const prefix = wide ? "atomic64" : "atomic";
  if (imm === insn.BPF_CMPXCHG) return `${letter}0 = ${prefix}_cmpxchg(${place}, ${letter}0, ${letter}${src})`;
  if (imm === insn.BPF_XCHG) return `${letter}${src} = ${prefix}_xchg(${place}, ${letter}${src})`;
  if (imm === insn.BPF_LOAD_ACQ) return `${letter}${dst} = load_acquire((${type(opcode)} *)(r${src} ${plus(off)}))`;
  if (imm === insn.BPF_STORE_REL) return `store_release(${place}, ${letter}${src})`;
  const operation = imm & ~insn.BPF_FETCH;
  if (!atomics[operation]) return bug("atomic", opcode);
  if ((imm & insn.BPF_FETCH) !== 0) {
    return `${letter}${src} = ${prefix}_fetch_${atomics[operation]}(${place}, ${letter}${src})`;
  }
  return `lock *${place} ${atomicOperators[operation]} ${letter}${src}`;
}

function jump({ opcode, dst, src, off, imm }: Instruction): string {
  const operation = opcode & 0xf0;
  const wide = (opcode & 7) === insn.BPF_JMP;
  if (operation === insn.BPF_CALL) {
    if (src === insn.BPF_PSEUDO_CALL) return `call pc${plus(imm)}`;
    if (src === insn.BPF_PSEUDO_KFUNC_CALL) return `call kernel-function#${imm}`;
    const name = helpers.get(imm);
    return `call ${name ? name.replace("BPF_FUNC_", "bpf_") : "unknown"}#${imm}`;
  }
  if (operation === insn.BPF_EXIT) return "exit";
  if (operation === insn.BPF_JA) return wide ? `goto pc${plus(off)}` : `gotol pc${plus(imm)}`;
  if (operation === insn.BPF_JCOND) return `may_goto pc${plus(off)}`;
  const comparison = comparisons[operation];
  if (!comparison) return bug("jmp", opcode);
  const letter = wide ? "r" : "w";
  const right = isRegister(opcode) ? `${letter}${src}` : hex(imm);
  return `if ${letter}${dst} ${comparison} ${right} goto pc${plus(off)}`;
}
