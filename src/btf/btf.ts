// BTF, the types of a program or a kernel: an index of its types made at opening, and each type decoded when it is asked for.
// Linux: Documentation/bpf/btf.rst

import { bytesAt } from "../codec/codec.ts";
import {
  headerSize,
  INT_BOOL,
  INT_CHAR,
  INT_SIGNED,
  kindLayouts,
  kindNames,
  type Linkage,
  linkages,
  magic,
  type RecordKind,
  typeSize,
  version,
} from "./kinds.ts";

/** A type. `name` is empty where it has none; `type`, `indexType` and `returnType` are type ids; sizes are in bytes. */
export type BtfType = { readonly name: string } & (
  | { readonly kind: "void" }
  | {
      readonly kind: "int";
      readonly size: number;
      /** Bits that hold the value; fewer than the size has in old bit-fields. */
      readonly bits: number;
      /** First of those bits. */
      readonly offset: number;
      readonly signed: boolean;
      readonly char: boolean;
      readonly bool: boolean;
    }
  | { readonly kind: "ptr" | "typedef" | "volatile" | "const" | "restrict" | "type_tag"; readonly type: number }
  | { readonly kind: "array"; readonly type: number; readonly indexType: number; readonly length: number }
  | { readonly kind: "struct" | "union"; readonly size: number; readonly members: readonly BtfMember[] }
  | { readonly kind: "enum"; readonly size: number; readonly signed: boolean; readonly values: readonly Enumerator[] }
  | {
      readonly kind: "enum64";
      readonly size: number;
      readonly signed: boolean;
      readonly values: readonly Enumerator<bigint>[];
    }
  | { readonly kind: "fwd"; readonly union: boolean }
  | { readonly kind: "func"; readonly type: number; readonly linkage: Linkage }
  | {
      readonly kind: "func_proto";
      readonly returnType: number;
      /** The last is of type 0 and without a name where the function takes more: `…`. */
      readonly params: readonly { readonly name: string; readonly type: number }[];
    }
  | { readonly kind: "var"; readonly type: number; readonly linkage: Linkage }
  | {
      readonly kind: "datasec";
      readonly size: number;
      readonly variables: readonly { readonly type: number; readonly offset: number; readonly size: number }[];
    }
  | { readonly kind: "float"; readonly size: number }
  /** `componentIndex` is a member or a parameter, -1 where the tag is of the type itself. */
  | { readonly kind: "decl_tag"; readonly type: number; readonly componentIndex: number }
);

/** The type of one kind. */
export type BtfTypeOf<Kind extends BtfType["kind"]> = BtfType & { readonly kind: Kind };

export interface BtfMember {
  readonly name: string;
  readonly type: number;
  readonly bitOffset: number;
  /** 0 where the member is no bit-field. */
  readonly bitSize: number;
}

interface Enumerator<T = number> {
  readonly name: string;
  readonly value: T;
}

/**
 * - `ERR_BTF_HEADER`: it does not begin as BTF does, or its sections do not lie in it
 * - `ERR_BTF_BYTE_ORDER`: big-endian
 * - `ERR_BTF_TYPE`: a type is cut off, of unknown kind, or contradicts itself
 * - `ERR_BTF_ID`: no type has that id
 * - `ERR_BTF_STRING`: a name lies outside of the strings
 * - `ERR_BTF_DEPTH`: types are nested too deeply, or in a circle
 * - `ERR_BTF_SIZE`: a type has no size, or too large a one
 * - `ERR_BTF_VALUE`: a type has no values that can be read
 */
export type BtfErrorCode =
  | "ERR_BTF_HEADER"
  | "ERR_BTF_BYTE_ORDER"
  | "ERR_BTF_TYPE"
  | "ERR_BTF_ID"
  | "ERR_BTF_STRING"
  | "ERR_BTF_DEPTH"
  | "ERR_BTF_SIZE"
  | "ERR_BTF_VALUE";

/** BTF that is malformed, or that does not have what was asked of it. */
export class BtfError extends Error {
  override readonly name = "BtfError";
  readonly code: BtfErrorCode;

  constructor(code: BtfErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** How deep types nest at most; it is Linux's limit. */
export const maxDepth = 32;

/**
 * Opens BTF. Its types are found, but decoded and checked only when they are asked for.
 *
 * @throws BtfError `ERR_BTF_HEADER`, `ERR_BTF_BYTE_ORDER`; `ERR_BTF_TYPE` where a type is cut off or of unknown kind
 */
export function parseBtf(bytes: Uint8Array): Btf {
  const { types, strings } = readHeader(bytes);
  return new Btf(bytes, strings, indexTypes(bytes, types));
}

/** Types by id: those of the bytes, from 1 on; 0 is void. Made by {@link parseBtf}. */
export class Btf {
  readonly bytes: Uint8Array;
  /** Number of types, void included: ids are 0 … length - 1. */
  readonly length: number;
  readonly #view: DataView;
  readonly #strings: Uint8Array;
  readonly #offsets: Uint32Array;
  readonly #decoded = new Map<number, BtfType>([[0, { kind: "void", name: "" }]]);

  /** @param offsets where each type stands in `bytes`, by id; that of void is not used */
  constructor(bytes: Uint8Array, strings: Uint8Array, offsets: Uint32Array) {
    this.bytes = bytes;
    this.length = offsets.length;
    this.#view = viewOf(bytes);
    this.#strings = strings;
    this.#offsets = offsets;
  }

  /**
   * The type of an id.
   *
   * @throws BtfError `ERR_BTF_ID`; `ERR_BTF_TYPE`, `ERR_BTF_ID`, `ERR_BTF_STRING` where the type's record is wrong
   */
  type(id: number): BtfType {
    const decoded = this.#decoded.get(id);
    if (decoded) return decoded;
    const offset = this.offsetOf(id);
    const info = this.#view.getUint32(offset + 4, true);
    const kind = kindByNumber[(info >>> 24) & 0x1f] as RecordKind;
    const where = `BTF type ${id} (${kind}, at byte ${offset})`;
    const name = this.#named(where, this.#view.getUint32(offset, true));
    const type = {
      kind,
      name,
      ...readers[kind]({
        where,
        vlen: info & 0xffff,
        flag: info >>> 31 === 1,
        sizeOrType: this.#view.getUint32(offset + 8, true),
        u32: (at) => this.#view.getUint32(offset + typeSize + at, true),
        name: (nameOffset) => this.#named(where, nameOffset),
        reference: (type) => this.#reference(where, type),
      }),
    } as BtfType;
    this.#decoded.set(id, type);
    return type;
  }

  /**
   * The byte in `bytes` at which a type's record, struct btf_type, begins.
   *
   * @throws BtfError `ERR_BTF_ID`; void has no record
   */
  offsetOf(id: number): number {
    const offset = id === 0 ? undefined : this.#offsets[id];
    if (offset === undefined) {
      throw new BtfError("ERR_BTF_ID", `BTF: no type has id ${id}; the last is ${this.length - 1}`);
    }
    return offset;
  }

  /**
   * The string at an offset of the string section.
   *
   * @throws BtfError `ERR_BTF_STRING`
   */
  string(offset: number): string {
    return this.#named("BTF", offset);
  }

  /** The id of the first type of that name and kind. */
  find(name: string, kind: RecordKind): number | undefined {
    const text = encoder.encode(`${name}\0`);
    const number = kindLayouts[kind].number;
    for (let id = 1; id < this.length; id++) {
      const offset = this.#offsets[id] as number;
      if ((this.#view.getUint8(offset + 7) & 0x1f) !== number) continue;
      const start = this.#view.getUint32(offset, true);
      let matching = 0;
      while (matching < text.length && this.#strings[start + matching] === text[matching]) matching++;
      if (matching === text.length) return id;
    }
    return undefined;
  }

  /**
   * The id of the type behind typedefs, const, volatile, restrict and type tags.
   *
   * @throws BtfError `ERR_BTF_DEPTH`, and as {@link type}
   */
  resolve(id: number): number {
    let current = id;
    for (let depth = 0; depth <= maxDepth; depth++) {
      const type = this.type(current);
      if (!isAlias(type)) return current;
      current = type.type;
    }
    throw new BtfError(
      "ERR_BTF_DEPTH",
      `BTF type ${id}: more than ${maxDepth} typedefs and modifiers, or a circle of them`,
    );
  }

  /**
   * The size of a type's values, in bytes. That of a variable is its type's.
   *
   * @throws BtfError `ERR_BTF_SIZE` on void, functions, forward declarations, tags, and arrays of 4 GiB and more;
   *   `ERR_BTF_DEPTH`, and as {@link type}
   */
  sizeOf(id: number): number {
    let count = 1;
    let current = id;
    for (let depth = 0; depth <= maxDepth; depth++) {
      const type = this.type(this.resolve(current));
      if (type.kind === "array") count *= type.length;
      else if (type.kind !== "var") return this.#sized(id, type, count);
      current = type.type;
    }
    throw new BtfError(
      "ERR_BTF_DEPTH",
      `BTF type ${id}: an array of more than ${maxDepth} dimensions, or a circle of them`,
    );
  }

  /**
   * A type as C writes it, nearly: `struct flow`, `u32`, `char[16]`, `struct flow *`.
   * A struct without a name is `struct {…}`; parameters are left out.
   *
   * @throws BtfError as {@link type}
   */
  nameOf(id: number): string {
    let declarator = "";
    let qualifiers = "";
    let current = id;
    for (let depth = 0; depth <= maxDepth; depth++) {
      const type = this.type(current);
      switch (type.kind) {
        case "const":
        case "volatile":
        case "restrict":
          qualifiers = `${type.kind} ${qualifiers}`;
          break;
        case "type_tag":
          break;
        case "ptr": {
          declarator = `*${qualifiers}${declarator}`;
          qualifiers = "";
          const target = this.type(type.type).kind;
          if (target === "array" || target === "func_proto") declarator = `(${declarator})`;
          break;
        }
        case "array":
          declarator = `${declarator}[${type.length}]`;
          break;
        case "func_proto":
          declarator = `${declarator}(…)`;
          break;
        default: {
          const separator = declarator === "" || declarator.startsWith("[") ? "" : " ";
          return `${qualifiers}${leafName(type)}${separator}${declarator.trimEnd()}`;
        }
      }
      current = type.kind === "func_proto" ? type.returnType : type.type;
    }
    return `… ${declarator}`;
  }

  #sized(id: number, type: BtfType, count: number): number {
    const size = type.kind === "ptr" ? 8 : "size" in type ? type.size : undefined;
    if (size === undefined) {
      throw new BtfError("ERR_BTF_SIZE", `BTF type ${id} (${type.kind}): its values have no size`);
    }
    if (!(count * size <= 0xffff_ffff)) {
      throw new BtfError("ERR_BTF_SIZE", `BTF type ${id}: ${count} elements of ${size} bytes are 4 GiB or more`);
    }
    return count * size;
  }

  #named(where: string, offset: number): string {
    if (!(offset >= 0 && offset < this.#strings.length)) {
      throw new BtfError(
        "ERR_BTF_STRING",
        `${where}: string offset ${offset} is outside of the ${this.#strings.length} bytes of strings`,
      );
    }
    return decoder.decode(this.#strings.slice(offset, this.#strings.indexOf(0, offset)));
  }

  #reference(where: string, id: number): number {
    if (id < this.length) return id;
    throw new BtfError("ERR_BTF_ID", `${where}: refers to type ${id}, the last is ${this.length - 1}`);
  }
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const kindByNumber: readonly (RecordKind | undefined)[] = kindNames.reduce<RecordKind[]>((names, kind) => {
  names[kindLayouts[kind].number] = kind;
  return names;
}, []);

/** Where the type section begins and ends, and the bytes of the string section. */
function readHeader(bytes: Uint8Array): { types: readonly [start: number, end: number]; strings: Uint8Array } {
  const fail = (problem: string) => new BtfError("ERR_BTF_HEADER", `BTF header: ${problem}`);
  if (bytes.length < headerSize) throw fail(`${bytes.length} bytes, it has at least ${headerSize}`);
  const view = viewOf(bytes);
  const found = view.getUint16(0, true);
  if (found === 0x9feb) {
    throw new BtfError("ERR_BTF_BYTE_ORDER", "BTF header: big-endian; only little-endian BTF can be read");
  }
  if (found !== magic) throw fail(`magic 0x${found.toString(16).padStart(4, "0")}, expected 0xeb9f`);
  if (view.getUint8(2) !== version) throw fail(`version ${view.getUint8(2)}, expected ${version}`);
  const length = view.getUint32(4, true);
  if (length < headerSize || length > bytes.length) {
    throw fail(`its length is given as ${length}, expected ${headerSize} … ${bytes.length}`);
  }
  const section = (name: string, at: number): [start: number, end: number] => {
    const start = length + view.getUint32(at, true);
    const end = start + view.getUint32(at + 4, true);
    if (end <= bytes.length) return [start, end];
    throw fail(`the ${name} section is at bytes ${start} … ${end}, but there are ${bytes.length}`);
  };
  const types = section("type", 8);
  if ((types[0] - length) % 4 !== 0) {
    throw fail(`the type section's offset ${types[0] - length} is not a multiple of 4`);
  }
  const [start, end] = section("string", 16);
  const strings = bytesAt(view, start, end - start);
  if (strings.length === 0 || strings[0] !== 0 || strings[strings.length - 1] !== 0) {
    throw fail("the string section does not begin and end with a NUL");
  }
  return { types, strings };
}

/** The offset of each type, by id. */
function indexTypes(bytes: Uint8Array, [start, end]: readonly [start: number, end: number]): Uint32Array {
  const view = viewOf(bytes);
  const offsets = new Uint32Array(1 + Math.floor((end - start) / typeSize));
  let id = 1;
  let offset = start;
  const fail = (problem: string) => new BtfError("ERR_BTF_TYPE", `BTF type ${id} (at byte ${offset}): ${problem}`);
  while (offset < end) {
    if (end - offset < typeSize) throw fail(`${end - offset} bytes are left, a type has at least ${typeSize}`);
    const info = view.getUint32(offset + 4, true);
    const number = (info >>> 24) & 0x1f;
    const kind = kindByNumber[number];
    if (kind === undefined) throw fail(`unknown kind ${number}`);
    const { fixed, each } = kindLayouts[kind];
    const size = typeSize + fixed + each * (info & 0xffff);
    if (size > end - offset) throw fail(`${kind} of ${size} bytes, ${end - offset} are left`);
    offsets[id++] = offset;
    offset += size;
  }
  return offsets.slice(0, id);
}

/** A type's record as its reader sees it. */
interface Source {
  /** For messages. */
  readonly where: string;
  readonly vlen: number;
  /** kind_flag. */
  readonly flag: boolean;
  readonly sizeOrType: number;
  /** A word of what follows struct btf_type, at a byte offset there. */
  u32(at: number): number;
  name(offset: number): string;
  /** A type id, checked. */
  reference(id: number): number;
}

type FieldsOf<T> = T extends unknown ? Omit<T, "kind" | "name"> : never;
type Reader<Kind extends RecordKind> = (source: Source) => FieldsOf<BtfTypeOf<Kind>>;

const readAlias = ({ sizeOrType, reference }: Source) => ({ type: reference(sizeOrType) });

const readComposite = ({ sizeOrType, vlen, flag, u32, name, reference }: Source) => ({
  size: sizeOrType,
  members: Array.from({ length: vlen }, (_, i): BtfMember => {
    const position = u32(i * 12 + 8);
    return {
      name: name(u32(i * 12)),
      type: reference(u32(i * 12 + 4)),
      bitOffset: flag ? position & 0xff_ffff : position,
      bitSize: flag ? position >>> 24 : 0,
    };
  }),
});

const readers: { readonly [Kind in RecordKind]: Reader<Kind> } = {
  int({ where, sizeOrType: size, u32 }) {
    const encoding = u32(0);
    const [flags, offset, bits] = [encoding >>> 24, (encoding >>> 16) & 0xff, encoding & 0xff];
    if (![1, 2, 4, 8, 16].includes(size) || bits === 0 || offset + bits > size * 8) {
      throw new BtfError("ERR_BTF_TYPE", `${where}: ${bits} bits at bit ${offset} of ${size} bytes`);
    }
    return {
      size,
      bits,
      offset,
      signed: (flags & INT_SIGNED) !== 0,
      char: (flags & INT_CHAR) !== 0,
      bool: (flags & INT_BOOL) !== 0,
    };
  },
  ptr: readAlias,
  typedef: readAlias,
  volatile: readAlias,
  const: readAlias,
  restrict: readAlias,
  type_tag: readAlias,
  array: ({ u32, reference }) => ({ type: reference(u32(0)), indexType: reference(u32(4)), length: u32(8) }),
  struct: readComposite,
  union: readComposite,
  enum: ({ where, sizeOrType, vlen, flag, u32, name }) => ({
    size: enumSize(where, sizeOrType),
    signed: flag,
    values: Array.from({ length: vlen }, (_, i) => ({
      name: name(u32(i * 8)),
      value: flag ? u32(i * 8 + 4) | 0 : u32(i * 8 + 4),
    })),
  }),
  enum64: ({ where, sizeOrType, vlen, flag, u32, name }) => ({
    size: enumSize(where, sizeOrType),
    signed: flag,
    values: Array.from({ length: vlen }, (_, i) => {
      const value = (BigInt(u32(i * 12 + 8)) << 32n) | BigInt(u32(i * 12 + 4));
      return { name: name(u32(i * 12)), value: flag ? BigInt.asIntN(64, value) : value };
    }),
  }),
  fwd: ({ flag }) => ({ union: flag }),
  func: ({ where, sizeOrType, vlen, reference }) => ({
    type: reference(sizeOrType),
    linkage: linkageOf(where, vlen),
  }),
  func_proto: ({ sizeOrType, vlen, u32, name, reference }) => ({
    returnType: reference(sizeOrType),
    params: Array.from({ length: vlen }, (_, i) => ({ name: name(u32(i * 8)), type: reference(u32(i * 8 + 4)) })),
  }),
  var: ({ where, sizeOrType, u32, reference }) => ({
    type: reference(sizeOrType),
    linkage: linkageOf(where, u32(0)),
  }),
  datasec: ({ sizeOrType, vlen, u32, reference }) => ({
    size: sizeOrType,
    variables: Array.from({ length: vlen }, (_, i) => ({
      type: reference(u32(i * 12)),
      offset: u32(i * 12 + 4),
      size: u32(i * 12 + 8),
    })),
  }),
  float({ where, sizeOrType: size }) {
    if ([2, 4, 8, 12, 16].includes(size)) return { size };
    throw new BtfError("ERR_BTF_TYPE", `${where}: ${size} bytes, expected 2, 4, 8, 12 or 16`);
  },
  decl_tag: ({ sizeOrType, u32, reference }) => ({ type: reference(sizeOrType), componentIndex: u32(0) | 0 }),
};

function enumSize(where: string, size: number): number {
  if ([1, 2, 4, 8].includes(size)) return size;
  throw new BtfError("ERR_BTF_TYPE", `${where}: ${size} bytes, expected 1, 2, 4 or 8`);
}

function linkageOf(where: string, number: number): Linkage {
  const linkage = linkages[number];
  if (linkage === undefined) throw new BtfError("ERR_BTF_TYPE", `${where}: linkage ${number}, expected 0 … 2`);
  return linkage;
}

type Alias = BtfTypeOf<"typedef" | "const" | "volatile" | "restrict" | "type_tag">;
const aliasKinds: readonly string[] = [
  "typedef",
  "const",
  "volatile",
  "restrict",
  "type_tag",
] satisfies Alias["kind"][];
const isAlias = (type: BtfType): type is Alias => aliasKinds.includes(type.kind);

const keywords: Readonly<Partial<Record<BtfType["kind"], string>>> = {
  struct: "struct",
  union: "union",
  enum: "enum",
  enum64: "enum",
};

/** The name of a type that refers to no other: `struct flow`, `int`. */
function leafName(type: BtfType): string {
  if (type.kind === "void") return "void";
  const keyword = type.kind === "fwd" ? (type.union ? "union" : "struct") : keywords[type.kind];
  if (keyword === undefined) return type.name;
  return `${keyword} ${type.name || "{…}"}`;
}
