// What programs read of a socket: struct bpf_sock, as a whole or as far as every socket has it, and struct bpf_xdp_sock.
// Linux: bpf_sock_is_valid_access, bpf_sock_common_is_valid_access and bpf_xdp_sock_is_valid_access in net/core/filter.c

import { bpfSock } from "../context.ts";
import type { ContextField } from "./model.ts";

const whole = (name: string, offset: number): ContextField => ({ name, offset, size: 4, read: "whole" });
const start = (name: string, offset: number): ContextField => ({ name, offset, size: 4, read: "start" });
const narrow = (name: string, offset: number): ContextField => ({ name, offset, size: 4, read: "narrow" });
const address = (name: string, offset: number): ContextField[] =>
  [0, 4, 8, 12].map((word) => narrow(`${name}_${word / 4}`, offset + word));

const common: readonly ContextField[] = [
  whole("bound_dev_if", bpfSock.bound_dev_if),
  start("family", bpfSock.family),
  narrow("src_ip4", bpfSock.src_ip4),
  ...address("src_ip6", bpfSock.src_ip6),
  start("src_port", bpfSock.src_port),
  // A field of 2 bytes that was one of 4.
  narrow("dst_port", bpfSock.dst_port),
  narrow("dst_ip4", bpfSock.dst_ip4),
  ...address("dst_ip6", bpfSock.dst_ip6),
  start("state", bpfSock.state),
  start("rx_queue_mapping", bpfSock.rx_queue_mapping),
];

export const socketFields = {
  sock: [
    ...common,
    start("type", bpfSock.type),
    start("protocol", bpfSock.protocol),
    whole("mark", bpfSock.mark),
    whole("priority", bpfSock.priority),
  ],
  sock_common: common,
  xdp_sock: [whole("queue_id", 0)],
} as const satisfies Record<string, readonly ContextField[]>;
