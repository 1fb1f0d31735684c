// The program types that can be loaded: which capabilities that takes, and which attach types they expect.
// Linux: is_net_admin_prog_type and bpf_prog_load_check_attach in kernel/bpf/syscall.c

import { BPF_CGROUP_INET_EGRESS, BPF_CGROUP_INET_INGRESS } from "../uapi/attach-types.ts";
import * as types from "../uapi/program-types.ts";
import type { Capability } from "./state.ts";

interface ProgramType {
  /** Needed beside CAP_BPF. */
  readonly capabilities: readonly Capability[];
  /** Absent: any, for it is not looked at. */
  readonly expectedAttachTypes?: readonly number[];
}

/** A type that is not here is EINVAL, as from a kernel that was built without it. */
export const programTypes: ReadonlyMap<number, ProgramType> = new Map<number, ProgramType>([
  [types.BPF_PROG_TYPE_SOCKET_FILTER, { capabilities: [] }],
  [types.BPF_PROG_TYPE_SCHED_CLS, { capabilities: ["CAP_NET_ADMIN"] }],
  [types.BPF_PROG_TYPE_SCHED_ACT, { capabilities: ["CAP_NET_ADMIN"] }],
  [types.BPF_PROG_TYPE_XDP, { capabilities: ["CAP_NET_ADMIN"] }],
  [
    types.BPF_PROG_TYPE_CGROUP_SKB,
    { capabilities: ["CAP_NET_ADMIN"], expectedAttachTypes: [BPF_CGROUP_INET_INGRESS, BPF_CGROUP_INET_EGRESS] },
  ],
  [types.BPF_PROG_TYPE_SYSCALL, { capabilities: [], expectedAttachTypes: [0] }],
]);
