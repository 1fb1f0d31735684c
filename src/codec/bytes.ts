// Codecs of byte strings: as they are, as text, as an address.

import { bytesAt, type Codec, CodecError, shown, type Viewable } from "./codec.ts";

/** Exactly `length` bytes. */
export function bytes(length: number): Codec<Uint8Array> & Viewable<Uint8Array> {
  checkLength("bytes", length);
  return {
    name: `u8[${length}]`,
    size: length,
    align: 1,
    encode(value, view, offset) {
      if (!(value instanceof Uint8Array)) throw new CodecError(`u8[${length}]: ${shown(value)} is not a Uint8Array`);
      if (value.length !== length) throw new CodecError(`u8[${length}]: ${value.length} bytes, not ${length}`);
      bytesAt(view, offset, length).set(value);
    },
    decode: (view, offset) => bytesAt(view, offset, length).slice(),
    view: Uint8Array,
  };
}

/**
 * Text in `char[length]`, UTF-8, filled up with NULs. A text of `length` bytes has no NUL behind it.
 * Reading stops at the first NUL; bytes that are not UTF-8 become U+FFFD.
 */
export function cstring(length: number): Codec<string> {
  checkLength("cstring", length);
  return {
    name: `char[${length}]`,
    size: length,
    align: 1,
    encode(value, view, offset) {
      if (typeof value !== "string") throw new CodecError(`char[${length}]: ${shown(value)} is not a string`);
      if (/[\0\p{Surrogate}]/u.test(value)) {
        throw new CodecError(`char[${length}]: ${shown(value)} has a NUL or half a surrogate pair in it`);
      }
      const text = encoder.encode(value);
      if (text.length > length) {
        throw new CodecError(`char[${length}]: ${shown(value)} has ${text.length} bytes, at most ${length} fit`);
      }
      const target = bytesAt(view, offset, length);
      target.fill(0);
      target.set(text);
    },
    decode: (view, offset) => decoder.decode(untilNul(bytesAt(view, offset, length))),
  };
}

/** A copy of the bytes before the first NUL, or of all. */
export function untilNul(text: Uint8Array): Uint8Array {
  const end = text.indexOf(0);
  return text.slice(0, end < 0 ? text.length : end);
}

/** An IPv4 address, four bytes in network order: `10.0.0.1`. Written with four decimal numbers, no zeros in front. */
export const ipv4: Codec<string> = {
  name: "ipv4",
  size: 4,
  align: 4,
  encode(value, view, offset) {
    if (typeof value !== "string" || !/^\d+\.\d+\.\d+\.\d+$/.test(value)) {
      throw new CodecError(`ipv4: ${shown(value)} is not an address such as "10.0.0.1"`);
    }
    for (const [index, part] of value.split(".").entries()) {
      if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) {
        throw new CodecError(`ipv4: "${value}": ${part} is not in 0 … 255`);
      }
      view.setUint8(offset + index, Number(part));
    }
  },
  decode: (view, offset) => bytesAt(view, offset, 4).join("."),
};

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

function checkLength(codec: string, length: number): void {
  if (!Number.isInteger(length) || length < 0) {
    throw new CodecError(`${codec}(${shown(length)}): a length is an integer of at least 0`);
  }
}
