// SPDX-License-Identifier: Apache-2.0
// An XDP program that talks to its loader through five maps: it counts the packets of each source address, reports each
// new flow, and drops what the loader has put on a blocklist.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct counters {
	__u64 packets;
	__u64 bytes;
};

struct totals {
	__u64 packets;
	__u64 bytes;
	__u64 dropped;
};

struct flow {
	__be32 source;
	__be32 destination;
	/* In host order; 0 where the protocol has none. */
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 padding[3];
};

/* Written here, read by the loader: what each IPv4 address has sent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, struct counters);
} sources SEC(".maps");

/* Written here, read by the loader: one value for each CPU, which the loader adds up. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} totals SEC(".maps");

/* This program's own memory: packets of each flow. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, __u64);
} flows SEC(".maps");

/* A message to the loader for each new flow: one struct flow. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

/* Written by the loader, read here: an address to drop. This program counts in the value what it has dropped. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __be32);
	__type(value, __u64);
} blocklist SEC(".maps");

struct ports {
	__be16 source;
	__be16 destination;
};

static __always_inline void count_source(__be32 address, __u64 bytes)
{
	struct counters first = { .packets = 1, .bytes = bytes };
	struct counters *counters = bpf_map_lookup_elem(&sources, &address);

	if (!counters) {
		bpf_map_update_elem(&sources, &address, &first, BPF_NOEXIST);
		return;
	}
	__sync_fetch_and_add(&counters->packets, 1);
	__sync_fetch_and_add(&counters->bytes, bytes);
}

static __always_inline void count_flow(const struct flow *flow)
{
	__u64 *packets = bpf_map_lookup_elem(&flows, flow);
	__u64 first = 1;
	struct flow *event;

	if (packets) {
		__sync_fetch_and_add(packets, 1);
		return;
	}
	if (bpf_map_update_elem(&flows, flow, &first, BPF_NOEXIST))
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return;
	*event = *flow;
	bpf_ringbuf_submit(event, 0);
}

SEC("xdp")
int watch_flows(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u64 bytes = end - data;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct flow flow = {};
	struct totals *total;
	struct ports *ports;
	__u64 *dropped;
	__u32 zero = 0;

	total = bpf_map_lookup_elem(&totals, &zero);
	if (!total)
		return XDP_ABORTED;
	total->packets++;
	total->bytes += bytes;

	if ((void *)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP) || ip->ihl < 5)
		return XDP_PASS;

	dropped = bpf_map_lookup_elem(&blocklist, &ip->saddr);
	if (dropped) {
		__sync_fetch_and_add(dropped, 1);
		total->dropped++;
		return XDP_DROP;
	}

	flow.source = ip->saddr;
	flow.destination = ip->daddr;
	flow.protocol = ip->protocol;
	ports = (void *)ip + ip->ihl * 4;
	if ((ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) && (void *)(ports + 1) <= end) {
		flow.source_port = bpf_ntohs(ports->source);
		flow.destination_port = bpf_ntohs(ports->destination);
	}
	count_source(flow.source, bytes);
	count_flow(&flow);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
