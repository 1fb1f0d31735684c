// BPF_MAP_TYPE_STACK_TRACE: call stacks that tracing programs leave under an id. No program of the embedded kernel may call
// bpf_get_stackid, so it holds none.
// Linux: kernel/bpf/stackmap.c

import { E2BIG, EINVAL, ENOENT } from "../../uapi/errno.ts";
import { BPF_F_NUMA_NODE, BPF_F_RDONLY, BPF_F_STACK_BUILD_ID, BPF_F_WRONLY } from "../../uapi/flags.ts";
import { POINTER } from "./fd-array.ts";
import { type MapFamily, refuse } from "./map.ts";

const FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_STACK_BUILD_ID;
/** Bytes of a frame: an address, or struct bpf_stack_build_id. */
const ADDRESS_SIZE = 8;
const BUILD_ID_SIZE = 32;
/** sysctl kernel.perf_event_max_stack, where nobody has changed it. */
const MAX_FRAMES = 127;

export const stackTrace: MapFamily = {
  checkAllocation({ key_size, value_size, max_entries, map_flags }) {
    const frame = (map_flags & BPF_F_STACK_BUILD_ID) === 0 ? ADDRESS_SIZE : BUILD_ID_SIZE;
    const valid =
      (map_flags & ~FLAGS) === 0 &&
      max_entries !== 0 &&
      key_size === 4 &&
      value_size >= frame &&
      value_size % frame === 0 &&
      value_size / frame <= MAX_FRAMES;
    if (!valid) return -EINVAL;
    return max_entries > MAX_BUCKETS ? -E2BIG : 0;
  },
  memoryNeeded: ({ max_entries, value_size }) => buckets(max_entries) * POINTER + max_entries * value_size,
  perCpu: false,
  hasDirectValue: false,
  operations: {
    lookup: refuse(ENOENT),
    update: refuse(EINVAL),
    remove: ({ memory }, map, key) => ((memory.u32[key / 4] as number) >= buckets(map.max_entries) ? -E2BIG : -ENOENT),
    nextKey: refuse(ENOENT),
    lookupAndDelete: refuse(ENOENT),
  },
};

const MAX_BUCKETS = 2 ** 31;

/** Ids are below the power of two above max_entries. */
const buckets = (entries: number): number => 2 ** Math.ceil(Math.log2(entries));
