import fc from "fast-check";
import { expect, test } from "vitest";
import { bytes, cstring, ipv4 } from "./bytes.ts";
import type { Codec } from "./codec.ts";

const encoded = <T>(codec: Codec<T>, value: T): number[] => {
  const target = new Uint8Array(codec.size).fill(0xaa);
  codec.encode(value, new DataView(target.buffer), 0);
  return [...target];
};
const decoded = <T>(codec: Codec<T>, source: ArrayLike<number>): T =>
  codec.decode(new DataView(Uint8Array.from(source).buffer), 0);

test("bytes takes exactly its length", () => {
  expect(encoded(bytes(3), Uint8Array.of(1, 2, 3))).toEqual([1, 2, 3]);
  expect(() => encoded(bytes(3), Uint8Array.of(1, 2))).toThrow("u8[3]: 2 bytes, not 3");
  expect(() => encoded(bytes(3), [1, 2, 3] as never)).toThrow("u8[3]: an array of 3 is not a Uint8Array");
  expect(() => bytes(-1)).toThrow("bytes(-1)");
});

test("bytes that were read are a copy, also of shared memory", () => {
  const shared = new Uint8Array(new SharedArrayBuffer(4));
  shared.set([1, 2, 3, 4]);
  const value = bytes(2).decode(new DataView(shared.buffer, 1), 0);
  shared.fill(0);
  expect(value).toEqual(Uint8Array.of(2, 3));
  expect(value.buffer).toBeInstanceOf(ArrayBuffer);
});

test("a cstring is filled up with NULs, and may fill its array without one", () => {
  expect(encoded(cstring(4), "ab")).toEqual([97, 98, 0, 0]);
  expect(encoded(cstring(4), "abcd")).toEqual([97, 98, 99, 100]);
  expect(encoded(cstring(4), "é")).toEqual([0xc3, 0xa9, 0, 0]);
});

test("a cstring that would not be read back the same is refused", () => {
  expect(() => encoded(cstring(4), "abcde")).toThrow('char[4]: "abcde" has 5 bytes, at most 4 fit');
  expect(() => encoded(cstring(4), "a\0b")).toThrow("NUL");
  expect(() => encoded(cstring(4), "\ud800")).toThrow("surrogate");
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      fc.pre(!text.includes("\0"));
      const codec = cstring(new TextEncoder().encode(text).length);
      return decoded(codec, encoded(codec, text)) === text;
    }),
  );
});

test("a cstring ends at its first NUL", () => {
  expect(decoded(cstring(4), [97, 0, 98, 0])).toBe("a");
  expect(decoded(cstring(4), [0xff, 97, 0, 0])).toBe("\ufffda");
  expect(cstring(2).decode(new DataView(new SharedArrayBuffer(2)), 0)).toBe("");
});

test("an IPv4 address is in network order", () => {
  expect(encoded(ipv4, "10.0.0.1")).toEqual([10, 0, 0, 1]);
  fc.assert(fc.property(fc.ipV4(), (address) => decoded(ipv4, encoded(ipv4, address)) === address));
});

test.each([
  "10.0.0",
  "10.0.0.1.2",
  "10.0.0.256",
  "10.0.0.01",
  "10.0.0.-1",
  " 10.0.0.1",
  "10.0.0.1\n",
  "0x0a.0.0.1",
  "",
])("%j is no IPv4 address", (text) => expect(() => encoded(ipv4, text)).toThrow(/^ipv4: /));
