import { describe, expect, test } from "vitest";
import * as insn from "../../uapi/insn.ts";
import { decide, refine } from "./branches.ts";
import type { Scalar } from "./scalar.ts";
import * as scalars from "./scalar.ts";
import * as tnum from "./tnum.ts";

const ROUNDS = 1000;
const random = generator(1);

describe("a scalar holds every number that the machine may compute", () => {
  const operations: Record<scalars.BinaryOp, (a: bigint, b: bigint, bits: number) => bigint> = {
    add: (a, b) => a + b,
    sub: (a, b) => a - b,
    mul: (a, b) => a * b,
    and: (a, b) => a & b,
    or: (a, b) => a | b,
    xor: (a, b) => a ^ b,
    lsh: (a, b) => a << b,
    rsh: (a, b) => a >> b,
    arsh: (a, b, bits) => BigInt.asIntN(bits, a) >> b,
  };
  for (const op of Object.keys(operations) as scalars.BinaryOp[]) {
    for (const bits of [64, 32] as const) {
      test(`${op}, ${bits} bits`, () => {
        const isShift = ["lsh", "rsh", "arsh"].includes(op);
        for (let round = 0; round < ROUNDS; round++) {
          const x = anyNumber();
          const y = isShift ? anyNumber() % BigInt(bits) : anyNumber();
          const a = around(x);
          const b = isShift ? scalars.constant(y) : around(y);
          const result = BigInt.asUintN(bits, operations[op](BigInt.asUintN(bits, x), BigInt.asUintN(bits, y), bits));
          expectHolds(scalars.binary(op, bits, a, b), result);
        }
      });
    }
  }

  test("truncation, sign extension and byte swaps", () => {
    for (let round = 0; round < ROUNDS; round++) {
      const x = anyNumber();
      const a = around(x);
      for (const size of [1, 2, 4, 8]) {
        const low = BigInt.asUintN(size * 8, x);
        expectHolds(scalars.truncate(a, size), low);
        expectHolds(scalars.signExtend(a, size, 64), BigInt.asUintN(64, BigInt.asIntN(size * 8, x)));
        if (size < 4) expectHolds(scalars.signExtend(a, size, 32), BigInt.asUintN(32, BigInt.asIntN(size * 8, x)));
        const bytes = low
          .toString(16)
          .padStart(size * 2, "0")
          .match(/../g)!;
        expectHolds(scalars.swapBytes(a, size), BigInt(`0x${bytes.reverse().join("")}`));
      }
    }
  });
});

describe("a branch that is taken tells only what is so", () => {
  const conditions: Record<number, (a: bigint, b: bigint, bits: number) => boolean> = {
    [insn.BPF_JEQ]: (a, b) => a === b,
    [insn.BPF_JNE]: (a, b) => a !== b,
    [insn.BPF_JGT]: (a, b) => a > b,
    [insn.BPF_JGE]: (a, b) => a >= b,
    [insn.BPF_JLT]: (a, b) => a < b,
    [insn.BPF_JLE]: (a, b) => a <= b,
    [insn.BPF_JSET]: (a, b) => (a & b) !== 0n,
    [insn.BPF_JSGT]: (a, b, bits) => BigInt.asIntN(bits, a) > BigInt.asIntN(bits, b),
    [insn.BPF_JSGE]: (a, b, bits) => BigInt.asIntN(bits, a) >= BigInt.asIntN(bits, b),
    [insn.BPF_JSLT]: (a, b, bits) => BigInt.asIntN(bits, a) < BigInt.asIntN(bits, b),
    [insn.BPF_JSLE]: (a, b, bits) => BigInt.asIntN(bits, a) <= BigInt.asIntN(bits, b),
  };
  for (const code of Object.keys(conditions).map(Number)) {
    for (const bits of [64, 32] as const) {
      test(`condition 0x${code.toString(16)}, ${bits} bits`, () => {
        for (let round = 0; round < ROUNDS; round++) {
          const x = anyNumber();
          const y = random() % 3n === 0n ? x : anyNumber();
          const a = around(x);
          const b = random() % 2n === 0n ? scalars.constant(y) : around(y);
          const taken = conditions[code]!(BigInt.asUintN(bits, x), BigInt.asUintN(bits, y), bits);
          const certain = decide(code, bits, a, b);
          if (certain !== undefined) expect(certain).toBe(taken);
          const [first, second] = refine(code, bits, a, b, taken);
          expectHolds(first, x);
          expectHolds(second, y);
        }
      });
    }
  }
});

test("a scalar is printed as logs print it", () => {
  expect(scalars.print(scalars.constant(5n))).toBe("5");
  expect(scalars.print(scalars.constant(-1n))).toBe("-1");
  expect(scalars.print(scalars.UNKNOWN)).toBe("scalar()");
  expect(scalars.print(scalars.ofSize(1))).toBe(
    "scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))",
  );
});

function expectHolds(scalar: Scalar, number: bigint): void {
  if (scalars.contains(scalar, scalars.constant(number))) return;
  expect.fail(`0x${number.toString(16)} is not in ${scalars.print(scalar)}`);
}

/** Some knowledge that is true of `x`. */
function around(x: bigint): Scalar {
  const mask = [0n, 0xffn, random(), random() & random(), (1n << 64n) - 1n][Number(random() % 5n)]!;
  const bits = { value: x & ~mask, mask };
  return scalars.settle(bits, boundsAround(scalars.WIDE, 64, x), boundsAround(scalars.NARROW, 32, x));
}

function boundsAround({ all }: { all: scalars.Bounds }, bits: number, x: bigint): scalars.Bounds {
  const signed = BigInt.asIntN(bits, x);
  const unsigned = BigInt.asUintN(bits, x);
  const below = (value: bigint, least: bigint) => (random() % 2n ? least : value - (random() % (value - least + 1n)));
  const above = (value: bigint, most: bigint) => (random() % 2n ? most : value + (random() % (most - value + 1n)));
  return {
    smin: below(signed, all.smin),
    smax: above(signed, all.smax),
    umin: below(unsigned, all.umin),
    umax: above(unsigned, all.umax),
  };
}

/** Numbers of all magnitudes, and those at the edges. */
function anyNumber(): bigint {
  const edges = [0n, 1n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 1n << 63n, (1n << 63n) - 1n, (1n << 64n) - 1n];
  const kind = random() % 4n;
  if (kind === 0n) return edges[Number(random() % 8n)]!;
  return kind === 1n ? random() : random() >> (random() % 64n);
}

/** xorshift64: the same numbers for the same seed. */
function generator(seed: number): () => bigint {
  let state = BigInt(seed) * 0x9e3779b97f4a7c15n;
  return () => {
    state ^= BigInt.asUintN(64, state << 13n);
    state ^= state >> 7n;
    state ^= BigInt.asUintN(64, state << 17n);
    state = BigInt.asUintN(64, state);
    return state;
  };
}

test("a tnum made of a range holds its ends", () => {
  for (let round = 0; round < ROUNDS; round++) {
    const [min, max] = [anyNumber(), anyNumber()].sort((a, b) => (a < b ? -1 : 1)) as [bigint, bigint];
    const range = tnum.range(min, max);
    expect(tnum.contains(range, tnum.constant(min)) && tnum.contains(range, tnum.constant(max))).toBe(true);
  }
});
