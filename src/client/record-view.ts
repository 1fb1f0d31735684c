// A record in shared memory, read field by field where it lies: one object for all records, moved from one to the next.

import type { Codec, Member } from "../codec/codec.ts";
import { bool, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 } from "../codec/scalars.ts";

/** Where the views of one reader are. */
export interface Place {
  readonly memory: DataView;
  /** Offset of the record; EXPIRED while there is none. */
  start: number;
}

/** An offset in front of every buffer, by more than a record has bytes: a view that is asked there throws a RangeError. */
export const EXPIRED = -(2 ** 31);

/** What stands for a record at a place. */
export interface RecordView<T> {
  /** One object for all records, where there is one. */
  readonly object: T | undefined;
  /** Where there is none, something new for each: of so many bytes. */
  make(length: number): T;
}

/** Members of a struct are read when they are asked for; without a codec it is the record's bytes; anything else is decoded. */
export function viewOf<T>(place: Place, codec: Codec<T> | undefined): RecordView<T> {
  const { memory } = place;
  const object = codec?.members && (new (viewClass(codec, codec.members))(place) as T);
  return {
    object,
    make: (length) =>
      codec === undefined
        ? (new Uint8Array(memory.buffer, memory.byteOffset + place.start, length) as T)
        : codec.decode(memory, place.start),
  };
}

/** Under a symbol, as a member may have any name. */
const PLACE = Symbol("place");

interface Placed {
  readonly [PLACE]: Place;
}

/** One class for each codec, with a getter for each member. */
const classes = new WeakMap<Codec<unknown>, new (place: Place) => Placed>();

function viewClass(codec: Codec<unknown>, members: readonly Member[]): new (place: Place) => Placed {
  const known = classes.get(codec);
  if (known !== undefined) return known;
  class StructView implements Placed {
    readonly [PLACE]: Place;

    constructor(place: Place) {
      this[PLACE] = place;
    }
  }
  define(StructView.prototype, members, 0);
  classes.set(codec, StructView);
  return StructView;
}

function define(prototype: object, members: readonly Member[], base: number): void {
  for (const { name, codec, offset } of members) {
    const at = base + offset;
    if (name === "" && codec.members !== undefined) define(prototype, codec.members, at);
    else Object.defineProperty(prototype, name, { get: (getters.get(codec) ?? decoding(codec))(at), enumerable: true });
  }
}

type Getter = (this: Placed) => unknown;

/** Each has code of its own: a place in code that reads several widths is several times slower. */
const getters = new Map<Codec<unknown>, (at: number) => Getter>([
  [
    u8,
    (at) =>
      function () {
        return this[PLACE].memory.getUint8(this[PLACE].start + at);
      },
  ],
  [
    u16,
    (at) =>
      function () {
        return this[PLACE].memory.getUint16(this[PLACE].start + at, true);
      },
  ],
  [
    u32,
    (at) =>
      function () {
        return this[PLACE].memory.getUint32(this[PLACE].start + at, true);
      },
  ],
  [
    u64,
    (at) =>
      function () {
        return this[PLACE].memory.getBigUint64(this[PLACE].start + at, true);
      },
  ],
  [
    i8,
    (at) =>
      function () {
        return this[PLACE].memory.getInt8(this[PLACE].start + at);
      },
  ],
  [
    i16,
    (at) =>
      function () {
        return this[PLACE].memory.getInt16(this[PLACE].start + at, true);
      },
  ],
  [
    i32,
    (at) =>
      function () {
        return this[PLACE].memory.getInt32(this[PLACE].start + at, true);
      },
  ],
  [
    i64,
    (at) =>
      function () {
        return this[PLACE].memory.getBigInt64(this[PLACE].start + at, true);
      },
  ],
  [
    f32,
    (at) =>
      function () {
        return this[PLACE].memory.getFloat32(this[PLACE].start + at, true);
      },
  ],
  [
    f64,
    (at) =>
      function () {
        return this[PLACE].memory.getFloat64(this[PLACE].start + at, true);
      },
  ],
  [
    bool,
    (at) =>
      function () {
        return this[PLACE].memory.getUint8(this[PLACE].start + at) !== 0;
      },
  ],
]);

const decoding =
  (codec: Codec<unknown>) =>
  (at: number): Getter =>
    function () {
      return codec.decode(this[PLACE].memory, this[PLACE].start + at);
    };
