// Reading a struct: member by member, and once it is read often, by code made for it, which is several times as fast.

import type { Codec, Member } from "./codec.ts";
import { bool, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 } from "./scalars.ts";

type Decode = (view: DataView, offset: number) => Record<string, unknown>;

/** Reads the members to an object. Members without a name are structs, whose members become the object's. */
export function structDecoder(members: readonly Member[]): Decode {
  let decode = byMember(members);
  let untilCompiled = OFTEN;
  return (view, offset) => {
    if (untilCompiled > 0 && --untilCompiled === 0) decode = compiled(members) ?? decode;
    return decode(view, offset);
  };
}

/** How often a struct is read before it gets code of its own, which takes as long as some hundred readings. */
const OFTEN = 256;

const byMember =
  (members: readonly Member[]): Decode =>
  (view, offset) => {
    const value: Record<string, unknown> = {};
    for (const member of members) {
      const part = member.codec.decode(view, offset + member.offset);
      if (member.name === "") Object.assign(value, part);
      else value[member.name] = part;
    }
    return value;
  };

/** One object literal, so that all objects have one shape, in which numbers are read where they stand. Undefined where a page may not make code. */
function compiled(members: readonly Member[]): Decode | undefined {
  const parts = members.map(({ name, codec, offset }, index) => {
    const read = reads.get(codec)?.(offset) ?? `codecs[${index}].decode(view, offset + ${offset})`;
    return name === "" ? `...${read}` : `${JSON.stringify(name)}: ${read}`;
  });
  try {
    const make = new Function("codecs", `return (view, offset) => ({ ${parts.join(", ")} });`);
    return make(members.map(({ codec }) => codec)) as Decode;
  } catch (error) {
    // A page's Content-Security-Policy forbids it.
    if (error instanceof EvalError) return undefined;
    throw error;
  }
}

const getter = (method: string) => (at: number) => `view.${method}(offset + ${at}, true)`;

// biome-ignore lint/suspicious/noExplicitAny: a codec is invariant in its type, so no other type takes every codec
const reads: ReadonlyMap<Codec<any>, (at: number) => string> = new Map<Codec<any>, (at: number) => string>([
  [u8, getter("getUint8")],
  [u16, getter("getUint16")],
  [u32, getter("getUint32")],
  [u64, getter("getBigUint64")],
  [i8, getter("getInt8")],
  [i16, getter("getInt16")],
  [i32, getter("getInt32")],
  [i64, getter("getBigInt64")],
  [f32, getter("getFloat32")],
  [f64, getter("getFloat64")],
  [bool, (at) => `view.getUint8(offset + ${at}) !== 0`],
]);
