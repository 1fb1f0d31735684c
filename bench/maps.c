/* Map lookups and updates by bpf(2) in a loop, as fast as C makes them. Each returns the nanoseconds of one call.
 * `map` is a hash of u32 to u64 that holds the keys 0 to entries - 1. */

#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static double loop(int command, int map, uint32_t entries, uint32_t calls, uint32_t stride)
{
	union bpf_attr attr;
	uint64_t value = 1;
	uint32_t key = 0;
	double began;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&value;
	began = now();
	for (uint32_t call = 0; call < calls; call++) {
		syscall(SYS_bpf, command, &attr, sizeof(attr));
		key = (key + stride) % entries;
	}
	return (now() - began) / calls;
}

double lookup(int map, uint32_t entries, uint32_t calls, uint32_t stride)
{
	return loop(BPF_MAP_LOOKUP_ELEM, map, entries, calls, stride);
}

double update(int map, uint32_t entries, uint32_t calls, uint32_t stride)
{
	return loop(BPF_MAP_UPDATE_ELEM, map, entries, calls, stride);
}
