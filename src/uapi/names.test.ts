import { expect, expectTypeOf, test } from "vitest";
import * as commands from "./commands.ts";
import * as mapTypes from "./map-types.ts";
import { type NameOf, namesByNumber, numbersByName } from "./names.ts";

test("numbersByName drops the prefix, in lower case", () => {
  const types = numbersByName(mapTypes, "BPF_MAP_TYPE_");
  expect(types.get("hash")).toBe(1);
  expect(types.get("percpu_array")).toBe(6);
  expect(types.get("ringbuf")).toBe(27);
  expect(types.size).toBe(36);
});

test("a name that is none does not compile", () => {
  expectTypeOf<"lru_hash">().toExtend<NameOf<typeof mapTypes, "BPF_MAP_TYPE_">>();
  expectTypeOf<"lruhash">().not.toExtend<NameOf<typeof mapTypes, "BPF_MAP_TYPE_">>();
});

test("namesByNumber gives the whole name, and of synonyms the longest", () => {
  const names = namesByNumber(commands, "BPF_");
  expect(names.get(commands.BPF_MAP_CREATE)).toBe("BPF_MAP_CREATE");
  expect(names.get(10)).toBe("BPF_PROG_TEST_RUN");
});

test("namesByNumber takes only names with the prefix", () => {
  expect(namesByNumber({ BPF_ANY: 0, XDP_PASS: 2 }, "XDP_")).toEqual(new Map([[2, "XDP_PASS"]]));
});
