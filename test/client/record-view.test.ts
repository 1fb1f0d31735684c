// Views of records, where no reader is needed to make them.

import { expect, test } from "vitest";
import { EXPIRED, viewOf } from "../../src/client/record-view.ts";
import { struct } from "../../src/codec/composites.ts";
import { u8 } from "../../src/codec/scalars.ts";

test("a view that has expired shows no byte of a ring of 1 GiB, whose data is mapped twice", () => {
  const memory = new DataView(new ArrayBuffer(2 ** 31));
  const { object } = viewOf({ memory, start: EXPIRED }, struct({ first: u8, second: u8 }));
  expect(() => object!.first).toThrow(RangeError);
  expect(() => object!.second).toThrow(RangeError);
});
