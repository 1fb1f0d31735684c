// Queues, stacks and Bloom filters: values without keys.

import { expect } from "vitest";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_F_ZERO_SEED, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_BLOOM_FILTER, BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, type MapCreate, toU32, u32 } from "./maps.ts";

const queue: MapCreate = { map_type: BPF_MAP_TYPE_QUEUE, key_size: 0, value_size: 4, max_entries: 3 };
const stack: MapCreate = { ...queue, map_type: BPF_MAP_TYPE_STACK };
const bloom: MapCreate = { ...queue, map_type: BPF_MAP_TYPE_BLOOM_FILTER, max_entries: 1000 };

function listOf(kernel: Kernel, map_fd: number) {
  const read = (command: 1 | 21, flags = 0): number | string => {
    const value = new Uint8Array(4);
    const result = kernel.bpf(command, { map_fd, value, flags });
    return result < 0 ? outcome(result) : toU32(value);
  };
  return {
    push: (value: number, flags = 0) =>
      outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, value: u32(value), flags })),
    pop: (flags = 0) => read(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, flags),
    peek: (flags = 0) => read(commands.BPF_MAP_LOOKUP_ELEM, flags),
  };
}

contract("a queue gives the oldest value, a stack the newest", (kernel, { open }) => {
  const inQueue = listOf(kernel, open(create(kernel, queue)));
  const onStack = listOf(kernel, open(create(kernel, stack)));
  for (const { push } of [inQueue, onStack]) expect([push(1), push(2), push(3), push(4)]).toEqual([0, 0, 0, "E2BIG"]);
  expect([inQueue.peek(), inQueue.pop(), inQueue.pop(), inQueue.pop(), inQueue.pop()]).toEqual([1, 1, 2, 3, "ENOENT"]);
  expect([onStack.peek(), onStack.pop(), onStack.pop(), onStack.pop(), onStack.pop()]).toEqual([3, 3, 2, 1, "ENOENT"]);
  expect([inQueue.peek(), onStack.peek()]).toEqual(["ENOENT", "ENOENT"]);
});

contract("with BPF_EXIST a full queue or stack drops its oldest value; NOEXIST is EINVAL", (kernel, { open }) => {
  const inQueue = listOf(kernel, open(create(kernel, queue)));
  const onStack = listOf(kernel, open(create(kernel, stack)));
  for (const { push } of [inQueue, onStack]) {
    expect(push(0, BPF_NOEXIST)).toBe("EINVAL");
    for (let value = 1; value <= 5; value++) expect(push(value, BPF_EXIST)).toBe(0);
  }
  expect([inQueue.pop(), inQueue.pop(), inQueue.pop(), inQueue.pop()]).toEqual([3, 4, 5, "ENOENT"]);
  expect([onStack.pop(), onStack.pop(), onStack.pop(), onStack.pop()]).toEqual([5, 4, 3, "ENOENT"]);
});

contract(
  "a Bloom filter has no false negative, and with ZERO_SEED the same false positives everywhere",
  (kernel, { open }) => {
    const map_fd = open(create(kernel, { ...bloom, map_flags: BPF_F_ZERO_SEED, map_extra: 3 }));
    const has = (value: number): boolean => {
      const result = outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, value: u32(value) }));
      expect([0, "ENOENT"]).toContain(result);
      return result === 0;
    };
    const numbers = Array.from({ length: 1000 }, (_, number) => number * 7919);
    for (const number of numbers) {
      expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, value: u32(number) })).toBe(0);
    }
    expect(numbers.every(has)).toBe(true);
    const others = Array.from({ length: 20_000 }, (_, number) => number * 7919 + 1);
    const falsePositives = others.filter(has);
    // 1000 values with 3 bits each of 8192: (1 - e^(-3000/8192))^3 is 2.9 %.
    expect(falsePositives.length / others.length).toBeCloseTo((1 - Math.exp(-3000 / 8192)) ** 3, 2);
    expect([falsePositives.length, falsePositives[0], falsePositives.at(-1)]).toEqual([543, 142543, 158253297]);
  },
);

contract("a Bloom filter reads the value that a lookup gives, and leaves it alone", (kernel, { open }) => {
  const map_fd = open(create(kernel, bloom));
  const value = u32(5);
  expect(outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, value }))).toBe("ENOENT");
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, value })).toBe(0);
  expect(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, value })).toBe(0);
  expect(toU32(value)).toBe(5);
  expect(outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, value: new Uint8Array(3) }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, value }))).toBe("ENOTSUPP");
  expect(outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, value, flags: BPF_EXIST }))).toBe("EINVAL");
});

const KMALLOC_MAX = 4 * 1024 * 1024;
for (const [fact, attr, expected] of [
  ["a queue with keys", { ...queue, key_size: 4 }, "EINVAL"],
  ["a queue with values of 4 MiB", { ...queue, value_size: KMALLOC_MAX, max_entries: 1 }, "ok"],
  ["a queue with larger values", { ...queue, value_size: KMALLOC_MAX + 1, max_entries: 1 }, "E2BIG"],
  ["a queue with larger values and keys", { ...queue, value_size: KMALLOC_MAX + 1, key_size: 4 }, "EINVAL"],
  ["a Bloom filter with larger values and keys", { ...bloom, value_size: KMALLOC_MAX + 1, key_size: 4 }, "E2BIG"],
  ["a Bloom filter with 15 hash functions", { ...bloom, map_extra: 15 }, "ok"],
  ["a Bloom filter with 16 hash functions", { ...bloom, map_extra: 16 }, "EINVAL"],
  ["a Bloom filter with bits above the hash functions", { ...bloom, map_extra: 1n << 32n }, "EINVAL"],
] as const) {
  contract(`${fact}: ${expected}`, (kernel) => expect(creation(kernel, attr)).toBe(expected));
}
