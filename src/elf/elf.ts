// ELF64 relocatable files for BPF: header, sections, symbols and relocations, as they stand in the bytes.
// ELF-64 Object File Format, version 1.5; Linux: include/uapi/linux/elf.h, elf-em.h

/** Bytes that are no BPF object file, or one that asks for what is not there. The message names file, section and symbol. */
export class ElfError extends Error {
  override readonly name = "ElfError";
  readonly code = "ERR_ELF";

  /** @param place file, section, symbol: from the outside in, then what is wrong there */
  constructor(...place: readonly string[]) {
    super(place.join(": "));
  }
}

export interface ElfSection {
  readonly index: number;
  readonly name: string;
  /** SHT_… */
  readonly type: number;
  /** SHF_… */
  readonly flags: number;
  readonly link: number;
  readonly info: number;
  /** Bytes of an entry in a section that is a table. */
  readonly entrySize: number;
  /** Bytes in memory. */
  readonly size: number;
  /** Content; empty for a section that has none in the file, `.bss`. */
  readonly bytes: Uint8Array;
}

export interface ElfSymbol {
  /** A section's own symbol has the section's name. */
  readonly name: string;
  /** STT_… */
  readonly type: number;
  /** STB_… */
  readonly binding: number;
  /** STV_… */
  readonly visibility: number;
  /** Index of the section that it lies in; SHN_UNDEF where it is extern. */
  readonly section: number;
  /** Byte offset in its section. */
  readonly value: number;
  /** Bytes. */
  readonly size: number;
}

/** An entry of a SHT_REL section: the addend stands in the bytes that it patches. */
export interface ElfRelocation {
  /** Byte offset in the section that it patches. */
  readonly offset: number;
  /** R_BPF_… */
  readonly type: number;
  readonly symbol: ElfSymbol;
}

const SHT_SYMTAB = 2;
const SHT_STRTAB = 3;
const SHT_RELA = 4;
export const SHT_NOBITS = 8;
const SHT_REL = 9;

export const SHF_EXECINSTR = 4;

export const SHN_UNDEF = 0;
const SHN_LORESERVE = 0xff00;

export const STT_NOTYPE = 0;
export const STT_FUNC = 2;
export const STT_SECTION = 3;

export const STB_LOCAL = 0;

export const STV_DEFAULT = 0;

const MAGIC = 0x464c457f; // \x7fELF
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_REL = 1;
const EM_BPF = 247;

const HEADER_SIZE = 64;
const SECTION_SIZE = 64;
const SYMBOL_SIZE = 24;
const RELOCATION_SIZE = 16;

/** Bytes of the longest name that is believed: names overlap in their table, so that a small file could hold gigabytes of them. */
const NAME_MAX = 4096;

/** A name as messages show it. */
export const quote = (name: string): string => JSON.stringify(name);

/** What an ELF file holds, with every offset, size and index in it checked. */
export class Elf {
  /** Name of the file, for messages. */
  readonly file: string;
  readonly sections: readonly ElfSection[];
  readonly symbols: readonly ElfSymbol[];
  readonly #symbolsBySection: Map<number, ElfSymbol[]>;

  constructor(file: string, sections: readonly ElfSection[], symbols: readonly ElfSymbol[]) {
    this.file = file;
    this.sections = sections;
    this.symbols = symbols;
    this.#symbolsBySection = new Map(sections.map((section) => [section.index, []]));
    for (const symbol of symbols) this.#symbolsBySection.get(symbol.section)?.push(symbol);
  }

  /**
   * The section of that name; undefined where there is none.
   *
   * @throws ElfError where there are several
   */
  section(name: string): ElfSection | undefined {
    const [section, another] = this.sections.filter((candidate) => candidate.name === name);
    if (another) throw this.error(another, `is there twice, as section ${section!.index} and ${another.index}`);
    return section;
  }

  /** The symbols that lie in a section, in the order of the file. */
  symbolsIn(section: ElfSection): readonly ElfSymbol[] {
    return this.#symbolsBySection.get(section.index) ?? [];
  }

  /**
   * What patches a section, in the order of the file.
   *
   * @throws ElfError where a relocation lies outside the section or names a symbol that is not there
   */
  relocationsOf(section: ElfSection): readonly ElfRelocation[] {
    return this.sections
      .filter((table) => (table.type === SHT_REL || table.type === SHT_RELA) && table.info === section.index)
      .flatMap((table) => this.#readRelocations(table, section));
  }

  /** An error in a section of this file. */
  error(section: { readonly name: string }, ...rest: readonly string[]): ElfError {
    return new ElfError(this.file, `section ${quote(section.name)}`, ...rest);
  }

  #readRelocations(table: ElfSection, section: ElfSection): ElfRelocation[] {
    if (table.type === SHT_RELA) throw this.error(table, "relocations with addends (SHT_RELA) are no BPF relocations");
    checkEntries(this.file, table, RELOCATION_SIZE);
    const view = viewOf(table.bytes);
    return Array.from({ length: table.size / RELOCATION_SIZE }, (_, entry) => {
      const at = entry * RELOCATION_SIZE;
      const offset = readU64(view, at);
      const type = view.getUint32(at + 8, true);
      const index = view.getUint32(at + 12, true);
      const symbol = this.symbols[index];
      if (!symbol) {
        throw this.error(table, `relocation ${entry} names symbol ${index} of ${this.symbols.length}`);
      }
      if (offset >= section.size) {
        throw this.error(table, `relocation ${entry} patches offset ${offset} of a section of ${section.size} bytes`);
      }
      return { offset, type, symbol };
    });
  }
}

/**
 * Reads an ELF file made for BPF: 64-bit, little-endian, relocatable.
 *
 * @param file its name, for messages
 * @throws ElfError where the bytes are anything else, or are cut off or contradict themselves
 */
export function readElf(input: Uint8Array, file: string): Elf {
  const bytes = new Uint8Array(input.buffer, input.byteOffset, input.byteLength); // a Buffer's slice() would not copy
  checkHeader(bytes, file);
  const sections = readSections(bytes, file);
  checkOverlap(bytes, sections, file);
  return new Elf(file, sections, readSymbols(sections, file));
}

function checkHeader(bytes: Uint8Array, file: string): void {
  const view = viewOf(bytes);
  if (bytes.length < 4 || view.getUint32(0, true) !== MAGIC) {
    throw new ElfError(file, "is not an ELF file: it does not begin with 7f 45 4c 46");
  }
  if (bytes.length < HEADER_SIZE) {
    throw new ElfError(file, `is cut off: ${bytes.length} bytes, an ELF header has ${HEADER_SIZE}`);
  }
  const expect = (what: string, got: number, wanted: number, meaning: string): void => {
    if (got !== wanted) throw new ElfError(file, `${what} is ${got}, expected ${wanted} (${meaning})`);
  };
  expect("ELF class", bytes[4]!, ELFCLASS64, "64-bit");
  expect("byte order", bytes[5]!, ELFDATA2LSB, "little-endian");
  expect("ELF version", bytes[6]!, 1, "current");
  expect("machine", view.getUint16(18, true), EM_BPF, "EM_BPF");
  expect("file type", view.getUint16(16, true), ET_REL, "ET_REL, an object file");
  expect("section header size", view.getUint16(58, true), SECTION_SIZE, "ELF64");
}

function readSections(bytes: Uint8Array, file: string): ElfSection[] {
  const view = viewOf(bytes);
  const table = readU64(view, 40);
  const count = view.getUint16(60, true);
  const namesIndex = view.getUint16(62, true);
  if (count === 0) throw new ElfError(file, "has no sections");
  if (table + count * SECTION_SIZE > bytes.length) {
    throw new ElfError(
      file,
      `is cut off: its ${count} section headers end at ${table + count * SECTION_SIZE}, the file at ${bytes.length}`,
    );
  }
  const headers = Array.from({ length: count }, (_, index) => readSection(bytes, table, index, file));
  const names = headers[namesIndex];
  if (names?.type !== SHT_STRTAB) {
    throw new ElfError(file, `section ${namesIndex} of ${count} should hold the section names, and is no string table`);
  }
  return headers.map(({ nameOffset, ...section }) => {
    const name = section.index === 0 ? "" : readString(names.bytes, nameOffset);
    if (name === undefined) {
      throw new ElfError(
        file,
        `section ${section.index}: its name, at ${nameOffset} in ${names.size} bytes of names, does not end there`,
      );
    }
    return { ...section, name };
  });
}

function readSection(bytes: Uint8Array, table: number, index: number, file: string) {
  const view = viewOf(bytes);
  const at = table + index * SECTION_SIZE;
  const type = view.getUint32(at + 4, true);
  const offset = readU64(view, at + 24);
  const size = readU64(view, at + 32);
  const inFile = type !== SHT_NOBITS && index !== 0;
  if (inFile && offset + size > bytes.length) {
    throw new ElfError(
      file,
      `section ${index}: its ${size} bytes at ${offset} end outside the file, which has ${bytes.length}`,
    );
  }
  return {
    index,
    nameOffset: view.getUint32(at, true),
    type,
    flags: view.getUint32(at + 8, true),
    link: view.getUint32(at + 40, true),
    info: view.getUint32(at + 44, true),
    entrySize: readU64(view, at + 56),
    size,
    bytes: inFile ? bytes.subarray(offset, offset + size) : new Uint8Array(),
  };
}

/** Refuses sections that share bytes: no compiler makes them, and a small file could ask for endless work. */
function checkOverlap(bytes: Uint8Array, sections: readonly ElfSection[], file: string): void {
  let previous: { section: ElfSection; end: number } | undefined;
  const byOffset = sections
    .filter((section) => section.bytes.length > 0)
    .map((section) => ({ section, start: section.bytes.byteOffset - bytes.byteOffset }))
    .sort((a, b) => a.start - b.start);
  for (const { section, start } of byOffset) {
    if (previous && start < previous.end) {
      const names = `${quote(previous.section.name)} and ${quote(section.name)}`;
      throw new ElfError(file, `sections ${names} overlap at ${start}`);
    }
    previous = { section, end: start + section.bytes.length };
  }
}

function readSymbols(sections: readonly ElfSection[], file: string): ElfSymbol[] {
  const [table, another] = sections.filter((section) => section.type === SHT_SYMTAB);
  if (!table) throw new ElfError(file, "has no symbol table");
  if (another) throw new ElfError(file, `has two symbol tables, sections ${table.index} and ${another.index}`);
  checkEntries(file, table, SYMBOL_SIZE);
  const names = sections[table.link];
  if (names?.type !== SHT_STRTAB) {
    throw new ElfError(file, `section ${quote(table.name)}: section ${table.link} should hold its names`);
  }
  const view = viewOf(table.bytes);
  return Array.from({ length: table.size / SYMBOL_SIZE }, (_, index) => {
    const at = index * SYMBOL_SIZE;
    const nameOffset = view.getUint32(at, true);
    const info = view.getUint8(at + 4);
    const section = view.getUint16(at + 6, true);
    const type = info & 15;
    const ownName = readString(names.bytes, nameOffset);
    if (ownName === undefined) {
      throw new ElfError(
        file,
        `symbol ${index}: its name, at ${nameOffset} in ${names.size} bytes of names, does not end there`,
      );
    }
    const home = section < SHN_LORESERVE ? sections[section] : undefined;
    if (!home && section < SHN_LORESERVE) {
      throw new ElfError(file, `symbol ${quote(ownName)}: lies in section ${section} of ${sections.length}`);
    }
    const symbol = {
      name: type === STT_SECTION && home ? home.name : ownName,
      type,
      binding: info >> 4,
      visibility: view.getUint8(at + 5) & 3,
      section,
      value: readU64(view, at + 8),
      size: readU64(view, at + 16),
    };
    if (home && section !== SHN_UNDEF && symbol.value + symbol.size > home.size) {
      throw new ElfError(
        file,
        `section ${quote(home.name)}`,
        `symbol ${quote(symbol.name)}: its ${symbol.size} bytes at ${symbol.value} end outside the section, which has ${home.size}`,
      );
    }
    return symbol;
  });
}

function checkEntries(file: string, table: ElfSection, size: number): void {
  const place = `section ${quote(table.name)}`;
  if (table.entrySize !== size) throw new ElfError(file, place, `entry size is ${table.entrySize}, expected ${size}`);
  if (table.bytes.length % size !== 0 || table.bytes.length !== table.size) {
    throw new ElfError(file, place, `size ${table.size} is not a whole number of entries of ${size} bytes in the file`);
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A u64 as a number: exact below 2^53, beyond which no offset or size is believed anyway. */
const readU64 = (view: DataView, at: number): number =>
  view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;

/** The string that begins at `offset`; undefined where no NUL ends it within the bytes and NAME_MAX. */
function readString(bytes: Uint8Array, offset: number): string | undefined {
  const rest = bytes.subarray(offset, offset + NAME_MAX + 1);
  const end = rest.indexOf(0);
  return end < 0 ? undefined : new TextDecoder().decode(rest.subarray(0, end));
}
