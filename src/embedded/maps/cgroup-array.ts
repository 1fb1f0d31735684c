// BPF_MAP_TYPE_CGROUP_ARRAY: cgroups to test packets and tasks against. No packet and no task of the embedded kernel is in one.
// Linux: cgroup_array_map_ops in kernel/bpf/arraymap.c

import { type EmbeddedOwner, findOwner } from "../owners.ts";
import { fdArray } from "./fd-array.ts";

export const { family: cgroupArray } = fdArray<EmbeddedOwner>({
  take(state, _map, fd) {
    const cgroup = findOwner(state, "cgroup", fd | 0);
    if (typeof cgroup !== "number") cgroup.references.take();
    return cgroup;
  },
  drop: ({ references }) => references.drop(),
  // Programs see only that there is one.
  address: () => 1,
});
