// ALU instructions, on numbers and on pointers.
// Linux: kernel/bpf/verifier.c, check_alu_op, adjust_ptr_min_max_vals, adjust_scalar_min_max_vals

import type { Instruction } from "../../asm/instruction.ts";
import * as insn from "../../uapi/insn.ts";
import { linkSum } from "./links.ts";
import { deny, reject } from "./refusal.ts";
import type { BinaryOp, Scalar } from "./scalar.ts";
import * as scalars from "./scalar.ts";
import { MAX_DIRECT_VALUE_OFFSET } from "./structure.ts";
import * as tnum from "./tnum.ts";
import { isPointer, isScalar, isSocket, type Pointer, pointer, typeName, type Value } from "./values.ts";
import type { Walk } from "./walk.ts";

export function alu(walk: Walk, instruction: Instruction): void {
  const operation = instruction.opcode & 0xf0;
  if (operation === insn.BPF_END || operation === insn.BPF_NEG) unary(walk, instruction, operation);
  else if (operation === insn.BPF_MOV) move(walk, instruction);
  else combine(walk, instruction, operation);
}

interface Operation {
  /** Absent where the result may be any number. */
  readonly op?: BinaryOp;
  readonly symbol: string;
}
const operations: Readonly<Record<number, Operation>> = {
  [insn.BPF_ADD]: { op: "add", symbol: "+=" },
  [insn.BPF_SUB]: { op: "sub", symbol: "-=" },
  [insn.BPF_MUL]: { op: "mul", symbol: "*=" },
  [insn.BPF_DIV]: { symbol: "/=" },
  [insn.BPF_OR]: { op: "or", symbol: "|=" },
  [insn.BPF_AND]: { op: "and", symbol: "&=" },
  [insn.BPF_LSH]: { op: "lsh", symbol: "<<=" },
  [insn.BPF_RSH]: { op: "rsh", symbol: ">>=" },
  [insn.BPF_MOD]: { symbol: "%=" },
  [insn.BPF_XOR]: { op: "xor", symbol: "^=" },
  [insn.BPF_ARSH]: { op: "arsh", symbol: "s>>=" },
};
const shifts: readonly number[] = [insn.BPF_LSH, insn.BPF_RSH, insn.BPF_ARSH];
const divisions: readonly number[] = [insn.BPF_DIV, insn.BPF_MOD];
const bitwise: readonly number[] = [insn.BPF_AND, insn.BPF_OR, insn.BPF_XOR];

const bitsOf = ({ opcode }: Instruction): 32 | 64 => ((opcode & 7) === insn.BPF_ALU64 ? 64 : 32);
const takesRegister = ({ opcode }: Instruction) => (opcode & insn.BPF_X) !== 0;

function unary(walk: Walk, instruction: Instruction, operation: number): void {
  const { dst, src, off, imm } = instruction;
  if (operation === insn.BPF_NEG) {
    if (src !== 0 || off !== 0 || imm !== 0) reject("opcode", "BPF_NEG uses reserved fields");
  } else if (src !== 0 || off !== 0 || (imm !== 16 && imm !== 32 && imm !== 64)) {
    reject("opcode", "BPF_END uses reserved fields");
  }
  const value = walk.read(dst);
  walk.checkWritable(dst);
  if (isPointer(value)) {
    if (walk.mayNotLeak) deny("pointer-arithmetic", `R${dst} pointer arithmetic prohibited`, dst);
    walk.write(dst, scalars.UNKNOWN);
    return;
  }
  if (operation === insn.BPF_NEG) {
    walk.write(dst, scalars.binary("sub", bitsOf(instruction), scalars.ZERO, value));
    return;
  }
  const swaps = bitsOf(instruction) === 64 || takesRegister(instruction);
  walk.write(dst, swaps ? scalars.swapBytes(value, imm / 8) : scalars.truncate(value, imm / 8));
}

function move(walk: Walk, instruction: Instruction): void {
  const { dst, src, off, imm } = instruction;
  const bits = bitsOf(instruction);
  if (!takesRegister(instruction)) {
    if (src !== 0 || off !== 0) reject("opcode", "BPF_MOV uses reserved fields");
    walk.write(dst, scalars.constant(bits === 64 ? BigInt(imm) : BigInt(imm >>> 0)));
    return;
  }
  if (bits === 64 && off === insn.BPF_ADDR_SPACE_CAST) {
    castAddressSpace(walk, instruction);
    return;
  }
  const widths = bits === 64 ? [0, 8, 16, 32] : [0, 8, 16];
  if (imm !== 0 || !widths.includes(off)) reject("opcode", "BPF_MOV uses reserved fields");
  const value = walk.read(src);
  walk.checkWritable(dst);
  if (bits === 64 && off === 0) {
    walk.write(dst, walk.link(src));
    return;
  }
  if (isPointer(value)) {
    const what = off === 0 ? "partial copy of pointer" : "sign-extension part of pointer";
    if (walk.mayNotLeak) deny("leak", `R${src} ${what}`, src);
    const unknown = bits === 32 ? scalars.truncate32(scalars.UNKNOWN) : scalars.UNKNOWN;
    walk.write(dst, off === 0 ? unknown : scalars.signExtend(unknown, off / 8, bits));
    return;
  }
  if (off !== 0) walk.write(dst, scalars.signExtend(value, off / 8, bits));
  else if (value.wide.umax <= scalars.NARROW.all.umax) walk.write(dst, walk.link(src));
  else walk.write(dst, scalars.truncate32(value));
}

// Address spaces, to and from which pointers are cast: << 16 | from.
const TO_KERNEL = 1;
const TO_USER = 1 << 16;

/** Makes a number an arena pointer, or the other way round. */
function castAddressSpace(walk: Walk, { dst, src, imm }: Instruction): void {
  if (imm !== TO_KERNEL && imm !== TO_USER) {
    reject("opcode", "addr_space_cast insn can only convert between address space 1 and 0");
  }
  if (!walk.hasArena) {
    reject("map-reference", "addr_space_cast insn can only be used in a program that has an associated arena");
  }
  walk.read(src);
  walk.write(dst, imm === TO_KERNEL ? ARENA_POINTER : scalars.UNKNOWN);
}

/** Wherever it points to, the machine keeps its accesses in the arena. */
const ARENA_POINTER = pointer("arena", { variable: scalars.UNKNOWN });

function combine(walk: Walk, instruction: Instruction, code: number): void {
  const { dst, src, off, imm } = instruction;
  const bits = bitsOf(instruction);
  const operation = operations[code];
  if (!operation) reject("opcode", `invalid BPF_ALU opcode ${instruction.opcode.toString(16)}`);
  const fromRegister = takesRegister(instruction);
  const signedAllowed = divisions.includes(code);
  const offFits = off === 0 || (off === 1 && signedAllowed);
  if (!offFits || (fromRegister ? imm : src) !== 0) reject("opcode", "BPF_ALU uses reserved fields");
  const right = fromRegister ? walk.read(src) : scalars.constant(BigInt(imm));
  const left = walk.read(dst);
  if (!fromRegister && signedAllowed && imm === 0) reject("arithmetic", "div by zero");
  if (!fromRegister && shifts.includes(code) && (imm < 0 || imm >= bits)) reject("arithmetic", `invalid shift ${imm}`);
  walk.checkWritable(dst);
  const inArena = left.kind === "arena" || right.kind === "arena";
  if (bits === 64) walk.noteArena(inArena, dst);
  walk.write(dst, inArena ? ARENA_POINTER : compute(walk, instruction, operation, code, left, right));
}

function compute(
  walk: Walk,
  instruction: Instruction,
  { op, symbol }: Operation,
  code: number,
  left: Value,
  right: Value,
): Value {
  const { dst, src } = instruction;
  const bits = bitsOf(instruction);
  if (isScalar(left) && isScalar(right)) {
    const result = op ? scalars.binary(op, bits, left, right) : scalars.UNKNOWN;
    const doubled = takesRegister(instruction) && src === dst;
    return (op === "add" || op === "sub") && !doubled ? linkSum(op, bits, left, right, result) : result;
  }
  const difference = code === insn.BPF_SUB && !walk.mayNotLeak;
  if (isPointer(left) && isPointer(right)) {
    if (difference) return scalars.UNKNOWN;
    deny("pointer-arithmetic", `R${dst} pointer ${symbol} pointer prohibited`, dst);
  }
  const base = isPointer(left) ? left : (right as Pointer);
  const amount = isPointer(left) ? (right as Scalar) : left;
  walk.needExact(amount as Scalar);
  if (bits === 32) {
    if (difference) return scalars.UNKNOWN;
    deny("pointer-arithmetic", `R${dst} 32-bit pointer arithmetic prohibited`, dst);
  }
  const register = isPointer(left) ? dst : src;
  checkMovable(base, amount as Scalar, code, register);
  if (bitwise.includes(code)) {
    deny("pointer-arithmetic", `R${dst} bitwise operator ${symbol} on pointer prohibited`, dst);
  }
  if (code !== insn.BPF_ADD && code !== insn.BPF_SUB) {
    deny("pointer-arithmetic", `R${dst} pointer arithmetic with ${symbol} operator prohibited`, dst);
  }
  if (code === insn.BPF_SUB) {
    if (base !== left) deny("pointer-arithmetic", `R${dst} tried to subtract pointer from scalar`, dst);
    if (base.kind === "fp") deny("pointer-arithmetic", `R${dst} subtraction from stack pointer prohibited`, dst);
  }
  const result = moved(walk, base, amount as Scalar, code === insn.BPF_SUB ? "sub" : "add");
  checkOffset(result.variable, result.offset, result.kind);
  if (walk.mayNotLeak && result.kind === "fp" && !scalars.isConstant(result.variable)) {
    const where = `var_off=${tnum.print(result.variable.bits)} off=${result.offset}`;
    deny("stack-bounds", `R${register} variable stack access prohibited for !root, ${where}`, register);
  }
  return result;
}

/** Refuses pointers that cannot be moved, and distances that are out of all bounds. */
function checkMovable(base: Pointer, amount: Scalar, code: number, register: number): void {
  if (base.nullable) {
    const words = `R${register} pointer arithmetic on ${typeName(base)} prohibited, null-check it first`;
    deny("null-check", words, register);
  }
  const fixed = base.kind === "map_ptr" && code === insn.BPF_ADD && scalars.isZero(amount);
  if (base.kind === "pkt_end" || isSocket(base.kind) || (base.kind === "map_ptr" && !fixed)) {
    deny("pointer-arithmetic", `R${register} pointer arithmetic on ${typeName(base)} prohibited`, register);
  }
  // Linux takes what was added to a linked number for its offset.
  checkOffset(amount, Number(amount.added?.by ?? 0n), base.kind);
  checkOffset(base.variable, base.offset, base.kind);
}

function checkOffset(variable: Scalar, offset: number, kind: string): void {
  const limit = BigInt(MAX_DIRECT_VALUE_OFFSET);
  const { smin } = variable.wide;
  const outside = smin >= limit || smin <= -limit;
  if (scalars.isConstant(variable) && outside) {
    reject("pointer-arithmetic", `math between ${kind} pointer and ${smin} is not allowed`);
  }
  if (offset >= MAX_DIRECT_VALUE_OFFSET || offset <= -MAX_DIRECT_VALUE_OFFSET) {
    reject("pointer-arithmetic", `${kind} pointer offset ${offset} is not allowed`);
  }
  if (smin === scalars.WIDE.all.smin) {
    const words = `math between ${kind} pointer and register with unbounded min value is not allowed`;
    reject("pointer-arithmetic", words);
  }
  if (outside) reject("pointer-arithmetic", `value ${smin} makes ${kind} pointer be out of bounds`);
}

function moved(walk: Walk, base: Pointer, amount: Scalar, op: "add" | "sub"): Pointer {
  if (scalars.isConstant(amount)) {
    const distance = Number(scalars.numberOf(amount));
    return { ...base, offset: base.offset + (op === "add" ? distance : -distance) };
  }
  const variable = { ...scalars.binary(op, 64, base.variable, amount), origins: 0n };
  const packet = base.kind === "pkt" || base.kind === "pkt_meta";
  return packet ? { ...base, variable, id: walk.newId(), range: 0 } : { ...base, variable };
}
