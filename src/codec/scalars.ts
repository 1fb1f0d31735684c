// Codecs of C's numbers. Up to 32 bits a value is a number, at 64 bits a bigint, so that none loses a digit.

import { type Codec, CodecError, shown, type TypedArray, type Viewable } from "./codec.ts";

export const u8 = unsigned<Uint8Array>(
  "u8",
  Uint8Array,
  (v, at) => v.getUint8(at),
  (v, at, x) => v.setUint8(at, x),
);
export const u16 = unsigned<Uint16Array>(
  "u16",
  Uint16Array,
  (v, at) => v.getUint16(at, true),
  (v, at, x) => v.setUint16(at, x, true),
);
export const u32 = unsigned<Uint32Array>(
  "u32",
  Uint32Array,
  (v, at) => v.getUint32(at, true),
  (v, at, x) => v.setUint32(at, x, true),
);
export const i8 = signed<Int8Array>(
  "i8",
  Int8Array,
  (v, at) => v.getInt8(at),
  (v, at, x) => v.setInt8(at, x),
);
export const i16 = signed<Int16Array>(
  "i16",
  Int16Array,
  (v, at) => v.getInt16(at, true),
  (v, at, x) => v.setInt16(at, x, true),
);
export const i32 = signed<Int32Array>(
  "i32",
  Int32Array,
  (v, at) => v.getInt32(at, true),
  (v, at, x) => v.setInt32(at, x, true),
);

export const u64: Codec<bigint> & Viewable<BigUint64Array> = {
  name: "u64",
  size: 8,
  align: 8,
  encode(value, view, offset) {
    checkBigInt("u64", value, 0n, 0xffff_ffff_ffff_ffffn);
    view.setBigUint64(offset, value, true);
  },
  decode: (view, offset) => view.getBigUint64(offset, true),
  view: BigUint64Array,
};

export const i64: Codec<bigint> & Viewable<BigInt64Array> = {
  name: "i64",
  size: 8,
  align: 8,
  encode(value, view, offset) {
    checkBigInt("i64", value, -0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn);
    view.setBigInt64(offset, value, true);
  },
  decode: (view, offset) => view.getBigInt64(offset, true),
  view: BigInt64Array,
};

export const f32 = float<Float32Array>(
  "f32",
  Float32Array,
  (v, at) => v.getFloat32(at, true),
  (v, at, x) => v.setFloat32(at, x, true),
);
export const f64 = float<Float64Array>(
  "f64",
  Float64Array,
  (v, at) => v.getFloat64(at, true),
  (v, at, x) => v.setFloat64(at, x, true),
);

/** One byte: 1 or 0. Any byte but 0 is read as true. */
export const bool: Codec<boolean> = {
  name: "bool",
  size: 1,
  align: 1,
  encode(value, view, offset) {
    if (typeof value !== "boolean") throw new CodecError(`bool: ${shown(value)} is not a boolean`);
    view.setUint8(offset, value ? 1 : 0);
  },
  decode: (view, offset) => view.getUint8(offset) !== 0,
};

/** Each codec has a function of its own to read with: calls through a shared one cost several times as much. */
type Read = (view: DataView, offset: number) => number;
type Write = (view: DataView, offset: number, value: number) => void;

type ViewOf<View extends TypedArray> = Viewable<View>["view"];

function unsigned<View extends TypedArray>(
  name: string,
  view: ViewOf<View>,
  decode: Read,
  write: Write,
): Codec<number> & Viewable<View> {
  return integer(name, 0, 2 ** (view.BYTES_PER_ELEMENT * 8) - 1, view, decode, write);
}

function signed<View extends TypedArray>(
  name: string,
  view: ViewOf<View>,
  decode: Read,
  write: Write,
): Codec<number> & Viewable<View> {
  const half = 2 ** (view.BYTES_PER_ELEMENT * 8 - 1);
  return integer(name, -half, half - 1, view, decode, write);
}

function integer<View extends TypedArray>(
  name: string,
  min: number,
  max: number,
  view: ViewOf<View>,
  decode: Read,
  write: Write,
): Codec<number> & Viewable<View> {
  return {
    name,
    size: view.BYTES_PER_ELEMENT,
    align: view.BYTES_PER_ELEMENT,
    encode(value, into, offset) {
      if (!Number.isInteger(value)) throw new CodecError(`${name}: ${shown(value)} is not an integer number`);
      if (value < min || value > max) throw new CodecError(`${name}: ${value} is not in ${min} … ${max}`);
      write(into, offset, value);
    },
    decode,
    view,
  };
}

/** @throws CodecError where `value` is no bigint, or not in `min` … `max` */
export function checkBigInt(name: string, value: bigint, min: bigint, max: bigint): void {
  if (typeof value !== "bigint") throw new CodecError(`${name}: ${shown(value)} is not a bigint`);
  if (value < min || value > max) throw new CodecError(`${name}: ${value} is not in ${min} … ${max}`);
}

function float<View extends TypedArray>(
  name: string,
  view: ViewOf<View>,
  decode: Read,
  write: Write,
): Codec<number> & Viewable<View> {
  return {
    name,
    size: view.BYTES_PER_ELEMENT,
    align: view.BYTES_PER_ELEMENT,
    encode(value, into, offset) {
      if (typeof value !== "number") throw new CodecError(`${name}: ${shown(value)} is not a number`);
      write(into, offset, value);
    },
    decode,
    view,
  };
}
