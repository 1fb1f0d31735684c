import { expect, test } from "vitest";
import { format } from "./format.ts";

const strings = { at: (address: bigint) => `string at ${address}` };
const minusOne = 2n ** 64n - 1n;

test.each([
  ["packet of %d bytes", [60n], "packet of 60 bytes"],
  [
    "%d %u %x %ld %lu",
    [minusOne, minusOne, minusOne, minusOne, minusOne],
    "-1 4294967295 ffffffff -1 18446744073709551615",
  ],
  ["%llx|%X", [minusOne, 171n], "ffffffffffffffff|AB"],
  ["%5d|%-5d|%05d|%05d", [42n, 42n, 42n, -42n], "   42|42   |00042|-0042"],
  ["%s and 100%%", [16n], "string at 16 and 100%"],
  ["%c", [65n], "A"],
  ["%px", [4096n], "0000000000001000"],
])("%s", (text, args, expected) => {
  expect(format(text, args, strings)).toBe(expected);
});

test.each(["%d %d", "%f", "%", "ü", "%hd"])("a format that Linux calls invalid: %s", (text) => {
  expect(format(text, [1n], strings)).toBeUndefined();
});
