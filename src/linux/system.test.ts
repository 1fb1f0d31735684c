import { expect, test } from "vitest";
import { parseCpuList, parseRelease } from "./system.ts";

test("a list of CPUs may have ranges and gaps", () => {
  expect(parseCpuList("0\n")).toEqual([0]);
  expect(parseCpuList("0-3\n")).toEqual([0, 1, 2, 3]);
  expect(parseCpuList("0-1,4,6-7\n")).toEqual([0, 1, 4, 6, 7]);
});

test("a release begins with the version's numbers", () => {
  expect(parseRelease("6.18.44-fc")).toEqual({ major: 6, minor: 18, patch: 44, release: "6.18.44-fc" });
  expect(parseRelease("7.0-rc1")).toMatchObject({ major: 7, minor: 0, patch: 0 });
  expect(parseRelease("5.15.0+")).toMatchObject({ major: 5, minor: 15, patch: 0 });
});
