// Codecs of C's arrays and structs, made of the codecs of their parts.

import { bytesAt, type Codec, CodecError, encodeAt, type Infer, type Member, shown } from "./codec.ts";
import { structDecoder } from "./struct-decoder.ts";

/** `length` values, one after the other. */
// biome-ignore lint/suspicious/noExplicitAny: a codec is invariant in its type, so no other type takes every codec
export function array<Element extends Codec<any>>(
  element: Element,
  length: number,
): Codec<Infer<Element>[]> & Pick<Element, Extract<keyof Element, "view">> {
  if (!Number.isInteger(length) || length < 0) {
    throw new CodecError(`array(${element.name}, ${shown(length)}): a length is an integer of at least 0`);
  }
  const name = element.name.replace(/(?=\[|$)/, `[${length}]`);
  return {
    name,
    size: element.size * length,
    align: element.align,
    encode(values, view, offset) {
      if (!Array.isArray(values)) throw new CodecError(`${name}: ${shown(values)} is not an array`);
      if (values.length !== length) throw new CodecError(`${name}: ${values.length} elements, not ${length}`);
      for (let i = 0; i < length; i++) encodeAt(i, element, values[i], view, offset + i * element.size);
    },
    decode(view, offset) {
      const values: Infer<Element>[] = [];
      for (let i = 0; i < length; i++) values.push(element.decode(view, offset + i * element.size));
      return values;
    },
    ...("view" in element && { view: element.view }),
  } as Codec<Infer<Element>[]> & Pick<Element, Extract<keyof Element, "view">>;
}

/**
 * A C struct: its members in the order they are written, each at the next offset that its alignment allows,
 * its size rounded up to its alignment. A member's name cannot begin with a digit: JavaScript moves numbers to the front.
 *
 * @example
 * const flow = struct({ address: ipv4, port: u16, bytes: u64 }); // 16 bytes, two of them padding
 * type Flow = Infer<typeof flow>; // { address: string; port: number; bytes: bigint }
 */
// biome-ignore lint/suspicious/noExplicitAny: as in `array`
export function struct<Members extends Record<string, Codec<any>>>(
  members: Members,
): Codec<{ [Name in keyof Members]: Infer<Members[Name]> }> {
  let end = 0;
  const placed = Object.entries(members).map(([name, codec]): Member => {
    if (/^\d|^__proto__$/.test(name)) throw new CodecError(`struct: "${name}" cannot be a member's name`);
    const offset = roundUp(end, codec.align);
    end = offset + codec.size;
    return { name, codec, offset };
  });
  const align = Math.max(1, ...placed.map(({ codec }) => codec.align));
  return structAt("struct", roundUp(end, align), align, placed) as Codec<never>;
}

/** A struct whose members have their places already. Bytes that belong to no member are padding. */
export function structAt(
  name: string,
  size: number,
  align: number,
  members: readonly Member[],
): Codec<Record<string, unknown>> {
  return {
    name,
    size,
    align,
    members,
    encode(value, view, offset) {
      if (typeof value !== "object" || value === null) {
        throw new CodecError(`${name}: ${shown(value)} is not an object`);
      }
      bytesAt(view, offset, size).fill(0);
      for (const member of members) {
        if (member.name === "") {
          member.codec.encode(value, view, offset + member.offset);
          continue;
        }
        const part = value[member.name];
        if (part === undefined) throw new CodecError(`${member.codec.name}: is missing`, member.name);
        encodeAt(member.name, member.codec, part, view, offset + member.offset);
      }
    },
    decode: structDecoder(members),
  };
}

const roundUp = (offset: number, align: number): number => Math.ceil(offset / align) * align;
