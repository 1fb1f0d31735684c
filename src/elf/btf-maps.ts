// Maps that `.maps` declares: variables of struct types whose members are the map's attributes, written as C types.
// `__uint(max_entries, 100)` is a member of type `int (*)[100]`, `__type(key, u32)` one of type `u32 *`.

import type { Btf, BtfMember, BtfTypeOf } from "../btf/btf.ts";
import type { InitialValue, MapSpec } from "../spec/spec.ts";
import { BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS, BPF_MAP_TYPE_PROG_ARRAY } from "../uapi/map-types.ts";
import { type Elf, type ElfSection, quote, STT_SECTION } from "./elf.ts";
import type { DeclaredMap } from "./maps.ts";

/**
 * The maps of a `.maps` section.
 *
 * @throws ElfError where a map's type is no struct, a member is unknown or not supported, or sizes contradict each other
 */
export function readBtfMaps(elf: Elf, section: ElfSection, btf: Btf | undefined): DeclaredMap[] {
  const id = btf?.find(section.name, "datasec");
  if (!btf || id === undefined) {
    throw elf.error(section, "declares maps, but the object has no BTF for them; compile with -g");
  }
  const { variables } = btf.type(id) as BtfTypeOf<"datasec">;
  const pointers = elf.relocationsOf(section);
  /** The map whose variable begins at an offset: a static one is named by its section alone. */
  const mapAt = (at: number | undefined): string | undefined => {
    const variable = variables.find(({ offset }) => offset === at);
    return variable && btf.type(variable.type).name;
  };
  return variables.map(({ type, offset, size }) => {
    const variable = btf.type(type);
    const fail = (...problem: string[]) => elf.error(section, `map ${quote(variable.name)}`, ...problem);
    const struct = variable.kind === "var" ? btf.type(btf.resolve(variable.type)) : variable;
    if (struct.kind !== "struct") throw fail(`is declared as ${struct.kind}, expected a struct`);
    const spec = readMap(variable.name, struct.members, btf, fail);
    const first = offset + (struct.members.find(({ name }) => name === "values")?.bitOffset ?? 0) / 8;
    const values = pointers
      .filter((pointer) => pointer.offset >= offset && pointer.offset < offset + size)
      .map((pointer): InitialValue => {
        const index = (pointer.offset - first) / POINTER_SIZE;
        const { symbol } = pointer;
        const name = symbol.type === STT_SECTION ? mapAt(addendAt(section, pointer.offset)) : symbol.name;
        if (!(index >= 0) || !Number.isInteger(index) || name === undefined) {
          throw fail(
            `holds a pointer at byte ${pointer.offset - offset}`,
            "expected pointers to maps or programs in its values",
          );
        }
        return { index, name };
      });
    return { spec: values.length === 0 ? spec : { ...spec, values }, section: section.index, offset };
  });
}

/** Bytes of a pointer in `values`. */
const POINTER_SIZE = 8;

/** What a relocation adds to its symbol stands where it patches; undefined where the section has no bytes there. */
function addendAt({ bytes }: ElfSection, offset: number): number | undefined {
  if (offset + POINTER_SIZE > bytes.length) return undefined;
  return Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(offset, true));
}

/** An error of a map: where in it, and what is wrong. */
type Fail = (...problem: string[]) => Error;

const LIBBPF_PIN_NONE = 0;
const LIBBPF_PIN_BY_NAME = 1;

function readMap(name: string, members: readonly BtfMember[], btf: Btf, fail: Fail, isInner = false): MapSpec {
  const declared = new Map(members.map((member) => [member.name, member]));
  const unknown = members.find((member) => !KNOWN_MEMBERS.includes(member.name));
  if (unknown) throw fail(`member ${quote(unknown.name)}`, "is no attribute of a map");
  const number = (member: string): number | undefined => {
    const value = declared.has(member) ? numberOf(declared.get(member)!, btf, fail) : undefined;
    if (value !== undefined && (value < 0n || value > 0xffff_ffffn)) {
      throw fail(`member ${quote(member)}`, `is ${value}, expected 0 … 4294967295`);
    }
    return value === undefined ? undefined : Number(value);
  };
  const sized = (what: "key" | "value") => {
    const size = number(`${what}_size`);
    const type = declared.has(what) ? pointee(declared.get(what)!, btf, fail) : undefined;
    const typeSize = type === undefined ? undefined : sizeOf(type, what, btf, fail);
    if (size !== undefined && typeSize !== undefined && size !== typeSize) {
      throw fail(`member "${what}_size"`, `is ${size}, but the type of "${what}" has ${typeSize} bytes`);
    }
    return { size: typeSize ?? size ?? 0, type };
  };

  const type = number("type");
  if (type === undefined) throw fail(`has no member "type"`);
  const key = sized("key");
  const value = sized("value");
  const inner = declared.has("values") ? innerOf(name, type, declared.get("values")!, btf, fail, isInner) : undefined;
  const mapExtra = declared.has("map_extra") ? numberOf(declared.get("map_extra")!, btf, fail) : undefined;
  const numaNode = number("numa_node");
  const pinning = number("pinning") ?? LIBBPF_PIN_NONE;
  if (pinning !== LIBBPF_PIN_NONE && pinning !== LIBBPF_PIN_BY_NAME) {
    throw fail(`member "pinning"`, `is ${pinning}, expected 0 (none) or 1 (by name)`);
  }
  return {
    name,
    type,
    keySize: key.size || (isOfReferences(type) ? REFERENCE_SIZE : 0),
    valueSize: value.size || (isOfReferences(type) ? REFERENCE_SIZE : 0),
    maxEntries: number("max_entries") ?? 0,
    flags: number("map_flags") ?? 0,
    ...(mapExtra !== undefined && { mapExtra }),
    ...(numaNode !== undefined && { numaNode }),
    ...(key.type !== undefined && { btfKeyTypeId: key.type }),
    ...(value.type !== undefined && { btfValueTypeId: value.type }),
    ...(pinning === LIBBPF_PIN_BY_NAME && { pinByName: true }),
    ...(inner !== undefined && { inner }),
  };
}

/** Types whose sizes may be left out, for there is only one. */
const isOfReferences = (type: number): boolean =>
  type === BPF_MAP_TYPE_ARRAY_OF_MAPS || type === BPF_MAP_TYPE_HASH_OF_MAPS || type === BPF_MAP_TYPE_PROG_ARRAY;

const REFERENCE_SIZE = 4;

/** What `__array(values, struct inner)` says of inner maps; undefined for a program array, whose values are functions. */
function innerOf(
  name: string,
  type: number,
  values: BtfMember,
  btf: Btf,
  fail: Fail,
  isInner: boolean,
): MapSpec | undefined {
  const array = btf.type(btf.resolve(values.type));
  const pointer = array.kind === "array" ? btf.type(btf.resolve(array.type)) : array;
  const target = pointer.kind === "ptr" ? btf.type(btf.resolve(pointer.type)) : pointer;
  if (type === BPF_MAP_TYPE_PROG_ARRAY && target.kind === "func_proto") return undefined;
  if (!isOfReferences(type) || target.kind !== "struct") {
    throw fail(
      `member "values"`,
      "expected maps in a map of maps, or functions in a program array; is it declared with __array()?",
    );
  }
  // Said before the struct is read, which may be the one around it.
  if (isInner) throw fail(`member "values"`, "inner maps hold no maps");
  const failInside: Fail = (...problem) => fail(`member "values"`, ...problem);
  const inner = readMap(`${name}.inner`, target.members, btf, failInside, true);
  if (inner.pinByName) throw failInside(`member "pinning"`, "an inner map cannot be pinned");
  return inner;
}

const KNOWN_MEMBERS = [
  "type",
  "key",
  "key_size",
  "value",
  "value_size",
  "max_entries",
  "map_flags",
  "map_extra",
  "numa_node",
  "pinning",
  "values",
];

/** The number that `__uint` writes as the length of an array behind a pointer, and `__ulong` as the only value of an enum. */
function numberOf(member: BtfMember, btf: Btf, fail: Fail): bigint {
  const type = btf.type(btf.resolve(member.type));
  if (type.kind === "ptr") {
    const target = btf.type(btf.resolve(type.type));
    if (target.kind === "array") return BigInt(target.length);
  }
  if ((type.kind === "enum" || type.kind === "enum64") && type.values.length === 1) {
    return BigInt.asUintN(64, BigInt(type.values[0]!.value));
  }
  throw fail(`member ${quote(member.name)}`, "has no value; is it declared with __uint()?");
}

/** The type that `__type` writes as a pointer to it. */
function pointee(member: BtfMember, btf: Btf, fail: Fail): number {
  const type = btf.type(btf.resolve(member.type));
  if (type.kind === "ptr") return type.type;
  throw fail(`member ${quote(member.name)}`, "has no type; is it declared with __type()?");
}

function sizeOf(type: number, member: string, btf: Btf, fail: Fail): number {
  const { kind } = btf.type(btf.resolve(type));
  if (["void", "func", "func_proto", "fwd"].includes(kind)) {
    throw fail(`member ${quote(member)}`, `has type ${btf.nameOf(type)}, which has no size`);
  }
  return btf.sizeOf(type);
}
