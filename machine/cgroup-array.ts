// BPF_MAP_TYPE_CGROUP_ARRAY: no element has a cgroup, for there are none.
// Linux: kernel/trace/bpf_trace.c, bpf_current_task_under_cgroup; net/core/filter.c, bpf_skb_under_cgroup

import { E2BIG, EAGAIN } from "../src/uapi/errno.ts";
import { MapHeader } from "./map.ts";

/** -errno: whether something is in the cgroup of an element cannot be told. */
export function underCgroup(map: MapHeader, index: u32): i32 {
  return index < map.maxEntries ? -EAGAIN : -E2BIG;
}
