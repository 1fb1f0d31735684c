// LRU hashes: a new key takes the place of one that was not looked up for long.
// A case that runs on several CPUs in turn, as a process does, cannot tell which key that is, but for those that programs look up.

import { expect } from "vitest";
import { add, call, exit, type Item, loadMapFd, mov, r0, r1, r2, r10, store } from "../../src/asm/builder.ts";
import { readMapInfo } from "../../src/client/info.ts";
import { BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import {
  BPF_EXIST,
  BPF_F_NO_COMMON_LRU,
  BPF_F_NO_PREALLOC,
  BPF_F_NUMA_NODE,
  BPF_NOEXIST,
} from "../../src/uapi/flags.ts";
import { BPF_FUNC_map_lookup_elem } from "../../src/uapi/helper-ids.ts";
import { BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, get, keys, remove, set, u32 } from "./maps.ts";
import { load, testRun } from "./programs.ts";

const lru = { map_type: BPF_MAP_TYPE_LRU_HASH };
const perCpuLru = { map_type: BPF_MAP_TYPE_LRU_PERCPU_HASH };

/** A program that looks up keys. */
const lookupsOf = (map_fd: number, hot: readonly number[]): Item[] => [
  ...hot.flatMap((key): Item[] => [
    store("w", r10, -4, key),
    ...loadMapFd(r1, map_fd),
    mov(r2, r10),
    add(r2, -4),
    call(BPF_FUNC_map_lookup_elem),
  ]),
  mov(r0, 0),
  exit(),
];

for (const [name, attr] of [
  ["an LRU hash", lru],
  ["a per-CPU LRU hash", perCpuLru],
  ["an LRU hash with lists for each CPU", { ...lru, map_flags: BPF_F_NO_COMMON_LRU }],
] as const) {
  contract(`${name} takes any number of new keys and never has more than max_entries`, (kernel, { open }) => {
    for (const max_entries of [1, 2, 4, 10, 100]) {
      const map_fd = open(create(kernel, { ...attr, max_entries }));
      const most = readMapInfo(kernel, map_fd).max_entries;
      const value = new Uint8Array(8 * kernel.system.possibleCpus.length);
      for (let key = 0; key < 300; key++) {
        expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(key), value }))).toBe(0);
        if (key % 10 === 0) expect(keys(kernel, map_fd).length).toBeLessThanOrEqual(most);
      }
      const left = keys(kernel, map_fd);
      expect(left.length).toBeGreaterThan(0);
      expect(new Set(left).size).toBe(left.length);
    }
  });

  contract(`${name} is allocated at once: NO_PREALLOC is ENOTSUPP`, (kernel) => {
    const { map_flags = 0 } = attr as { map_flags?: number };
    expect(creation(kernel, { ...attr, map_flags: map_flags | BPF_F_NO_PREALLOC })).toBe("ENOTSUPP");
  });
}

contract("keys that a program looks up survive a scan of keys that nobody does", (kernel, { open }) => {
  const map_fd = open(create(kernel, { ...lru, max_entries: 1000 }));
  const hot = [0, 1, 2, 3, 4];
  for (const key of hot) expect(set(kernel, map_fd, key, key)).toBe(0);
  const prog_fd = open(load(kernel, lookupsOf(map_fd, hot)));
  for (let key = 1000; key < 6000; key++) {
    expect(set(kernel, map_fd, key, key)).toBe(0);
    if (key % 20 === 0) expect(testRun(kernel, prog_fd).outcome).toBe(0);
  }
  expect(hot.map((key) => get(kernel, map_fd, key))).toEqual(hot.map(BigInt));
});

contract("keys that only commands look up do not: a walk leaves the order of age", (kernel, { open }) => {
  const map_fd = open(create(kernel, { ...lru, max_entries: 1000 }));
  const hot = [0, 1, 2, 3, 4];
  for (const key of hot) expect(set(kernel, map_fd, key, key)).toBe(0);
  for (let key = 1000; key < 6000; key++) {
    expect(set(kernel, map_fd, key, key)).toBe(0);
    if (key % 20 === 0) for (const one of hot) get(kernel, map_fd, one);
  }
  expect(hot.map((key) => get(kernel, map_fd, key))).toEqual(hot.map(() => "ENOENT"));
});

contract("an update of an old key with NOEXIST, or of a new one with EXIST, is refused", (kernel, { open }) => {
  const map_fd = open(create(kernel, { ...lru, max_entries: 100 }));
  expect(set(kernel, map_fd, 1, 1)).toBe(0);
  expect(set(kernel, map_fd, 1, 2, BPF_NOEXIST)).toBe("EEXIST");
  expect(set(kernel, map_fd, 2, 2, BPF_EXIST)).toBe("ENOENT");
  expect(set(kernel, map_fd, 2, 2, 3)).toBe("EINVAL");
  expect(get(kernel, map_fd, 1)).toBe(1n);
  expect(remove(kernel, map_fd, 1)).toBe(0);
  expect(remove(kernel, map_fd, 1)).toBe("ENOENT");
});

contract("an LRU hash of one element refuses EXIST for a new key, and forgets the old one", (kernel, { open }) => {
  const map_fd = open(create(kernel, { ...lru, max_entries: 1 }));
  expect(set(kernel, map_fd, 1, 1)).toBe(0);
  expect(set(kernel, map_fd, 2, 2, BPF_EXIST)).toBe("ENOENT");
  expect(keys(kernel, map_fd)).toEqual([]);
});

contract(
  "with lists for each CPU, max_entries is rounded up to a multiple of the possible CPUs",
  (kernel, { open }) => {
    const cpus = kernel.system.possibleCpus.length;
    for (const max_entries of [1, 2, 7, 1001]) {
      const own = open(create(kernel, { ...lru, max_entries, map_flags: BPF_F_NO_COMMON_LRU }));
      expect(readMapInfo(kernel, own).max_entries).toBe(Math.ceil(max_entries / cpus) * cpus);
      const common = open(create(kernel, { ...lru, max_entries }));
      expect(readMapInfo(kernel, common).max_entries).toBe(max_entries);
    }
  },
);

contract("lists for each CPU, and values for each CPU, lie on no NUMA node of one's choice", (kernel) => {
  const onNode = { map_flags: BPF_F_NUMA_NODE, numa_node: 0 };
  expect(creation(kernel, { ...lru, ...onNode })).toBe("ok");
  expect(creation(kernel, { ...lru, ...onNode, map_flags: BPF_F_NUMA_NODE | BPF_F_NO_COMMON_LRU })).toBe("EINVAL");
  expect(creation(kernel, { ...perCpuLru, ...onNode })).toBe("EINVAL");
});
