import { expect, expectTypeOf, test } from "vitest";
import { bytes, cstring, ipv4 } from "./bytes.ts";
import type { Codec, CodecError, Infer } from "./codec.ts";
import { array, struct } from "./composites.ts";
import { u8, u16, u32, u64 } from "./scalars.ts";

const encoded = <T>(codec: Codec<T>, value: T): number[] => {
  const target = new Uint8Array(codec.size).fill(0xaa);
  codec.encode(value, new DataView(target.buffer), 0);
  return [...target];
};
const error = (action: () => unknown): CodecError => {
  try {
    action();
  } catch (thrown) {
    return thrown as CodecError;
  }
  throw new Error("nothing was thrown");
};

const flow = struct({ address: ipv4, port: u16, bytes: u64, ports: array(u16, 2), comm: cstring(3) });

test("a struct's type is that of its members", () => {
  expectTypeOf<Infer<typeof flow>>().toEqualTypeOf<{
    address: string;
    port: number;
    bytes: bigint;
    ports: number[];
    comm: string;
  }>();
});

test("a struct has the offsets, the size and the alignment that C gives it", () => {
  expect([flow.size, flow.align]).toEqual([24, 8]);
  const odd = struct({ a: u8, b: u32, c: u8 });
  expect([odd.size, odd.align]).toEqual([12, 4]);
  expect(struct({ a: odd, b: u8 }).size).toBe(16);
  expect(struct({ a: bytes(3), b: u8 }).size).toBe(4);
  expect(struct({}).size).toBe(0);
});

test("padding is written as zero", () => {
  expect(encoded(struct({ a: u8, b: u32, c: u8 }), { a: 1, b: 2, c: 3 })).toEqual([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
});

test("a struct is read as it was written", () => {
  const value = { address: "10.0.0.1", port: 80, bytes: 1n, ports: [1, 2], comm: "ab" };
  expect(flow.decode(new DataView(Uint8Array.from(encoded(flow, value)).buffer), 0)).toEqual(value);
});

test("an error says where the value stands", () => {
  const nested = struct({ flows: array(flow, 2) });
  const good = { address: "10.0.0.1", port: 80, bytes: 1n, ports: [1, 2], comm: "" };
  const thrown = error(() => encoded(nested, { flows: [good, { ...good, ports: [1, 65536] }] }));
  expect(thrown.message).toBe("flows[1].ports[1]: u16: 65536 is not in 0 … 65535");
  expect(thrown).toMatchObject({ code: "ERR_VALUE", path: "flows[1].ports[1]", name: "CodecError" });
  expect(error(() => encoded(array(array(u8, 2), 1), [[1, 256]])).message).toBe("[0][1]: u8: 256 is not in 0 … 255");
});

test("a missing member, another length and another type are refused", () => {
  expect(() => encoded(struct({ a: u8, b: u16 }), { a: 1 } as never)).toThrow("b: u16: is missing");
  expect(() => encoded(struct({ a: u8 }), 1 as never)).toThrow("struct: 1 is not an object");
  expect(() => encoded(array(u32, 2), [1])).toThrow("u32[2]: 1 elements, not 2");
  expect(() => encoded(array(u32, 2), "ab" as never)).toThrow('u32[2]: "ab" is not an array');
  expect(array(array(u32, 3), 2).name).toBe("u32[2][3]");
});

test("names that JavaScript would reorder or swallow are refused", () => {
  expect(() => struct({ a: u8, 0: u8 })).toThrow('"0"');
  expect(() => struct(Object.fromEntries([["__proto__", u8]]))).toThrow('"__proto__"');
});
