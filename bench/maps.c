/* Map lookups and updates by bpf(2) in a loop, as fast as C makes them.
 *
 * maps ENTRIES CALLS STRIDE: for each line "lookup" or "update" of the standard input, makes CALLS calls and prints the
 * nanoseconds of one. */

#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

int main(int argc, char **argv)
{
	uint32_t entries = argc > 3 ? atoi(argv[1]) : 0;
	uint32_t calls = argc > 3 ? atoi(argv[2]) : 0;
	uint32_t stride = argc > 3 ? atoi(argv[3]) : 0;
	union bpf_attr attr;
	uint32_t key = 0;
	uint64_t value = 0;
	char line[16];
	int map;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = sizeof(key);
	attr.value_size = sizeof(value);
	attr.max_entries = entries;
	map = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
	if (map < 0) {
		perror("BPF_MAP_CREATE");
		return 1;
	}

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&value;
	for (key = 0; key < entries; key++)
		syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));

	while (fgets(line, sizeof(line), stdin)) {
		int command = strcmp(line, "lookup\n") ? BPF_MAP_UPDATE_ELEM : BPF_MAP_LOOKUP_ELEM;
		double began = now();

		key = 0;
		for (uint32_t call = 0; call < calls; call++) {
			syscall(SYS_bpf, command, &attr, sizeof(attr));
			key = (key + stride) % entries;
		}
		printf("%.3f\n", (now() - began) / calls);
		fflush(stdout);
	}
	return 0;
}
