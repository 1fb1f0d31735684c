// BPF_PROG_TYPE_XDP: a packet as the driver got it, with struct xdp_md as context.
// Linux: net/core/filter.c, xdp_is_valid_access, xdp_func_proto

import { BPF_XDP_DEVMAP } from "../../uapi/attach-types.ts";
import * as id from "../../uapi/helper-ids.ts";
import { xdpMd } from "../context.ts";
import { BASE_HELPERS, SOCKET_LOOKUP_HELPERS, SYN_COOKIE_HELPERS } from "./base.ts";
import type { ProgramModel } from "./model.ts";

export const xdp: ProgramModel = {
  context: [
    { name: "data", offset: xdpMd.data, size: 4, read: "whole", holds: "pkt" },
    { name: "data_end", offset: xdpMd.data_end, size: 4, read: "whole", holds: "pkt_end" },
    { name: "data_meta", offset: xdpMd.data_meta, size: 4, read: "whole", holds: "pkt_meta" },
    { name: "ingress_ifindex", offset: xdpMd.ingress_ifindex, size: 4, read: "whole" },
    { name: "rx_queue_index", offset: xdpMd.rx_queue_index, size: 4, read: "whole" },
    { name: "egress_ifindex", offset: xdpMd.egress_ifindex, size: 4, read: "whole" },
  ],
  hasField: (name, expectedAttachType) => name !== "egress_ifindex" || expectedAttachType === BPF_XDP_DEVMAP,
  helpers: new Set([
    ...BASE_HELPERS,
    ...SOCKET_LOOKUP_HELPERS,
    ...SYN_COOKIE_HELPERS,
    id.BPF_FUNC_redirect,
    id.BPF_FUNC_csum_diff,
    id.BPF_FUNC_xdp_adjust_head,
    id.BPF_FUNC_redirect_map,
    id.BPF_FUNC_xdp_adjust_meta,
    id.BPF_FUNC_xdp_adjust_tail,
    id.BPF_FUNC_fib_lookup,
    id.BPF_FUNC_check_mtu,
    id.BPF_FUNC_xdp_get_buff_len,
    id.BPF_FUNC_xdp_load_bytes,
    id.BPF_FUNC_xdp_store_bytes,
  ]),
  packet: "write",
  packetToHelpers: true,
};
