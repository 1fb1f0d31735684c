import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeInstructions, LD_IMM64 } from "../asm/instruction.ts";
import { BtfError, type BtfTypeOf } from "../btf/btf.ts";
import * as attach from "../uapi/attach-types.ts";
import { BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_F_NUMA_NODE, BPF_F_RDONLY_PROG } from "../uapi/flags.ts";
import { BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE } from "../uapi/insn.ts";
import * as mapTypes from "../uapi/map-types.ts";
import * as programTypes from "../uapi/program-types.ts";
import { ElfError, readElf, SHT_NOBITS, STT_FUNC, STT_SECTION } from "./elf.ts";
import { readObject } from "./object.ts";

const fixtures = new URL("../../test/fixtures/", import.meta.url);
const fixture = (name: string): Uint8Array => Uint8Array.from(readFileSync(new URL(`${name}.bpf.o`, fixtures)));
const read = (name: string) => readObject(fixture(name), `${name}.bpf.o`);

/** A fixture with one text in its bytes replaced by another of the same length. */
function replaced(name: string, from: string, to: string): Uint8Array {
  const bytes = fixture(name);
  const text = Buffer.from(bytes.buffer);
  expect(to).toHaveLength(from.length);
  for (let at = text.indexOf(from); at >= 0; at = text.indexOf(from, at + 1)) text.write(to, at);
  return bytes;
}

describe("programs", () => {
  test("have the type and attach type of their section", () => {
    const { programs } = read("sections");
    const rows = Object.values(programs).map((p) => [p.name, p.type, p.expectedAttachType, p.attachTo, p.autoload]);
    expect(rows).toEqual([
      ["drop_short", programTypes.BPF_PROG_TYPE_XDP, attach.BPF_XDP, undefined, true],
      ["count_ports", programTypes.BPF_PROG_TYPE_XDP, attach.BPF_XDP, undefined, true],
      ["classify", programTypes.BPF_PROG_TYPE_SCHED_CLS, 0, undefined, true],
      ["udp_only", programTypes.BPF_PROG_TYPE_SOCKET_FILTER, 0, undefined, true],
      ["drop_all", programTypes.BPF_PROG_TYPE_XDP, attach.BPF_XDP, undefined, false],
      ["on_getpid", programTypes.BPF_PROG_TYPE_TRACEPOINT, 0, "syscalls/sys_enter_getpid", true],
    ]);
  });

  test("have the bytes of the file but where a map is loaded", () => {
    const code = readElf(fixture("counter"), "").section("xdp")!.bytes;
    const { instructions, references } = read("counter").programs.count!;
    const encoded = encodeInstructions(instructions);
    for (const { instruction } of references) {
      expect(instructions[instruction]).toMatchObject({ opcode: LD_IMM64, src: BPF_PSEUDO_MAP_FD, imm: 0 });
      encoded[instruction * 8 + 1]! &= 0x0f;
    }
    expect(encoded).toEqual(code);
    expect(references.map(({ map }) => map)).toEqual(["totals", "sources", "sources", "events"]);
  });

  test("get each subprogram once, in the order of the calls, and calls that reach them", () => {
    const { first, second } = read("subprograms").programs;
    const { btf } = read("subprograms");
    const names = (program: typeof first) =>
      program!.functions.map(({ typeId }) => btf!.type((btf!.type(typeId) as BtfTypeOf<"func">) && typeId).name);
    expect(names(first)).toEqual(["first", "count", "weigh", "parity"]);
    expect(names(second)).toEqual(["second", "parity", "count"]);
    for (const { instructions, functions } of [first!, second!]) {
      const starts = functions.map(({ instruction }) => instruction);
      const calls = instructions.flatMap(({ opcode, src, imm }, slot) =>
        opcode === 0x85 && src === BPF_PSEUDO_CALL ? [slot + 1 + imm] : [],
      );
      expect(new Set(calls)).toEqual(new Set(starts.slice(1)));
    }
  });

  test("may call a static function of their own section", () => {
    const { drop_short, drop_long } = read("section-subprogram").programs;
    expect(drop_short!.functions).toHaveLength(2);
    expect(drop_long!.references).toHaveLength(drop_short!.references.length);
    expect(drop_long!.references.every(({ map }) => map === ".bss")).toBe(true);
  });

  test("may take the address of a function", () => {
    const { instructions, functions } = read("callback").programs.loop!;
    const slot = instructions.findIndex(({ opcode, src }) => opcode === LD_IMM64 && src === BPF_PSEUDO_FUNC);
    expect(slot + 1 + instructions[slot]!.imm).toBe(functions[1]!.instruction);
  });

  test("have source lines at the joined instructions", () => {
    const { lines, functions, instructions } = read("subprograms").programs.first!;
    expect(lines[0]).toMatchObject({ instruction: 0, file: "./subprograms.bpf.c" });
    const countStart = lines.find(({ instruction }) => instruction === functions[1]!.instruction)!;
    expect(countStart.text).toContain("static __noinline int count(__u32 index)");
    expect(lines.every(({ instruction }, index) => instruction > (lines[index - 1]?.instruction ?? -1))).toBe(true);
    expect(lines.at(-1)!.instruction).toBeLessThan(instructions.length);
  });

  test("without debug information have no lines", () => {
    const { programs, btf, maps } = read("legacy-maps.stripped");
    expect(btf).toBeUndefined();
    expect(programs.count_protocols).toMatchObject({ functions: [], lines: [] });
    expect(Object.keys(maps)).toEqual(["packets", "protocols"]);
  });

  test("may be functions without type and size, as old compilers write them", () => {
    const bytes = fixture("subprograms");
    const view = new DataView(bytes.buffer);
    const elf = readElf(bytes, "");
    const table = elf.section(".symtab")!.bytes.byteOffset;
    elf.symbols.forEach(({ type }, index) => {
      if (type !== STT_FUNC) return;
      view.setUint8(table + index * 24 + 4, view.getUint8(table + index * 24 + 4) & 0xf0);
      view.setBigUint64(table + index * 24 + 16, 0n, true);
    });
    expect(readObject(bytes, "old.o").programs).toEqual(read("subprograms").programs);
  });

  test("license and version are the object's", () => {
    expect(read("legacy-maps")).toMatchObject({ license: "GPL", kernelVersion: 0x060112 });
    expect(read("sections")).toMatchObject({ license: "Dual MIT/GPL", kernelVersion: 0 });
  });
});

describe("maps declared in .maps", () => {
  test("have their attributes and types", () => {
    const { maps, btf } = read("counter");
    expect(maps).toMatchObject({
      sources: { type: mapTypes.BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 16, maxEntries: 1024, flags: 0 },
      totals: { type: mapTypes.BPF_MAP_TYPE_PERCPU_ARRAY, keySize: 4, valueSize: 16, maxEntries: 1, flags: 0 },
      events: { type: mapTypes.BPF_MAP_TYPE_RINGBUF, keySize: 0, valueSize: 0, maxEntries: 65536, flags: 0 },
    });
    expect(btf!.nameOf(maps.sources!.btfKeyTypeId!)).toBe("__u32");
    expect(btf!.nameOf(maps.sources!.btfValueTypeId!)).toBe("struct traffic");
    expect(maps.events).not.toHaveProperty("btfValueTypeId");
  });

  test("may give sizes without types, flags, and pinning", () => {
    expect(read("sections").maps.ports).toEqual({
      name: "ports",
      type: mapTypes.BPF_MAP_TYPE_HASH,
      keySize: 2,
      valueSize: 8,
      maxEntries: 64,
      flags: BPF_F_NO_PREALLOC,
    });
    expect(read("tables").maps.names).toMatchObject({ pinByName: true, keySize: 4, valueSize: 16 });
  });

  test("may have sizes beside types, a memory node, and map_extra", () => {
    const { maps, btf } = read("map-members");
    expect(maps.seen).toMatchObject({
      type: mapTypes.BPF_MAP_TYPE_BLOOM_FILTER,
      keySize: 0,
      valueSize: 4,
      mapExtra: 5n,
    });
    expect(maps.endpoints).toMatchObject({ keySize: 8, valueSize: 24, flags: BPF_F_NUMA_NODE, numaNode: 0 });
    expect(btf!.nameOf(maps.endpoints!.btfKeyTypeId!)).toBe("const endpoint");
    expect(() => readObject(replaced("map-members", "key_size", "map_flag"), "m.o")).toThrow('member "map_flag"');
  });

  test("an unknown member is refused by name", () => {
    expect(() => readObject(replaced("counter", "max_entries", "min_entries"), "counter.bpf.o")).toThrow(
      new ElfError('counter.bpf.o: section ".maps": map "totals": member "min_entries": is no attribute of a map'),
    );
  });

  test("a member of another kind is refused by name", () => {
    expect(() => readObject(replaced("sections", "key_size", "pinning\0"), "sections.bpf.o")).toThrow(
      'section ".maps": map "ports": member "pinning": is 2, expected 0 (none) or 1 (by name)',
    );
    expect(() => readObject(replaced("counter", "value\0", "type\0\0"), "counter.bpf.o")).toThrow(
      'map "totals": member "type": has no value; is it declared with __uint()?',
    );
  });

  test("what inner maps are like, and what is in a map of maps at first", () => {
    const { outer } = read("inner-maps").maps;
    expect(outer).toMatchObject({ type: mapTypes.BPF_MAP_TYPE_ARRAY_OF_MAPS, keySize: 4, valueSize: 4, maxEntries: 2 });
    expect(outer!.inner).toMatchObject({
      name: "outer.inner",
      type: mapTypes.BPF_MAP_TYPE_HASH,
      keySize: 4,
      valueSize: 8,
      maxEntries: 8,
    });
    expect(outer!.values).toEqual([{ index: 0, name: "inner" }]);
  });

  test("an inner map that is its own outer map is refused", () => {
    const bytes = fixture("inner-maps");
    const section = readElf(bytes, "").section(".BTF")!.bytes;
    const { btf } = read("inner-maps");
    const [inner, outer] = ["inner", "outer"].map((name) => btf!.type(btf!.find(name, "var")!) as BtfTypeOf<"var">);
    // struct btf_type of the pointer to struct inner: no name, BTF_KIND_PTR, the type.
    const pointer = Buffer.from(Uint32Array.of(0, 2 << 24, inner!.type).buffer);
    const at = Buffer.from(section).indexOf(pointer);
    new DataView(section.buffer, section.byteOffset).setUint32(at + 8, outer!.type, true);
    expect(() => readObject(bytes, "x.o")).toThrow(
      new ElfError('x.o: section ".maps": map "outer": member "values": member "values": inner maps hold no maps'),
    );
  });

  test("a pointer in values for which the section has no bytes is refused", () => {
    const bytes = fixture("inner-maps");
    const view = new DataView(bytes.buffer);
    const elf = readElf(bytes, "");
    const header = Number(view.getBigUint64(40, true)) + 64 * elf.section(".maps")!.index;
    view.setUint32(header + 4, SHT_NOBITS, true);
    const relocation = elf.section(".rel.maps")!.bytes.byteOffset;
    const symbol = elf.symbols.findIndex(({ type }) => type === STT_SECTION);
    view.setUint32(relocation + 12, symbol, true);
    expect(() => readObject(bytes, "x.o")).toThrow(
      new ElfError(
        'x.o: section ".maps": map "outer": holds a pointer at byte 24: expected pointers to maps or programs in its values',
      ),
    );
  });

  test("need BTF", () => {
    expect(() => read("counter.stripped")).toThrow('section ".maps": declares maps, but the object has no BTF');
  });
});

describe("maps declared in maps", () => {
  const protocols = { name: "protocols", type: mapTypes.BPF_MAP_TYPE_HASH, keySize: 4, valueSize: 8, maxEntries: 256 };

  test.each([
    ["legacy-maps", BPF_F_NO_PREALLOC],
    ["legacy-maps.long", BPF_F_NO_PREALLOC],
    ["legacy-maps.stripped", BPF_F_NO_PREALLOC],
    ["legacy-maps.classic", 0],
  ])("%s", (name, flags) => {
    expect(read(name).maps.protocols).toEqual({ ...protocols, flags });
    expect(read(name).programs.count_protocols!.references.map(({ map }) => map)).toEqual([
      "packets",
      "protocols",
      "protocols",
    ]);
  });

  test("take the types of key and value from an annotation", () => {
    const { maps, btf } = read("legacy-maps.annotated");
    expect(btf!.nameOf(maps.protocols!.btfKeyTypeId!)).toBe("__u32");
    expect(btf!.nameOf(maps.protocols!.btfValueTypeId!)).toBe("__u64");
    expect(maps.packets).not.toHaveProperty("btfKeyTypeId");
  });

  test("a field behind the flags that is not zero is refused by map", () => {
    const bytes = fixture("legacy-maps.long");
    const elf = readElf(bytes, "");
    const { value } = elf.symbolsIn(elf.section("maps")!).find(({ name }) => name === "protocols")!;
    new DataView(bytes.buffer).setUint32(elf.section("maps")!.bytes.byteOffset + value + 24, 3, true);
    expect(() => readObject(bytes, "long.o")).toThrow(
      'long.o: section "maps": map "protocols": the field at byte 24 of its definition is 3, expected 0',
    );
  });
});

describe("global data", () => {
  test("is a map for each section, with its first content", () => {
    const { maps } = read("globals");
    const data = { type: mapTypes.BPF_MAP_TYPE_ARRAY, keySize: 4, maxEntries: 1 };
    const readOnly = { flags: BPF_F_MMAPABLE | BPF_F_RDONLY_PROG, freeze: true };
    expect(maps).toMatchObject({
      ".rodata": { ...data, ...readOnly, valueSize: 8 },
      ".data": { ...data, flags: BPF_F_MMAPABLE, valueSize: 12 },
      ".bss": { ...data, flags: BPF_F_MMAPABLE, valueSize: 24 },
      ".rodata.str1.1": { ...data, ...readOnly, contents: new TextEncoder().encode("match\0other\0") },
    });
    expect(maps[".bss"]).not.toHaveProperty("contents");
    expect(maps[".rodata"]!.contents).toEqual(new Uint8Array([80, 0, 0, 0, 0x78, 5, 0, 0]));
  });

  test("is typed by data sections whose variables have their places", () => {
    const { maps, btf } = read("globals");
    const variables = (section: string) => {
      const type = btf!.type(maps[section]!.btfValueTypeId!) as BtfTypeOf<"datasec">;
      return [type.size, type.variables.map(({ type, offset, size }) => [btf!.type(type).name, offset, size])];
    };
    const symbols = readElf(fixture("globals"), "").symbols;
    const placed = (name: string, size: number) => [name, symbols.find((symbol) => symbol.name === name)!.value, size];
    expect(variables(".rodata")).toEqual([8, [placed("port", 2), placed("drop_above", 4)]]);
    expect(variables(".bss")).toEqual([24, [placed("packets", 8), placed("matches", 8), placed("last_label", 8)]]);
    expect(maps[".rodata.str1.1"]).not.toHaveProperty("btfValueTypeId");
  });

  test("is referred to by section and by symbol, at its byte", () => {
    const { programs, maps } = read("globals");
    const { instructions, references } = programs.filter!;
    const symbols = readElf(fixture("globals"), "").symbols;
    const at = (name: string) => symbols.find((symbol) => symbol.name === name)!.value;
    const places = references.map(({ map, valueOffset }) => `${map}+${valueOffset}`);
    for (const place of [
      `.bss+${at("packets")}`,
      `.bss+${at("matches")}`,
      `.data+${at("seen_bytes_low")}`,
      `.rodata+${at("port")}`,
      `.rodata+${at("drop_above")}`,
      ".rodata.str1.1+0",
    ]) {
      expect(places).toContain(place);
    }
    for (const { instruction, valueOffset } of references) {
      expect(instructions[instruction]).toMatchObject({ src: BPF_PSEUDO_MAP_VALUE, imm: 0 });
      expect(instructions[instruction + 1]).toMatchObject({ opcode: 0, imm: valueOffset });
    }
    expect(Object.keys(maps)).toContain(".data");
  });
});

describe("what is not supported is refused by name", () => {
  test.each([
    ["unknown-section", 'section "xdp_count": function "count": no program type has this section name'],
    [
      "core",
      /section "raw_tp\/sched_switch": program "on_switch": .* BPF_CORE_FIELD_BYTE_OFFSET of struct task_struct/,
    ],
    ["extern", 'section ".kconfig": symbol "CONFIG_HZ": is extern'],
    ["extern.ksyms", 'section ".ksyms": symbol "init_task": is extern'],
  ])("%s", (name, message) => {
    expect(() => read(name)).toThrow(ElfError);
    expect(() => read(name)).toThrow(message);
  });
});

describe("hostile bytes", () => {
  /** Reads bytes that may be anything: what comes is a spec or a typed error. */
  function survive(bytes: Uint8Array): void {
    try {
      readObject(bytes, "hostile.o");
    } catch (error) {
      if (!(error instanceof ElfError || error instanceof BtfError)) throw error;
      if (!error.message.startsWith("hostile.o: ")) throw new Error(`without a name: ${error.message}`);
    }
  }

  test("every truncation is an ElfError", () => {
    const bytes = fixture("globals");
    for (let length = 0; length < bytes.length; length += length < 4096 ? 1 : 7) {
      expect(() => readObject(bytes.subarray(0, length), "cut.o")).toThrow(ElfError);
    }
  });

  test("random bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 256 }), survive));
  });

  const objects = readdirSync(fixtures)
    .filter((name) => name.endsWith(".bpf.o"))
    .map((name) => fixture(name.slice(0, -".bpf.o".length)));

  test("objects with some bytes changed", () => {
    const change = fc.tuple(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), fc.nat(255));
    fc.assert(
      fc.property(fc.constantFrom(...objects), fc.array(change, { minLength: 1, maxLength: 8 }), (object, changes) => {
        const bytes = object.slice();
        for (const [place, value] of changes) bytes[Math.floor(place * bytes.length)] = value;
        survive(bytes);
      }),
      { numRuns: 1000 },
    );
  });

  test("objects with a word of their headers and tables changed", () => {
    const words = fc.constantFrom(0, 1, 7, 8, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, 0xffff_ffff);
    fc.assert(
      fc.property(fc.constantFrom(...objects), fc.nat(), words, (object, place, word) => {
        const bytes = object.slice();
        const elf = readElf(object, "");
        const targets = elf.sections.filter(({ name }) => /^\.(BTF|BTF\.ext|symtab|rel(xdp|\.text|tc))$/.test(name));
        const { byteOffset, length } = targets[place % targets.length]!.bytes;
        const at = byteOffset + ((place >>> 3) % (length >>> 2)) * 4;
        new DataView(bytes.buffer).setUint32(at, word, true);
        survive(bytes);
      }),
      { numRuns: 1000 },
    );
  });
});
