// The maps of an object file: declared in `maps` as structs, in `.maps` as BTF types, or made of global data.

import type { Btf } from "../btf/btf.ts";
import type { MapSpec } from "../spec/spec.ts";
import { BPF_F_MMAPABLE, BPF_F_RDONLY_PROG } from "../uapi/flags.ts";
import { BPF_MAP_TYPE_ARRAY } from "../uapi/map-types.ts";
import { readBtfMaps } from "./btf-maps.ts";
import { type Elf, type ElfSection, quote, SHT_NOBITS, STT_SECTION } from "./elf.ts";

/** A map and where the file declares it. */
export interface DeclaredMap {
  readonly spec: MapSpec;
  /** Index of its section. */
  readonly section: number;
  /** Byte offset in its section; absent where the map is the section, as for global data. */
  readonly offset?: number;
}

/**
 * Every map of the file, in the order of the sections.
 *
 * @throws ElfError where a declaration asks for what is not supported, or contradicts itself
 */
export function readMaps(elf: Elf, btf: Btf | undefined): DeclaredMap[] {
  return elf.sections.flatMap((section) => {
    if (section.name === "maps") return readLegacyMaps(elf, section, btf);
    if (section.name === ".maps") return readBtfMaps(elf, section, btf);
    if (DATA_SECTION.test(section.name) && section.size > 0) return [readDataMap(elf, section, btf)];
    return [];
  });
}

/** `.rodata`, `.data.hot`: sections of global variables. */
const DATA_SECTION = /^\.(data|rodata|bss)(\..*)?$/s;

/** Fields of struct bpf_map_def, u32 each. Definitions of other loaders go on behind the flags. */
const LEGACY_FIELDS = ["type", "keySize", "valueSize", "maxEntries", "flags"] as const;
/** The first definitions had no flags. */
const LEGACY_MIN_SIZE = 16;

function readLegacyMaps(elf: Elf, section: ElfSection, btf: Btf | undefined): DeclaredMap[] {
  const symbols = elf.symbolsIn(section).filter((symbol) => symbol.type !== STT_SECTION);
  const size = section.size / symbols.length;
  if (symbols.length === 0) throw elf.error(section, `has ${section.size} bytes, but no map: no symbol lies in it`);
  if (!Number.isInteger(size / 4) || size < LEGACY_MIN_SIZE || section.bytes.length !== section.size) {
    const wanted = `a multiple of 4 and at least ${LEGACY_MIN_SIZE} bytes each`;
    throw elf.error(section, `has ${section.size} bytes for ${symbols.length} maps, expected ${wanted}`);
  }
  return symbols.map(({ name, value: offset }) => {
    if (offset % size !== 0) {
      throw elf.error(section, `map ${quote(name)}`, `lies at ${offset}, expected a multiple of ${size}`);
    }
    const view = new DataView(section.bytes.buffer, section.bytes.byteOffset + offset, size);
    const fields = { type: 0, keySize: 0, valueSize: 0, maxEntries: 0, flags: 0 };
    for (let at = 0; at < size; at += 4) {
      const value = view.getUint32(at, true);
      const field = LEGACY_FIELDS[at / 4];
      if (field) fields[field] = value;
      else if (value !== 0) {
        throw elf.error(
          section,
          `map ${quote(name)}`,
          `the field at byte ${at} of its definition is ${value}, expected 0`,
        );
      }
    }
    return { spec: { name, ...fields, ...annotatedTypes(btf, name, fields) }, section: section.index, offset };
  });
}

/** Key and value types from the struct `____btf_map_NAME { key; value; }` that BPF_ANNOTATE_KV_PAIR declares. */
function annotatedTypes(
  btf: Btf | undefined,
  name: string,
  { keySize, valueSize }: { keySize: number; valueSize: number },
) {
  const id = btf?.find(`____btf_map_${name}`, "struct");
  const type = id === undefined ? undefined : btf?.type(id);
  const [key, value] = type?.kind === "struct" ? type.members : [];
  const fits = btf && key && value && btf.sizeOf(key.type) === keySize && btf.sizeOf(value.type) === valueSize;
  return fits ? { btfKeyTypeId: key.type, btfValueTypeId: value.type } : {};
}

function readDataMap(elf: Elf, section: ElfSection, btf: Btf | undefined): DeclaredMap {
  if (section.size > 0xffff_ffff) {
    throw elf.error(section, `has ${section.size} bytes, more than a map's value can have (4294967295)`);
  }
  const [pointer] = elf.relocationsOf(section);
  if (pointer) {
    const to = quote(pointer.symbol.name);
    throw elf.error(
      section,
      `holds a pointer to ${to} at ${pointer.offset}; pointers in global data are not supported yet`,
    );
  }
  const readOnly = section.name.startsWith(".rodata");
  const btfValueTypeId = btf?.find(section.name, "datasec");
  const spec: MapSpec = {
    name: section.name,
    type: BPF_MAP_TYPE_ARRAY,
    keySize: 4,
    valueSize: section.size,
    maxEntries: 1,
    flags: BPF_F_MMAPABLE | (readOnly ? BPF_F_RDONLY_PROG : 0),
    ...(btfValueTypeId !== undefined && { btfValueTypeId }),
    ...(section.type !== SHT_NOBITS && { contents: section.bytes.slice() }),
    ...(readOnly && { freeze: true }),
  };
  return { spec, section: section.index };
}
