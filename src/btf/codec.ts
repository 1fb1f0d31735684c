// Codecs made from BTF: values of C types as JavaScript values.

import { cstring, untilNul } from "../codec/bytes.ts";
import { bytesAt, type Codec, CodecError, encodeAt, type Member, shown } from "../codec/codec.ts";
import { array, structAt } from "../codec/composites.ts";
import { bool, checkBigInt, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 } from "../codec/scalars.ts";
import { type Btf, BtfError, type BtfMember, type BtfType, type BtfTypeOf, maxDepth } from "./btf.ts";

/**
 * The codec of a type's values.
 *
 * - Integers of up to 32 bits are numbers, of 64 and 128 bits bigints; `bool` is a boolean; pointers are bigints.
 * - An enum is the name of its enumerator, or its number where none has that value; either can be written.
 * - A struct is an object of its members, all of which must be there to be written.
 *   Members of an anonymous struct or union are members of the one around it.
 * - A union is read as an object of all its members, each of which shows the same bytes in its own way.
 *   One of them is enough to be written; where there are more, they must agree.
 * - An array is an array; one that has no bytes, such as a flexible one, is `[]`.
 * - `char[n]` is a string where the bytes before the first NUL are printable UTF-8, else an array of bytes; either can be written.
 *   Arrays of `signed char`, `unsigned char` and their typedefs `s8`, `u8` are arrays of numbers.
 * - A data section is an object of its variables, a variable is its value. Of variables with one name the second is `name.1`.
 *
 * @throws BtfError `ERR_BTF_VALUE` where a type in it has no values: void, a function, a forward declaration,
 *   or a struct whose members lie outside of it or have one name; `ERR_BTF_DEPTH`; `ERR_BTF_SIZE`; and as {@link Btf.type}
 * @example
 * const flow = codecOf(btf, btf.find("flow", "struct")!);
 * flow.decode(view, 0); // { port: 80, bytes: 1n, comm: "curl" }
 */
export function codecOf(btf: Btf, typeId: number): Codec<unknown> {
  return new Builder(btf).build(typeId, 0).codec;
}

interface Built {
  // biome-ignore lint/suspicious/noExplicitAny: what BTF describes has no type at compile time
  readonly codec: Codec<any>;
  /** How many values a value is made of; hostile BTF can make it explode. */
  readonly weight: number;
  /** The names that a value has, those of anonymous members included. */
  readonly names: readonly string[];
}

const maxWeight = 2 ** 22;
const integers: Readonly<Record<number, readonly [unsigned: Codec<unknown>, signed: Codec<unknown>]>> = {
  1: [u8, i8],
  2: [u16, i16],
  4: [u32, i32],
  8: [u64, i64],
  16: [wide("u128", false), wide("i128", true)],
};
const floats: Readonly<Record<number, Codec<number>>> = { 4: f32, 8: f64 };

class Builder {
  readonly #btf: Btf;
  readonly #built = new Map<number, Built>();

  constructor(btf: Btf) {
    this.#btf = btf;
  }

  build(id: number, depth: number): Built {
    if (depth > maxDepth) throw new BtfError("ERR_BTF_DEPTH", `BTF type ${id}: nested more than ${maxDepth} deep`);
    const resolved = this.#btf.resolve(id);
    const known = this.#built.get(resolved);
    if (known) return known;
    const built = this.#make(resolved, this.#btf.type(resolved), depth);
    checkWeight(resolved, built.weight);
    this.#built.set(resolved, built);
    return built;
  }

  #make(id: number, type: BtfType, depth: number): Built {
    switch (type.kind) {
      case "int":
        return single(integer(this.#btf.nameOf(id), type));
      case "ptr":
        return single({ ...u64, name: this.#btf.nameOf(id) });
      case "float": {
        const codec = floats[type.size];
        if (codec === undefined) throw noValue(id, `a float of ${type.size} bytes cannot be read`);
        return single(codec);
      }
      case "enum":
      case "enum64":
        return single(enumeration(this.#btf.nameOf(id), type));
      case "array":
        return this.#array(id, type, depth);
      case "struct":
      case "union":
        return this.#composite(id, type, depth);
      case "var":
        return this.build(type.type, depth + 1);
      case "datasec":
        return this.#section(id, type, depth);
      default:
        throw noValue(id, `${this.#btf.nameOf(id)} (${type.kind}) has no values`);
    }
  }

  #array(id: number, type: BtfTypeOf<"array">, depth: number): Built {
    const size = this.#btf.sizeOf(id);
    const element = this.build(type.type, depth + 1);
    if (size === 0) return single({ ...array(element.codec, 0), name: this.#btf.nameOf(id) });
    const target = this.#btf.type(this.#btf.resolve(type.type));
    if (target.kind === "int" && target.size === 1 && (target.char || target.name === "char")) {
      return single(text(size));
    }
    const codec = { ...array(element.codec, type.length), name: this.#btf.nameOf(id) };
    return { codec, weight: 1 + element.weight * type.length, names: [] };
  }

  #composite(id: number, type: BtfTypeOf<"struct" | "union">, depth: number): Built {
    const parts: Part[] = [];
    const names = new Set<string>();
    let weight = 0;
    for (const member of type.members) {
      const part = this.#member(id, type, member, depth);
      if (part === undefined) continue;
      weight += part.weight;
      checkWeight(id, weight);
      for (const name of part.names) {
        if (names.has(name)) throw noValue(id, `${this.#btf.nameOf(id)} has two members "${name}"`);
        names.add(name);
      }
      parts.push(part);
    }
    return composite(this.#btf.nameOf(id), type.kind, type.size, parts);
  }

  /** Undefined for an unnamed bit-field, which is padding. */
  #member(id: number, parent: BtfTypeOf<"struct" | "union">, member: BtfMember, depth: number): Part | undefined {
    const target = this.#btf.type(this.#btf.resolve(member.type));
    const anonymous = member.name === "";
    if (anonymous && target.kind !== "struct" && target.kind !== "union") return undefined;
    const part = this.build(member.type, depth + 1);
    const { bitOffset, bitSize } = bitsOf(member, target);
    const place = `member "${member.name}" of ${this.#btf.nameOf(id)}`;
    if (member.name === "__proto__") throw noValue(id, `${place} cannot be a property`);
    if (bitOffset + (bitSize || part.codec.size * 8) > parent.size * 8) {
      throw noValue(id, `${place} ends outside of its ${parent.size} bytes`);
    }
    if (bitSize === 0 && bitOffset % 8 !== 0) {
      throw noValue(id, `${place} begins at bit ${bitOffset}, inside of a byte`);
    }
    const codec = bitSize === 0 ? part.codec : bitField(part.codec, bitOffset % 8, bitSize, target);
    if (codec === undefined) throw noValue(id, `${place} cannot be a bit-field of ${bitSize} bits`);
    return {
      member: { name: member.name, codec, offset: Math.floor(bitOffset / 8) },
      names: anonymous ? part.names : [member.name],
      weight: part.weight,
    };
  }

  #section(id: number, type: BtfTypeOf<"datasec">, depth: number): Built {
    const uses = new Map<string, number>();
    const parts = type.variables.map(({ type: variable, offset }): Part => {
      const name = uniqueName(this.#btf.type(variable).name, uses);
      const { codec, weight } = this.build(variable, depth + 1);
      if (name === "" || name === "__proto__") {
        throw noValue(id, `variable "${name}" of "${type.name}" cannot be a property`);
      }
      if (offset + codec.size > type.size) {
        throw noValue(id, `variable "${name}" ends outside of the ${type.size} bytes of "${type.name}"`);
      }
      return { member: { name, codec, offset }, names: [name], weight };
    });
    return composite(type.name, "struct", type.size, parts);
  }
}

/** A member, with what its values are made of. */
interface Part {
  readonly member: Member;
  /** The names by which it appears in the value around it. */
  readonly names: readonly string[];
  readonly weight: number;
}

function checkWeight(id: number, weight: number): void {
  if (weight <= maxWeight) return;
  throw new BtfError("ERR_BTF_SIZE", `BTF type ${id}: is made of more than ${maxWeight} values`);
}

/** Static variables of two functions may have one name: the second is `name.1`, as compilers have it. */
function uniqueName(name: string, uses: Map<string, number>): string {
  const before = uses.get(name) ?? 0;
  uses.set(name, before + 1);
  return before === 0 ? name : `${name}.${before}`;
}

const single = (codec: Codec<unknown>): Built => ({ codec, weight: 1, names: [] });

const noValue = (id: number, problem: string): BtfError => new BtfError("ERR_BTF_VALUE", `BTF type ${id}: ${problem}`);

function integer(name: string, type: BtfTypeOf<"int">): Codec<unknown> {
  return type.bool && type.size === 1 ? bool : { ...integerOf(type), name };
}

function integerOf({ size, signed }: { readonly size: number; readonly signed: boolean }): Codec<unknown> {
  const [forUnsigned, forSigned] = integers[size] as readonly [Codec<unknown>, Codec<unknown>];
  return signed ? forSigned : forUnsigned;
}

/** A 128-bit integer. */
function wide(name: string, signed: boolean): Codec<bigint> {
  const max = signed ? 2n ** 127n - 1n : 2n ** 128n - 1n;
  const min = signed ? -(2n ** 127n) : 0n;
  const high = signed ? i64 : u64;
  return {
    name,
    size: 16,
    align: 16,
    encode(value, view, offset) {
      checkBigInt(name, value, min, max);
      u64.encode(BigInt.asUintN(64, value), view, offset);
      high.encode(value >> 64n, view, offset + 8);
    },
    decode: (view, offset) => (high.decode(view, offset + 8) << 64n) | u64.decode(view, offset),
  };
}

function enumeration(name: string, type: BtfTypeOf<"enum" | "enum64">): Codec<unknown> {
  const base = integerOf(type);
  const numbers = new Map<string, number | bigint>();
  const names = new Map<number | bigint, string>();
  for (const { name: enumerator, value } of type.values) {
    const number = type.size === 8 ? BigInt(value) : Number(value);
    numbers.set(enumerator, number);
    if (!names.has(number)) names.set(number, enumerator);
  }
  return {
    name,
    size: base.size,
    align: base.align,
    encode(value, view, offset) {
      const number = typeof value === "string" ? numbers.get(value) : value;
      if (number === undefined) {
        throw new CodecError(`${name}: ${shown(value)} is not one of ${listed([...numbers.keys()])}`);
      }
      base.encode(number, view, offset);
    },
    decode(view, offset) {
      const number = base.decode(view, offset) as number | bigint;
      return names.get(number) ?? number;
    },
  };
}

const listed = (names: readonly string[]): string =>
  names.length > 8 ? `${names.slice(0, 8).join(", ")}, …` : names.join(", ");

/** `char[size]`: a string, or bytes where they are no text. */
function text(size: number): Codec<unknown> {
  const string = cstring(size);
  const numbers = array(u8, size);
  return {
    name: string.name,
    size,
    align: 1,
    encode(value, view, offset) {
      if (typeof value === "string") string.encode(value, view, offset);
      else numbers.encode(value as number[], view, offset);
    },
    decode(view, offset) {
      try {
        const value = strictDecoder.decode(untilNul(bytesAt(view, offset, size)));
        if (!unprintable.test(value)) return value;
      } catch {
        // not UTF-8
      }
      return numbers.decode(view, offset);
    },
  };
}

const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** Control characters, but for those of printed text: tab, line feed, carriage return. */
const unprintable = /(?![\t\n\r])\p{Control}/u;

/** Where a bit-field lies. BTF without kind_flag tells it by the bits of the member's int. */
function bitsOf({ bitOffset, bitSize }: BtfMember, type: BtfType): { bitOffset: number; bitSize: number } {
  if (bitSize > 0 || type.kind !== "int" || type.bits === type.size * 8) return { bitOffset, bitSize };
  return { bitOffset: bitOffset + type.offset, bitSize: type.bits };
}

/** `bits` bits from bit `shift` on that hold a value of `type`, whose codec is `base`; undefined where it has fewer. */
function bitField(base: Codec<unknown>, shift: number, bits: number, type: BtfType): Codec<unknown> | undefined {
  if (!("signed" in type) || bits > base.size * 8) return undefined;
  const { signed } = type;
  const name = `${base.name}:${bits}`;
  const size = Math.ceil((shift + bits) / 8);
  const [min, max] = signed ? [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n] : [0n, 2n ** BigInt(bits) - 1n];
  const whole = new DataView(new ArrayBuffer(base.size));
  const interpret = signed ? BigInt.asIntN : BigInt.asUintN;
  return {
    name,
    size,
    align: 1,
    encode(value, view, offset) {
      base.encode(value, whole, 0);
      const number = interpret(base.size * 8, readBits(whole, 0, base.size));
      if (number < min || number > max) throw new CodecError(`${name}: ${number} is not in ${min} … ${max}`);
      const mask = (2n ** BigInt(bits) - 1n) << BigInt(shift);
      writeBits(view, offset, size, (readBits(view, offset, size) & ~mask) | ((number << BigInt(shift)) & mask));
    },
    decode(view, offset) {
      writeBits(whole, 0, base.size, interpret(bits, readBits(view, offset, size) >> BigInt(shift)));
      return base.decode(whole, 0);
    },
  };
}

function readBits(view: DataView, offset: number, size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(view.getUint8(offset + i));
  return value;
}

function writeBits(view: DataView, offset: number, size: number, value: bigint): void {
  for (let i = 0; i < size; i++) view.setUint8(offset + i, Number((value >> BigInt(i * 8)) & 0xffn));
}

/** A union weighs more, because writing one may read and write its members again, once for each of them. */
function composite(name: string, kind: "struct" | "union", size: number, parts: readonly Part[]): Built {
  const members = parts.map(({ member }) => member);
  const align = members.reduce((most, { codec }) => Math.max(most, codec.align), 1);
  const packed = size % align !== 0 || members.some(({ offset, codec }) => offset % codec.align !== 0);
  const weight = parts.reduce((sum, part) => sum + part.weight, 1);
  const struct = structAt(name, size, packed ? 1 : align, members);
  return {
    codec: kind === "struct" ? struct : { ...struct, encode: unionEncoder(struct, parts) },
    weight: kind === "struct" ? weight : (parts.length + 2) * weight,
    names: parts.flatMap((part) => part.names),
  };
}

/**
 * Writes those members of a union that the value has.
 * They agree where there are bytes, their own or all of them joined, from which each is read back as it was written.
 */
function unionEncoder({ name, size }: Codec<unknown>, parts: readonly Part[]) {
  return (value: Record<string, unknown>, view: DataView, offset: number): void => {
    if (typeof value !== "object" || value === null) throw new CodecError(`${name}: ${shown(value)} is not an object`);
    const all = bytesAt(view, offset, size);
    const present = parts.filter(({ names }) => names.some((member) => Object.hasOwn(value, member)));
    if (parts.length === 0) {
      all.fill(0);
      return;
    }
    if (present.length === 0) {
      throw new CodecError(`${name}: has none of ${listed(parts.flatMap(({ names }) => names))}`);
    }
    const written = present.map(({ member }) => bytesOf(member, size, memberOf(value, member)));
    const agreed =
      written.length === 1
        ? written[0]
        : [joined(written), ...written].find((bytes) =>
            present.every(({ member }, index) => isSame(rewritten(member, bytes), written[index] as Uint8Array)),
          );
    if (agreed === undefined) {
      const names = listed(present.flatMap((part) => part.names));
      throw new CodecError(`${name}: ${names} share their bytes and contradict each other; give one of them`);
    }
    all.set(agreed);
  };
}

const memberOf = (value: Record<string, unknown>, { name }: Member): unknown => (name === "" ? value : value[name]);

/** A union's bytes with one member in it. */
function bytesOf({ name, codec, offset }: Member, size: number, value: unknown): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  if (name === "") codec.encode(value, view, offset);
  else encodeAt(name, codec, value, view, offset);
  return bytes;
}

/** A union's bytes after reading a member from `bytes` and writing it again: without what that member does not show. */
function rewritten(member: Member, bytes: Uint8Array): Uint8Array {
  const value = member.codec.decode(new DataView(bytes.buffer), member.offset);
  return bytesOf(member, bytes.length, value);
}

const joined = ([first, ...others]: readonly Uint8Array[]): Uint8Array =>
  (first as Uint8Array).map((byte, i) => others.reduce((bits, other) => bits | (other[i] as number), byte));

const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, i) => byte === b[i]);
