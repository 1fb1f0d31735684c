// Keys of longest-prefix-match tries: struct bpf_lpm_trie_key, a prefix length in bits and data, most significant byte first.
// Linux: Documentation/bpf/map_lpm_trie.rst; text forms: RFC 4632 (10.0.0.0/8), RFC 4291 and RFC 5952 (2001:db8::/32)

import { ipv4 } from "./bytes.ts";
import { bytesAt, type Codec, CodecError, encodeAt, shown } from "./codec.ts";
import { u32 } from "./scalars.ts";

/** Bytes of the prefix length. */
const LENGTH_SIZE = 4;
/** Groups of 16 bits in an IPv6 address. */
const GROUPS = 8;

/** A prefix of any data. */
export interface Prefix<T> {
  /** Bits that count, from the first byte's highest on. */
  readonly length: number;
  readonly data: T;
}

/**
 * A key of a trie over any data: `{ length, data }`. Bits behind the prefix are written as they are; the trie does not look at them.
 *
 * @example
 * const key = lpmKey(bytes(6));
 * map.set({ length: 24, data: Uint8Array.of(0xaa, 0xbb, 0xcc, 0, 0, 0) }, 1);
 */
export function lpmKey<T>(data: Codec<T>): Codec<Prefix<T>> {
  const name = `prefix of ${data.name}`;
  return {
    name,
    size: LENGTH_SIZE + data.size,
    align: LENGTH_SIZE,
    encode(value, view, offset) {
      if (typeof value !== "object" || value === null)
        throw new CodecError(`${name}: ${shown(value)} is not an object`);
      checkLength(name, value.length, data.size * 8);
      u32.encode(value.length, view, offset);
      encodeAt("data", data, value.data, view, offset + LENGTH_SIZE);
    },
    decode: (view, offset) => ({
      length: u32.decode(view, offset),
      data: data.decode(view, offset + LENGTH_SIZE),
    }),
  };
}

/** An IPv6 address, 16 bytes in network order. Read as RFC 5952 writes it: `2001:db8::1`. */
export const ipv6: Codec<string> = {
  name: "ipv6",
  size: 16,
  align: 4,
  encode(value, view, offset) {
    const groups = typeof value === "string" ? parseIpv6(value) : undefined;
    if (groups === undefined) throw new CodecError(`ipv6: ${shown(value)} is not an address such as "2001:db8::1"`);
    for (const [index, group] of groups.entries()) view.setUint16(offset + 2 * index, group);
  },
  decode(view, offset) {
    const groups = Array.from({ length: GROUPS }, (_, index) => view.getUint16(offset + 2 * index).toString(16));
    const zeros = longestZeros(groups);
    if (zeros.length < 2) return groups.join(":");
    return `${groups.slice(0, zeros.start).join(":")}::${groups.slice(zeros.start + zeros.length).join(":")}`;
  },
};

/** An IPv4 network, `10.0.0.0/8`; an address alone is a prefix of 32 bits. Bits behind the prefix are written as zero. */
export const ipv4Prefix: Codec<string> = network("ipv4 prefix", ipv4, "10.0.0.0/8");

/** An IPv6 network, `2001:db8::/32`; an address alone is a prefix of 128 bits. Bits behind the prefix are written as zero. */
export const ipv6Prefix: Codec<string> = network("ipv6 prefix", ipv6, "2001:db8::/32");

function network(name: string, address: Codec<string>, example: string): Codec<string> {
  const bits = address.size * 8;
  return {
    name,
    size: LENGTH_SIZE + address.size,
    align: LENGTH_SIZE,
    encode(value, view, offset) {
      const [, text, digits] = (typeof value === "string" && /^([^/]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(value)) || [];
      if (text === undefined) throw new CodecError(`${name}: ${shown(value)} is not a network such as "${example}"`);
      const length = digits === undefined ? bits : Number(digits);
      checkLength(name, length, bits);
      u32.encode(length, view, offset);
      address.encode(text, view, offset + LENGTH_SIZE);
      clearBehind(bytesAt(view, offset + LENGTH_SIZE, address.size), length);
    },
    decode: (view, offset) => `${address.decode(view, offset + LENGTH_SIZE)}/${u32.decode(view, offset)}`,
  };
}

function checkLength(name: string, length: number, bits: number): void {
  if (Number.isInteger(length) && length >= 0 && length <= bits) return;
  throw new CodecError(`${name}: a prefix of ${shown(length)} bits is not in 0 … ${bits}`);
}

function clearBehind(bytes: Uint8Array, length: number): void {
  for (let bit = length; bit < bytes.length * 8; bit++) bytes[bit >> 3]! &= ~(0x80 >> (bit & 7));
}

/** The groups of an address; undefined where it is none. */
function parseIpv6(text: string): number[] | undefined {
  const halves = text.split("::");
  const [head, tail] = halves.map((half) => (half === "" ? [] : half.split(":").flatMap(groupsOf)));
  if (head === undefined || halves.length > 2 || (tail !== undefined && halves[0]!.includes("."))) return undefined;
  const missing = GROUPS - head.length - (tail?.length ?? 0);
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = tail === undefined ? head : [...head, ...new Array<number>(missing).fill(0), ...tail];
  return groups.some(Number.isNaN) ? undefined : groups;
}

/** The number of one group, or the two of an IPv4 address that stands last; NaN where it is neither. */
function groupsOf(part: string, index: number, parts: readonly string[]): number[] {
  if (/^[0-9a-f]{1,4}$/i.test(part)) return [Number.parseInt(part, 16)];
  if (!part.includes(".") || index !== parts.length - 1) return [Number.NaN];
  const view = new DataView(new ArrayBuffer(4));
  try {
    ipv4.encode(part, view, 0);
  } catch {
    return [Number.NaN];
  }
  return [view.getUint16(0), view.getUint16(2)];
}

function longestZeros(groups: readonly string[]): { readonly start: number; readonly length: number } {
  let longest = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === "0") length++;
    if (length > longest.length) longest = { start, length };
  }
  return longest;
}
