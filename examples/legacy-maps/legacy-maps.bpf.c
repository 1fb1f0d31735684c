// SPDX-License-Identifier: Apache-2.0
// A map declared as it was before BTF: a struct in the section "maps". Without preallocation a hash takes memory for an
// element when it comes.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct bpf_map_def {
	unsigned int type;
	unsigned int key_size;
	unsigned int value_size;
	unsigned int max_entries;
	unsigned int map_flags;
};

struct bpf_map_def SEC("maps") lengths = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u64),
	.max_entries = 10000,
	.map_flags = BPF_F_NO_PREALLOC,
};

SEC("socket")
int count_lengths(struct __sk_buff *skb)
{
	__u32 length = skb->len;
	__u64 first = 1;
	__u64 *packets = bpf_map_lookup_elem(&lengths, &length);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	else
		bpf_map_update_elem(&lengths, &length, &first, BPF_ANY);
	return length;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
