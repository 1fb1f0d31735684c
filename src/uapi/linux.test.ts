// src/uapi against its sources: the running kernel's BTF, and the distribution's headers as far as they reach.

import { existsSync, readFileSync } from "node:fs";
import { constants, release } from "node:os";
import { describe, expect, test } from "vitest";
import { type Btf, parseBtf } from "../btf/btf.ts";
import * as attachTypes from "./attach-types.ts";
import { attrs, BPF_ATTR_SIZE } from "./attr.ts";
import * as btfKinds from "./btf-kinds.ts";
import * as commands from "./commands.ts";
import * as coreRelocations from "./core-relocations.ts";
import * as errno from "./errno.ts";
import * as flags from "./flags.ts";
import * as helperIds from "./helper-ids.ts";
import { btfInfo, funcInfo, lineInfo, linkInfo, mapInfo, progInfo } from "./info.ts";
import * as insn from "./insn.ts";
import * as linkTypes from "./link-types.ts";
import * as mapTypes from "./map-types.ts";
import * as programTypes from "./program-types.ts";
import { type Field, type Struct, sizeOf } from "./struct.ts";

type Constants = Readonly<Record<string, number>>;

const BTF = "/sys/kernel/btf/vmlinux";
const HEADERS = [
  "/usr/include/linux/bpf.h",
  "/usr/include/linux/bpf_common.h",
  "/usr/include/linux/btf.h",
  "/usr/include/linux/pkt_cls.h",
  "/usr/include/linux/filter.h",
  "/usr/include/asm-generic/errno-base.h",
  "/usr/include/asm-generic/errno.h",
];

const MODULES: readonly [subject: string, ours: Constants][] = [
  ["commands", commands],
  ["map types", mapTypes],
  ["program types", programTypes],
  ["attach types", attachTypes],
  ["link types", linkTypes],
  ["helper ids", helperIds],
  ["BTF kinds", btfKinds],
  ["CO-RE relocations", coreRelocations],
  ["flags", flags],
  ["error numbers", errno],
  ["instructions", insn],
];

/** Macros that are newer than Debian 12's headers, or that stand in headers of the kernel's own. */
const UNSEEN = [
  "BPF_F_XDP_DEV_BOUND_ONLY",
  "BPF_F_TEST_REG_INVARIANTS",
  "BPF_LOG_LEVEL1",
  "BPF_LOG_LEVEL2",
  "BPF_LOG_STATS",
  "BPF_LOG_FIXED",
  "BPF_JCOND",
  "BPF_MEMSX",
  "BPF_LOAD_ACQ",
  "BPF_STORE_REL",
  "MAX_BPF_STACK",
  "BPF_COMPLEXITY_LIMIT_INSNS",
  "MAX_CALL_FRAMES",
  "MAX_TAIL_CALL_CNT",
  "ERESTARTSYS",
  "ENOTSUPP",
];

/** What came with a later Linux than 6.18. */
const NEWER = [
  "BPF_MAP_TYPE_INSN_ARRAY",
  "BPF_MAP_TYPE_RHASH",
  "BPF_F_CPU",
  "BPF_F_ALL_CPUS",
  "BPF_F_RB_OVERWRITE",
  "BPF_RB_OVERWRITE_POS",
];

/** Modules whose constants are one enum, and how the enum's names begin and what it has besides. */
const ENUMS: readonly [name: string, ours: Constants, besides: RegExp][] = [
  ["bpf_cmd", commands, /^__MAX/],
  ["bpf_map_type", mapTypes, /^__MAX|_DEPRECATED$/],
  ["bpf_prog_type", programTypes, /^__MAX/],
  ["bpf_attach_type", attachTypes, /^__MAX/],
  ["bpf_link_type", linkTypes, /^__MAX/],
  ["bpf_func_id", helperIds, /^__BPF_FUNC_MAX/],
  ["bpf_core_relo_kind", coreRelocations, /^$/],
];

/** Commands by the member of union bpf_attr that they use: its name, or where it has none its first field's. */
const MEMBERS: Readonly<Record<string, readonly (keyof typeof attrs)[]>> = {
  map_type: [commands.BPF_MAP_CREATE],
  map_fd: [
    commands.BPF_MAP_LOOKUP_ELEM,
    commands.BPF_MAP_UPDATE_ELEM,
    commands.BPF_MAP_DELETE_ELEM,
    commands.BPF_MAP_GET_NEXT_KEY,
    commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM,
    commands.BPF_MAP_FREEZE,
  ],
  batch: [
    commands.BPF_MAP_LOOKUP_BATCH,
    commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH,
    commands.BPF_MAP_UPDATE_BATCH,
    commands.BPF_MAP_DELETE_BATCH,
  ],
  prog_type: [commands.BPF_PROG_LOAD],
  pathname: [commands.BPF_OBJ_PIN, commands.BPF_OBJ_GET],
  target_fd: [commands.BPF_PROG_ATTACH, commands.BPF_PROG_DETACH],
  test: [commands.BPF_PROG_TEST_RUN],
  start_id: [
    commands.BPF_PROG_GET_NEXT_ID,
    commands.BPF_MAP_GET_NEXT_ID,
    commands.BPF_BTF_GET_NEXT_ID,
    commands.BPF_LINK_GET_NEXT_ID,
    commands.BPF_PROG_GET_FD_BY_ID,
    commands.BPF_MAP_GET_FD_BY_ID,
    commands.BPF_BTF_GET_FD_BY_ID,
    commands.BPF_LINK_GET_FD_BY_ID,
  ],
  info: [commands.BPF_OBJ_GET_INFO_BY_FD],
  query: [commands.BPF_PROG_QUERY],
  raw_tracepoint: [commands.BPF_RAW_TRACEPOINT_OPEN],
  btf: [commands.BPF_BTF_LOAD],
  task_fd_query: [commands.BPF_TASK_FD_QUERY],
  link_create: [commands.BPF_LINK_CREATE],
  link_update: [commands.BPF_LINK_UPDATE],
  link_detach: [commands.BPF_LINK_DETACH],
  enable_stats: [commands.BPF_ENABLE_STATS],
  iter_create: [commands.BPF_ITER_CREATE],
  prog_bind_map: [commands.BPF_PROG_BIND_MAP],
  token_create: [commands.BPF_TOKEN_CREATE],
  prog_stream_read: [commands.BPF_PROG_STREAM_READ_BY_FD],
};

describe.skipIf(!existsSync(BTF))("against /sys/kernel/btf/vmlinux", () => {
  const btf = existsSync(BTF) ? parseBtf(readFileSync(BTF)) : (undefined as never);
  /** Rows that this kernel may not have, or may have more of, are demanded of the release that src/uapi speaks of. */
  const is618 = release().startsWith("6.18.");

  describe.each(ENUMS)("enum %s", (name, ours, besides) => {
    const theirs = enumerators(btf, name);

    test("numbers are the kernel's", () => {
      const known = Object.entries(ours).filter(([key]) => theirs.has(key));
      expect(known.length).toBeGreaterThan(10);
      expect(Object.fromEntries(known)).toEqual(Object.fromEntries(known.map(([key]) => [key, theirs.get(key)])));
    });

    test.runIf(is618)("names are those of Linux 6.18, all of them", () => {
      const known = Object.keys(ours).filter((key) => !NEWER.includes(key));
      expect(known.sort()).toEqual([...theirs.keys()].filter((key) => !besides.test(key)).sort());
    });
  });

  test("flags and limits that are enumerators have the kernel's numbers", () => {
    const theirs = allEnumerators(btf);
    const ours = Object.entries({ ...flags, ...btfKinds }).filter(([key]) => theirs.has(key));
    expect(ours.length).toBeGreaterThan(40);
    expect(ours.filter(([key, value]) => !theirs.get(key)?.has(value))).toEqual([]);
  });

  describe.runIf(is618)("union bpf_attr of Linux 6.18", () => {
    test("is as long as we say", () => {
      expect(btf.sizeOf(typeId(btf, "bpf_attr", "union"))).toBe(BPF_ATTR_SIZE);
    });

    test("every command has a table, and its member of the union is known", () => {
      const numbers = new Set(Object.values(commands));
      expect(Object.keys(attrs).map(Number).sort()).toEqual([...numbers].sort());
      expect(new Set(Object.values(MEMBERS).flat())).toEqual(numbers);
    });

    test.each(Object.keys(MEMBERS))("member %s: every field is in a table, at its place and width", (member) => {
      const ours = Object.assign({}, ...MEMBERS[member]!.map((command) => flatten(attrs[command])));
      expect(ours).toEqual(flattenBtf(btf, attrMember(btf, member)));
    });

    test("no member of the union is left out", () => {
      const named = membersOf(btf, typeId(btf, "bpf_attr", "union")).map(
        ({ name, type }) => name || firstField(btf, type),
      );
      expect(named.sort()).toEqual(Object.keys(MEMBERS).sort());
    });
  });

  describe.runIf(is618).each([
    ["bpf_map_info", mapInfo],
    ["bpf_prog_info", progInfo],
    ["bpf_btf_info", btfInfo],
    ["bpf_link_info", linkInfo],
    ["bpf_func_info", funcInfo],
    ["bpf_line_info", lineInfo],
  ] as const)("struct %s of Linux 6.18", (name, table) => {
    test("every field is in the table, at its place and width", () => {
      const id = btf.find(name, "struct");
      if (id === undefined) throw new Error(`no struct ${name} in ${BTF}`);
      expect(flatten(table)).toEqual(flattenBtf(btf, id));
      expect(btf.sizeOf(id) - sizeOf(table)).toBeLessThan(8);
    });
  });
});

describe("against the distribution's headers", () => {
  const headers = HEADERS.filter((path) => existsSync(path));
  const defined = scanHeaders(headers.map((path) => readFileSync(path, "utf8")).join("\n"));

  test.skipIf(headers.length === 0).each(MODULES)("%s have the header's numbers", (_, ours) => {
    const known = Object.entries(ours).filter(([key]) => defined.has(key));
    expect(known.filter(([key, value]) => defined.get(key) !== value)).toEqual([]);
  });

  test.skipIf(headers.length < HEADERS.length || !existsSync(BTF))(
    "what neither BTF nor a header has is listed",
    () => {
      const theirs = allEnumerators(parseBtf(readFileSync(BTF)));
      const unseen = MODULES.flatMap(([, ours]) => Object.keys(ours)).filter(
        (key) => !theirs.has(key) && !defined.has(key),
      );
      expect([...UNSEEN, ...NEWER]).toEqual(expect.arrayContaining(unseen));
    },
  );
});

test.runIf(process.platform === "linux")("error numbers are those that Node knows", () => {
  const theirs: Constants = constants.errno;
  const known = Object.entries(errno).filter(([key]) => key in theirs);
  expect(known.length).toBeGreaterThan(70);
  expect(known.filter(([key, value]) => theirs[key] !== value)).toEqual([]);
});

/** The enumerators of a named enum. */
function enumerators(btf: Btf, name: string): Map<string, number> {
  const type = btf?.type(typeId(btf, name, "enum"));
  return new Map(type?.kind === "enum" ? type.values.map((entry) => [entry.name, Number(entry.value)]) : []);
}

/** Every enumerator of the kernel; where several enums have a name, all its values. */
function allEnumerators(btf: Btf): Map<string, Set<number>> {
  const found = new Map<string, Set<number>>();
  for (let id = 1; id < btf.length; id++) {
    const type = btf.type(id);
    if (type.kind !== "enum" && type.kind !== "enum64") continue;
    for (const { name, value } of type.values) {
      const unsigned = type.kind === "enum" ? Number(value) >>> 0 : Number(value);
      found.set(name, (found.get(name) ?? new Set()).add(unsigned));
    }
  }
  return found;
}

function typeId(btf: Btf, name: string, kind: "union" | "enum"): number {
  const id = btf.find(name, kind);
  if (id === undefined) throw new Error(`no ${kind} ${name} in ${BTF}`);
  return id;
}

function membersOf(btf: Btf, id: number) {
  const type = btf.type(btf.resolve(id));
  return type.kind === "struct" || type.kind === "union" ? type.members : [];
}

/** The type of a member of union bpf_attr, by its name or its first field's. */
function attrMember(btf: Btf, member: string): number {
  const found = membersOf(btf, typeId(btf, "bpf_attr", "union")).find(
    ({ name, type }) => (name || firstField(btf, type)) === member,
  );
  if (found === undefined) throw new Error(`no member ${member} in union bpf_attr`);
  return found.type;
}

function firstField(btf: Btf, id: number): string {
  const [first] = membersOf(btf, id);
  return first!.name || firstField(btf, first!.type);
}

/** Fields by their path, as `offset+width`, with `s` where signed. */
type Fields = Record<string, string>;

function flatten(table: Struct, path = ""): Fields {
  return Object.assign(
    {},
    ...Object.entries(table).map(([name, field]) =>
      Array.isArray(field)
        ? { [path + name]: place(field as unknown as Field) }
        : flatten(field as Struct, `${path}${name}.`),
    ),
  );
}

function place([offset, type]: Field): string {
  const length = /\[(\d+)\]/.exec(type)?.[1];
  const width = length ?? { u32: 4, s32: 4, u64: 8, pointer: 8 }[type as "u32"];
  return `${offset}+${width}${type === "s32" ? "s" : ""}`;
}

/** A bit-field (gpl_compatible, the only one) counts as the word that it begins. */
function flattenBtf(btf: Btf, id: number, path = "", base = 0): Fields {
  const fields: Fields = {};
  for (const { name, type, bitOffset } of membersOf(btf, id)) {
    const offset = base + bitOffset / 8;
    if (membersOf(btf, type).length > 0) {
      Object.assign(fields, flattenBtf(btf, type, name ? `${path}${name}.` : path, offset));
    } else if (name) {
      const resolved = btf.type(btf.resolve(type));
      const width = btf.sizeOf(type);
      fields[path + name] = `${offset}+${width}${resolved.kind === "int" && resolved.signed && width === 4 ? "s" : ""}`;
    }
  }
  return fields;
}

/** The constants of C headers, as far as they are plain: enumerators and `#define NAME expression` of numbers, names, `|` and `<<`. */
function scanHeaders(source: string): Map<string, number> {
  const defined = new Map<string, number>();
  const define = (name: string, expression: string) => {
    const value = evaluate(expression, defined);
    if (value !== undefined) defined.set(name, value);
  };
  const plain = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\\\n/g, " ");
  for (const match of plain.matchAll(/^#define[ \t]+(\w+)[ \t]+(.+)$|\benum\s*\w*\s*\{([^}]*)\}/gm)) {
    const [, name, expression, body] = match;
    if (name !== undefined) define(name, expression!);
    let next = 0;
    for (const entry of body?.split(",") ?? []) {
      const [, key, explicit] = /^\s*(\w+)\s*(?:=\s*(.+))?$/.exec(entry.trim()) ?? [];
      if (key === undefined) continue;
      define(key, explicit ?? String(next));
      next = (defined.get(key) ?? next) + 1;
    }
  }
  return defined;
}

function evaluate(expression: string, defined: ReadonlyMap<string, number>): number | undefined {
  let result = 0;
  for (const term of expression.replace(/[()]/g, "").split("|")) {
    const [value, shift = 0] = term.split("<<").map((atom) => {
      const text = atom.trim();
      return (
        defined.get(text) ?? (/^(0x[\da-f]+|\d+)U?L*$/i.test(text) ? Number(text.replace(/U?L*$/i, "")) : Number.NaN)
      );
    });
    if (Number.isNaN(value) || Number.isNaN(shift)) return undefined;
    result += value! * 2 ** shift;
  }
  return result;
}
