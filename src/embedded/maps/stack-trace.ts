// BPF_MAP_TYPE_STACK_TRACE: call stacks that tracing programs leave under an id. No program of the embedded kernel may call
// bpf_get_stackid, so it holds none.
// Linux: kernel/bpf/stackmap.c

import { E2BIG, ENOENT } from "../../uapi/errno.ts";
import { BPF_F_STACK_BUILD_ID } from "../../uapi/flags.ts";
import { POINTER } from "./fd-array.ts";
import { type MapFamily, refuse } from "./map.ts";
import { checkShape } from "./shape.ts";

/** struct bpf_stack_build_id is as large as four addresses. */
const ADDRESSES_OF_BUILD_ID = 4;

export const stackTrace: MapFamily = {
  checkAllocation(attributes) {
    const hasBuildIds = (attributes.map_flags & BPF_F_STACK_BUILD_ID) !== 0;
    const value_size = hasBuildIds ? attributes.value_size / ADDRESSES_OF_BUILD_ID : attributes.value_size;
    return checkShape({ ...attributes, value_size });
  },
  memoryNeeded: ({ max_entries, value_size }) => buckets(max_entries) * POINTER + max_entries * value_size,
  perCpu: false,
  hasDirectValue: false,
  operations: {
    lookup: refuse(ENOENT),
    remove: ({ memory }, map, key) => ((memory.u32[key / 4] as number) >= buckets(map.max_entries) ? -E2BIG : -ENOENT),
    nextKey: refuse(ENOENT),
    lookupAndDelete: refuse(ENOENT),
  },
};

/** Ids are below the power of two above max_entries. */
const buckets = (entries: number): number => 2 ** Math.ceil(Math.log2(entries));
