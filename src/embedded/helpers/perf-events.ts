// bpf_perf_event_output: sends bytes, and the begin of the packet behind them, to the performance event of a CPU.
// Linux: kernel/trace/bpf_trace.c, __bpf_perf_event_output; net/core/filter.c, bpf_skb_event_output, bpf_xdp_event_output

import { CPU } from "../../../machine/layout.ts";
import { E2BIG, EFAULT, EINVAL, ENOENT } from "../../uapi/errno.ts";
import { BPF_F_CTXLEN_MASK, BPF_F_CURRENT_CPU, BPF_F_INDEX_MASK } from "../../uapi/flags.ts";
import { BPF_PROG_TYPE_XDP } from "../../uapi/program-types.ts";
import { skBuff, xdpMd } from "../context.ts";
import { perfEventAt } from "../maps/perf-event-array.ts";
import { perfOutput } from "../perf-events.ts";
import { get, type HelperEnvironment, wide } from "./environment.ts";

const INDEX = BigInt(BPF_F_INDEX_MASK);
const CONTEXT_LENGTH = BigInt(BPF_F_CTXLEN_MASK);

export function perfEventOutput(
  env: HelperEnvironment,
  context: number,
  address: number,
  _flags: number,
  data: number,
  size: number,
): number {
  const { memory, mapsByAddress } = env;
  const flags = wide(memory, 2);
  if ((flags & ~(CONTEXT_LENGTH | INDEX)) !== 0n) return -EINVAL;
  const packet = packetStart(env, context, Number((flags & CONTEXT_LENGTH) >> 32n));
  if (packet === undefined) return -EFAULT;
  const map = mapsByAddress.get(address);
  const cpu = get(memory, CPU);
  const asked = Number(flags & INDEX);
  const index = asked === BPF_F_CURRENT_CPU ? cpu : asked;
  if (map === undefined || index >= map.max_entries) return -E2BIG;
  const event = perfEventAt(map, index);
  if (event === undefined) return -ENOENT;
  return perfOutput(env, event, cpu, memory.u8.subarray(data, data + size), ...packet);
}

/** The first `length` bytes of the packet, which may lie in two pieces; undefined where it is shorter. */
function packetStart(
  { memory, programType }: HelperEnvironment,
  context: number,
  length: number,
): Uint8Array[] | undefined {
  const isXdp = programType === BPF_PROG_TYPE_XDP;
  const { u8 } = memory;
  if (!isXdp) {
    const start = get(memory, context + skBuff.data);
    return length > get(memory, context + skBuff.len) ? undefined : [u8.subarray(start, start + length)];
  }
  const start = get(memory, context + xdpMd.data);
  const linear = Math.min(length, get(memory, context + xdpMd.data_end) - start);
  const rest = length - linear;
  if (rest > get(memory, context + xdpMd.fragments_size)) return undefined;
  const fragments = get(memory, context + xdpMd.fragments);
  return [u8.subarray(start, start + linear), u8.subarray(fragments, fragments + rest)];
}
