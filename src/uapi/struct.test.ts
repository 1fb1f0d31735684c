import { describe, expect, expectTypeOf, test } from "vitest";
import { decode, decodeOutputs, encode, type Pointer, type Struct, sizeOf, type ValuesOf } from "./struct.ts";

const table = {
  id: [0, "u32"],
  priority: [4, "s32"],
  cookie: [8, "u64"],
  name: [16, "char[8]"],
  tag: [24, "u8[4]"],
  count: [28, "u32", "inout"],
  values: [32, "pointer", "out"],
  tcx: { ifindex: [40, "u32"] },
  netkit: { ifindex: [40, "u32"], cookie: [48, "u64"] },
} as const satisfies Struct;

const blank = () => new DataView(new ArrayBuffer(sizeOf(table)));

describe("sizeOf", () => {
  test("is the end of the last field, those of nested tables included", () => {
    expect(sizeOf(table)).toBe(56);
    expect(sizeOf({ a: [0, "u32"], b: [4, "char[16]"] })).toBe(20);
    expect(sizeOf({})).toBe(0);
  });
});

describe("encode", () => {
  test("writes each field little-endian at its offset and nothing else", () => {
    const view = blank();
    encode(table, { id: 0x01020304, priority: -2, cookie: 0x0102030405060708n, tag: Uint8Array.of(9, 8, 7, 6) }, view);
    const bytes = new Uint8Array(view.buffer);
    expect([...bytes.subarray(0, 16)]).toEqual([4, 3, 2, 1, 254, 255, 255, 255, 8, 7, 6, 5, 4, 3, 2, 1]);
    expect([...bytes.subarray(16, 28)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 9, 8, 7, 6]);
    expect(bytes.subarray(28).every((byte) => byte === 0)).toBe(true);
  });

  test("takes a u64 as a number too", () => {
    const view = blank();
    encode(table, { cookie: 2 ** 40 }, view);
    expect(view.getBigUint64(8, true)).toBe(1n << 40n);
    encode(table, { cookie: 1.5 }, view);
    expect(view.getBigUint64(8, true)).toBe(1n);
    encode(table, { cookie: Number.NaN }, view);
    expect(view.getBigUint64(8, true)).toBe(0n);
  });

  test("cuts a string to its field and clears what stood there", () => {
    const view = blank();
    new Uint8Array(view.buffer).fill(0xff);
    encode(table, { name: "ab" }, view);
    expect([...new Uint8Array(view.buffer, 16, 8)]).toEqual([97, 98, 0, 0, 0, 0, 0, 0]);
    encode(table, { name: "0123456789" }, view);
    expect(new TextDecoder().decode(new Uint8Array(view.buffer, 16, 8))).toBe("01234567");
    expect(view.getUint8(24)).toBe(0xff);
  });

  test("leaves absent and undefined fields as they are", () => {
    const view = blank();
    view.setUint32(0, 7, true);
    encode(table, { id: undefined, priority: 1 }, view);
    expect(view.getUint32(0, true)).toBe(7);
  });

  test("returns pointers with their offset and direction, for the caller to place", () => {
    const bytes = new Uint8Array(3);
    expect(encode(table, { values: bytes }, blank())).toEqual([{ offset: 32, direction: "out", bytes }]);
    const inner: Pointer = { offset: 0, direction: "out", bytes: new Uint8Array(1) };
    expect(encode(table, { values: { bytes, pointers: [inner] } }, blank())).toEqual([
      { offset: 32, direction: "out", bytes, pointers: [inner] },
    ]);
    expect(encode(table, { values: null }, blank())).toEqual([]);
  });

  test("places a nested table's fields at offsets of the whole struct", () => {
    const view = blank();
    encode(table, { netkit: { ifindex: 3, cookie: 4n } }, view);
    expect(view.getUint32(40, true)).toBe(3);
    expect(view.getBigUint64(48, true)).toBe(4n);
  });
});

describe("decode", () => {
  test("gives back what was encoded", () => {
    const view = blank();
    const bytes = new Uint8Array(8);
    const values = {
      id: 0xffffffff,
      priority: -1,
      cookie: 2n ** 64n - 1n,
      name: "flow",
      tag: Uint8Array.of(1, 2, 3, 4),
    };
    const pointers = encode(table, { ...values, count: 5, values: bytes, tcx: { ifindex: 6 } }, view);
    expect(decode(table, view, pointers)).toEqual({
      ...values,
      count: 5,
      values: { offset: 32, direction: "out", bytes },
      tcx: { ifindex: 6 },
      netkit: { ifindex: 6, cookie: 0n },
    });
  });

  test("reads a name that fills its field without a NUL", () => {
    const view = blank();
    encode(table, { name: "12345678" }, view);
    expect(decode(table, view).name).toBe("12345678");
  });

  test("reads a pointer as null where none was given", () => {
    expect(decode(table, blank()).values).toBeNull();
  });

  test("works on a view that begins inside its buffer", () => {
    const view = new DataView(new ArrayBuffer(64), 5, sizeOf(table));
    encode(table, { id: 1, name: "x", tag: Uint8Array.of(1, 1, 1, 1) }, view);
    expect(decode(table, view)).toMatchObject({ id: 1, name: "x", tag: Uint8Array.of(1, 1, 1, 1) });
  });
});

describe("decodeOutputs", () => {
  test("copies what the kernel writes, and only that", () => {
    const view = blank();
    encode(table, { id: 1, count: 2 }, view);
    const values: Record<string, unknown> = { id: 9 };
    decodeOutputs(table, view, values);
    expect(values).toEqual({ id: 9, count: 2 });
  });
});

test("values are typed by their fields", () => {
  type Values = ValuesOf<typeof table>;
  expectTypeOf<Values["id"]>().toEqualTypeOf<number>();
  expectTypeOf<Values["cookie"]>().toEqualTypeOf<number | bigint>();
  expectTypeOf<Values["name"]>().toEqualTypeOf<string>();
  expectTypeOf<Values["tag"]>().toEqualTypeOf<Uint8Array>();
  expectTypeOf<Values["netkit"]>().toEqualTypeOf<{ ifindex?: number; cookie?: number | bigint }>();
});
