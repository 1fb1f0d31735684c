// What the helpers of the embedded kernel take and return. A helper is in the embedded kernel when it has a row here.
// Linux: struct bpf_func_proto of each, kernel/bpf/helpers.c, kernel/bpf/ringbuf.c, net/core/filter.c

import * as id from "../../uapi/helper-ids.ts";

export type Argument =
  /** Any value; an address only with CAP_PERFMON. */
  | "anything"
  | "context"
  | "map"
  /** Memory of the map's key size, or value size. */
  | "map key"
  | "map value"
  | "map value or null"
  /** Memory of the map's value size that the helper fills. */
  | "uninitialised map value"
  /** Memory that is read, whose size is the next argument. */
  | "memory"
  | "memory or null"
  /** Memory that the helper fills, whose size is the next argument. */
  | "uninitialised memory"
  /** Size of the memory before it: at least 1. */
  | "size"
  | "size or zero"
  /** A number that is known when the program is loaded: bytes to reserve. */
  | "constant size"
  /** A record that was reserved; it is released. */
  | "record"
  /** NUL-terminated string in a read-only map. */
  | "constant string"
  /** A subprogram that the helper calls. */
  | "function"
  | "stack or null"
  /** 16 bytes of stack that become a dynptr: to memory of the program, or to a record that must be released. */
  | "new dynptr"
  | "new record dynptr"
  | "dynptr"
  /** A dynptr to a record, which is released. */
  | "record dynptr"
  /** Memory that a dynptr is to point to: a map's value. */
  | "dynptr memory"
  /** The struct bpf_spin_lock of a map value. */
  | "lock"
  /** A struct bpf_sock; `any socket` may be one of the kernel's own too. */
  | "socket"
  | "any socket"
  /** Flags of which there are none. */
  | "zero";

export type Return =
  | "integer"
  | "nothing"
  | "map value"
  | "map value or null"
  | "socket or null"
  | "record or null"
  /** Memory that the dynptr points to, as much as the constant size says. */
  | "dynptr memory or null";

/** What a helper gives the function that it calls as r1 to r5; `context` is the helper's own third argument. */
export type CallbackArgument = "index" | "map" | "map key" | "map value" | "sample" | "context";

export interface Prototype {
  readonly arguments: readonly Argument[];
  readonly returns: Return;
  readonly gplOnly?: boolean;
  /** Whether it needs CAP_PERFMON. */
  readonly perfmon?: boolean;
  /** Whether memory arguments may lie in the packet. */
  readonly packetMemory?: boolean;
  /** Whether it may move the packet, so that pointers into it end. */
  readonly movesPacket?: boolean;
  /** Whether it writes the map, so that BPF_F_RDONLY_PROG forbids it. */
  readonly writesMap?: boolean;
  /** Arguments of the function that it calls, again and again, while that returns 0. */
  readonly callsBack?: readonly CallbackArgument[];
}

const number: Prototype = { arguments: [], returns: "integer" };
const resizePacket: Prototype = { arguments: ["context", "anything"], returns: "integer", movesPacket: true };
const readKernel: Prototype = {
  arguments: ["uninitialised memory", "size or zero", "anything"],
  returns: "integer",
  gplOnly: true,
  perfmon: true,
};
const replaceChecksum: Prototype = {
  arguments: ["context", "anything", "anything", "anything", "anything"],
  returns: "integer",
  movesPacket: true,
};

export const prototypes: ReadonlyMap<number, Prototype> = new Map<number, Prototype>([
  [
    id.BPF_FUNC_map_lookup_elem,
    {
      arguments: ["map", "map key"],
      returns: "map value or null",
      packetMemory: true,
    },
  ],
  [
    id.BPF_FUNC_map_update_elem,
    {
      arguments: ["map", "map key", "map value", "anything"],
      returns: "integer",
      packetMemory: true,
      writesMap: true,
    },
  ],
  [
    id.BPF_FUNC_map_delete_elem,
    { arguments: ["map", "map key"], returns: "integer", packetMemory: true, writesMap: true },
  ],
  [
    id.BPF_FUNC_map_lookup_percpu_elem,
    {
      arguments: ["map", "map key", "anything"],
      returns: "map value or null",
      packetMemory: true,
    },
  ],
  [
    id.BPF_FUNC_map_push_elem,
    { arguments: ["map", "map value", "anything"], returns: "integer", packetMemory: true, writesMap: true },
  ],
  [id.BPF_FUNC_map_pop_elem, { arguments: ["map", "uninitialised map value"], returns: "integer", writesMap: true }],
  [id.BPF_FUNC_map_peek_elem, { arguments: ["map", "uninitialised map value"], returns: "integer" }],
  [id.BPF_FUNC_spin_lock, { arguments: ["lock"], returns: "nothing" }],
  [id.BPF_FUNC_spin_unlock, { arguments: ["lock"], returns: "nothing" }],
  [id.BPF_FUNC_tail_call, { arguments: ["context", "map", "anything"], returns: "nothing" }],
  [id.BPF_FUNC_redirect_map, { arguments: ["map", "anything", "anything"], returns: "integer" }],
  [
    id.BPF_FUNC_perf_event_output,
    {
      arguments: ["context", "map", "anything", "memory", "size or zero"],
      returns: "integer",
      gplOnly: true,
    },
  ],
  [id.BPF_FUNC_skb_under_cgroup, { arguments: ["context", "map", "anything"], returns: "integer" }],
  [id.BPF_FUNC_current_task_under_cgroup, { arguments: ["map", "anything"], returns: "integer" }],
  [id.BPF_FUNC_get_local_storage, { arguments: ["map", "zero"], returns: "map value" }],
  [id.BPF_FUNC_sk_fullsock, { arguments: ["socket"], returns: "socket or null" }],
  [
    id.BPF_FUNC_sk_storage_get,
    { arguments: ["map", "any socket", "map value or null", "anything"], returns: "map value or null" },
  ],
  [id.BPF_FUNC_sk_storage_delete, { arguments: ["map", "any socket"], returns: "integer" }],
  [id.BPF_FUNC_ktime_get_ns, number],
  [id.BPF_FUNC_ktime_get_boot_ns, number],
  [id.BPF_FUNC_ktime_get_coarse_ns, number],
  [id.BPF_FUNC_ktime_get_tai_ns, number],
  [id.BPF_FUNC_jiffies64, number],
  [id.BPF_FUNC_get_prandom_u32, number],
  [id.BPF_FUNC_get_smp_processor_id, number],
  [id.BPF_FUNC_get_numa_node_id, number],
  [id.BPF_FUNC_trace_printk, { arguments: ["memory", "size"], returns: "integer", gplOnly: true, perfmon: true }],
  [
    id.BPF_FUNC_trace_vprintk,
    {
      arguments: ["memory", "size", "memory or null", "size or zero"],
      returns: "integer",
      gplOnly: true,
      perfmon: true,
    },
  ],
  [id.BPF_FUNC_probe_read_kernel, readKernel],
  [id.BPF_FUNC_probe_read_kernel_str, readKernel],
  [id.BPF_FUNC_ringbuf_output, { arguments: ["map", "memory", "size or zero", "anything"], returns: "integer" }],
  [id.BPF_FUNC_ringbuf_reserve, { arguments: ["map", "constant size", "anything"], returns: "record or null" }],
  [id.BPF_FUNC_ringbuf_submit, { arguments: ["record", "anything"], returns: "nothing" }],
  [id.BPF_FUNC_ringbuf_discard, { arguments: ["record", "anything"], returns: "nothing" }],
  [id.BPF_FUNC_ringbuf_query, { arguments: ["map", "anything"], returns: "integer" }],
  [
    id.BPF_FUNC_ringbuf_reserve_dynptr,
    { arguments: ["map", "anything", "anything", "new record dynptr"], returns: "integer" },
  ],
  [id.BPF_FUNC_ringbuf_submit_dynptr, { arguments: ["record dynptr", "anything"], returns: "nothing" }],
  [id.BPF_FUNC_ringbuf_discard_dynptr, { arguments: ["record dynptr", "anything"], returns: "nothing" }],
  [
    id.BPF_FUNC_dynptr_from_mem,
    { arguments: ["dynptr memory", "size or zero", "anything", "new dynptr"], returns: "integer" },
  ],
  [
    id.BPF_FUNC_dynptr_read,
    {
      arguments: ["uninitialised memory", "size or zero", "dynptr", "anything", "anything"],
      returns: "integer",
    },
  ],
  [
    id.BPF_FUNC_dynptr_write,
    { arguments: ["dynptr", "anything", "memory", "size or zero", "anything"], returns: "integer" },
  ],
  [id.BPF_FUNC_dynptr_data, { arguments: ["dynptr", "anything", "constant size"], returns: "dynptr memory or null" }],
  [id.BPF_FUNC_xdp_adjust_head, resizePacket],
  [id.BPF_FUNC_xdp_adjust_meta, resizePacket],
  [id.BPF_FUNC_xdp_adjust_tail, resizePacket],
  [
    id.BPF_FUNC_xdp_load_bytes,
    { arguments: ["context", "anything", "uninitialised memory", "size"], returns: "integer" },
  ],
  [id.BPF_FUNC_xdp_store_bytes, { arguments: ["context", "anything", "memory", "size"], returns: "integer" }],
  [id.BPF_FUNC_xdp_get_buff_len, { arguments: ["context"], returns: "integer" }],
  [
    id.BPF_FUNC_skb_load_bytes,
    { arguments: ["context", "anything", "uninitialised memory", "size"], returns: "integer" },
  ],
  [
    id.BPF_FUNC_skb_store_bytes,
    { arguments: ["context", "anything", "memory", "size", "anything"], returns: "integer", movesPacket: true },
  ],
  [id.BPF_FUNC_skb_pull_data, resizePacket],
  [
    id.BPF_FUNC_csum_diff,
    {
      arguments: ["memory or null", "size or zero", "memory or null", "size or zero", "anything"],
      returns: "integer",
      packetMemory: true,
    },
  ],
  [id.BPF_FUNC_l3_csum_replace, replaceChecksum],
  [id.BPF_FUNC_l4_csum_replace, replaceChecksum],
  [id.BPF_FUNC_redirect, { arguments: ["anything", "anything"], returns: "integer" }],
  [
    id.BPF_FUNC_for_each_map_elem,
    {
      arguments: ["map", "function", "stack or null", "anything"],
      returns: "integer",
      callsBack: ["map", "map key", "map value", "context"],
    },
  ],
  [
    id.BPF_FUNC_loop,
    {
      arguments: ["anything", "function", "stack or null", "anything"],
      returns: "integer",
      callsBack: ["index", "context"],
    },
  ],
  [
    id.BPF_FUNC_user_ringbuf_drain,
    {
      arguments: ["map", "function", "stack or null", "anything"],
      returns: "integer",
      callsBack: ["sample", "context"],
    },
  ],
  [id.BPF_FUNC_strncmp, { arguments: ["memory", "size", "constant string"], returns: "integer" }],
]);
