// BPF_MAP_TYPE_CGROUP_ARRAY: cgroups to test packets and tasks against. The embedded kernel has none that could be put into it.
// Linux: cgroup_array_map_ops in kernel/bpf/arraymap.c

import { EBADF } from "../../uapi/errno.ts";
import { fdArray } from "./fd-array.ts";

export const { family: cgroupArray } = fdArray<never>({
  take: () => -EBADF,
  drop: () => {},
  address: () => 0,
});
