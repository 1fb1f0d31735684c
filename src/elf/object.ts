// An object file as clang writes it, read into a spec.

import { BtfError } from "../btf/btf.ts";
import type { ObjectSpec } from "../spec/spec.ts";
import { readBtfExt } from "./btf-ext.ts";
import { type Elf, quote, readElf } from "./elf.ts";
import { readMaps } from "./maps.ts";
import { readObjectBtf } from "./object-btf.ts";
import { readPrograms } from "./programs.ts";

/**
 * Reads a BPF object file: its programs with their subprograms joined to them, its maps, its license and its types.
 *
 * @param bytes an ELF64 relocatable file for little-endian BPF
 * @param name where they came from, for messages: a file name
 * @throws ElfError `ERR_ELF` where the file is malformed, or needs what is not supported; the message names section and symbol
 * @throws BtfError where its BTF is malformed
 * @example
 * const spec = readObject(await readFile("counter.bpf.o"), "counter.bpf.o");
 * Object.keys(spec.programs); // ["count"]
 */
export function readObject(bytes: Uint8Array, name: string): ObjectSpec {
  const elf = readElf(bytes, name);
  refuseUnsupported(elf);
  try {
    return readSpec(elf);
  } catch (error) {
    if (error instanceof BtfError) throw new BtfError(error.code, `${name}: ${error.message}`);
    throw error;
  }
}

function readSpec(elf: Elf): ObjectSpec {
  const btfSection = elf.section(".BTF");
  const extension = elf.section(".BTF.ext");
  const btf = btfSection && readObjectBtf(elf, btfSection);
  const types = btf && extension && { btf, ext: readBtfExt(elf, extension, btf) };
  const maps = readMaps(elf, btf);
  const programs = readPrograms(elf, maps, types);
  return {
    name: elf.file,
    license: readLicense(elf),
    kernelVersion: readVersion(elf),
    maps: Object.fromEntries(maps.map(({ spec }) => [spec.name, spec])),
    programs: Object.fromEntries(programs.map((program) => [program.name, program])),
    ...(btf && { btf }),
  };
}

/** Sections whose meaning is not supported: what would be left out silently is refused. */
const UNSUPPORTED_SECTIONS: readonly (readonly [name: RegExp, what: string])[] = [
  [/^\??\.struct_ops(\.link)?$/, "struct_ops maps"],
  [/^\.kconfig$/, "kernel configuration variables"],
  [/^\.ksyms$/, "kernel symbols"],
  [/^\.addr_space\.1$/, "arena variables"],
  [/^\.jumptables$/, "jump tables"],
];

function refuseUnsupported(elf: Elf): void {
  for (const section of elf.sections) {
    const [, what] = UNSUPPORTED_SECTIONS.find(([name]) => name.test(section.name)) ?? [];
    if (!what) continue;
    const symbols = elf.symbolsIn(section).flatMap(({ name }) => (name === section.name ? [] : [quote(name)]));
    const named = symbols.length > 0 ? ` (${symbols.join(", ")})` : "";
    throw elf.error(section, `${what} are not supported yet${named}`);
  }
}

function readLicense(elf: Elf): string {
  const section = elf.section("license");
  if (!section) return "";
  const end = section.bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? section.bytes : section.bytes.subarray(0, end));
}

function readVersion(elf: Elf): number {
  const section = elf.section("version");
  if (!section) return 0;
  if (section.bytes.length !== 4) throw elf.error(section, `has ${section.bytes.length} bytes, expected 4`);
  return new DataView(section.bytes.buffer, section.bytes.byteOffset).getUint32(0, true);
}
