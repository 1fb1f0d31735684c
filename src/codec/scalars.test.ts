import fc from "fast-check";
import { describe, expect, expectTypeOf, test } from "vitest";
import { type Codec, CodecError, type Infer } from "./codec.ts";
import { bool, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 } from "./scalars.ts";

const roundTrip = <T>(codec: Codec<T>, value: T): T => {
  const view = new DataView(new ArrayBuffer(codec.size + 1), 1);
  codec.encode(value, view, 0);
  return codec.decode(view, 0);
};

test("integers of up to 32 bits are numbers, of 64 bits bigints", () => {
  expectTypeOf<Infer<typeof u32>>().toEqualTypeOf<number>();
  expectTypeOf<Infer<typeof i64>>().toEqualTypeOf<bigint>();
  expectTypeOf<Infer<typeof bool>>().toEqualTypeOf<boolean>();
});

test("numbers are little-endian", () => {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  u32.encode(0x01020304, view, 0);
  expect([...bytes.subarray(0, 4)]).toEqual([4, 3, 2, 1]);
  u64.encode(0x0102030405060708n, view, 0);
  expect([...bytes]).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
});

describe.each([
  [u8, 0, 255],
  [u16, 0, 65535],
  [u32, 0, 4294967295],
  [i8, -128, 127],
  [i16, -32768, 32767],
  [i32, -2147483648, 2147483647],
])("$name", (codec, min, max) => {
  test("holds every number of its range and refuses the ones beside it", () => {
    fc.assert(fc.property(fc.integer({ min, max }), (value) => roundTrip(codec, value) === value));
    for (const value of [min, max]) expect(roundTrip(codec, value)).toBe(value);
    for (const value of [min - 1, max + 1]) {
      expect(() => roundTrip(codec, value)).toThrow(
        new CodecError(`${codec.name}: ${value} is not in ${min} … ${max}`),
      );
    }
  });

  test.each([1.5, Number.NaN, Number.POSITIVE_INFINITY, "1", 1n, null, undefined, true])("refuses %s", (value) => {
    expect(() => roundTrip(codec, value as number)).toThrow(/is not an integer number/);
  });
});

describe.each([
  [u64, 0n, 2n ** 64n - 1n],
  [i64, -(2n ** 63n), 2n ** 63n - 1n],
])("$name", (codec, min, max) => {
  test("holds every bigint of its range and refuses the ones beside it", () => {
    fc.assert(fc.property(fc.bigInt({ min, max }), (value) => roundTrip(codec, value) === value));
    for (const value of [min, max]) expect(roundTrip(codec, value)).toBe(value);
    for (const value of [min - 1n, max + 1n]) {
      expect(() => roundTrip(codec, value)).toThrow(`${codec.name}: ${value} is not in ${min} … ${max}`);
    }
  });

  test("refuses a number, which may have lost digits", () => {
    expect(() => roundTrip(codec, 1 as never)).toThrow(`${codec.name}: 1 is not a bigint`);
  });
});

test("floats keep their bits", () => {
  expect(roundTrip(f64, Math.PI)).toBe(Math.PI);
  expect(roundTrip(f32, 0.5)).toBe(0.5);
  expect(() => roundTrip(f64, "1" as never)).toThrow('f64: "1" is not a number');
});

test("any byte but 0 is true", () => {
  expect(bool.decode(new DataView(new Uint8Array([2]).buffer), 0)).toBe(true);
  expect(roundTrip(bool, false)).toBe(false);
  expect(() => roundTrip(bool, 1 as never)).toThrow("bool: 1 is not a boolean");
});
