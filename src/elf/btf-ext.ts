// The `.BTF.ext` section: the function, the source line and the CO-RE relocation that belong to an instruction.
// Linux: Documentation/bpf/btf.rst, section 4

import { INSTRUCTION_SIZE } from "../asm/instruction.ts";
import type { Btf } from "../btf/btf.ts";
import { headerSize, magic, version } from "../btf/kinds.ts";
import type { FunctionInfo, LineInfo } from "../spec/spec.ts";
import { type Elf, type ElfSection, quote } from "./elf.ts";

/** struct bpf_core_relo, with its string resolved. */
interface CoreRelocation {
  /** Slot in the section. */
  readonly instruction: number;
  readonly typeId: number;
  /** Indices of the members on the way to what is accessed: `0:1:2`. */
  readonly access: string;
  /** BPF_CORE_… */
  readonly kind: number;
}

/** Records of one kind: by the name of their section, then by slot in it. */
type Records<Row> = ReadonlyMap<string, ReadonlyMap<number, Row>>;

/** What `.BTF.ext` says of an object's instructions. */
export interface BtfExt {
  readonly functions: Records<FunctionInfo>;
  readonly lines: Records<LineInfo>;
  readonly coreRelocations: Records<CoreRelocation>;
}

/**
 * Reads a `.BTF.ext` section.
 *
 * @throws ElfError where it is cut off or contradicts itself
 * @throws BtfError where a string lies outside the object's BTF
 */
export function readBtfExt(elf: Elf, section: ElfSection, btf: Btf): BtfExt {
  const view = new DataView(section.bytes.buffer, section.bytes.byteOffset, section.bytes.byteLength);
  if (view.byteLength < headerSize || view.getUint16(0, true) !== magic || view.getUint8(2) !== version) {
    throw elf.error(section, `does not begin with a header of version ${version}: 9f eb 01 …`);
  }
  const headerLength = view.getUint32(4, true);
  if (headerLength < headerSize || headerLength > view.byteLength) {
    throw elf.error(section, `header has ${headerLength} bytes, expected ${headerSize} to ${view.byteLength}`);
  }
  const strings = new Map<number, string>();
  const string = (offset: number): string => {
    const known = strings.get(offset) ?? btf.string(offset);
    strings.set(offset, known);
    return known;
  };
  const read = <Row>(kind: RecordKind<Row>): Records<Row> => {
    const inHeader = kind.header + 8 <= headerLength;
    const start = inHeader ? headerLength + view.getUint32(kind.header, true) : headerLength;
    const end = inHeader ? start + view.getUint32(kind.header + 4, true) : start;
    if (end > view.byteLength) {
      throw elf.error(section, `${kind.name} ends at ${end}, outside the section of ${view.byteLength} bytes`);
    }
    return readRecords(elf, section, view, start, end, kind, string);
  };
  return { functions: read(functionRecords), lines: read(lineRecords), coreRelocations: read(coreRecords) };
}

/** One of the three tables: where the header has its place, how long a record is at least, and what is in it. */
interface RecordKind<Row> {
  readonly name: string;
  readonly header: number;
  readonly size: number;
  decode(u32: (offset: number) => number, instruction: number, string: (offset: number) => string): Row;
}

const functionRecords: RecordKind<FunctionInfo> = {
  name: "function information",
  header: 8,
  size: 8,
  decode: (u32, instruction) => ({ instruction, typeId: u32(4) }),
};

const lineRecords: RecordKind<LineInfo> = {
  name: "line information",
  header: 16,
  size: 16,
  decode: (u32, instruction, string) => ({
    instruction,
    file: string(u32(4)),
    text: string(u32(8)),
    line: u32(12) >>> 10,
    column: u32(12) & 0x3ff,
    fileNameOffset: u32(4),
    lineOffset: u32(8),
  }),
};

const coreRecords: RecordKind<CoreRelocation> = {
  name: "CO-RE relocations",
  header: 24,
  size: 16,
  decode: (u32, instruction, string) => ({ instruction, typeId: u32(4), access: string(u32(8)), kind: u32(12) }),
};

/** Reads a table: the size of its records, then for each section its name, a count, and that many records. */
function readRecords<Row>(
  elf: Elf,
  section: ElfSection,
  view: DataView,
  start: number,
  end: number,
  kind: RecordKind<Row>,
  string: (offset: number) => string,
): Records<Row> {
  const records = new Map<string, Map<number, Row>>();
  if (start === end) return records;
  const cutOff = () => elf.error(section, `${kind.name} is cut off at ${end}`);
  if (start + 4 > end) throw cutOff();
  const size = view.getUint32(start, true);
  if (size < kind.size || size % 4 !== 0) {
    throw elf.error(section, `${kind.name} has records of ${size} bytes, expected at least ${kind.size}`);
  }
  let at = start + 4;
  while (at < end) {
    if (at + 8 > end) throw cutOff();
    const name = string(view.getUint32(at, true));
    const count = view.getUint32(at + 4, true);
    at += 8;
    if (at + count * size > end) throw cutOff();
    const rows = records.get(name) ?? new Map<number, Row>();
    records.set(name, rows);
    for (const last = at + count * size; at < last; at += size) {
      const record = at;
      const offset = view.getUint32(record, true);
      if (offset % INSTRUCTION_SIZE !== 0) {
        throw elf.error(section, `${kind.name} of ${quote(name)} names offset ${offset}, where no instruction begins`);
      }
      const slot = offset / INSTRUCTION_SIZE;
      rows.set(
        slot,
        kind.decode((field) => view.getUint32(record + field, true), slot, string),
      );
    }
  }
  return records;
}
