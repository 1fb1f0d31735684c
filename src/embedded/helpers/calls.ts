// The helpers that JavaScript answers; those of maps, ring buffers, CPUs and random numbers the machine answers itself.
// The verifier has checked every argument: an address is one of memory that the program may use, of the size that it gives.
// Linux: kernel/bpf/helpers.c, net/core/filter.c

import { ARGUMENTS, HEAP_END, RESULT } from "../../../machine/layout.ts";
import { EACCES, EFAULT, EINVAL, ENOMEM } from "../../uapi/errno.ts";
import { BPF_F_INGRESS, XDP_ABORTED, XDP_REDIRECT } from "../../uapi/flags.ts";
import * as ids from "../../uapi/helper-ids.ts";
import { BPF_PROG_TYPE_XDP } from "../../uapi/program-types.ts";
import { ETH_HLEN, skBuff, XDP_FRAME_SIZE, xdpMd } from "../context.ts";
import type { MachineMemory } from "../memory.ts";
import { checksumDifference, replaceL3Checksum, replaceL4Checksum } from "./checksums.ts";
import { get, type Helper, type HelperEnvironment, set, wide } from "./environment.ts";
import { format } from "./format.ts";
import { probeReadKernel, probeReadKernelString } from "./kernel-memory.ts";
import { perfEventOutput } from "./perf-events.ts";
import { fullSocket, getLocalStorage, socketStorageDelete, socketStorageGet } from "./storage.ts";

/** Ticks of Linux's timer in a second, and what it counts from: 300 s before 2^32. */
const HZ = 250n;
const INITIAL_JIFFIES = (1n << 32n) - 300n * HZ;

export const helperCalls: ReadonlyMap<number, Helper> = new Map<number, Helper>([
  [ids.BPF_FUNC_get_local_storage, getLocalStorage],
  [ids.BPF_FUNC_sk_fullsock, fullSocket],
  [ids.BPF_FUNC_sk_storage_get, socketStorageGet],
  [ids.BPF_FUNC_sk_storage_delete, socketStorageDelete],
  [ids.BPF_FUNC_ktime_get_ns, ({ clock }) => clock.monotonic()],
  [ids.BPF_FUNC_ktime_get_boot_ns, ({ clock }) => clock.monotonic()],
  [ids.BPF_FUNC_ktime_get_coarse_ns, ({ clock }) => coarse(clock.monotonic())],
  [ids.BPF_FUNC_ktime_get_tai_ns, ({ clock }) => clock.realtime()],
  [ids.BPF_FUNC_jiffies64, ({ clock }) => INITIAL_JIFFIES + clock.monotonic() / (1_000_000_000n / HZ)],
  [ids.BPF_FUNC_get_numa_node_id, () => 0],
  [ids.BPF_FUNC_trace_printk, tracePrintk],
  [ids.BPF_FUNC_trace_vprintk, traceVprintk],
  [ids.BPF_FUNC_probe_read_kernel, probeReadKernel],
  [ids.BPF_FUNC_probe_read_kernel_str, probeReadKernelString],
  [ids.BPF_FUNC_perf_event_output, perfEventOutput],
  [ids.BPF_FUNC_strncmp, compareStrings],
  [ids.BPF_FUNC_csum_diff, checksumDifference],
  [ids.BPF_FUNC_l3_csum_replace, replaceL3Checksum],
  [ids.BPF_FUNC_l4_csum_replace, replaceL4Checksum],
  [ids.BPF_FUNC_redirect, redirect],
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

/** The time of the last tick. */
const coarse = (time: bigint): bigint => time - (time % (1_000_000_000n / HZ));

function tracePrintk(env: HelperEnvironment, address: number, size: number): number {
  const { memory } = env;
  return print(env, address, size, [wide(memory, 2), wide(memory, 3), wide(memory, 4)]);
}

/** Most arguments of a format that are given in memory. */
const MAX_VARIADIC = 12;

function traceVprintk(env: HelperEnvironment, address: number, size: number, data: number, dataSize: number): number {
  if (dataSize % 8 !== 0 || dataSize > 8 * MAX_VARIADIC) return -EINVAL;
  const { view } = env.memory;
  const args = Array.from({ length: dataSize / 8 }, (_, index) => view.getBigUint64(data + 8 * index, true));
  return print(env, address, size, args);
}

/** Prints a format of at most `size` bytes; gives the length of the text. */
function print({ memory, trace }: HelperEnvironment, address: number, size: number, args: readonly bigint[]): number {
  const end = memory.u8.subarray(address, address + size).indexOf(0);
  if (end < 0) return -EINVAL;
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

// Answers of traffic control.
const TC_ACT_SHOT = 2;
const TC_ACT_REDIRECT = 7;

/** The answer that sends the packet elsewhere; a test run sends nothing. */
function redirect({ memory, programType }: HelperEnvironment): number {
  const flags = wide(memory, 1);
  if (programType === BPF_PROG_TYPE_XDP) return flags === 0n ? XDP_REDIRECT : XDP_ABORTED;
  return (flags & ~BigInt(BPF_F_INGRESS)) === 0n ? TC_ACT_REDIRECT : TC_ACT_SHOT;
}
