// The guides: their examples compile and run on both kernels, and their tables have a row for each type of map.

import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { mapTypeName } from "../src/client/maps/types.ts";
import * as f from "../src/uapi/flags.ts";
import { type MapOperation, type MapRules, mapRules, type SizeRule } from "../src/uapi/map-rules.ts";
import { contract, type Kind } from "./contract/contract.ts";
import { compileErrors, type Example, examplesOf, runExample } from "./docs-examples.ts";

const GUIDE = "docs/maps.md";

/** The guide's first block opens the kernel and imports what most examples use: each stands behind it. */
const [preamble, ...examples] = examplesOf(GUIDE) as [Example, ...Example[]];
const sources = new Map([
  ...examples.map((example) => [example, `${preamble.source}${example.source}`] as const),
  ...examplesOf("README.md").map((example) => [example, example.source] as const),
]);

const guide = readFileSync(new URL(`../${GUIDE}`, import.meta.url), "utf8");
const sections = new Map(guide.split(/^##+ /m).map((section) => [section.split("\n")[0]!, section]));
const types = [...mapRules.keys()].map(mapTypeName);

it("every example compiles", () => {
  expect(compileErrors(new Map([...sources].map(([{ name }, source]) => [name, source])))).toEqual([]);
});

describe("every example runs, and its comments hold", () => {
  const kinds: readonly Kind[] = ["embedded", "linux"];
  for (const [{ name, only }, source] of sources) {
    for (const kind of kinds.filter((kind) => only === undefined || only === kind)) {
      contract.on(kind)(name, async (kernel, bench) => {
        const isPinning = source.includes(PINS);
        await runExample(isPinning ? source.replaceAll(PINS, bench.pins) : source, kernel);
      });
    }
  }
});

/** Where the guide pins; a case has a BPF file system of its own. */
const PINS = "/sys/fs/bpf";

it("each type of map has a section with an example", () => {
  const missing = types.filter((type) => !sections.get(type)?.includes("\n```ts"));
  expect(missing).toEqual([]);
});

it("every link leads to a heading or a file", () => {
  const anchors = new Set([...guide.matchAll(/^#+ (.*)$/gm)].map(([, title]) => anchorOf(title!)));
  const broken = [...guide.matchAll(/\]\(([^)]+)\)/g)].filter(([, target = ""]) =>
    target.startsWith("#")
      ? !anchors.has(target.slice(1))
      : !existsSync(new URL(target, new URL(`../${GUIDE}`, import.meta.url))),
  );
  expect(broken.map(([link]) => link)).toEqual([]);
});

it("each section tells the limits of its type", () => {
  for (const [type, rules] of mapRules) expect(sections.get(mapTypeName(type))).toContain(limitsOf(rules));
});

it("each type of map has a row in the table of what holds on the embedded kernel, in the order of their numbers", () => {
  const [, table = ""] = guide.split("## What holds on the embedded kernel");
  expect([...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, type]) => type)).toEqual(types);
});

/** The anchor of a heading, as Markdown viewers make it. */
const anchorOf = (title: string): string =>
  title
    .toLowerCase()
    .replaceAll(/[^\w -]/g, "")
    .replaceAll(" ", "-");

/** What a section says of its type's limits. */
function limitsOf({ keySize, valueSize, maxEntries, flags, requiredFlags, refused }: MapRules): string {
  const allowed = Object.entries(CREATION_FLAGS).flatMap(([name, flag]) =>
    (flags & flag) === 0 ? [] : `${name}${(requiredFlags & flag) === 0 ? "" : " (always)"}`,
  );
  const operations = OPERATIONS.filter((operation) => !refused[operation]);
  return [
    `- key ${sizes(keySize)} · value ${sizes(valueSize)} · max_entries ${sizes(maxEntries)}`,
    `- flags: ${allowed.join(", ")}`,
    `- operations: ${operations.length === 0 ? "none" : operations.join(", ")}`,
  ].join("\n");
}

function sizes({ min, max, multipleOf = 1, powerOfTwo = false }: SizeRule): string {
  const shown = (size: number): string => size.toLocaleString("en-US");
  if (min === max) return max === 0 ? "none" : shown(max);
  const [first, last] = [shown(min), shown(max)];
  if (powerOfTwo) return `${first} … ${last}, powers of two`;
  return multipleOf === 1 ? `${first} … ${last}` : `${first} … ${last}, multiples of ${multipleOf}`;
}

const CREATION_FLAGS = {
  NO_PREALLOC: f.BPF_F_NO_PREALLOC,
  NO_COMMON_LRU: f.BPF_F_NO_COMMON_LRU,
  NUMA_NODE: f.BPF_F_NUMA_NODE,
  RDONLY: f.BPF_F_RDONLY,
  WRONLY: f.BPF_F_WRONLY,
  STACK_BUILD_ID: f.BPF_F_STACK_BUILD_ID,
  ZERO_SEED: f.BPF_F_ZERO_SEED,
  RDONLY_PROG: f.BPF_F_RDONLY_PROG,
  WRONLY_PROG: f.BPF_F_WRONLY_PROG,
  CLONE: f.BPF_F_CLONE,
  MMAPABLE: f.BPF_F_MMAPABLE,
  PRESERVE_ELEMS: f.BPF_F_PRESERVE_ELEMS,
  INNER_MAP: f.BPF_F_INNER_MAP,
  LINK: f.BPF_F_LINK,
  VTYPE_BTF_OBJ_FD: f.BPF_F_VTYPE_BTF_OBJ_FD,
  SEGV_ON_FAULT: f.BPF_F_SEGV_ON_FAULT,
  NO_USER_CONV: f.BPF_F_NO_USER_CONV,
};

const OPERATIONS = [
  "lookup",
  "update",
  "delete",
  "nextKey",
  "take",
  "lookupBatch",
  "takeBatch",
  "updateBatch",
  "deleteBatch",
  "mmap",
] as const satisfies readonly MapOperation[];
