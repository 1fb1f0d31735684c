// Codecs of C's numbers. Up to 32 bits a value is a number, at 64 bits a bigint, so that none loses a digit.

import { type Codec, CodecError, shown } from "./codec.ts";

export const u8 = unsigned(
  "u8",
  1,
  (v, at) => v.getUint8(at),
  (v, at, x) => v.setUint8(at, x),
);
export const u16 = unsigned(
  "u16",
  2,
  (v, at) => v.getUint16(at, true),
  (v, at, x) => v.setUint16(at, x, true),
);
export const u32 = unsigned(
  "u32",
  4,
  (v, at) => v.getUint32(at, true),
  (v, at, x) => v.setUint32(at, x, true),
);
export const i8 = signed(
  "i8",
  1,
  (v, at) => v.getInt8(at),
  (v, at, x) => v.setInt8(at, x),
);
export const i16 = signed(
  "i16",
  2,
  (v, at) => v.getInt16(at, true),
  (v, at, x) => v.setInt16(at, x, true),
);
export const i32 = signed(
  "i32",
  4,
  (v, at) => v.getInt32(at, true),
  (v, at, x) => v.setInt32(at, x, true),
);

export const u64: Codec<bigint> = {
  name: "u64",
  size: 8,
  align: 8,
  encode(value, view, offset) {
    checkBigInt("u64", value, 0n, 0xffff_ffff_ffff_ffffn);
    view.setBigUint64(offset, value, true);
  },
  decode: (view, offset) => view.getBigUint64(offset, true),
};

export const i64: Codec<bigint> = {
  name: "i64",
  size: 8,
  align: 8,
  encode(value, view, offset) {
    checkBigInt("i64", value, -0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn);
    view.setBigInt64(offset, value, true);
  },
  decode: (view, offset) => view.getBigInt64(offset, true),
};

export const f32 = float(
  "f32",
  4,
  (v, at) => v.getFloat32(at, true),
  (v, at, x) => v.setFloat32(at, x, true),
);
export const f64 = float(
  "f64",
  8,
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

function unsigned(name: string, size: number, decode: Read, write: Write): Codec<number> {
  return integer(name, size, 0, 2 ** (size * 8) - 1, decode, write);
}

function signed(name: string, size: number, decode: Read, write: Write): Codec<number> {
  return integer(name, size, -(2 ** (size * 8 - 1)), 2 ** (size * 8 - 1) - 1, decode, write);
}

function integer(name: string, size: number, min: number, max: number, decode: Read, write: Write): Codec<number> {
  return {
    name,
    size,
    align: size,
    encode(value, view, offset) {
      if (!Number.isInteger(value)) throw new CodecError(`${name}: ${shown(value)} is not an integer number`);
      if (value < min || value > max) throw new CodecError(`${name}: ${value} is not in ${min} … ${max}`);
      write(view, offset, value);
    },
    decode,
  };
}

/** @throws CodecError where `value` is no bigint, or not in `min` … `max` */
export function checkBigInt(name: string, value: bigint, min: bigint, max: bigint): void {
  if (typeof value !== "bigint") throw new CodecError(`${name}: ${shown(value)} is not a bigint`);
  if (value < min || value > max) throw new CodecError(`${name}: ${value} is not in ${min} … ${max}`);
}

function float(name: string, size: number, decode: Read, write: Write): Codec<number> {
  return {
    name,
    size,
    align: size,
    encode(value, view, offset) {
      if (typeof value !== "number") throw new CodecError(`${name}: ${shown(value)} is not a number`);
      write(view, offset, value);
    },
    decode,
  };
}
