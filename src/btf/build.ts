// BTF bytes from a list of types.
// Linux: Documentation/bpf/btf.rst

import type { BtfTypeOf } from "./btf.ts";
import {
  headerSize,
  INT_BOOL,
  INT_CHAR,
  INT_SIGNED,
  kindLayouts,
  linkages,
  magic,
  type RecordKind,
  version,
} from "./kinds.ts";

/** A type that BTF has a record for. */
export type BuildableType = BtfTypeOf<RecordKind>;

/**
 * Writes BTF. The first type has id 1, for 0 is void.
 * It is written as given: whether ids, sizes and offsets make sense is for who reads it.
 *
 * @example
 * const btf = parseBtf(buildBtf([{ kind: "int", name: "u32", size: 4, bits: 32, offset: 0, signed: false, char: false, bool: false }]));
 * btf.find("u32", "int"); // 1
 */
export function buildBtf(types: readonly BuildableType[]): Uint8Array {
  const strings = new Strings();
  const words = types.flatMap((type) => {
    const { info = 0, flag = false, sizeOrType, rest = [] } = recordOf(type, strings);
    return [
      strings.add(type.name),
      ((flag ? 1 << 31 : 0) | (kindLayouts[type.kind].number << 24) | info) >>> 0,
      sizeOrType,
      ...rest,
    ];
  });
  const typeBytes = words.length * 4;
  const text = strings.bytes();
  const bytes = new Uint8Array(headerSize + typeBytes + text.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, magic, true);
  view.setUint8(2, version);
  for (const [index, word] of [headerSize, 0, typeBytes, typeBytes, text.length, ...words].entries()) {
    view.setUint32(4 + index * 4, word, true);
  }
  bytes.set(text, headerSize + typeBytes);
  return bytes;
}

interface TypeRecord {
  /** vlen, or a function's linkage. */
  readonly info?: number;
  /** kind_flag. */
  readonly flag?: boolean;
  readonly sizeOrType: number;
  /** The words after struct btf_type. */
  readonly rest?: readonly number[];
}

function recordOf(type: BuildableType, strings: Strings): TypeRecord {
  switch (type.kind) {
    case "int": {
      const flags = (type.signed ? INT_SIGNED : 0) | (type.char ? INT_CHAR : 0) | (type.bool ? INT_BOOL : 0);
      return { sizeOrType: type.size, rest: [(flags << 24) | (type.offset << 16) | type.bits] };
    }
    case "array":
      return { sizeOrType: 0, rest: [type.type, type.indexType, type.length] };
    case "struct":
    case "union": {
      const flag = type.members.some(({ bitSize }) => bitSize > 0);
      const rest = type.members.flatMap((member) => [
        strings.add(member.name),
        member.type,
        ((member.bitSize << 24) | member.bitOffset) >>> 0,
      ]);
      return { info: type.members.length, flag, sizeOrType: type.size, rest };
    }
    case "enum": {
      const rest = type.values.flatMap(({ name, value }) => [strings.add(name), value]);
      return { info: type.values.length, flag: type.signed, sizeOrType: type.size, rest };
    }
    case "enum64": {
      const rest = type.values.flatMap(({ name, value }) => [
        strings.add(name),
        Number(value & 0xffff_ffffn),
        Number((value >> 32n) & 0xffff_ffffn),
      ]);
      return { info: type.values.length, flag: type.signed, sizeOrType: type.size, rest };
    }
    case "fwd":
      return { flag: type.union, sizeOrType: 0 };
    case "func":
      return { info: linkages.indexOf(type.linkage), sizeOrType: type.type };
    case "func_proto": {
      const rest = type.params.flatMap((param) => [strings.add(param.name), param.type]);
      return { info: type.params.length, sizeOrType: type.returnType, rest };
    }
    case "var":
      return { sizeOrType: type.type, rest: [linkages.indexOf(type.linkage)] };
    case "datasec": {
      const rest = type.variables.flatMap(({ type: variable, offset, size }) => [variable, offset, size]);
      return { info: type.variables.length, sizeOrType: type.size, rest };
    }
    case "float":
      return { sizeOrType: type.size };
    case "decl_tag":
      return { sizeOrType: type.type, rest: [type.componentIndex] };
    default:
      return { sizeOrType: type.type };
  }
}

/** The string section: each string once, the empty one first. */
class Strings {
  readonly #offsets = new Map<string, number>([["", 0]]);
  #length = 1;

  add(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.#length;
    this.#offsets.set(text, offset);
    this.#length += encoder.encode(text).length + 1;
    return offset;
  }

  bytes(): Uint8Array {
    return encoder.encode([...this.#offsets.keys()].map((text) => `${text}\0`).join(""));
  }
}

const encoder = new TextEncoder();
