// Memory that runs out: whatever is made, written and closed under a small limit, all of it is given back.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import { buildBtf } from "../../src/btf/build.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { BPF_F_NO_COMMON_LRU, BPF_F_NO_PREALLOC } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import * as types from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_SCHED_CLS } from "../../src/uapi/program-types.ts";
import { randomNumbers } from "../differential/random-program.ts";
import { array, int } from "./btf-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, type MapCreate, remove, set, u32 } from "./maps.ts";
import { load, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, mov, load: ldx, exit, call, jump, label, loadMapFd } = asm;

const LIMIT = 2 << 20;
const MAX_VALUE = 4096;

/** Shapes of maps, by a random size of values and number of entries; the rest of a value stays zero. */
type Shape = (valueSize: number, entries: number) => MapCreate;
const keyed =
  (map_type: number, map_flags = 0): Shape =>
  (value_size, max_entries) => ({ map_type, value_size, max_entries, map_flags });
const descriptors =
  (map_type: number, value_size = 4): Shape =>
  (_size, max_entries) => ({ map_type, value_size, max_entries });
const withoutKeys =
  (map_type: number): Shape =>
  (value_size, max_entries) => ({ map_type, key_size: 0, value_size, max_entries });
const nothing: MapCreate = { key_size: 0, value_size: 0 };

const shapes: readonly Shape[] = [
  keyed(types.BPF_MAP_TYPE_HASH),
  keyed(types.BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC),
  keyed(types.BPF_MAP_TYPE_PERCPU_HASH),
  keyed(types.BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC),
  keyed(types.BPF_MAP_TYPE_LRU_HASH),
  keyed(types.BPF_MAP_TYPE_LRU_HASH, BPF_F_NO_COMMON_LRU),
  keyed(types.BPF_MAP_TYPE_LRU_PERCPU_HASH),
  keyed(types.BPF_MAP_TYPE_ARRAY),
  keyed(types.BPF_MAP_TYPE_PERCPU_ARRAY),
  (value_size, max_entries) => ({
    map_type: types.BPF_MAP_TYPE_LPM_TRIE,
    key_size: 8,
    value_size,
    max_entries,
    map_flags: BPF_F_NO_PREALLOC,
  }),
  withoutKeys(types.BPF_MAP_TYPE_QUEUE),
  withoutKeys(types.BPF_MAP_TYPE_STACK),
  withoutKeys(types.BPF_MAP_TYPE_BLOOM_FILTER),
  (_size, entries) => ({ ...nothing, map_type: types.BPF_MAP_TYPE_RINGBUF, max_entries: 4096 << (entries % 8) }),
  (_size, entries) => ({ ...nothing, map_type: types.BPF_MAP_TYPE_USER_RINGBUF, max_entries: 4096 << (entries % 8) }),
  (size, max_entries) => ({
    map_type: types.BPF_MAP_TYPE_STACK_TRACE,
    value_size: 8 * (1 + (size % 100)),
    max_entries,
  }),
  descriptors(types.BPF_MAP_TYPE_PROG_ARRAY),
  descriptors(types.BPF_MAP_TYPE_PERF_EVENT_ARRAY),
  descriptors(types.BPF_MAP_TYPE_CGROUP_ARRAY),
  descriptors(types.BPF_MAP_TYPE_DEVMAP),
  descriptors(types.BPF_MAP_TYPE_DEVMAP_HASH),
  descriptors(types.BPF_MAP_TYPE_CPUMAP),
  descriptors(types.BPF_MAP_TYPE_XSKMAP),
  descriptors(types.BPF_MAP_TYPE_SOCKMAP),
  descriptors(types.BPF_MAP_TYPE_SOCKHASH),
  descriptors(types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 8),
];
const storages = [
  types.BPF_MAP_TYPE_SK_STORAGE,
  types.BPF_MAP_TYPE_INODE_STORAGE,
  types.BPF_MAP_TYPE_TASK_STORAGE,
  types.BPF_MAP_TYPE_CGRP_STORAGE,
];
const ownerKinds = ["socket", "inode", "task", "cgroup"] as const;

/** BTF with an int of 32 bits, 1, and an array of that, 2, as long as the largest value. */
function loadTypes(kernel: Kernel): number {
  const btf = buildBtf([int("u32", 4), array(1, MAX_VALUE / 4)]);
  return kernel.bpf(commands.BPF_BTF_LOAD, { btf, btf_size: btf.length });
}

/** What was done, by how it ended. */
type Tally = Map<number | string, number>;

/** Does random things until `steps` are done, and closes everything. */
function live(kernel: EmbeddedKernel, seed: number, steps: number): Tally {
  const random = randomNumbers(seed);
  const tally: Tally = new Map();
  const maps: { readonly fd: number; readonly attr: MapCreate }[] = [];
  const others: number[] = [];
  const count = (result: number | string): void => {
    const name = typeof result === "number" ? (result < 0 ? outcome(result) : "ok") : result;
    tally.set(name, (tally.get(name) ?? 0) + 1);
  };
  const keep = (fd: number, attr: MapCreate): void => {
    count(fd);
    if (fd >= 0) maps.push({ fd, attr });
  };
  const btf_fd = loadTypes(kernel);
  const owners = ownerKinds.map((kind) => kernel.openOwner(kind as "socket", { protocol: "udp", state: "bound" }));
  const pick = (): { fd: number; attr: MapCreate } | undefined => maps[random(maps.length || 1)];
  const value = (attr: MapCreate): Uint8Array => {
    const bytes = new Uint8Array(Math.max(8, attr.value_size ?? 0) * 2 + 16);
    const [inner] = maps;
    const fd = attr.inner_map_fd !== undefined && inner ? inner.fd : random(2) === 0 ? 1 : owners[0]!;
    bytes.set(u32(fd));
    return bytes;
  };
  const actions: readonly (() => void)[] = [
    () => {
      const entries = 1 << random(15);
      const attr = shapes[random(shapes.length)]!(4 + random(MAX_VALUE - 4), 1 + random(entries));
      keep(create(kernel, attr), attr);
    },
    () => {
      const map_type = random(2) === 0 ? types.BPF_MAP_TYPE_HASH_OF_MAPS : types.BPF_MAP_TYPE_ARRAY_OF_MAPS;
      const attr = { map_type, value_size: 4, max_entries: 1 + random(20_000), inner_map_fd: pick()?.fd ?? 9999 };
      keep(create(kernel, attr), attr);
    },
    () => {
      const typed = { btf_fd, btf_key_type_id: 1, btf_value_type_id: 2, map_flags: BPF_F_NO_PREALLOC };
      const attr = { map_type: storages[random(4)]!, value_size: MAX_VALUE, max_entries: 0, ...typed };
      keep(create(kernel, attr), attr);
    },
    () => {
      const [map] = maps.splice(random(maps.length || 1), 1);
      if (map) kernel.close(map.fd);
    },
    () => {
      const map = pick();
      if (map === undefined) return;
      const key = Uint8Array.of(...u32(random(4) === 0 ? owners[random(4)]! : random(40)), 0, 0, 0, 0);
      count(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd: map.fd, key, value: value(map.attr) }));
    },
    () => {
      const map = pick();
      if (map !== undefined) count(remove(kernel, map.fd, random(40)));
    },
    () => {
      const map = pick();
      if (map === undefined || map.attr.key_size !== undefined) return;
      const entries = 1 + random(400);
      const keys = new Uint8Array(Uint32Array.from({ length: entries }, () => random(1000)).buffer);
      const values = new Uint8Array(entries * 2 * (8 + (map.attr.value_size ?? 0)));
      count(kernel.bpf(commands.BPF_MAP_UPDATE_BATCH, { map_fd: map.fd, keys, values, count: entries }));
    },
    () => {
      const map = pick();
      if (map?.attr.map_type !== types.BPF_MAP_TYPE_SK_STORAGE) return;
      const fd = load(kernel, makeStorage(map.fd), { prog_type: BPF_PROG_TYPE_SCHED_CLS });
      count(fd);
      if (fd < 0) return;
      count(testRun(kernel, fd, { repeat: 1 + random(3) }).outcome);
      if (random(2) === 0) kernel.close(fd);
      else others.push(fd);
    },
  ];
  const weights = [4, 1, 1, 3, 12, 3, 4, 2];
  const deck = actions.flatMap((action, index) => new Array<() => void>(weights[index]!).fill(action));
  for (let step = 0; step < steps; step++) {
    deck[random(deck.length)]!();
    expect(kernel.memoryInUse).toBeLessThanOrEqual(LIMIT);
  }
  for (const fd of [...maps.map(({ fd }) => fd), ...others, ...owners, btf_fd]) if (fd >= 0) kernel.close(fd);
  return tally;
}

/** Makes storage of the packet's socket. */
const makeStorage = (map: number): asm.Item[] => [
  ldx("dw", r2, r1, 168),
  mov(r0, 0),
  jump("jeq", r2, 0, "out"),
  loadMapFd(r1, map),
  mov(r3, 0),
  mov(r4, 1),
  call(helpers.BPF_FUNC_sk_storage_get),
  mov(r0, 0),
  label("out"),
  exit(),
];

contract.on("embedded")(
  "whatever runs out of memory in the middle of something, all of it is given back in the end",
  () => {
    const tally: Tally = new Map();
    for (let seed = 1; seed <= 12; seed++) {
      using kernel = new EmbeddedKernel({ memoryLimit: LIMIT, seed });
      // What commands copy through stays.
      const large = create(kernel, { map_type: types.BPF_MAP_TYPE_PERCPU_ARRAY, value_size: 4 * MAX_VALUE });
      expect(set(kernel, large, 0, 0)).toBe("EFAULT");
      kernel.close(large);
      const before = kernel.memoryInUse;
      for (const [name, times] of live(kernel, seed, 600)) tally.set(name, (tally.get(name) ?? 0) + times);
      expect([seed, kernel.openFds, kernel.memoryInUse]).toEqual([seed, 0, before]);
    }
    expect(tally.get("ENOMEM")).toBeGreaterThan(100);
    expect(tally.get("ok")).toBeGreaterThan(1000);
  },
);

contract("maps without preallocation take more memory the more elements they have, and tell it", (kernel, { open }) => {
  for (const [map_type, key_size] of [
    [types.BPF_MAP_TYPE_HASH, 4],
    [types.BPF_MAP_TYPE_PERCPU_HASH, 4],
    [types.BPF_MAP_TYPE_LPM_TRIE, 8],
  ] as const) {
    const shape = { key_size, value_size: 64, max_entries: 1000, map_flags: BPF_F_NO_PREALLOC };
    const map_fd = open(create(kernel, { map_type, ...shape }));
    const empty = kernel.memoryUse(map_fd);
    const value = new Uint8Array(64 * kernel.system.possibleCpus.length);
    for (let key = 0; key < 500; key++) {
      const bytes = key_size === 4 ? u32(key) : Uint8Array.of(...u32(32), ...u32(key));
      expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: bytes, value })).toBe(0);
    }
    expect([map_type, kernel.memoryUse(map_fd) - empty >= 500 * 64]).toEqual([map_type, true]);
  }
});

/** Types whose elements, if any, are taken when they are made. */
const grows = ({ map_type, map_flags }: MapCreate): boolean =>
  map_flags === BPF_F_NO_PREALLOC || map_type === types.BPF_MAP_TYPE_BLOOM_FILTER;

contract("a map that has its memory from the start tells what that is", (kernel, { open }) => {
  for (const attr of shapes.map((shape) => shape(64, 256)).filter((attr) => !grows(attr))) {
    const { map_type, value_size, max_entries = 0 } = attr;
    const least = value_size === 64 ? 64 * max_entries : 1;
    expect([map_type, kernel.memoryUse(open(create(kernel, attr))) >= least]).toEqual([map_type, true]);
  }
});
