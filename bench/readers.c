/* What bench/readers.ts compares its readers with: a ring buffer drained, and waited for with epoll, as C does it;
 * and a thread that runs a program at intervals. */

#include <linux/bpf.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct event {
	uint64_t time;
	uint32_t pid, size, number, flags;
};

struct ring {
	uint64_t *consumer, *producer;
	uint8_t *data;
	uint64_t mask;
	size_t page;
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static struct ring map_ring(int fd, uint32_t size)
{
	struct ring ring = { .mask = size - 1, .page = getpagesize() };
	uint8_t *rest;

	ring.consumer = mmap(NULL, ring.page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rest = mmap(NULL, ring.page + 2 * (size_t)size, PROT_READ, MAP_SHARED, fd, ring.page);
	ring.producer = (uint64_t *)rest;
	ring.data = rest + ring.page;
	return ring;
}

static void unmap_ring(struct ring *ring)
{
	munmap(ring->producer, ring->page + 2 * (ring->mask + 1));
	munmap(ring->consumer, ring->page);
}

typedef void (*callback)(const struct event *event, void *context);

/* As libbpf does: the consumer position is stored for each record. */
static uint32_t take(struct ring *ring, callback call, void *context)
{
	uint64_t position = __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);
	uint64_t end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	uint32_t count = 0;

	while (position < end) {
		uint32_t *header = (uint32_t *)(ring->data + (position & ring->mask));
		uint32_t length = __atomic_load_n(header, __ATOMIC_ACQUIRE);

		if (length & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(length & BPF_RINGBUF_DISCARD_BIT)) {
			call((struct event *)(header + 2), context);
			count++;
		}
		position += ((length & ~BPF_RINGBUF_DISCARD_BIT) + BPF_RINGBUF_HDR_SZ + 7) & ~7u;
		__atomic_store_n(ring->consumer, position, __ATOMIC_RELEASE);
	}
	return count;
}

static void __attribute__((noinline)) sum(const struct event *event, void *context)
{
	*(uint64_t *)context += event->pid + event->size + event->number;
}

/* Nanoseconds of one record of a ring that is full. */
double drain(int fd, uint32_t size)
{
	struct ring ring = map_ring(fd, size);
	uint64_t total = 0, began = now();
	uint32_t count = take(&ring, sum, &total);
	double time = now() - began;

	unmap_ring(&ring);
	return count && total ? time / count : 0;
}

struct latencies {
	uint32_t count;
	double *times;
};

static void measure(const struct event *event, void *context)
{
	struct latencies *latencies = context;

	latencies->times[latencies->count++] = now() - event->time;
}

/* Waits with epoll for `count` records, and writes how long each took. */
void wait_for(int fd, uint32_t size, uint32_t count, double *times)
{
	struct ring ring = map_ring(fd, size);
	struct latencies latencies = { 0, times };
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	while (latencies.count < count) {
		epoll_wait(epoll, &event, 1, -1);
		take(&ring, measure, &latencies);
	}
	close(epoll);
	unmap_ring(&ring);
}

struct job {
	int program;
	uint32_t count, microseconds;
};

static void *produce(void *argument)
{
	struct job job = *(struct job *)argument;
	struct timespec pause = { 0, job.microseconds * 1000l };
	uint8_t packet[64] = { 0 };
	union bpf_attr attr;

	free(argument);
	for (uint32_t run = 0; run < job.count; run++) {
		nanosleep(&pause, NULL);
		memset(&attr, 0, sizeof(attr));
		attr.test.prog_fd = job.program;
		attr.test.data_in = (uintptr_t)packet;
		attr.test.data_size_in = sizeof(packet);
		syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	}
	return NULL;
}

/* Runs a program `count` times at intervals, in a thread that ends by itself. */
void start(int program, uint32_t count, uint32_t microseconds)
{
	struct job *job = malloc(sizeof(*job));
	pthread_t thread;

	*job = (struct job){ program, count, microseconds };
	pthread_create(&thread, NULL, produce, job);
	pthread_detach(thread);
}
