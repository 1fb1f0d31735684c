// SPDX-License-Identifier: Apache-2.0
// Sends a message for each packet that is longer than a limit, which the loader sets in a map.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event {
	__u32 length;
	__u32 limit;
	char program[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} limits SEC(".maps");

SEC("tc")
int long_packets(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u32 *limit = bpf_map_lookup_elem(&limits, &zero);
	struct event *event;

	if (!limit || skb->len <= *limit)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->length = skb->len;
	event->limit = *limit;
	__builtin_memcpy(event->program, "long_packets\0\0\0", sizeof(event->program));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
