import { afterEach, expect, test, vi } from "vitest";
import { cstring } from "./bytes.ts";
import { struct, structAt } from "./composites.ts";
import { bool, i8, i16, u8, u16, u32, u64 } from "./scalars.ts";

afterEach(() => vi.unstubAllGlobals());

const inner = struct({ low: i16, on: bool });
const record = structAt("struct record", 40, 8, [
  { name: "time", codec: u64, offset: 0 },
  { name: "", codec: inner, offset: 8 },
  { name: 'a"\n\u2028`\\', codec: u32, offset: 12 },
  { name: "constructor", codec: i8, offset: 16 },
  { name: "inner", codec: inner, offset: 18 },
  { name: "comm", codec: cstring(16), offset: 24 },
]);
const view = new DataView(new ArrayBuffer(48));
const value = {
  time: 2n ** 64n - 1n,
  low: -2,
  on: true,
  'a"\n\u2028`\\': 2 ** 32 - 1,
  constructor: -1,
  inner: { low: 5, on: false },
  comm: "cat",
};
record.encode(value, view, 8);

test("a struct that is read often is read as the first time", () => {
  for (let time = 0; time < 1000; time++) {
    const decoded = record.decode(view, 8);
    if (time > 0 && time < 990) continue;
    expect(decoded).toEqual(value);
    expect(Object.keys(decoded)).toEqual(Object.keys(value));
  }
});

test("reading goes on where a page may not make code", () => {
  vi.stubGlobal("Function", function refused() {
    throw new EvalError("Refused to evaluate a string as JavaScript");
  });
  const pair = struct({ a: u8, b: u16 });
  const bytes = new DataView(Uint8Array.of(1, 0, 2, 1).buffer);
  for (let time = 0; time < 1000; time++) expect(pair.decode(bytes, 0)).toEqual({ a: 1, b: 258 });
});

test("a struct of nothing is an empty object", () => {
  const empty = struct({});
  for (let time = 0; time < 1000; time++) expect(empty.decode(view, 0)).toEqual({});
});
