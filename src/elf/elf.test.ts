import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Elf, ElfError, readElf } from "./elf.ts";

const R_BPF_64_64 = 1;
const R_BPF_64_32 = 10;

const fixture = (name: string): Uint8Array =>
  Uint8Array.from(readFileSync(new URL(`../../test/fixtures/${name}.bpf.o`, import.meta.url)));

const open = (name: string): Elf => readElf(fixture(name), `${name}.bpf.o`);

/** The error that reading `counter` gives once `change` has been at its bytes. */
function errorAfter(change: (view: DataView, bytes: Uint8Array) => void): ElfError {
  const bytes = fixture("counter");
  change(new DataView(bytes.buffer), bytes);
  try {
    readElf(bytes, "counter.bpf.o");
  } catch (error) {
    expect(error).toBeInstanceOf(ElfError);
    expect(error).toMatchObject({ code: "ERR_ELF" });
    return error as ElfError;
  }
  throw new Error("it was read");
}

/** Byte offset of a section's header. */
function headerOf(bytes: Uint8Array, name: string): number {
  const table = Number(new DataView(bytes.buffer).getBigUint64(40, true));
  return table + readElf(bytes, "").section(name)!.index * 64;
}

describe("readElf", () => {
  test("gives sections, symbols and relocations", () => {
    const elf = open("subprograms");
    const xdp = elf.section("xdp")!;
    expect(elf.symbolsIn(xdp).map(({ name, value, size }) => [name, value, size])).toEqual([
      ["xdp", 0, 0],
      ["first", 0, 144],
      ["second", 144, xdp.size - 144],
    ]);
    expect(elf.relocationsOf(xdp).map(({ offset, type, symbol }) => [offset, type, symbol.name])).toEqual([
      [16, R_BPF_64_32, ".text"],
      [48, R_BPF_64_32, "weigh"],
      [72, R_BPF_64_32, "parity"],
      [168, R_BPF_64_32, "parity"],
    ]);
    const [map] = elf.relocationsOf(elf.section(".text")!);
    expect(map).toMatchObject({ type: R_BPF_64_64, symbol: { name: "counts", section: elf.section(".maps")!.index } });
  });

  test("a section without content in the file has a size and no bytes", () => {
    const bss = open("globals").section(".bss")!;
    expect(bss.size).toBe(24);
    expect(bss.bytes).toHaveLength(0);
  });

  test("the bytes may be a part of a larger buffer", () => {
    const bytes = fixture("counter");
    const larger = new Uint8Array(bytes.length + 100);
    larger.set(bytes, 37);
    expect(readElf(larger.subarray(37, 37 + bytes.length), "part").section("xdp")!.bytes).toEqual(
      open("counter").section("xdp")!.bytes,
    );
  });
});

describe("what is no BPF object is refused by name", () => {
  test.each<[string, (view: DataView) => void, string]>([
    ["no ELF file", (view) => view.setUint8(0, 0x7e), "is not an ELF file: it does not begin with 7f 45 4c 46"],
    ["32-bit", (view) => view.setUint8(4, 1), "ELF class is 1, expected 2 (64-bit)"],
    ["big-endian", (view) => view.setUint8(5, 2), "byte order is 2, expected 1 (little-endian)"],
    ["another machine", (view) => view.setUint16(18, 62, true), "machine is 62, expected 247 (EM_BPF)"],
    ["a program", (view) => view.setUint16(16, 2, true), "file type is 2, expected 1 (ET_REL, an object file)"],
    ["odd headers", (view) => view.setUint16(58, 40, true), "section header size is 40, expected 64 (ELF64)"],
    ["no sections", (view) => view.setUint16(60, 0, true), "has no sections"],
  ])("%s", (_, change, message) => {
    expect(errorAfter(change).message).toBe(`counter.bpf.o: ${message}`);
  });

  test("nothing at all, and half a header", () => {
    expect(() => readElf(new Uint8Array(), "empty.o")).toThrow("empty.o: is not an ELF file");
    expect(() => readElf(fixture("counter").subarray(0, 40), "short.o")).toThrow("short.o: is cut off: 40 bytes");
  });

  test("a section header table that ends outside the file", () => {
    expect(errorAfter((view) => view.setBigUint64(40, 1n << 62n, true)).message).toMatch(/is cut off: its \d+ section/);
  });

  test("a section that ends outside the file", () => {
    const error = errorAfter((view, bytes) => view.setBigUint64(headerOf(bytes, "xdp") + 32, 1n << 40n, true));
    expect(error.message).toMatch(/section \d+: its 1099511627776 bytes at \d+ end outside the file, which has \d+$/);
  });

  test("a section name outside the names", () => {
    const error = errorAfter((view, bytes) => view.setUint32(headerOf(bytes, "xdp"), 0xffff_ffff, true));
    expect(error.message).toMatch(/section \d+: its name, at 4294967295 in \d+ bytes of names, does not end there$/);
  });

  test("sections that share bytes", () => {
    const error = errorAfter((view, bytes) => {
      const [xdp, btf] = [headerOf(bytes, "xdp"), headerOf(bytes, ".BTF")];
      view.setBigUint64(xdp + 24, view.getBigUint64(btf + 24, true), true);
    });
    expect(error.message).toMatch(/sections "(xdp|\.BTF)" and "(xdp|\.BTF)" overlap at \d+$/);
  });

  test("entries of an odd size", () => {
    const error = errorAfter((view, bytes) => view.setBigUint64(headerOf(bytes, ".symtab") + 56, 16n, true));
    expect(error.message).toBe('counter.bpf.o: section ".symtab": entry size is 16, expected 24');
  });

  test("a symbol that lies outside its section", () => {
    const error = errorAfter((view, bytes) => {
      const at = Number(view.getBigUint64(headerOf(bytes, ".symtab") + 24, true));
      const index = readElf(bytes, "").symbols.findIndex((symbol) => symbol.name === "count");
      view.setBigUint64(at + index * 24 + 8, 4096n, true);
    });
    expect(error.message).toMatch(
      /section "xdp": symbol "count": its \d+ bytes at 4096 end outside the section, which has \d+$/,
    );
  });
});
