// Program types whose context is struct __sk_buff: socket filters, traffic control, cgroups.
// Linux: net/core/filter.c, sk_filter_is_valid_access, tc_cls_act_is_valid_access, cg_skb_is_valid_access; checked against Linux 6.18

import { BPF_CGROUP_INET_EGRESS } from "../../uapi/attach-types.ts";
import { BASE_HELPERS, SKB_HELPERS } from "./base.ts";
import type { ContextField, FieldAccess, ProgramModel } from "./model.ts";

/** Where the fields lie. */
const layout = {
  len: [0, 4],
  pkt_type: [4, 4],
  mark: [8, 4],
  queue_mapping: [12, 4],
  protocol: [16, 4],
  vlan_present: [20, 4],
  vlan_tci: [24, 4],
  vlan_proto: [28, 4],
  priority: [32, 4],
  ingress_ifindex: [36, 4],
  ifindex: [40, 4],
  tc_index: [44, 4],
  cb: [48, 20],
  hash: [68, 4],
  tc_classid: [72, 4],
  data: [76, 4],
  data_end: [80, 4],
  napi_id: [84, 4],
  family: [88, 4],
  remote_ip4: [92, 4],
  local_ip4: [96, 4],
  remote_ip6_0: [100, 4],
  remote_ip6_1: [104, 4],
  remote_ip6_2: [108, 4],
  remote_ip6_3: [112, 4],
  local_ip6_0: [116, 4],
  local_ip6_1: [120, 4],
  local_ip6_2: [124, 4],
  local_ip6_3: [128, 4],
  remote_port: [132, 4],
  local_port: [136, 4],
  data_meta: [140, 4],
  tstamp: [152, 8],
  wire_len: [160, 4],
  gso_segs: [164, 4],
  sk: [168, 8],
  gso_size: [176, 4],
  tstamp_type: [180, 1],
  hwtstamp: [184, 8],
} as const satisfies Record<string, readonly [offset: number, size: number]>;
type Name = keyof typeof layout;

/** Read alike by all of them. */
const common: readonly Name[] = [
  "len",
  "pkt_type",
  "mark",
  "queue_mapping",
  "protocol",
  "vlan_present",
  "vlan_tci",
  "vlan_proto",
  "priority",
  "ingress_ifindex",
  "ifindex",
  "tc_index",
  "cb",
  "hash",
  "napi_id",
  "gso_segs",
  "sk",
  "gso_size",
];
const packet: readonly Name[] = ["data", "data_end"];
const addresses: readonly Name[] = [
  "family",
  "remote_ip4",
  "local_ip4",
  "remote_ip6_0",
  "remote_ip6_1",
  "remote_ip6_2",
  "remote_ip6_3",
  "local_ip6_0",
  "local_ip6_1",
  "local_ip6_2",
  "local_ip6_3",
  "remote_port",
  "local_port",
];

const readWidth = (name: Name): FieldAccess => {
  if (name === "cb") return "any";
  const whole = /^(data|data_end|data_meta|tstamp|sk|hwtstamp|remote_ip.*|local_ip.*)$/.test(name);
  return whole ? "whole" : "narrow";
};
const kinds: Partial<Record<Name, ContextField["holds"]>> = {
  data: "pkt",
  data_end: "pkt_end",
  data_meta: "pkt_meta",
  sk: "unsupported",
};

function contextOf(readable: readonly Name[], writable: readonly Name[]): ContextField[] {
  return readable.map((name) => ({
    name,
    offset: layout[name][0],
    size: layout[name][1],
    read: readWidth(name),
    ...(writable.includes(name) ? { write: name === "cb" ? "any" : "whole" } : {}),
    ...(kinds[name] ? { holds: kinds[name] } : {}),
  }));
}

export const socketFilter: ProgramModel = {
  context: contextOf(common, ["cb"]),
  helpers: new Set([...BASE_HELPERS, ...SKB_HELPERS]),
  packet: "none",
  packetToHelpers: false,
};

/** BPF_PROG_TYPE_SCHED_CLS and BPF_PROG_TYPE_SCHED_ACT. */
export const trafficControl: ProgramModel = {
  context: contextOf(
    [...common, ...packet, "tc_classid", "data_meta", "tstamp", "wire_len", "tstamp_type", "hwtstamp"],
    ["mark", "queue_mapping", "priority", "tc_index", "cb", "tc_classid", "tstamp"],
  ),
  helpers: new Set([
    ...BASE_HELPERS,
    ...SKB_HELPERS,
    ...[9, 10, 11, 13, 18, 19, 20, 21, 23, 24, 28, 29, 30, 31, 32, 33, 34, 38, 39, 40, 41, 43, 48, 50, 66, 69, 79, 83],
    ...[84, 85, 86, 95, 96, 97, 98, 99, 100, 107, 108, 110, 124, 135, 151, 152, 155, 163, 192, 204, 205, 206, 207],
  ]),
  packet: "write",
  packetToHelpers: true,
};

export const cgroupSkb: ProgramModel = {
  context: contextOf([...common, ...packet, ...addresses, "tstamp", "hwtstamp"], ["mark", "priority", "cb", "tstamp"]),
  helpers: new Set([
    ...BASE_HELPERS,
    ...SKB_HELPERS,
    ...[79, 81, 83, 84, 85, 86, 95, 96, 97, 98, 99, 107, 108, 128, 129],
  ]),
  packet: "read",
  packetToHelpers: true,
  returns: (expectedAttachType) => (expectedAttachType === BPF_CGROUP_INET_EGRESS ? [0, 3] : [0, 1]),
};
