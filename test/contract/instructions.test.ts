// What each instruction computes: every operation on edge operands, against its definition in RFC 9669.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import * as insn from "../../src/uapi/insn.ts";
import { contract } from "./contract.ts";
import { create, toU64, u32 } from "./maps.ts";
import { load, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, add, mov, load: ldx, store, exit, jump, label } = asm;

const edges = [
  0n,
  1n,
  7n,
  31n,
  32n,
  63n,
  64n,
  0x7fn,
  0x80n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x1122_3344_5566_7788n,
  0x8899_aabb_ccdd_eeffn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
];
const immediates = [0, 1, 7, 31, 0x7f, -1, -2, 0x7fff_ffff, -0x8000_0000, 0x1234_5678];

type Width = 32 | 64;
const unsigned = (bits: number, value: bigint): bigint => BigInt.asUintN(bits, value);
const signed = (bits: number, value: bigint): bigint => BigInt.asIntN(bits, value);
const magnitude = (value: bigint): bigint => (value < 0n ? -value : value);

interface AluOperation {
  readonly code: number;
  readonly off?: number;
  /** Of operands that are unsigned and as wide as `bits`; the result is cut to that width. */
  readonly compute: (a: bigint, b: bigint, bits: Width) => bigint;
  /** Which immediates the verifier lets through. */
  readonly immediate?: (value: number, bits: Width) => boolean;
}

const isShift = (value: number, bits: Width): boolean => value >= 0 && value < bits;
const isDivisor = (value: number): boolean => value !== 0;

const alu: Readonly<Record<string, AluOperation>> = {
  add: { code: insn.BPF_ADD, compute: (a, b) => a + b },
  sub: { code: insn.BPF_SUB, compute: (a, b) => a - b },
  mul: { code: insn.BPF_MUL, compute: (a, b) => a * b },
  div: { code: insn.BPF_DIV, compute: (a, b) => (b === 0n ? 0n : a / b), immediate: isDivisor },
  mod: { code: insn.BPF_MOD, compute: (a, b) => (b === 0n ? a : a % b), immediate: isDivisor },
  sdiv: {
    code: insn.BPF_DIV,
    off: 1,
    compute: (a, b, bits) => (b === 0n ? 0n : signed(bits, a) / signed(bits, b)),
    immediate: isDivisor,
  },
  smod: {
    code: insn.BPF_MOD,
    off: 1,
    compute: (a, b, bits) => (b === 0n ? a : signed(bits, a) % magnitude(signed(bits, b))),
    immediate: isDivisor,
  },
  or: { code: insn.BPF_OR, compute: (a, b) => a | b },
  and: { code: insn.BPF_AND, compute: (a, b) => a & b },
  xor: { code: insn.BPF_XOR, compute: (a, b) => a ^ b },
  lsh: { code: insn.BPF_LSH, compute: (a, b, bits) => a << (b % BigInt(bits)), immediate: isShift },
  rsh: { code: insn.BPF_RSH, compute: (a, b, bits) => a >> (b % BigInt(bits)), immediate: isShift },
  arsh: { code: insn.BPF_ARSH, compute: (a, b, bits) => signed(bits, a) >> (b % BigInt(bits)), immediate: isShift },
  mov: { code: insn.BPF_MOV, compute: (_, b) => b },
};

const classes = [
  [64, insn.BPF_ALU64],
  [32, insn.BPF_ALU],
] as const;

for (const [bits, group] of classes) {
  for (const [name, { code, off = 0, compute, immediate = () => true }] of Object.entries(alu)) {
    contract(`${name}${bits} computes on edge operands`, (kernel, { open }) => {
      const bench = new Operands(kernel, open);
      const expected = (a: bigint, b: bigint): bigint =>
        unsigned(bits, compute(unsigned(bits, a), unsigned(bits, b), bits));

      const byRegister = bench.program({ opcode: group | code | insn.BPF_X, dst: 1, src: 2, off, imm: 0 });
      for (const a of edges) {
        for (const b of edges) {
          expect(bench.run(byRegister, a, b), `${hex(a)} ${name}${bits} ${hex(b)}`).toBe(hex(expected(a, b)));
        }
      }
      for (const imm of immediates.filter((value) => immediate(value, bits))) {
        const byImmediate = bench.program({ opcode: group | code | insn.BPF_K, dst: 1, src: 0, off, imm });
        for (const a of edges) {
          expect(bench.run(byImmediate, a, 0n), `${hex(a)} ${name}${bits} ${imm}`).toBe(hex(expected(a, BigInt(imm))));
        }
      }
    });
  }
}

const swapped = (value: bigint, bits: number): bigint => {
  let result = 0n;
  for (let at = 0; at < bits; at += 8) result = (result << 8n) | ((value >> BigInt(at)) & 0xffn);
  return result;
};

/** Operations on one register. */
const unary: readonly (readonly [
  name: string,
  opcode: number,
  off: number,
  imm: number,
  compute: (a: bigint) => bigint,
])[] = [
  ["neg64", insn.BPF_ALU64 | insn.BPF_NEG, 0, 0, (a) => unsigned(64, -a)],
  ["neg32", insn.BPF_ALU | insn.BPF_NEG, 0, 0, (a) => unsigned(32, -a)],
  ...[16, 32, 64].flatMap((bits) => [
    [`le${bits}`, insn.BPF_ALU | insn.BPF_END | insn.BPF_TO_LE, 0, bits, (a: bigint) => unsigned(bits, a)] as const,
    [`be${bits}`, insn.BPF_ALU | insn.BPF_END | insn.BPF_TO_BE, 0, bits, (a: bigint) => swapped(a, bits)] as const,
    [`bswap${bits}`, insn.BPF_ALU64 | insn.BPF_END, 0, bits, (a: bigint) => swapped(a, bits)] as const,
  ]),
];

for (const [name, opcode, off, imm, compute] of unary) {
  contract(`${name} computes on edge operands`, (kernel, { open }) => {
    const bench = new Operands(kernel, open);
    const program = bench.program({ opcode, dst: 1, src: 0, off, imm });
    for (const a of edges) expect(bench.run(program, a, 0n), `${name} ${hex(a)}`).toBe(hex(compute(a)));
  });
}

for (const [bits, group, from] of [
  [64, insn.BPF_ALU64, 8],
  [64, insn.BPF_ALU64, 16],
  [64, insn.BPF_ALU64, 32],
  [32, insn.BPF_ALU, 8],
  [32, insn.BPF_ALU, 16],
] as const) {
  contract(`movsx of ${from} bits to ${bits} keeps the sign`, (kernel, { open }) => {
    const bench = new Operands(kernel, open);
    const program = bench.program({ opcode: group | insn.BPF_MOV | insn.BPF_X, dst: 1, src: 2, off: from, imm: 0 });
    for (const b of edges) expect(bench.run(program, 0n, b), hex(b)).toBe(hex(unsigned(bits, signed(from, b))));
  });
}

const jumps: Readonly<Record<asm.JumpOp, (a: bigint, b: bigint, bits: Width) => boolean>> = {
  jeq: (a, b) => a === b,
  jne: (a, b) => a !== b,
  jgt: (a, b) => a > b,
  jge: (a, b) => a >= b,
  jlt: (a, b) => a < b,
  jle: (a, b) => a <= b,
  jset: (a, b) => (a & b) !== 0n,
  jsgt: (a, b, bits) => signed(bits, a) > signed(bits, b),
  jsge: (a, b, bits) => signed(bits, a) >= signed(bits, b),
  jslt: (a, b, bits) => signed(bits, a) < signed(bits, b),
  jsle: (a, b, bits) => signed(bits, a) <= signed(bits, b),
};

for (const [bits, build] of [
  [64, asm.jump],
  [32, asm.jump32],
] as const) {
  for (const [name, holds] of Object.entries(jumps) as [asm.JumpOp, (typeof jumps)[asm.JumpOp]][]) {
    contract(`${name}${bits} jumps as it compares`, (kernel, { open }) => {
      const bench = new Operands(kernel, open);
      const expected = (a: bigint, b: bigint): string =>
        hex(holds(unsigned(bits, a), unsigned(bits, b), bits) ? 1n : 0n);
      const branch = (operand: typeof r2 | number): number =>
        bench.program(mov(r3, 1), build(name, r1, operand, "there"), mov(r3, 0), label("there"), mov(r1, r3));

      const byRegister = branch(r2);
      for (const a of edges) {
        for (const b of edges)
          expect(bench.run(byRegister, a, b), `${hex(a)} ${name}${bits} ${hex(b)}`).toBe(expected(a, b));
      }
      for (const imm of immediates) {
        const byImmediate = branch(imm);
        for (const a of edges)
          expect(bench.run(byImmediate, a, 0n), `${hex(a)} ${name}${bits} ${imm}`).toBe(expected(a, BigInt(imm)));
      }
    });
  }
}

contract("ja jumps by its offset, gotol by its immediate", (kernel, { open }) => {
  const bench = new Operands(kernel, open);
  const jumpBy = (opcode: number, off: number, imm: number): number =>
    bench.program(
      jump("jeq", r2, 7, "one"),
      { opcode, dst: 0, src: 0, off, imm },
      label("one"),
      mov(r1, 1),
      mov(r2, r2),
    );
  expect(bench.run(jumpBy(insn.BPF_JMP | insn.BPF_JA, 1, 0), 5n, 0n)).toBe(hex(5n));
  expect(bench.run(jumpBy(insn.BPF_JMP32 | insn.BPF_JA, 0, 1), 5n, 0n)).toBe(hex(5n));
});

contract("a 64-bit immediate load takes both slots", (kernel, { open }) => {
  const bench = new Operands(kernel, open);
  for (const a of edges) expect(bench.run(bench.program(asm.loadImm64(r1, a)), 0n, 0n)).toBe(hex(a));
});

const widths = [
  ["b", 8],
  ["h", 16],
  ["w", 32],
  ["dw", 64],
] as const;

for (const [width, bits] of widths) {
  contract(`a load of ${bits} bits is zero-extended, a store cuts`, (kernel, { open }) => {
    const bench = new Operands(kernel, open);
    const program = bench.program(
      asm.loadImm64(r3, 0x0123_4567_89ab_cdefn),
      store("dw", r10, -8, r3),
      store(width, r10, -8, r1),
      ldx("dw", r3, r10, -8),
      store("dw", r10, -16, r1),
      ldx(width, r1, r10, -16),
      asm.alu64("xor", r1, r3),
    );
    for (const a of edges) {
      const stored = ((0x0123_4567_89ab_cdefn >> BigInt(bits)) << BigInt(bits)) | unsigned(bits, a);
      expect(bench.run(program, a, 0n), hex(a)).toBe(hex(stored ^ unsigned(bits, a)));
    }
  });

  contract(`an immediate store of ${bits} bits is sign-extended and cut`, (kernel, { open }) => {
    const bench = new Operands(kernel, open);
    for (const imm of immediates) {
      const program = bench.program(store("dw", r10, -8, 0), store(width, r10, -8, imm), ldx("dw", r1, r10, -8));
      expect(bench.run(program, 0n, 0n), String(imm)).toBe(hex(unsigned(bits, BigInt(imm))));
    }
  });
}

for (const [width, bits] of widths.slice(0, 3) as (readonly ["b" | "h" | "w", number])[]) {
  contract(`a signed load of ${bits} bits is sign-extended`, (kernel, { open }) => {
    const bench = new Operands(kernel, open);
    const program = bench.program(store("dw", r10, -8, r1), asm.loadSigned(width, r1, r10, -8));
    for (const a of edges) expect(bench.run(program, a, 0n), hex(a)).toBe(hex(unsigned(64, signed(bits, a))));
  });
}

/** Atomic operations: what memory holds afterwards, of what it held and the source register. */
const atomics: readonly (readonly [name: string, op: number, compute: (memory: bigint, source: bigint) => bigint])[] = [
  ["add", insn.BPF_ADD, (memory, source) => memory + source],
  ["or", insn.BPF_OR, (memory, source) => memory | source],
  ["and", insn.BPF_AND, (memory, source) => memory & source],
  ["xor", insn.BPF_XOR, (memory, source) => memory ^ source],
];

for (const [width, bits] of widths.slice(2) as (readonly ["w" | "dw", Width])[]) {
  for (const [name, op, compute] of [
    ...atomics,
    ["xchg", insn.BPF_XCHG, (_: bigint, source: bigint) => source] as const,
  ]) {
    for (const fetch of name === "xchg" ? [insn.BPF_FETCH] : [0, insn.BPF_FETCH]) {
      contract(`atomic ${name}${fetch ? " with fetch" : ""} on ${bits} bits`, (kernel, { open }) => {
        const bench = new Operands(kernel, open);
        const operate = [store("dw", r10, -8, r1), asm.atomic(width, op | fetch, r10, -8, r2)];
        const memory = bench.program(...operate, ldx("dw", r1, r10, -8));
        const source = bench.program(...operate, mov(r1, r2));
        for (const a of edges) {
          for (const b of edges) {
            const upper = bits === 64 ? 0n : (a >> 32n) << 32n;
            const after = upper | unsigned(bits, compute(unsigned(bits, a), unsigned(bits, b)));
            expect(bench.run(memory, a, b), `memory ${hex(a)} ${name} ${hex(b)}`).toBe(hex(after));
            expect(bench.run(source, a, b), `source ${hex(a)} ${name} ${hex(b)}`).toBe(
              hex(fetch ? unsigned(bits, a) : b),
            );
          }
        }
      });
    }
  }

  contract(`atomic compare and exchange on ${bits} bits`, (kernel, { open }) => {
    const bench = new Operands(kernel, open);
    // r0 is compared with memory, which holds r1.
    const operate = [
      store("dw", r10, -8, r1),
      mov(r0, r2),
      mov(r3, 99),
      asm.atomic(width, insn.BPF_CMPXCHG, r10, -8, r3),
    ];
    const memory = bench.program(...operate, ldx("dw", r1, r10, -8));
    const returned = bench.program(...operate, mov(r1, r0));
    for (const a of edges) {
      for (const b of edges) {
        const equal = unsigned(bits, a) === unsigned(bits, b);
        const upper = bits === 64 ? 0n : (a >> 32n) << 32n;
        expect(bench.run(memory, a, b), `memory ${hex(a)} ${hex(b)}`).toBe(hex(equal ? upper | 99n : a));
        expect(bench.run(returned, a, b), `r0 ${hex(a)} ${hex(b)}`).toBe(hex(unsigned(bits, a)));
      }
    }
  });
}

for (const [width, bits] of widths) {
  const opcode =
    insn.BPF_STX | insn.BPF_ATOMIC | { b: insn.BPF_B, h: insn.BPF_H, w: insn.BPF_W, dw: insn.BPF_DW }[width];

  contract(`load-acquire and store-release of ${bits} bits`, (kernel, { open }) => {
    const bench = new Operands(kernel, open);
    const program = bench.program(
      store("dw", r10, -8, 0),
      { opcode, dst: 10, src: 1, off: -8, imm: insn.BPF_STORE_REL },
      { opcode, dst: 1, src: 10, off: -8, imm: insn.BPF_LOAD_ACQ },
    );
    for (const a of edges) expect(bench.run(program, a, 0n), hex(a)).toBe(hex(unsigned(bits, a)));
  });
}

contract("a function gets r1 to r5, returns r0, keeps r6 to r9 and the stack of its caller", (kernel, { open }) => {
  const bench = new Operands(kernel, open);
  const main = [
    ...[r6, r7, r8, r9].map((register, index) => mov(register, 6 + index)),
    store("dw", r10, -8, 1000),
    ...[r3, r4, r5].map((register, index) => mov(register, 30 + 10 * index)),
    asm.callLocal("sum"),
    ldx("dw", r1, r10, -8),
    ...[r0, r6, r7, r8, r9].map((register) => add(r1, register)),
  ];
  const sum = [
    label("sum"),
    mov(r0, r1),
    ...[r2, r3, r4, r5].map((register) => add(r0, register)),
    ...[r6, r7, r8, r9].map((register) => mov(register, 0)),
    store("dw", r10, -8, 0),
    exit(),
  ];
  expect(bench.run(bench.programWithFunctions(main, sum), 10n, 20n)).toBe(hex(150n + 1000n + 30n));
});

contract("functions nest 8 deep", (kernel, { open }) => {
  const bench = new Operands(kernel, open);
  const calling = [1, 2, 3, 4, 5, 6].flatMap((depth) => [
    label(`f${depth}`),
    add(r1, 1),
    asm.callLocal(`f${depth + 1}`),
    exit(),
  ]);
  const last = [label("f7"), add(r1, 1), mov(r0, r1), exit()];
  const program = bench.programWithFunctions([asm.callLocal("f1"), mov(r1, r0)], [...calling, ...last]);
  expect(bench.run(program, 10n, 0n)).toBe(hex(17n));
});

contract("a jump over the whole program takes one branch only", (kernel, { open }) => {
  const bench = new Operands(kernel, open);
  const padding = Array.from({ length: 1000 }, () => add(r1, 1));
  const program = bench.program(jump("jeq", r2, 0, "far"), ...padding, label("far"));
  expect([bench.run(program, 1n, 0n), bench.run(program, 1n, 1n)]).toEqual([hex(1n), hex(1001n)]);
});

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** Programs that compute on r1 = a and r2 = b, which no verifier can foresee, and leave the result in r1. */
class Operands {
  readonly #kernel: Kernel;
  readonly #open: (result: number) => number;
  readonly #map: number;
  readonly #run = { value: new Uint8Array(24), key: u32(0) };

  constructor(kernel: Kernel, open: (result: number) => number) {
    this.#kernel = kernel;
    this.#open = open;
    this.#map = open(create(kernel, { max_entries: 1, value_size: 24 }));
  }

  program(...items: readonly asm.Item[]): number {
    return this.programWithFunctions(items, []);
  }

  programWithFunctions(items: readonly asm.Item[], functions: readonly asm.Item[]): number {
    const value = asm.loadMapValue(r9, this.#map, 0);
    const read = [value, ldx("dw", r1, r9, 0), ldx("dw", r2, r9, 8)];
    const write = [value, store("dw", r9, 16, r1), mov(r0, 0), exit()];
    return this.#open(load(this.#kernel, [...read, ...items, ...write, ...functions]));
  }

  run(program: number, a: bigint, b: bigint): string {
    const { value, key } = this.#run;
    const view = new DataView(value.buffer);
    view.setBigUint64(0, a, true);
    view.setBigUint64(8, b, true);
    view.setBigUint64(16, 0xdead_beefn, true);
    this.#kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd: this.#map, key, value });
    expect(testRun(this.#kernel, program).outcome).toBe(0);
    this.#kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd: this.#map, key, value });
    return hex(toU64(value, 16));
  }
}
