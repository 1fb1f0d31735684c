// Helpers for the checksums of the internet's protocols: sums of 16-bit words in ones' complement.
// Linux: net/core/filter.c, bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace; include/net/checksum.h

import { EFAULT, EINVAL } from "../../uapi/errno.ts";
import {
  BPF_F_HDR_FIELD_MASK,
  BPF_F_IPV6,
  BPF_F_MARK_ENFORCE,
  BPF_F_MARK_MANGLED_0,
  BPF_F_PSEUDO_HDR,
} from "../../uapi/flags.ts";
import { skBuff } from "../context.ts";
import type { MachineMemory } from "../memory.ts";
import { get, type HelperEnvironment, wide } from "./environment.ts";

export function checksumDifference(
  { memory }: HelperEnvironment,
  from: number,
  fromSize: number,
  to: number,
  toSize: number,
  seed: number,
): number {
  if (fromSize > 0 && toSize > 0) {
    return fold(addOnes(checksum(memory, to, toSize, seed), ~checksum(memory, from, fromSize, 0)));
  }
  if (toSize > 0) return fold(checksum(memory, to, toSize, seed));
  if (fromSize > 0) return fold(~checksum(memory, from, fromSize, ~seed));
  return fold(seed);
}

/** Replaces the checksum of an IP header for a field of it that changes. */
export function replaceL3Checksum({ memory }: HelperEnvironment, skb: number, offset: number): number {
  const flags = wide(memory, 4);
  if ((flags & ~BigInt(BPF_F_HDR_FIELD_MASK)) !== 0n) return -EINVAL;
  return replaceChecksum(memory, skb, offset, Number(flags), replace16);
}

const L4_FLAGS = BPF_F_HDR_FIELD_MASK | BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE | BPF_F_IPV6;
/** What UDP writes for a checksum that is zero. */
const MANGLED_ZERO = 0xffff;

/** Replaces the checksum of TCP or UDP for a field that changes. */
export function replaceL4Checksum({ memory }: HelperEnvironment, skb: number, offset: number): number {
  const wideFlags = wide(memory, 4);
  if ((wideFlags & ~BigInt(L4_FLAGS)) !== 0n) return -EINVAL;
  const flags = Number(wideFlags);
  const mangled = (flags & BPF_F_MARK_MANGLED_0) !== 0;
  const error = checkPlace(memory, skb, offset);
  if (error !== 0) return error;
  const { view } = memory;
  const place = get(memory, skb + skBuff.data) + offset;
  // UDP without a checksum.
  if (mangled && (flags & BPF_F_MARK_ENFORCE) === 0 && view.getUint16(place, true) === 0) return 0;
  const result = replaceChecksum(memory, skb, offset, flags & BPF_F_HDR_FIELD_MASK, (sum, from, to) =>
    replace32(sum, from & 0xffff, to & 0xffff),
  );
  if (result === 0 && mangled && view.getUint16(place, true) === 0) view.setUint16(place, MANGLED_ZERO, true);
  return result;
}

/** A checksum in which a 16-bit word changes from one to another. */
type Replace16 = (sum: number, from: number, to: number) => number;

/** @param size of the field that changes; 0 where r4 is a difference already */
function replaceChecksum(
  memory: MachineMemory,
  skb: number,
  offset: number,
  size: number,
  replaceWord: Replace16,
): number {
  const error = checkPlace(memory, skb, offset);
  if (error !== 0) return error;
  const { view } = memory;
  const place = get(memory, skb + skBuff.data) + offset;
  const sum = view.getUint16(place, true);
  const from = Number(wide(memory, 2) & 0xffff_ffffn);
  const to = Number(wide(memory, 3) & 0xffff_ffffn);
  if (size === 0 && wide(memory, 2) !== 0n) return -EINVAL;
  if (size === 0) view.setUint16(place, ~fold(addOnes(to, ~sum)), true);
  else if (size === 2) view.setUint16(place, replaceWord(sum, from, to), true);
  else if (size === 4) view.setUint16(place, replace32(sum, from, to), true);
  else return -EINVAL;
  return 0;
}

const MAX_OFFSET = 0xffff;

/** Whether a checksum may be at an offset of the packet. */
function checkPlace(memory: MachineMemory, skb: number, offset: number): number {
  return offset > MAX_OFFSET || offset % 2 !== 0 || offset + 2 > get(memory, skb + skBuff.len) ? -EFAULT : 0;
}

const replace32 = (sum: number, from: number, to: number): number => ~fold(addOnes(addOnes(~sum, ~from), to));

const replace16: Replace16 = (sum, from, to) => ~addOnes16(addOnes16(~sum, ~from), to);

function addOnes16(a: number, b: number): number {
  const sum = (a & 0xffff) + (b & 0xffff);
  return (sum & 0xffff) + (sum >>> 16);
}

/** Sum of words in ones' complement, the last one filled up with zeros. */
function checksum({ u8, view }: MachineMemory, address: number, size: number, seed: number): number {
  let sum = seed >>> 0;
  const words = size - (size % 4);
  for (let i = 0; i < words; i += 4) sum = addOnes(sum, view.getUint32(address + i, true));
  for (let i = words; i < size; i++) sum = addOnes(sum, (u8[address + i] as number) << (8 * (i % 4)));
  return sum;
}

function addOnes(a: number, b: number): number {
  const sum = (a >>> 0) + (b >>> 0);
  return sum > 0xffff_ffff ? (sum + 1) >>> 0 : sum;
}

function fold(sum: number): number {
  const once = ((sum >>> 0) >>> 16) + (sum & 0xffff);
  return (once >>> 16) + (once & 0xffff);
}
