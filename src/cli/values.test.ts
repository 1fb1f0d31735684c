import { describe, expect, it } from "vitest";
import { isZero, jsonLine, text } from "./values.ts";

const value = { packets: 2n ** 64n - 1n, name: 'a "b"', bytes: Uint8Array.of(0, 255), list: [1, -2n], gone: undefined };

describe("values", () => {
  it("JSON has a u64 as a number with all its digits, and bytes as hex digits", () => {
    expect(jsonLine(value)).toBe('{"packets":18446744073709551615,"name":"a \\"b\\"","bytes":"00ff","list":[1,-2]}\n');
  });

  it("JSON stays valid for what JSON has no word for", () => {
    expect(jsonLine({ a: Number.NaN, b: Number.POSITIVE_INFINITY, c: null, d: true })).toBe(
      '{"a":null,"b":null,"c":null,"d":true}\n',
    );
  });

  it("text looks like C", () => {
    expect(text(value.list)).toBe("[1, -2]");
    expect(text({ a: { b: 1 }, c: {}, d: "x" })).toBe('{ a: { b: 1 }, c: {}, d: "x" }');
    expect(text(value.bytes)).toBe("00 ff");
  });

  it("a value of nothing but zeros is told from others", () => {
    expect([0, 0n, "", false, [], [0, [0n]], { a: 0, b: { c: 0n } }, new Uint8Array(4)].every(isZero)).toBe(true);
    expect([1, 1n, "x", true, [0, 1], { a: { b: 1n } }, Uint8Array.of(0, 1), null].some(isZero)).toBe(false);
  });
});
