// Loads from the packet at an offset, as classic BPF has them: BPF_LD with BPF_ABS or BPF_IND. Numbers are in network order.
// Linux: bpf_skb_load_helper_32 and bpf_internal_load_pointer_neg_helper in net/core/filter.c, kernel/bpf/core.c

import { DATA_START, SKB_DATA, SKB_DATA_END, SKB_MAC_HEADER, SKB_NETWORK_HEADER } from "./layout.ts";
import { LOAD_PACKET8, LOAD_PACKET32, Operation } from "./operations.ts";

/** Offsets from here on count from the network header, and from SKF_LL_OFF on from the Ethernet header. */
const SKF_NET_OFF: i32 = -0x100000;
const SKF_LL_OFF: i32 = -0x200000;

/** Bytes of the context that are read. */
const SKB_BYTES: u64 = SKB_NETWORK_HEADER + sizeof<u32>();

/**
 * Address of what an operation loads from the packet of a context.
 *
 * @param limit highest valid distance of an address from DATA_START
 * @returns 0 where not all of it is in the packet, u64.MAX_VALUE where the context is not in memory
 */
export function addressInPacket(operation: Operation, context: u64, limit: u64): u64 {
  if (context - DATA_START > limit - SKB_BYTES) return u64.MAX_VALUE;
  const skb = <usize>context;
  const offset = load<i32>(operation.source) + operation.offset;
  const address = origin(skb, offset) + offset;
  const start = <i64>(offset < 0 ? load<u32>(skb, SKB_MAC_HEADER) : load<u32>(skb, SKB_DATA));
  return address >= start && address + bytesOf(operation) <= <i64>load<u32>(skb, SKB_DATA_END) ? address : 0;
}

/** The number that an operation loads from an address. */
export function networkNumber(operation: Operation, address: usize): u64 {
  if (operation.code == LOAD_PACKET32) return bswap<u32>(load<u32>(address));
  return operation.code == LOAD_PACKET8 ? load<u8>(address) : bswap<u16>(load<u16>(address));
}

/** Where offset 0 would be. */
function origin(skb: usize, offset: i32): i64 {
  if (offset >= 0) return <i64>load<u32>(skb, SKB_DATA);
  if (offset >= SKF_NET_OFF) return <i64>load<u32>(skb, SKB_NETWORK_HEADER) - SKF_NET_OFF;
  return <i64>load<u32>(skb, SKB_MAC_HEADER) - SKF_LL_OFF;
}

/** 4, 2 or 1. */
function bytesOf(operation: Operation): i64 {
  return 4 >> (operation.code - LOAD_PACKET32);
}
