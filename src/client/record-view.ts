// A record in shared memory, read field by field where it lies: one object for all records, moved from one to the next.

import type { Codec, Member } from "../codec/codec.ts";
import { bool, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 } from "../codec/scalars.ts";

/** Where the views of one reader are. */
export interface Place {
  readonly memory: DataView;
  /** Offset of the record; EXPIRED while there is none. */
  start: number;
}

/** An offset outside of every buffer: a view that is asked there throws a RangeError. */
export const EXPIRED = 2 ** 31 - 1;

/**
 * What stands for a record at a place, by its codec. Members of a struct are read when they are asked for;
 * without a codec it is the record's bytes; anything else is decoded.
 */
export function viewOf<T>(place: Place, codec: Codec<T> | undefined): (length: number) => T {
  if (codec === undefined) {
    const { buffer, byteOffset } = place.memory;
    return (length) => new Uint8Array(buffer, byteOffset + place.start, length) as T;
  }
  if (codec.members === undefined) return () => codec.decode(place.memory, place.start);
  const view = {};
  define(view, place, codec.members, 0);
  return () => view as T;
}

function define(view: object, place: Place, members: readonly Member[], base: number): void {
  for (const { name, codec, offset } of members) {
    if (name === "" && codec.members !== undefined) define(view, place, codec.members, base + offset);
    else {
      const get = (getters.get(codec) ?? decoding(codec))(place, base + offset);
      Object.defineProperty(view, name, { get, enumerable: true });
    }
  }
}

type Getter = (place: Place, at: number) => () => unknown;

/** Each has code of its own: a place in code that reads several widths is several times slower. */
const getters = new Map<Codec<unknown>, Getter>([
  [u8, (p, at) => () => p.memory.getUint8(p.start + at)],
  [u16, (p, at) => () => p.memory.getUint16(p.start + at, true)],
  [u32, (p, at) => () => p.memory.getUint32(p.start + at, true)],
  [u64, (p, at) => () => p.memory.getBigUint64(p.start + at, true)],
  [i8, (p, at) => () => p.memory.getInt8(p.start + at)],
  [i16, (p, at) => () => p.memory.getInt16(p.start + at, true)],
  [i32, (p, at) => () => p.memory.getInt32(p.start + at, true)],
  [i64, (p, at) => () => p.memory.getBigInt64(p.start + at, true)],
  [f32, (p, at) => () => p.memory.getFloat32(p.start + at, true)],
  [f64, (p, at) => () => p.memory.getFloat64(p.start + at, true)],
  [bool, (p, at) => () => p.memory.getUint8(p.start + at) !== 0],
]);

const decoding =
  (codec: Codec<unknown>): Getter =>
  (place, at) =>
  () =>
    codec.decode(place.memory, place.start + at);
