// SPDX-License-Identifier: Apache-2.0
// The programs behind the examples of docs/maps.md: each exchanges something with its loader through a map, once for each packet.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct account {
	struct bpf_spin_lock lock;
	__u32 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct account);
} accounts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} requests SEC(".maps");

/* Adds a packet to account 1, whole or not at all for whoever reads it with BPF_F_LOCK. */
SEC("tc")
int count(struct __sk_buff *skb)
{
	__u32 key = 1;
	struct account *account = bpf_map_lookup_elem(&accounts, &key);

	if (!account)
		return 0;
	bpf_spin_lock(&account->lock);
	account->packets++;
	account->bytes += skb->len;
	bpf_spin_unlock(&account->lock);
	return 0;
}

/* Writes the packet's length into the ring buffer, and counts those that do not fit. */
SEC("tc")
int send_event(struct __sk_buff *skb)
{
	__u64 length = skb->len;
	__u32 zero = 0;
	__u64 *count;

	if (bpf_ringbuf_output(&events, &length, sizeof(length), 0) == 0)
		return 0;
	count = bpf_map_lookup_elem(&lost, &zero);
	if (count)
		++*count;
	return 0;
}

/* Writes the packet's length into the perf buffer of its CPU. */
SEC("tc")
int send_sample(struct __sk_buff *skb)
{
	__u64 length = skb->len;

	bpf_perf_event_output(skb, &samples, BPF_F_CURRENT_CPU, &length, sizeof(length));
	return 0;
}

static long add(struct bpf_dynptr *sample, void *context)
{
	__u64 *sum = context, request;

	if (bpf_dynptr_read(&request, sizeof(request), sample, 0, 0) == 0)
		*sum += request;
	return 0;
}

/* Returns the sum of the requests in the user ring buffer, and takes them out. */
SEC("tc")
int sum_requests(struct __sk_buff *skb)
{
	__u64 sum = 0;

	bpf_user_ringbuf_drain(&requests, add, &sum, 0);
	return sum;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
