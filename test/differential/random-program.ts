// Random programs that every verifier accepts: all registers set, stack slots written, immediates in range, jumps forward.

import * as b from "../../src/asm/builder.ts";
import type { Instruction } from "../../src/asm/instruction.ts";
import * as insn from "../../src/uapi/insn.ts";

/** A number below `bound`. */
export type Random = (bound: number) => number;

/** Numbers that a seed repeats. */
export function randomNumbers(seed: number): Random {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) % bound;
  };
}

/** A program of some 50 instructions with a subprogram; r0 is a hash of all registers and of the stack, 32 bits. */
export function randomProgram(random: Random): Instruction[] {
  return b.program(
    ...initialized(random, GENERAL),
    ...slotsOf((offset) => b.store("dw", b.r10, offset, pick(random, IMMEDIATES))),
    ...body(random, 30),
    b.callLocal("subprogram"),
    ...initialized(random, SCRATCH),
    ...body(random, 10),
    ...folded(GENERAL.slice(1)),
    b.exit(),
    b.label("subprogram"),
    ...initialized(
      random,
      GENERAL.filter((register) => register < 1 || register > 5),
    ),
    ...slotsOf((offset) => b.store("dw", b.r10, offset, pick(random, IMMEDIATES))),
    ...body(random, 15),
    ...folded(GENERAL.slice(1)),
    b.exit(),
  );
}

const GENERAL: readonly b.Register[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
/** What a call leaves undefined. */
const SCRATCH: readonly b.Register[] = [1, 2, 3, 4, 5];
const STACK_SLOTS = 4;
const VALUES = [
  0n,
  1n,
  2n,
  31n,
  32n,
  63n,
  0x7fn,
  0x80n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
];
const WIDE_VALUES = [
  ...VALUES,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
  0x0123_4567_89ab_cdefn,
];
const IMMEDIATES = [1, 2, 3, 7, -1, -2, 0x7f, 0x80, -128, 0x7fff_ffff, -0x8000_0000, 0x1234_5678];
const ALU = ["add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "mod", "xor", "mov", "arsh"] as const;
const SHIFTS: readonly b.AluOp[] = ["lsh", "rsh", "arsh"];
const JUMPS = ["jeq", "jgt", "jge", "jset", "jne", "jsgt", "jsge", "jlt", "jle", "jslt", "jsle"] as const;
const ATOMICS = [insn.BPF_ADD, insn.BPF_AND, insn.BPF_OR, insn.BPF_XOR].flatMap((op) => [op, op | insn.BPF_FETCH]);
const WIDTHS = { b: 1, h: 2, w: 4, dw: 8 } as const;

type Make = (random: Random) => readonly Instruction[];

/** What a body is made of, the common ones more than once. */
const MAKERS: readonly Make[] = [
  arithmetic,
  arithmetic,
  arithmetic,
  arithmetic,
  signExtension,
  byteOrder,
  negation,
  access,
  access,
  atomic,
  ordered,
];

function body(random: Random, count: number): b.Slot[] {
  const slots: b.Slot[] = [];
  for (let index = 0; index < count; index++) {
    const next = pick(random, MAKERS)(random);
    if (random(5) === 0) slots.push(conditional(random, next.length));
    slots.push(...next);
  }
  return slots;
}

/** A jump over the next `distance` slots. */
function conditional(random: Random, distance: number): b.Slot {
  const [op, dst] = [pick(random, JUMPS), register(random)];
  const operand = random(2) ? register(random) : pick(random, IMMEDIATES);
  const { to: _, ...slot } = random(2) ? b.jump(op, dst, operand, "") : b.jump32(op, dst, operand, "");
  return { ...slot, off: distance };
}

function arithmetic(random: Random): b.Slot[] {
  const op = pick(random, ALU);
  const wide = random(2) === 0;
  const signed = (op === "div" || op === "mod") && random(2) === 0;
  const immediate = SHIFTS.includes(op) ? random(wide ? 64 : 32) : pick(random, IMMEDIATES);
  const operand = random(3) === 0 ? immediate : register(random);
  const slot = (wide ? b.alu64 : b.alu32)(op, register(random), operand);
  return [signed ? { ...slot, off: 1 } : slot];
}

function signExtension(random: Random): b.Slot[] {
  const wide = random(2) === 0;
  const slot = (wide ? b.alu64 : b.alu32)("mov", register(random), register(random));
  return [{ ...slot, off: pick(random, wide ? [8, 16, 32] : [8, 16]) }];
}

function byteOrder(random: Random): Instruction[] {
  const opcode = pick(random, [insn.BPF_ALU64, insn.BPF_ALU | insn.BPF_TO_LE, insn.BPF_ALU | insn.BPF_TO_BE]);
  return [{ opcode: opcode | insn.BPF_END, dst: random(10), src: 0, off: 0, imm: pick(random, [16, 32, 64]) }];
}

function negation(random: Random): Instruction[] {
  return [
    { opcode: pick(random, [insn.BPF_ALU, insn.BPF_ALU64]) | insn.BPF_NEG, dst: random(10), src: 0, off: 0, imm: 0 },
  ];
}

function access(random: Random): b.Slot[] {
  const width = pick(random, ["b", "h", "w", "dw"] as const);
  const offset = stackOffset(random, width);
  if (random(2)) return [b.store(width, b.r10, offset, random(2) ? register(random) : pick(random, IMMEDIATES))];
  if (width !== "dw" && random(2)) return [b.loadSigned(width, register(random), b.r10, offset)];
  return [b.load(width, register(random), b.r10, offset)];
}

function atomic(random: Random): b.Slot[] {
  const width = pick(random, ["w", "dw"] as const);
  const op = pick(random, [...ATOMICS, insn.BPF_XCHG, insn.BPF_CMPXCHG]);
  return [b.atomic(width, op, b.r10, stackOffset(random, width), register(random))];
}

/** A load-acquire or store-release. */
function ordered(random: Random): Instruction[] {
  const width = pick(random, ["b", "h", "w", "dw"] as const);
  const size = b.store(width, b.r10, 0, b.r0).opcode & insn.BPF_DW;
  const slot = { opcode: insn.BPF_STX | insn.BPF_ATOMIC | size, off: stackOffset(random, width) };
  if (random(2)) return [{ ...slot, dst: random(10), src: insn.BPF_REG_10, imm: insn.BPF_LOAD_ACQ }];
  return [{ ...slot, dst: insn.BPF_REG_10, src: random(10), imm: insn.BPF_STORE_REL }];
}

function initialized(random: Random, registers: readonly b.Register[]): (readonly b.Slot[])[] {
  return registers.map((register) => b.loadImm64({ register }, pick(random, WIDE_VALUES)));
}

/** r0 = a hash of r0, of registers, and of the stack slots. */
function folded(registers: readonly b.Register[]): b.Slot[] {
  const fold = (from: { register: b.Register }) => [b.alu64("mul", b.r0, 0x01000193), b.alu64("xor", b.r0, from)];
  return [
    ...registers.flatMap((register) => fold({ register })),
    ...slotsOf((offset) => b.load("dw", b.r1, b.r10, offset)).flatMap((load) => [load, ...fold(b.r1)]),
    b.mov(b.r1, b.r0),
    b.alu64("rsh", b.r1, 32),
    b.alu64("xor", b.r0, b.r1),
    b.alu32("mov", b.r0, b.r0),
  ];
}

const slotsOf = (make: (offset: number) => b.Slot): b.Slot[] =>
  Array.from({ length: STACK_SLOTS }, (_, index) => make(-8 * (index + 1)));

const stackOffset = (random: Random, width: b.Width): number =>
  -WIDTHS[width] * (1 + random((8 * STACK_SLOTS) / WIDTHS[width]));

const register = (random: Random): { register: b.Register } => ({ register: random(10) as b.Register });

const pick = <T>(random: Random, from: readonly T[]): T => from[random(from.length)]!;
