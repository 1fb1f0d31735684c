// The table of what each map type allows, held against both kernels.

import { expect } from "vitest";
import { exit, loadMapFd, mov, r0, r1 } from "../../src/asm/builder.ts";
import { createMap } from "../../src/client/map.ts";
import { mapTypeName, mapTypeNumber } from "../../src/client/maps/types.ts";
import { bytes } from "../../src/codec/bytes.ts";
import type { Codec } from "../../src/codec/codec.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { BPF_F_SLEEPABLE } from "../../src/uapi/flags.ts";
import { checkSize, type MapOperation, type MapRules, mapRules, type SizeRule } from "../../src/uapi/map-rules.ts";
import * as types from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_SYSCALL } from "../../src/uapi/program-types.ts";
import { contract, outcome } from "./contract.ts";
import { profiles } from "./map-profiles.ts";
import type { MapCreate } from "./maps.ts";
import { refusal } from "./programs.ts";
import { World } from "./world.ts";

/** Sizes around the edges of a rule, as far as a map of this size is small or refused. */
function sizesAround({ min, max, multipleOf = 1 }: SizeRule): number[] {
  const sizes = [
    0,
    min - 1,
    min,
    min + 1,
    min + multipleOf,
    2 * min,
    17,
    max - multipleOf,
    max,
    max + 1,
    max + multipleOf,
  ];
  return [...new Set(sizes)]
    .filter((size) => size >= 0 && size < 2 ** 32 && (size <= 70_000 || size > max))
    .toSorted((a, b) => a - b);
}

const NUMA_NO_NODE = 0xffff_ffff;
const BITS = Array.from({ length: 20 }, (_, bit) => 1 << bit);

/** Of the others, elements may go while a program that uses them sleeps. */
const forSleepable: readonly number[] = [
  types.BPF_MAP_TYPE_HASH,
  types.BPF_MAP_TYPE_ARRAY,
  types.BPF_MAP_TYPE_PERCPU_HASH,
  types.BPF_MAP_TYPE_PERCPU_ARRAY,
  types.BPF_MAP_TYPE_LRU_HASH,
  types.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  types.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  types.BPF_MAP_TYPE_HASH_OF_MAPS,
  types.BPF_MAP_TYPE_QUEUE,
  types.BPF_MAP_TYPE_STACK,
  types.BPF_MAP_TYPE_SK_STORAGE,
  types.BPF_MAP_TYPE_RINGBUF,
  types.BPF_MAP_TYPE_INODE_STORAGE,
  types.BPF_MAP_TYPE_TASK_STORAGE,
  types.BPF_MAP_TYPE_USER_RINGBUF,
  types.BPF_MAP_TYPE_CGRP_STORAGE,
  types.BPF_MAP_TYPE_ARENA,
];

for (const [type, rules] of mapRules) {
  // Its value is a type of the running kernel with one program or more: it has cases of its own.
  if (type === types.BPF_MAP_TYPE_STRUCT_OPS) continue;
  const name = mapTypeName(type);

  contract(`${name}: whether programs that may sleep can use it`, (kernel) => {
    const world = new World(kernel);
    const address = type === types.BPF_MAP_TYPE_ARENA ? { map_extra: 2 ** 44 } : {};
    const fd = world.create({ map_type: type, ...profiles.get(type)!.shapes(world)[0], ...address });
    const items = [loadMapFd(r1, fd), mov(r0, 0), exit()];
    const answer = refusal(kernel, items, { prog_type: BPF_PROG_TYPE_SYSCALL, prog_flags: BPF_F_SLEEPABLE });
    const words = "Sleepable programs can only use array, hash, ringbuf and local storage maps";
    if (forSleepable.includes(type)) expect(answer[0]).toBeTypeOf("number");
    else expect(answer).toEqual(["EINVAL", words]);
    kernel.close(fd);
    world.close();
  });

  contract(`${name}: creation takes the sizes and flags of the table, and no others`, (kernel) => {
    const world = new World(kernel);
    const attr = { map_type: type, ...profiles.get(type)!.shapes(world)[0] };
    const create = (change: MapCreate): string | number => {
      const fd = world.create({ ...attr, ...change });
      if (fd >= 0) kernel.close(fd);
      return outcome(Math.min(fd, 0));
    };
    const isMade = (change: MapCreate): boolean => create(change) === 0;
    for (const field of ["key_size", "value_size", "max_entries"] as const) {
      const rule = ruleOf(rules, field);
      for (const size of sizesAround(rule)) {
        const expected = outcome(checkSize(rule, size));
        // Of local storage and inner maps the size that a key or value has is that of a type.
        if (expected === 0 && rules.needs !== undefined && field !== "max_entries") continue;
        expect([field, size, create({ [field]: size })]).toEqual([field, size, expected]);
      }
    }
    const base = attr.map_flags ?? 0;
    for (const bit of BITS.filter((bit) => (base & bit) === 0))
      expect([bit, isMade({ map_flags: base | bit, numa_node: NUMA_NO_NODE })]).toEqual([
        bit,
        (rules.flags & bit) !== 0,
      ]);
    for (const bit of BITS.filter((bit) => (rules.requiredFlags & bit) !== 0))
      expect([bit, isMade({ map_flags: base & ~bit })]).toEqual([bit, false]);
    world.close();
  });

  contract(`${name}: the operations that it has not are refused as the table says`, (kernel, { open }) => {
    const world = new World(kernel);
    const profile = profiles.get(type)!;
    const attr = { map_type: type, ...profile.shapes(world)[0] };
    const map_fd = open(world.create(attr));
    const key = profile.key(attr, 1, world);
    const [value, room] = [
      profile.value(attr, 1, world),
      new Uint8Array(Math.max(8192, profile.readSize(attr, world))),
    ];
    const next_key = new Uint8Array(attr.key_size ?? 0);
    const batch = { map_fd, keys: room, values: room, out_batch: room, count: 0 };
    const answers: Record<MapOperation, number> = {
      lookup: kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key, value: room }),
      update: kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key, value }),
      nextKey: kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { map_fd, key: null, next_key }),
      delete: kernel.bpf(commands.BPF_MAP_DELETE_ELEM, { map_fd, key }),
      take: kernel.bpf(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, key, value: room }),
      lookupBatch: kernel.bpf(commands.BPF_MAP_LOOKUP_BATCH, batch),
      takeBatch: kernel.bpf(commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH, batch),
      updateBatch: kernel.bpf(commands.BPF_MAP_UPDATE_BATCH, batch),
      deleteBatch: kernel.bpf(commands.BPF_MAP_DELETE_BATCH, batch),
      mmap: mapping(kernel, map_fd),
    };
    for (const [operation, answer] of Object.entries(answers) as [MapOperation, number][]) {
      const errno = rules.refused[operation] ?? 0;
      if (errno > 0) expect([operation, outcome(answer)]).toEqual([operation, outcome(-errno)]);
      else expect([operation, outcome(answer)]).not.toEqual([operation, "ENOTSUPP"]);
    }
    world.close();
  });
}

function ruleOf(rules: MapRules, field: keyof MapCreate): SizeRule {
  if (field === "key_size") return rules.keySize;
  return field === "value_size" ? rules.valueSize : rules.maxEntries;
}

function mapping(kernel: Kernel, fd: number): number {
  const mapping = kernel.mmap(fd, { length: kernel.system.pageSize });
  if (typeof mapping === "number") return mapping;
  mapping.unmap();
  return 0;
}

const VALUES: readonly { type: string; key?: number }[] = [
  { type: "hash", key: 1 },
  { type: "lru_hash", key: 1 },
  { type: "percpu_hash", key: 1 },
  { type: "lru_percpu_hash", key: 1 },
  { type: "percpu_array" },
  { type: "lpm_trie", key: 8 },
  { type: "queue" },
  { type: "stack" },
  { type: "bloom_filter" },
  { type: "cgroup_storage" },
  { type: "percpu_cgroup_storage" },
  { type: "sk_storage" },
  { type: "inode_storage" },
  { type: "task_storage" },
  { type: "cgrp_storage" },
];

for (const { type, key } of VALUES) {
  contract(`${type}: the largest value is that of the table`, (kernel) => {
    const { valueSize, maxEntries } = mapRules.get(mapTypeNumber(type)!)!;
    const create = (size: number): void =>
      createMap(kernel, {
        type,
        ...(key === undefined ? {} : { key: bytes(key) as Codec<unknown> }),
        value: bytes(size) as Codec<unknown>,
        maxEntries: Math.min(1, maxEntries.max),
      }).close();
    create(valueSize.max);
    expect(() => create(valueSize.max + 1)).toThrow(/E2BIG|EINVAL/);
  });
}
