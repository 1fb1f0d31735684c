// The names of ELF sections that hold programs, and the program type and attach type that each one means.
// libbpf: the section names that SEC() takes.

import * as attach from "../uapi/attach-types.ts";
import { BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS } from "../uapi/flags.ts";
import * as types from "../uapi/program-types.ts";

/** What a section name says of the programs in it. */
export interface SectionRule {
  /** The name without extras: `xdp`, `tracepoint`. */
  readonly name: string;
  /** Whether `name/extras` is the same section: `tracepoint/syscalls/sys_enter_openat`. */
  readonly extras: boolean;
  /** BPF_PROG_TYPE_… */
  readonly type: number;
  /** BPF_… attach type; 0 where the name means none. */
  readonly attachType: number;
  /** BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS. */
  readonly flags: number;
  /** The program is loaded with the BTF id of what it attaches to. */
  readonly attachBtf: boolean;
  /** Kernels that refuse the expected attach type take the program without it. */
  readonly attachTypeOptional: boolean;
}

/** A section name that the table knows. */
export interface SectionMatch {
  readonly rule: SectionRule;
  /** What follows the rule's name and a slash. */
  readonly extras?: string;
  /** False where the name begins with `?`. */
  readonly autoload: boolean;
}

/** The rule for a section name, `xdp` or `?fentry/do_unlinkat`; undefined where no program type has that name. */
export function matchSection(section: string): SectionMatch | undefined {
  const autoload = !section.startsWith("?");
  const name = autoload ? section : section.slice(1);
  const exact = rulesByName.get(name);
  if (exact) return { rule: exact, autoload };
  const slash = name.indexOf("/");
  const rule = slash < 0 ? undefined : rulesByName.get(name.slice(0, slash));
  return rule?.extras ? { rule, extras: name.slice(slash + 1), autoload } : undefined;
}

// Attach types that are newer than the table of Linux 6.18, which refuses them.
const BPF_TRACE_FSESSION = 58;
const BPF_TRACE_FENTRY_MULTI = 59;
const BPF_TRACE_FEXIT_MULTI = 60;
const BPF_TRACE_FSESSION_MULTI = 61;

type Mark = "attach BTF" | "optional";

/** Names that mean the same, `name+` where extras may follow; program type; attach type; marks. */
type Row = readonly [names: string, type: number, attachType?: number, ...marks: Mark[]];

const rows: readonly Row[] = [
  ["socket", types.BPF_PROG_TYPE_SOCKET_FILTER],
  ["sk_reuseport/migrate", types.BPF_PROG_TYPE_SK_REUSEPORT, attach.BPF_SK_REUSEPORT_SELECT_OR_MIGRATE],
  ["sk_reuseport", types.BPF_PROG_TYPE_SK_REUSEPORT, attach.BPF_SK_REUSEPORT_SELECT],

  ["kprobe+ kretprobe+ ksyscall+ kretsyscall+", types.BPF_PROG_TYPE_KPROBE],
  ["uprobe+ uprobe.s+ uretprobe+ uretprobe.s+ usdt+ usdt.s+", types.BPF_PROG_TYPE_KPROBE],
  ["kprobe.multi+ kretprobe.multi+", types.BPF_PROG_TYPE_KPROBE, attach.BPF_TRACE_KPROBE_MULTI],
  ["kprobe.session+", types.BPF_PROG_TYPE_KPROBE, attach.BPF_TRACE_KPROBE_SESSION],
  ["uprobe.multi+ uprobe.multi.s+", types.BPF_PROG_TYPE_KPROBE, attach.BPF_TRACE_UPROBE_MULTI],
  ["uretprobe.multi+ uretprobe.multi.s+", types.BPF_PROG_TYPE_KPROBE, attach.BPF_TRACE_UPROBE_MULTI],
  ["uprobe.session+ uprobe.session.s+", types.BPF_PROG_TYPE_KPROBE, attach.BPF_TRACE_UPROBE_SESSION],

  ["tc/ingress tcx/ingress", types.BPF_PROG_TYPE_SCHED_CLS, attach.BPF_TCX_INGRESS],
  ["tc/egress tcx/egress", types.BPF_PROG_TYPE_SCHED_CLS, attach.BPF_TCX_EGRESS],
  ["netkit/primary", types.BPF_PROG_TYPE_SCHED_CLS, attach.BPF_NETKIT_PRIMARY],
  ["netkit/peer", types.BPF_PROG_TYPE_SCHED_CLS, attach.BPF_NETKIT_PEER],
  ["tc classifier", types.BPF_PROG_TYPE_SCHED_CLS],
  ["action", types.BPF_PROG_TYPE_SCHED_ACT],

  ["tracepoint+ tp+ tracepoint.s+ tp.s+", types.BPF_PROG_TYPE_TRACEPOINT],
  ["raw_tracepoint+ raw_tp+ raw_tracepoint.s+ raw_tp.s+", types.BPF_PROG_TYPE_RAW_TRACEPOINT],
  ["raw_tracepoint.w+ raw_tp.w+", types.BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE],

  ["tp_btf+ tp_btf.s+", types.BPF_PROG_TYPE_TRACING, attach.BPF_TRACE_RAW_TP, "attach BTF"],
  ["fentry+ fentry.s+", types.BPF_PROG_TYPE_TRACING, attach.BPF_TRACE_FENTRY, "attach BTF"],
  ["fexit+ fexit.s+", types.BPF_PROG_TYPE_TRACING, attach.BPF_TRACE_FEXIT, "attach BTF"],
  ["fmod_ret+ fmod_ret.s+", types.BPF_PROG_TYPE_TRACING, attach.BPF_MODIFY_RETURN, "attach BTF"],
  ["fsession+ fsession.s+", types.BPF_PROG_TYPE_TRACING, BPF_TRACE_FSESSION, "attach BTF"],
  ["iter+ iter.s+", types.BPF_PROG_TYPE_TRACING, attach.BPF_TRACE_ITER, "attach BTF"],
  ["fentry.multi+ fentry.multi.s+", types.BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY_MULTI],
  ["fexit.multi+ fexit.multi.s+", types.BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT_MULTI],
  ["fsession.multi+ fsession.multi.s+", types.BPF_PROG_TYPE_TRACING, BPF_TRACE_FSESSION_MULTI],

  ["freplace+", types.BPF_PROG_TYPE_EXT, 0, "attach BTF"],
  ["lsm+ lsm.s+", types.BPF_PROG_TYPE_LSM, attach.BPF_LSM_MAC, "attach BTF"],
  ["lsm_cgroup+", types.BPF_PROG_TYPE_LSM, attach.BPF_LSM_CGROUP, "attach BTF"],
  ["syscall", types.BPF_PROG_TYPE_SYSCALL],
  ["perf_event", types.BPF_PROG_TYPE_PERF_EVENT],
  ["netfilter", types.BPF_PROG_TYPE_NETFILTER, attach.BPF_NETFILTER],
  ["struct_ops+ struct_ops.s+", types.BPF_PROG_TYPE_STRUCT_OPS],

  ["xdp.frags/devmap xdp/devmap", types.BPF_PROG_TYPE_XDP, attach.BPF_XDP_DEVMAP],
  ["xdp.frags/cpumap xdp/cpumap", types.BPF_PROG_TYPE_XDP, attach.BPF_XDP_CPUMAP],
  ["xdp.frags", types.BPF_PROG_TYPE_XDP, attach.BPF_XDP],
  ["xdp", types.BPF_PROG_TYPE_XDP, attach.BPF_XDP, "optional"],

  ["lwt_in", types.BPF_PROG_TYPE_LWT_IN],
  ["lwt_out", types.BPF_PROG_TYPE_LWT_OUT],
  ["lwt_xmit", types.BPF_PROG_TYPE_LWT_XMIT],
  ["lwt_seg6local", types.BPF_PROG_TYPE_LWT_SEG6LOCAL],

  ["sockops", types.BPF_PROG_TYPE_SOCK_OPS, attach.BPF_CGROUP_SOCK_OPS, "optional"],
  ["sk_skb/stream_parser", types.BPF_PROG_TYPE_SK_SKB, attach.BPF_SK_SKB_STREAM_PARSER, "optional"],
  ["sk_skb/stream_verdict", types.BPF_PROG_TYPE_SK_SKB, attach.BPF_SK_SKB_STREAM_VERDICT, "optional"],
  ["sk_skb/verdict", types.BPF_PROG_TYPE_SK_SKB, attach.BPF_SK_SKB_VERDICT, "optional"],
  ["sk_skb", types.BPF_PROG_TYPE_SK_SKB],
  ["sk_msg", types.BPF_PROG_TYPE_SK_MSG, attach.BPF_SK_MSG_VERDICT, "optional"],
  ["sk_lookup", types.BPF_PROG_TYPE_SK_LOOKUP, attach.BPF_SK_LOOKUP],
  ["lirc_mode2", types.BPF_PROG_TYPE_LIRC_MODE2, attach.BPF_LIRC_MODE2, "optional"],
  ["flow_dissector", types.BPF_PROG_TYPE_FLOW_DISSECTOR, attach.BPF_FLOW_DISSECTOR, "optional"],

  ["cgroup_skb/ingress", types.BPF_PROG_TYPE_CGROUP_SKB, attach.BPF_CGROUP_INET_INGRESS, "optional"],
  ["cgroup_skb/egress", types.BPF_PROG_TYPE_CGROUP_SKB, attach.BPF_CGROUP_INET_EGRESS, "optional"],
  ["cgroup/skb", types.BPF_PROG_TYPE_CGROUP_SKB],
  ["cgroup/sock_create", types.BPF_PROG_TYPE_CGROUP_SOCK, attach.BPF_CGROUP_INET_SOCK_CREATE],
  ["cgroup/sock", types.BPF_PROG_TYPE_CGROUP_SOCK, attach.BPF_CGROUP_INET_SOCK_CREATE, "optional"],
  ["cgroup/sock_release", types.BPF_PROG_TYPE_CGROUP_SOCK, attach.BPF_CGROUP_INET_SOCK_RELEASE],
  ["cgroup/post_bind4", types.BPF_PROG_TYPE_CGROUP_SOCK, attach.BPF_CGROUP_INET4_POST_BIND],
  ["cgroup/post_bind6", types.BPF_PROG_TYPE_CGROUP_SOCK, attach.BPF_CGROUP_INET6_POST_BIND],
  ["cgroup/bind4", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_INET4_BIND],
  ["cgroup/bind6", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_INET6_BIND],
  ["cgroup/connect4", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_INET4_CONNECT],
  ["cgroup/connect6", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_INET6_CONNECT],
  ["cgroup/connect_unix", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UNIX_CONNECT],
  ["cgroup/sendmsg4", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UDP4_SENDMSG],
  ["cgroup/sendmsg6", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UDP6_SENDMSG],
  ["cgroup/sendmsg_unix", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UNIX_SENDMSG],
  ["cgroup/recvmsg4", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UDP4_RECVMSG],
  ["cgroup/recvmsg6", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UDP6_RECVMSG],
  ["cgroup/recvmsg_unix", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UNIX_RECVMSG],
  ["cgroup/getpeername4", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_INET4_GETPEERNAME],
  ["cgroup/getpeername6", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_INET6_GETPEERNAME],
  ["cgroup/getpeername_unix", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UNIX_GETPEERNAME],
  ["cgroup/getsockname4", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_INET4_GETSOCKNAME],
  ["cgroup/getsockname6", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_INET6_GETSOCKNAME],
  ["cgroup/getsockname_unix", types.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach.BPF_CGROUP_UNIX_GETSOCKNAME],
  ["cgroup/sysctl", types.BPF_PROG_TYPE_CGROUP_SYSCTL, attach.BPF_CGROUP_SYSCTL],
  ["cgroup/getsockopt", types.BPF_PROG_TYPE_CGROUP_SOCKOPT, attach.BPF_CGROUP_GETSOCKOPT],
  ["cgroup/setsockopt", types.BPF_PROG_TYPE_CGROUP_SOCKOPT, attach.BPF_CGROUP_SETSOCKOPT],
  ["cgroup/dev", types.BPF_PROG_TYPE_CGROUP_DEVICE, attach.BPF_CGROUP_DEVICE, "optional"],
];

/** Every section name of a program, 116 of them. */
export const sectionRules: readonly SectionRule[] = rows.flatMap(([names, type, attachType = 0, ...marks]) =>
  names.split(" ").map((pattern) => {
    const extras = pattern.endsWith("+");
    const name = extras ? pattern.slice(0, -1) : pattern;
    const sleepable = name.endsWith(".s") || type === types.BPF_PROG_TYPE_SYSCALL;
    const frags = name.startsWith("xdp.frags");
    return {
      name,
      extras,
      type,
      attachType,
      flags: (sleepable ? BPF_F_SLEEPABLE : 0) | (frags ? BPF_F_XDP_HAS_FRAGS : 0),
      attachBtf: marks.includes("attach BTF"),
      attachTypeOptional: marks.includes("optional"),
    };
  }),
);

const rulesByName = new Map(sectionRules.map((rule) => [rule.name, rule]));
