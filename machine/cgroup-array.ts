// BPF_MAP_TYPE_CGROUP_ARRAY: an element is 0 where it is empty. Packets and tasks are in none of the cgroups.
// Linux: kernel/trace/bpf_trace.c, bpf_current_task_under_cgroup; net/core/filter.c, bpf_skb_under_cgroup

import { E2BIG, EAGAIN } from "../src/uapi/errno.ts";
import { MapHeader } from "./map.ts";

/** Whether something is in the cgroup of an element: 0, or -errno where there is none. */
export function underCgroup(map: MapHeader, index: u32): i32 {
  if (index >= map.maxEntries) return -E2BIG;
  return load<u64>(map.data + <usize>index * sizeof<u64>()) ? 0 : -EAGAIN;
}
