import { describe, expect, test } from "vitest";
import { bytes } from "./bytes.ts";
import type { Codec } from "./codec.ts";
import { ipv4Prefix, ipv6, ipv6Prefix, lpmKey } from "./prefixes.ts";

const encoded = <T>(codec: Codec<T>, value: T): number[] => {
  const data = new Uint8Array(codec.size).fill(0xee);
  codec.encode(value, new DataView(data.buffer), 0);
  return [...data];
};
const decoded = <T>(codec: Codec<T>, data: readonly number[]): T =>
  codec.decode(new DataView(Uint8Array.from(data).buffer), 0);
const again = <T>(codec: Codec<T>, value: T): T => decoded(codec, encoded(codec, value));

describe("ipv4Prefix", () => {
  test("is the length in bits, then the address in network order", () => {
    expect(encoded(ipv4Prefix, "10.1.0.0/16")).toEqual([16, 0, 0, 0, 10, 1, 0, 0]);
    expect(decoded(ipv4Prefix, [16, 0, 0, 0, 10, 1, 0, 0])).toBe("10.1.0.0/16");
  });

  test("clears the bits behind the prefix", () => {
    expect(again(ipv4Prefix, "10.255.255.255/9")).toBe("10.128.0.0/9");
    expect(again(ipv4Prefix, "1.2.3.4/0")).toBe("0.0.0.0/0");
  });

  test("takes an address for a prefix of all bits", () => {
    expect(again(ipv4Prefix, "1.2.3.4")).toBe("1.2.3.4/32");
  });

  test.each(["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0/8", "", "10.0.0.0/8/8"])(
    "refuses %j",
    (text) => {
      expect(() => encoded(ipv4Prefix, text)).toThrow(/ipv4/);
    },
  );
});

describe("ipv6", () => {
  test.each([
    ["2001:db8::1", "2001:db8::1"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ["1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"],
    ["::ffff:10.0.0.1", "::ffff:a00:1"],
  ])("%s reads as %s", (text, canonical) => {
    expect(again(ipv6, text)).toBe(canonical);
  });

  test.each([
    "1:2:3",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "12345::",
    "g::",
    ":1",
    "1:",
    "1.2.3.4::",
    "1:2:3:4:5:6:7:8::",
    "::1.2.3",
  ])("refuses %j", (text) => {
    expect(() => encoded(ipv6, text)).toThrow(/ipv6/);
  });

  test("has prefixes", () => {
    expect(again(ipv6Prefix, "2001:db8:ffff::/33")).toBe("2001:db8:8000::/33");
    expect(encoded(ipv6Prefix, "::/128").slice(0, 4)).toEqual([128, 0, 0, 0]);
  });
});

describe("lpmKey", () => {
  test("is a length in bits and data of any kind", () => {
    const key = lpmKey(bytes(2));
    expect(encoded(key, { length: 9, data: Uint8Array.of(1, 2) })).toEqual([9, 0, 0, 0, 1, 2]);
    expect(again(key, { length: 16, data: Uint8Array.of(1, 2) })).toEqual({ length: 16, data: Uint8Array.of(1, 2) });
    expect(() => encoded(key, { length: 17, data: Uint8Array.of(1, 2) })).toThrow("17 bits is not in 0 … 16");
  });
});
