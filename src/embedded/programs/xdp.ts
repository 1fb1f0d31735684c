// BPF_PROG_TYPE_XDP: a packet as the driver got it, with struct xdp_md as context.
// Linux: net/core/filter.c, xdp_is_valid_access, xdp_func_proto

import { BPF_XDP_DEVMAP } from "../../uapi/attach-types.ts";
import { BASE_HELPERS } from "./base.ts";
import type { ProgramModel } from "./model.ts";

export const xdp: ProgramModel = {
  context: [
    { name: "data", offset: 0, size: 4, read: "whole", holds: "pkt" },
    { name: "data_end", offset: 4, size: 4, read: "whole", holds: "pkt_end" },
    { name: "data_meta", offset: 8, size: 4, read: "whole", holds: "pkt_meta" },
    { name: "ingress_ifindex", offset: 12, size: 4, read: "whole" },
    { name: "rx_queue_index", offset: 16, size: 4, read: "whole" },
    { name: "egress_ifindex", offset: 20, size: 4, read: "whole" },
  ],
  hasField: (name, expectedAttachType) => name !== "egress_ifindex" || expectedAttachType === BPF_XDP_DEVMAP,
  helpers: new Set([
    ...BASE_HELPERS,
    ...[23, 28, 44, 51, 54, 65, 69, 84, 85, 86, 99, 100, 110, 163, 188, 189, 190, 204, 205, 206, 207],
  ]),
  packet: "write",
  packetToHelpers: true,
};
