// Contexts of running programs: struct xdp_md and struct __sk_buff in the machine's memory, laid out as Linux shows them to programs.
// `data` and `data_end` hold addresses. Behind the struct stand words that only the kernel sees: the bounds of the packet's buffer.
// Linux: include/uapi/linux/bpf.h

import { SKB_DATA, SKB_DATA_END, SKB_MAC_HEADER, SKB_NETWORK_HEADER } from "../../machine/layout.ts";

/** Byte offsets in struct xdp_md, and the kernel's words behind it. */
export const xdpMd = {
  data: 0,
  data_end: 4,
  data_meta: 8,
  ingress_ifindex: 12,
  rx_queue_index: 16,
  egress_ifindex: 20,
  size: 24,
  /** Start of the buffer, where Linux keeps a struct xdp_frame; end of the room that the packet may grow to. */
  hard_start: 24,
  hard_end: 28,
  /** The rest of a packet that does not fit into one page. */
  fragments: 32,
  fragments_size: 36,
} as const;

/** Byte offsets in struct __sk_buff, and the kernel's words behind it. */
export const skBuff = {
  len: 0,
  pkt_type: 4,
  mark: 8,
  queue_mapping: 12,
  protocol: 16,
  vlan_present: 20,
  vlan_tci: 24,
  vlan_proto: 28,
  priority: 32,
  ingress_ifindex: 36,
  ifindex: 40,
  tc_index: 44,
  cb: 48,
  hash: 68,
  tc_classid: 72,
  data: SKB_DATA,
  data_end: SKB_DATA_END,
  napi_id: 84,
  family: 88,
  remote_ip4: 92,
  local_ip4: 96,
  remote_ip6: 100,
  local_ip6: 116,
  remote_port: 132,
  local_port: 136,
  data_meta: 140,
  tstamp: 152,
  wire_len: 160,
  gso_segs: 164,
  sk: 168,
  gso_size: 176,
  tstamp_type: 180,
  hwtstamp: 184,
  size: 192,
  /** Where the Ethernet header and the network header begin. */
  mac_header: SKB_MAC_HEADER,
  network_header: SKB_NETWORK_HEADER,
} as const;

/** Byte offsets in struct bpf_sock. */
export const bpfSock = {
  bound_dev_if: 0,
  family: 4,
  type: 8,
  protocol: 12,
  mark: 16,
  priority: 20,
  src_ip4: 24,
  src_ip6: 28,
  src_port: 44,
  dst_port: 48,
  /** Two bytes that no program may read. */
  padding: 50,
  dst_ip4: 52,
  dst_ip6: 56,
  state: 72,
  rx_queue_mapping: 76,
  size: 80,
} as const;

/** Bytes that any context takes, with the kernel's words. */
export const CONTEXT_SIZE = 256;

/** Linux keeps a struct xdp_frame at the start of a packet's buffer. */
export const XDP_FRAME_SIZE = 40;
export const ETH_HLEN = 14;
