// The helpers that JavaScript answers; those of maps, ring buffers, CPUs and random numbers the machine answers itself.
// The verifier has checked every argument: an address is one of memory that the program may use, of the size that it gives.
// Linux: kernel/bpf/helpers.c, net/core/filter.c

import { ARGUMENTS, HEAP_END, RESULT } from "../../../machine/layout.ts";
import { EACCES, EFAULT, EINVAL, ENOMEM } from "../../uapi/errno.ts";
import * as ids from "../../uapi/helper-ids.ts";
import { ETH_HLEN, skBuff, XDP_FRAME_SIZE, xdpMd } from "../context.ts";
import type { MachineMemory } from "../memory.ts";
import type { Clock } from "../state.ts";
import { format } from "./format.ts";

/** What helpers work on. */
export interface HelperEnvironment {
  readonly memory: MachineMemory;
  readonly clock: Clock;
  /** Hears what programs print. */
  readonly trace: (text: string) => void;
}

/** A helper: r1 to r5 are addresses or 32-bit values; a u64 is read with `wide`. Its result is sign-extended, or a u64 where it is a bigint. */
type Helper = (env: HelperEnvironment, r1: number, r2: number, r3: number, r4: number, r5: number) => number | bigint;

/** Ticks of Linux's timer in a second, and what it counts from: 300 s before 2^32. */
const HZ = 250n;
const INITIAL_JIFFIES = (1n << 32n) - 300n * HZ;

export const helperCalls: ReadonlyMap<number, Helper> = new Map<number, Helper>([
  [ids.BPF_FUNC_ktime_get_ns, ({ clock }) => clock.monotonic()],
  [ids.BPF_FUNC_ktime_get_boot_ns, ({ clock }) => clock.monotonic()],
  [ids.BPF_FUNC_ktime_get_coarse_ns, ({ clock }) => coarse(clock.monotonic())],
  [ids.BPF_FUNC_ktime_get_tai_ns, ({ clock }) => clock.realtime()],
  [ids.BPF_FUNC_jiffies64, ({ clock }) => INITIAL_JIFFIES + clock.monotonic() / (1_000_000_000n / HZ)],
  [ids.BPF_FUNC_get_numa_node_id, () => 0],
  [ids.BPF_FUNC_trace_printk, tracePrintk],
  [ids.BPF_FUNC_strncmp, compareStrings],
  [ids.BPF_FUNC_csum_diff, checksumDifference],
  [ids.BPF_FUNC_xdp_adjust_head, xdpAdjustHead],
  [ids.BPF_FUNC_xdp_adjust_meta, xdpAdjustMeta],
  [ids.BPF_FUNC_xdp_adjust_tail, xdpAdjustTail],
  [ids.BPF_FUNC_xdp_get_buff_len, ({ memory }, md) => xdpLength(memory, md)],
  [ids.BPF_FUNC_xdp_load_bytes, (env, md, offset, to, size) => xdpCopy(env, md, offset, size, to, false)],
  [ids.BPF_FUNC_xdp_store_bytes, (env, md, offset, from, size) => xdpCopy(env, md, offset, size, from, true)],
  [ids.BPF_FUNC_skb_load_bytes, skbLoadBytes],
  [ids.BPF_FUNC_skb_store_bytes, skbStoreBytes],
  [ids.BPF_FUNC_skb_pull_data, ({ memory }, skb, size) => (size > get(memory, skb + skBuff.len) ? -ENOMEM : 0)],
]);

/** Answers a helper call of the running program: arguments and result lie in the machine's memory. */
export function callHelper(env: HelperEnvironment, id: number): void {
  // The program may have made memory grow.
  env.memory.reach(env.memory.u32[HEAP_END / 4] as number);
  const { u32, view } = env.memory;
  const first = ARGUMENTS / 4;
  const helper = helperCalls.get(id);
  const result = helper?.(
    env,
    u32[first] as number,
    u32[first + 2] as number,
    u32[first + 4] as number,
    u32[first + 6] as number,
    u32[first + 8] as number,
  );
  if (typeof result === "bigint") view.setBigUint64(RESULT, result, true);
  else {
    const value = result ?? -EINVAL;
    u32[RESULT / 4] = value;
    u32[RESULT / 4 + 1] = value < 0 ? 0xffff_ffff : 0;
  }
}

const get = ({ u32 }: MachineMemory, address: number): number => u32[address / 4] as number;
const set = ({ u32 }: MachineMemory, address: number, value: number): void => {
  u32[address / 4] = value;
};
const wide = ({ view }: MachineMemory, argument: number): bigint => view.getBigUint64(ARGUMENTS + 8 * argument, true);

/** The time of the last tick. */
const coarse = (time: bigint): bigint => time - (time % (1_000_000_000n / HZ));

function tracePrintk({ memory, trace }: HelperEnvironment, address: number, size: number): number {
  const end = memory.u8.subarray(address, address + size).indexOf(0);
  if (end < 0) return -EINVAL;
  const args = [wide(memory, 2), wide(memory, 3), wide(memory, 4)];
  const text = format(textOf(memory, address, end), args, { at: (pointer) => stringAt(memory, pointer) });
  if (text === undefined) return -EINVAL;
  trace(text.slice(0, MAX_TRACE));
  return text.length;
}

/** Characters of a text that are printed. */
const MAX_TRACE = 1023;

/** Bytes as text, one character each. */
function textOf({ u8 }: MachineMemory, address: number, length: number): string {
  let text = "";
  for (let i = 0; i < length; i++) text += String.fromCharCode(u8[address + i] as number);
  return text;
}

const MAX_STRING = 512;

function stringAt(memory: MachineMemory, pointer: bigint): string {
  if (pointer === 0n || pointer >= BigInt(memory.u8.length)) return "";
  const address = Number(pointer);
  const bytes = memory.u8.subarray(address, address + MAX_STRING);
  const end = bytes.indexOf(0);
  return textOf(memory, address, end < 0 ? bytes.length : end);
}

function compareStrings({ memory: { u8 } }: HelperEnvironment, a: number, size: number, b: number): number {
  for (let i = 0; i < size; i++) {
    const x = u8[a + i] as number;
    const y = u8[b + i] as number;
    if (x !== y) return x < y ? -1 : 1;
    if (x === 0) return 0;
  }
  return 0;
}

function checksumDifference(
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

function xdpAdjustHead({ memory }: HelperEnvironment, md: number, offset: number): number {
  const meta = get(memory, md + xdpMd.data_meta);
  const data = get(memory, md + xdpMd.data);
  const metaSize = data - meta;
  const moved = data + (offset | 0);
  const first = get(memory, md + xdpMd.hard_start) + XDP_FRAME_SIZE + metaSize;
  if (moved < first || moved > get(memory, md + xdpMd.data_end) - ETH_HLEN) return -EINVAL;
  memory.u8.copyWithin(moved - metaSize, meta, data);
  set(memory, md + xdpMd.data_meta, moved - metaSize);
  set(memory, md + xdpMd.data, moved);
  return 0;
}

/** Most bytes of metadata. */
const MAX_META = 255;

function xdpAdjustMeta({ memory }: HelperEnvironment, md: number, offset: number): number {
  const data = get(memory, md + xdpMd.data);
  const moved = get(memory, md + xdpMd.data_meta) + (offset | 0);
  if (moved < get(memory, md + xdpMd.hard_start) + XDP_FRAME_SIZE || moved > data) return -EINVAL;
  if ((data - moved) % 4 !== 0 || data - moved > MAX_META) return -EACCES;
  set(memory, md + xdpMd.data_meta, moved);
  return 0;
}

const FRAGMENT_SIZE = 4096;

function xdpAdjustTail({ memory }: HelperEnvironment, md: number, offset: number): number {
  const change = offset | 0;
  const fragments = get(memory, md + xdpMd.fragments);
  const rest = get(memory, md + xdpMd.fragments_size);
  const end = get(memory, md + xdpMd.data_end);
  if (rest > 0 && change >= 0) {
    if (change > (FRAGMENT_SIZE - (rest % FRAGMENT_SIZE)) % FRAGMENT_SIZE) return -EINVAL;
    memory.u8.fill(0, fragments + rest, fragments + rest + change);
    set(memory, md + xdpMd.fragments_size, rest + change);
    return 0;
  }
  if (xdpLength(memory, md) + change < ETH_HLEN) return -EINVAL;
  const fromFragments = Math.min(rest, -change);
  const moved = rest > 0 ? end + change + fromFragments : end + change;
  if (moved > get(memory, md + xdpMd.hard_end)) return -EINVAL;
  if (moved < get(memory, md + xdpMd.data) + (rest > 0 ? 0 : ETH_HLEN)) return -EINVAL;
  if (rest > 0) set(memory, md + xdpMd.fragments_size, rest - fromFragments);
  else if (change > 0) memory.u8.fill(0, end, moved);
  set(memory, md + xdpMd.data_end, moved);
  return 0;
}

const xdpLength = (memory: MachineMemory, md: number): number =>
  get(memory, md + xdpMd.data_end) - get(memory, md + xdpMd.data) + get(memory, md + xdpMd.fragments_size);

const MAX_XDP_OFFSET = 0xffff;

/** Copies between a packet, which may lie in two pieces, and a program's bytes. */
function xdpCopy(
  { memory }: HelperEnvironment,
  md: number,
  offset: number,
  size: number,
  bytes: number,
  isStore: boolean,
): number {
  if (offset > MAX_XDP_OFFSET || size > MAX_XDP_OFFSET) return -EFAULT;
  if (offset + size > xdpLength(memory, md)) return -EINVAL;
  const data = get(memory, md + xdpMd.data);
  const linear = get(memory, md + xdpMd.data_end) - data;
  const inLinear = Math.max(0, Math.min(size, linear - offset));
  const copy = (packet: number, other: number, length: number): void => {
    if (isStore) memory.u8.copyWithin(packet, other, other + length);
    else memory.u8.copyWithin(other, packet, packet + length);
  };
  copy(data + offset, bytes, inLinear);
  copy(get(memory, md + xdpMd.fragments) + offset + inLinear - linear, bytes + inLinear, size - inLinear);
  return 0;
}

const INT_MAX = 0x7fff_ffff;

function skbLoadBytes({ memory }: HelperEnvironment, skb: number, offset: number, to: number, size: number): number {
  const { u8 } = memory;
  if (offset > INT_MAX || offset + size > get(memory, skb + skBuff.len)) {
    u8.fill(0, to, to + size);
    return -EFAULT;
  }
  const from = get(memory, skb + skBuff.data) + offset;
  u8.copyWithin(to, from, from + size);
  return 0;
}

const STORE_FLAGS = 3;

function skbStoreBytes(
  { memory }: HelperEnvironment,
  skb: number,
  offset: number,
  from: number,
  size: number,
  flags: number,
): number {
  if ((flags & ~STORE_FLAGS) !== 0) return -EINVAL;
  if (offset > INT_MAX || offset + size > get(memory, skb + skBuff.len)) return -EFAULT;
  memory.u8.copyWithin(get(memory, skb + skBuff.data) + offset, from, from + size);
  return 0;
}
