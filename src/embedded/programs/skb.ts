// Program types whose context is struct __sk_buff: socket filters, traffic control, cgroups.
// Linux: net/core/filter.c, sk_filter_is_valid_access, tc_cls_act_is_valid_access, cg_skb_is_valid_access; checked against Linux 6.18

import { BPF_CGROUP_INET_EGRESS } from "../../uapi/attach-types.ts";
import * as id from "../../uapi/helper-ids.ts";
import { skBuff } from "../context.ts";
import { BASE_HELPERS, SKB_HELPERS, SOCKET_LOOKUP_HELPERS, SYN_COOKIE_HELPERS } from "./base.ts";
import type { ContextField, FieldAccess, ProgramModel } from "./model.ts";

/** Where the fields lie, and their bytes. */
const layout = {
  len: [skBuff.len, 4],
  pkt_type: [skBuff.pkt_type, 4],
  mark: [skBuff.mark, 4],
  queue_mapping: [skBuff.queue_mapping, 4],
  protocol: [skBuff.protocol, 4],
  vlan_present: [skBuff.vlan_present, 4],
  vlan_tci: [skBuff.vlan_tci, 4],
  vlan_proto: [skBuff.vlan_proto, 4],
  priority: [skBuff.priority, 4],
  ingress_ifindex: [skBuff.ingress_ifindex, 4],
  ifindex: [skBuff.ifindex, 4],
  tc_index: [skBuff.tc_index, 4],
  cb: [skBuff.cb, 20],
  hash: [skBuff.hash, 4],
  tc_classid: [skBuff.tc_classid, 4],
  data: [skBuff.data, 4],
  data_end: [skBuff.data_end, 4],
  napi_id: [skBuff.napi_id, 4],
  family: [skBuff.family, 4],
  remote_ip4: [skBuff.remote_ip4, 4],
  local_ip4: [skBuff.local_ip4, 4],
  remote_ip6_0: [skBuff.remote_ip6, 4],
  remote_ip6_1: [skBuff.remote_ip6 + 4, 4],
  remote_ip6_2: [skBuff.remote_ip6 + 8, 4],
  remote_ip6_3: [skBuff.remote_ip6 + 12, 4],
  local_ip6_0: [skBuff.local_ip6, 4],
  local_ip6_1: [skBuff.local_ip6 + 4, 4],
  local_ip6_2: [skBuff.local_ip6 + 8, 4],
  local_ip6_3: [skBuff.local_ip6 + 12, 4],
  remote_port: [skBuff.remote_port, 4],
  local_port: [skBuff.local_port, 4],
  data_meta: [skBuff.data_meta, 4],
  tstamp: [skBuff.tstamp, 8],
  wire_len: [skBuff.wire_len, 4],
  gso_segs: [skBuff.gso_segs, 4],
  sk: [skBuff.sk, 8],
  gso_size: [skBuff.gso_size, 4],
  tstamp_type: [skBuff.tstamp_type, 1],
  hwtstamp: [skBuff.hwtstamp, 8],
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
  sk: "sock_common",
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
  packetLoads: true,
  packetToHelpers: false,
};

/** For programs that look at the socket of an sk_buff, and look sockets up. */
const SOCKET_HELPERS: readonly number[] = [
  ...SOCKET_LOOKUP_HELPERS,
  id.BPF_FUNC_sk_fullsock,
  id.BPF_FUNC_tcp_sock,
  id.BPF_FUNC_skb_ecn_set_ce,
  id.BPF_FUNC_get_listener_sock,
  id.BPF_FUNC_sk_storage_get,
  id.BPF_FUNC_sk_storage_delete,
];

/** BPF_PROG_TYPE_SCHED_CLS and BPF_PROG_TYPE_SCHED_ACT. */
export const trafficControl: ProgramModel = {
  context: contextOf(
    [...common, ...packet, "tc_classid", "data_meta", "tstamp", "wire_len", "tstamp_type", "hwtstamp"],
    ["mark", "queue_mapping", "priority", "tc_index", "cb", "tc_classid", "tstamp"],
  ),
  helpers: new Set([
    ...BASE_HELPERS,
    ...SKB_HELPERS,
    ...SOCKET_HELPERS,
    ...SYN_COOKIE_HELPERS,
    id.BPF_FUNC_skb_store_bytes,
    id.BPF_FUNC_l3_csum_replace,
    id.BPF_FUNC_l4_csum_replace,
    id.BPF_FUNC_clone_redirect,
    id.BPF_FUNC_skb_vlan_push,
    id.BPF_FUNC_skb_vlan_pop,
    id.BPF_FUNC_skb_get_tunnel_key,
    id.BPF_FUNC_skb_set_tunnel_key,
    id.BPF_FUNC_redirect,
    id.BPF_FUNC_get_route_realm,
    id.BPF_FUNC_csum_diff,
    id.BPF_FUNC_skb_get_tunnel_opt,
    id.BPF_FUNC_skb_set_tunnel_opt,
    id.BPF_FUNC_skb_change_proto,
    id.BPF_FUNC_skb_change_type,
    id.BPF_FUNC_skb_under_cgroup,
    id.BPF_FUNC_get_hash_recalc,
    id.BPF_FUNC_skb_change_tail,
    id.BPF_FUNC_skb_pull_data,
    id.BPF_FUNC_csum_update,
    id.BPF_FUNC_set_hash_invalid,
    id.BPF_FUNC_skb_change_head,
    id.BPF_FUNC_set_hash,
    id.BPF_FUNC_skb_adjust_room,
    id.BPF_FUNC_skb_get_xfrm_state,
    id.BPF_FUNC_fib_lookup,
    id.BPF_FUNC_skb_cgroup_id,
    id.BPF_FUNC_skb_ancestor_cgroup_id,
    id.BPF_FUNC_sk_assign,
    id.BPF_FUNC_csum_level,
    id.BPF_FUNC_skb_cgroup_classid,
    id.BPF_FUNC_redirect_neigh,
    id.BPF_FUNC_redirect_peer,
    id.BPF_FUNC_check_mtu,
    id.BPF_FUNC_skb_set_tstamp,
  ]),
  packet: "write",
  packetLoads: true,
  packetToHelpers: true,
};

export const cgroupSkb: ProgramModel = {
  context: contextOf([...common, ...packet, ...addresses, "tstamp", "hwtstamp"], ["mark", "priority", "cb", "tstamp"]),
  helpers: new Set([
    ...BASE_HELPERS,
    ...SKB_HELPERS,
    ...SOCKET_HELPERS,
    id.BPF_FUNC_skb_cgroup_id,
    id.BPF_FUNC_get_local_storage,
    id.BPF_FUNC_skb_ancestor_cgroup_id,
    id.BPF_FUNC_sk_cgroup_id,
    id.BPF_FUNC_sk_ancestor_cgroup_id,
  ]),
  packet: "read",
  packetToHelpers: true,
  returns: (expectedAttachType) => (expectedAttachType === BPF_CGROUP_INET_EGRESS ? [0, 3] : [0, 1]),
};
