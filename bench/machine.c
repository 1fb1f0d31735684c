/* An array and a hash table in the design of the embedded kernel's machine: chained buckets, Jenkins' lookup3, elements of
 * { next, hash, key, value }; an update puts a spare element in front of its bucket and takes the old one out, as whoever
 * has the old value's address goes on reading it. Each loop returns the nanoseconds of one call. A key is its number in its first 4 bytes. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct element {
	struct element *next;
	uint32_t hash;
	uint8_t data[];
};

struct table {
	struct element **buckets;
	struct element *spare;
	uint32_t mask;
	uint32_t seed;
};

static volatile uint64_t sink;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static inline uint32_t rotl(uint32_t value, int bits)
{
	return value << bits | value >> (32 - bits);
}

static inline uint32_t hash_of(const uint8_t *key, uint32_t bytes, uint32_t seed)
{
	const uint32_t *word = (const uint32_t *)key;
	uint32_t words = bytes / 4, a = 0xdeadbeef + bytes + seed, b = a, c = a;

	while (words > 3) {
		a += word[0];
		b += word[1];
		c += word[2];
		a -= c; a ^= rotl(c, 4); c += b;
		b -= a; b ^= rotl(a, 6); a += c;
		c -= b; c ^= rotl(b, 8); b += a;
		a -= c; a ^= rotl(c, 16); c += b;
		b -= a; b ^= rotl(a, 19); a += c;
		c -= b; c ^= rotl(b, 4); b += a;
		word += 3;
		words -= 3;
	}
	if (words > 2)
		c += word[2];
	if (words > 1)
		b += word[1];
	a += word[0];
	c ^= b; c -= rotl(b, 14);
	a ^= c; a -= rotl(c, 11);
	b ^= a; b -= rotl(a, 25);
	c ^= b; c -= rotl(b, 16);
	a ^= c; a -= rotl(c, 4);
	b ^= a; b -= rotl(a, 14);
	c ^= b; c -= rotl(b, 24);
	return c;
}

/* Where the address of a key's element stands. */
static inline struct element **find(struct table *table, const uint8_t *key, uint32_t bytes, uint32_t hash)
{
	struct element **link = &table->buckets[hash & table->mask];

	while (*link && ((*link)->hash != hash || memcmp((*link)->data, key, bytes)))
		link = &(*link)->next;
	return link;
}

static inline struct element *new_element(uint32_t bytes)
{
	return malloc(sizeof(struct element) + (bytes + 7 & ~7) + 8);
}

static inline void update(struct table *table, const uint8_t *key, uint32_t bytes, const uint8_t *value)
{
	uint32_t hash = hash_of(key, bytes, table->seed);
	struct element **bucket = &table->buckets[hash & table->mask];
	struct element **link = find(table, key, bytes, hash), *old = *link, *element = table->spare;

	if (old) {
		*link = old->next;
		table->spare = old;
	} else {
		element = new_element(bytes);
	}
	memcpy(element->data, key, bytes);
	memcpy(element->data + (bytes + 7 & ~7), value, 8);
	element->hash = hash;
	element->next = *bucket;
	*bucket = element;
}

void *table_create(uint32_t entries, uint32_t bytes)
{
	struct table *table = calloc(1, sizeof(*table));
	_Alignas(8) uint8_t key[16] = {0};
	uint64_t value = 1;

	for (table->mask = 1; table->mask < entries; table->mask *= 2)
		;
	table->buckets = calloc(table->mask--, sizeof(*table->buckets));
	table->seed = 0x12345678;
	table->spare = new_element(bytes);
	for (uint32_t number = 0; number < entries; number++) {
		memcpy(key, &number, 4);
		update(table, key, bytes, (uint8_t *)&value);
	}
	return table;
}

/* Lookup and update are functions of their own, for keys of one size, as they are in a library. */
#define LOOPS(BYTES) \
	__attribute__((noinline)) static uint8_t *lookup_##BYTES(struct table *table, const uint8_t *key) \
	{ \
		struct element *element = *find(table, key, BYTES, hash_of(key, BYTES, table->seed)); \
		return element ? element->data + (BYTES + 7 & ~7) : NULL; \
	} \
	__attribute__((noinline)) static void update_##BYTES(struct table *table, const uint8_t *key, const uint8_t *value) \
	{ \
		update(table, key, BYTES, value); \
	} \
	double hash_lookup_##BYTES(struct table *table, uint32_t entries, uint32_t calls, uint32_t stride) \
	{ \
		_Alignas(8) uint8_t key[BYTES] = {0}; \
		uint64_t sum = 0, value; \
		double began = now(); \
		for (uint32_t call = 0, number = 0; call < calls; call++) { \
			memcpy(key, &number, 4); \
			uint8_t *found = lookup_##BYTES(table, key); \
			if (found) { \
				memcpy(&value, found, 8); \
				sum += value; \
			} \
			number += stride; \
			if (number >= entries) \
				number -= entries; \
		} \
		sink = sum; \
		return (now() - began) / calls; \
	} \
	double hash_update_##BYTES(struct table *table, uint32_t entries, uint32_t calls, uint32_t stride) \
	{ \
		_Alignas(8) uint8_t key[BYTES] = {0}; \
		double began = now(); \
		for (uint64_t call = 0, number = 0; call < calls; call++) { \
			memcpy(key, &number, 4); \
			update_##BYTES(table, key, (uint8_t *)&call); \
			number += stride; \
			if (number >= entries) \
				number -= entries; \
		} \
		return (now() - began) / calls; \
	}

LOOPS(4)
LOOPS(16)

void *array_create(uint32_t entries)
{
	return calloc(entries, 8);
}

double array_lookup(uint64_t *array, uint32_t entries, uint32_t calls, uint32_t stride)
{
	uint64_t sum = 0;
	double began = now();

	for (uint32_t call = 0, number = 0; call < calls; call++) {
		if (number < entries)
			sum += array[number];
		number += stride;
		if (number >= entries)
			number -= entries;
	}
	sink = sum;
	return (now() - began) / calls;
}

double array_update(uint64_t *array, uint32_t entries, uint32_t calls, uint32_t stride)
{
	double began = now();

	for (uint32_t call = 0, number = 0; call < calls; call++) {
		if (number < entries)
			((volatile uint64_t *)array)[number] = call;
		number += stride;
		if (number >= entries)
			number -= entries;
	}
	return (now() - began) / calls;
}
