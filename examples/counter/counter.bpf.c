// SPDX-License-Identifier: Apache-2.0
// Counts packets and bytes by Ethernet protocol.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u16);
	__type(value, struct traffic);
} protocols SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct traffic first = { .packets = 1 };
	struct traffic *traffic;
	__u16 protocol;

	if ((void *)(ethernet + 1) > end)
		return XDP_PASS;
	protocol = bpf_ntohs(ethernet->h_proto);
	first.bytes = end - (void *)ethernet;
	traffic = bpf_map_lookup_elem(&protocols, &protocol);
	if (!traffic) {
		bpf_map_update_elem(&protocols, &protocol, &first, BPF_NOEXIST);
		return XDP_PASS;
	}
	__sync_fetch_and_add(&traffic->packets, 1);
	__sync_fetch_and_add(&traffic->bytes, first.bytes);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
