// What is particular to each map type for the walk over all of them: maps to make, keys, values, and what is read back.

import type { OwnerKind } from "../../src/embedded/owners.ts";
import * as flags from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import type { MapCreate } from "./maps.ts";
import type { World } from "./world.ts";

export interface Profile {
  /** Attributes of valid maps, each walked whole; creation is varied from the first. */
  shapes(world: World): readonly MapCreate[];
  /** A key by its number: numbers below max_entries are valid, and 77 is never there. */
  key(attr: MapCreate, number: number, world: World): Uint8Array | null;
  value(attr: MapCreate, number: number, world: World): Uint8Array;
  /** Bytes of a value that is read. */
  readSize(attr: MapCreate, world: World): number;
  /** What a lookup is given in the value's place, where it reads it. */
  asked?(attr: MapCreate, number: number): Uint8Array;
  /** What a value means that was read, where it is not its bytes. */
  shown?(bytes: Uint8Array, world: World, attr: MapCreate): string;
  /** Whether commands on elements have nothing to work on: they are asked for once, and not in rounds. */
  readonly isInert?: boolean;
  /** Whether the order of keys is the same on every kernel. */
  isOrdered(attr: MapCreate): boolean;
}

const stride = (size: number): number => Math.ceil(size / 8) * 8;
const u32 = (number: number): Uint8Array => new Uint8Array(new Uint32Array([number]).buffer);

/** A number in the first four of some bytes. */
function padded(number: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(u32(number));
  return bytes;
}

/** Counts in the first four bytes; the others follow from it. */
function counted(size: number, number: number): Uint8Array {
  const bytes = Uint8Array.from({ length: size }, (_, index) => (number * 7 + index * 3) & 0xff);
  bytes.set(u32(number).subarray(0, size));
  return bytes;
}

const keyed: Profile = {
  shapes: () => [],
  key: ({ key_size = 0 }, number) => (key_size === 0 ? null : counted(key_size, number)),
  value: ({ value_size = 0 }, number) => counted(value_size, number),
  readSize: ({ value_size = 0 }) => value_size,
  isOrdered: () => true,
};

const array: Profile = {
  ...keyed,
  shapes: () =>
    [8, 1, 4, 17, 64, 4096]
      .map((value_size) => ({ key_size: 4, value_size, max_entries: 4 }))
      .concat([{ key_size: 4, value_size: 8, max_entries: 1 }]),
};

const mmapableArray: Profile = {
  ...array,
  shapes: (world) => [
    ...array.shapes(world),
    { key_size: 4, value_size: 8, max_entries: 4, map_flags: flags.BPF_F_MMAPABLE },
    { key_size: 4, value_size: 4096, max_entries: 3, map_flags: flags.BPF_F_MMAPABLE },
    { key_size: 4, value_size: 8, max_entries: 4, map_flags: flags.BPF_F_MMAPABLE | flags.BPF_F_RDONLY_PROG },
    { key_size: 4, value_size: 8, max_entries: 4, map_flags: flags.BPF_F_INNER_MAP },
  ],
};

/** Values of every possible CPU. */
const perCpu = (profile: Profile): Profile => ({
  ...profile,
  value({ value_size = 0 }, number, { kernel }) {
    const cpus = kernel.system.possibleCpus.length;
    const bytes = new Uint8Array(stride(value_size) * cpus);
    for (let cpu = 0; cpu < cpus; cpu++) bytes.set(counted(value_size, number + cpu), cpu * stride(value_size));
    return bytes;
  },
  readSize: ({ value_size = 0 }, { kernel }) => stride(value_size) * kernel.system.possibleCpus.length,
});

const hash: Profile = {
  ...keyed,
  shapes: () => [
    { key_size: 4, value_size: 8, max_entries: 4, map_flags: flags.BPF_F_ZERO_SEED },
    ...[
      [1, 1],
      [8, 4],
      [13, 7],
      [64, 100],
    ].map(([key_size, value_size]) => ({ key_size: key_size!, value_size: value_size!, max_entries: 5 })),
    { key_size: 16, value_size: 16, max_entries: 6, map_flags: flags.BPF_F_NO_PREALLOC | flags.BPF_F_ZERO_SEED },
  ],
  isOrdered: ({ map_flags = 0 }) => (map_flags & flags.BPF_F_ZERO_SEED) !== 0,
};

const perCpuHash: Profile = perCpu(hash);

/** Where elements vanish by themselves, capacities are chosen so that none does. */
const lru = (profile: Profile): Profile => ({
  ...profile,
  shapes: () => [
    { key_size: 4, value_size: 8, max_entries: 1000, map_flags: flags.BPF_F_ZERO_SEED },
    { key_size: 16, value_size: 3, max_entries: 1000 },
    { key_size: 8, value_size: 8, max_entries: 1001, map_flags: flags.BPF_F_NO_COMMON_LRU },
  ],
});

/** Prefixes of an IPv4 address, all of another length or place. */
const trie: Profile = {
  ...keyed,
  shapes: () =>
    [8, 5, 20, 12].map((key_size) => ({
      key_size,
      value_size: 8,
      max_entries: 5,
      map_flags: flags.BPF_F_NO_PREALLOC,
    })),
  key({ key_size = 0 }, number) {
    const bytes = new Uint8Array(key_size);
    bytes.set(u32([8, 4, 7, 2, 0, 8, 6, 5, 3, 1][number % 10]!).subarray(0, key_size));
    bytes[4] = (number * 37) & 0xff;
    return bytes;
  },
};

const inner: Profile = {
  ...keyed,
  value: (_attr, number, world) => u32(world.innerMap(number % 3)),
  shown: (bytes, world) => world.nameOf("map", new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)),
};

const fileDescriptors: Profile = {
  ...keyed,
  shapes: () => [
    { key_size: 4, value_size: 4, max_entries: 4 },
    { key_size: 4, value_size: 4, max_entries: 1 },
  ],
  value: (_attr, number, world) => u32([9999, world.innerMap(0), world.program(0)][number % 3]!),
  isInert: true,
};

const programs: Profile = {
  ...fileDescriptors,
  value: (_attr, number, world) => u32(number === 99 ? world.innerMap(0) : world.program(number % 3)),
  isInert: false,
  shown: (bytes, world) => world.nameOf("program", new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)),
};

/** Devices: the loopback device is number 1 everywhere. */
const devices: Profile = {
  ...keyed,
  shapes: () => [
    { key_size: 4, value_size: 4, max_entries: 4 },
    { key_size: 4, value_size: 8, max_entries: 5 },
  ],
  value: ({ value_size = 0 }, number) => padded(number === 99 ? 999_999 : 1, value_size),
};

const cpus: Profile = {
  ...keyed,
  shapes: () => [
    { key_size: 4, value_size: 4, max_entries: 2 },
    { key_size: 4, value_size: 8, max_entries: 2 },
  ],
  value: ({ value_size = 0 }, number) =>
    padded(number === 99 ? 16385 : number === 20 ? 0 : 64 * (1 + (number % 3)), value_size),
};

const lists: Profile = {
  ...keyed,
  shapes: () => [8, 1, 5, 64, 1000].map((value_size) => ({ key_size: 0, value_size, max_entries: 4 })),
  key: () => null,
};

const bloom: Profile = {
  ...lists,
  shapes: () => [
    { key_size: 0, value_size: 8, max_entries: 4, map_flags: flags.BPF_F_ZERO_SEED },
    { key_size: 0, value_size: 3, max_entries: 100, map_flags: flags.BPF_F_ZERO_SEED, map_extra: 3n },
    { key_size: 0, value_size: 16, max_entries: 1, map_flags: flags.BPF_F_ZERO_SEED, map_extra: 15n },
    { key_size: 0, value_size: 5, max_entries: 7, map_flags: flags.BPF_F_ZERO_SEED, map_extra: 1n },
  ],
  asked: ({ value_size = 0 }, number) => counted(value_size, number),
};

const rings: Profile = {
  ...lists,
  shapes: () => [{ max_entries: 4096 }, { max_entries: 8192 }, { max_entries: 65536 }],
  isInert: true,
};

const arenas: Profile = {
  ...lists,
  shapes: () => [
    { max_entries: 4, map_flags: flags.BPF_F_MMAPABLE },
    { max_entries: 100, map_flags: flags.BPF_F_MMAPABLE },
    { max_entries: 2, map_flags: flags.BPF_F_MMAPABLE, map_extra: 0x1000_0000_0000n },
  ],
  isInert: true,
};

const stacks: Profile = {
  ...keyed,
  shapes: () => [
    { key_size: 4, value_size: 64, max_entries: 4 },
    { key_size: 4, value_size: 8 * 127, max_entries: 3 },
    { key_size: 4, value_size: 64, max_entries: 4, map_flags: flags.BPF_F_STACK_BUILD_ID },
  ],
  isInert: true,
};

const perfEvents: Profile = {
  ...fileDescriptors,
  value: (_attr, number, world) => u32(number === 99 ? 9999 : world.perfEvent(number % 3)),
  isInert: false,
};

/** Sockets, of which the map tells cookies where values have room for them. */
const sockets: Profile = {
  ...fileDescriptors,
  shapes: () => [
    { key_size: 4, value_size: 4, max_entries: 4 },
    { key_size: 4, value_size: 8, max_entries: 3 },
  ],
  value: ({ value_size = 0 }, number, world) => padded(socketOf(number, world), value_size),
  shown: (bytes, world) => (bytes.length === 8 ? world.nameOfCookie(bytes) : ""),
  isInert: false,
};

const socketOf = (number: number, world: World): number =>
  number === 99 ? world.program(0) : world.owner("socket", number % 5);

const sharedSockets: Profile = {
  ...sockets,
  value: ({ value_size = 0 }, number, world) =>
    padded(number === 99 ? 9999 : world.sharedSocket(number % 5), value_size),
};

const cgroupStorage: Profile = {
  ...keyed,
  shapes: () => [
    { key_size: 16, value_size: 8, max_entries: 0 },
    { key_size: 8, value_size: 8, max_entries: 0 },
    { key_size: 16, value_size: 17, max_entries: 0 },
  ],
  isInert: true,
};

/** Values that belong to owners, which file descriptors name. */
const localStorage = (kind: OwnerKind): Profile => ({
  ...keyed,
  shapes: (world) =>
    [
      [8, 2],
      [4, 1],
    ].map(([value_size, type]) => ({
      key_size: 4,
      value_size: value_size!,
      max_entries: 0,
      map_flags: flags.BPF_F_NO_PREALLOC,
      btf_fd: world.integers(),
      btf_key_type_id: 1,
      btf_value_type_id: type!,
    })),
  key: (_attr, number, world) => u32(number > 20 ? 9999 : world.owner(kind, number)),
});

export const profiles: ReadonlyMap<number, Profile> = new Map<number, Profile>([
  [types.BPF_MAP_TYPE_HASH, hash],
  [types.BPF_MAP_TYPE_ARRAY, mmapableArray],
  [types.BPF_MAP_TYPE_PROG_ARRAY, programs],
  [types.BPF_MAP_TYPE_PERF_EVENT_ARRAY, perfEvents],
  [types.BPF_MAP_TYPE_PERCPU_HASH, perCpuHash],
  [types.BPF_MAP_TYPE_PERCPU_ARRAY, perCpu(array)],
  [types.BPF_MAP_TYPE_STACK_TRACE, stacks],
  [types.BPF_MAP_TYPE_CGROUP_ARRAY, fileDescriptors],
  [types.BPF_MAP_TYPE_LRU_HASH, lru(hash)],
  [types.BPF_MAP_TYPE_LRU_PERCPU_HASH, lru(perCpuHash)],
  [types.BPF_MAP_TYPE_LPM_TRIE, trie],
  [
    types.BPF_MAP_TYPE_ARRAY_OF_MAPS,
    {
      ...inner,
      shapes: (world) => [
        { key_size: 4, value_size: 4, max_entries: 4, inner_map_fd: world.innerMap(0) },
        { key_size: 4, value_size: 4, max_entries: 1, inner_map_fd: world.innerMap(1) },
      ],
    },
  ],
  [
    types.BPF_MAP_TYPE_HASH_OF_MAPS,
    {
      ...inner,
      shapes: (world) => [
        { key_size: 4, value_size: 4, max_entries: 4, inner_map_fd: world.innerMap(0) },
        { key_size: 13, value_size: 4, max_entries: 5, inner_map_fd: world.innerMap(0) },
      ],
      isOrdered: () => false,
    },
  ],
  [types.BPF_MAP_TYPE_DEVMAP, devices],
  [types.BPF_MAP_TYPE_SOCKMAP, sockets],
  [types.BPF_MAP_TYPE_CPUMAP, cpus],
  [types.BPF_MAP_TYPE_XSKMAP, fileDescriptors],
  [types.BPF_MAP_TYPE_SOCKHASH, sockets],
  [types.BPF_MAP_TYPE_CGROUP_STORAGE, cgroupStorage],
  [types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, sharedSockets],
  [types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, perCpu(cgroupStorage)],
  [types.BPF_MAP_TYPE_QUEUE, lists],
  [types.BPF_MAP_TYPE_STACK, lists],
  [types.BPF_MAP_TYPE_SK_STORAGE, localStorage("socket")],
  [types.BPF_MAP_TYPE_DEVMAP_HASH, devices],
  [types.BPF_MAP_TYPE_STRUCT_OPS, { ...keyed, shapes: () => [{ key_size: 4, value_size: 256, max_entries: 1 }] }],
  [types.BPF_MAP_TYPE_RINGBUF, rings],
  [types.BPF_MAP_TYPE_INODE_STORAGE, localStorage("inode")],
  [types.BPF_MAP_TYPE_TASK_STORAGE, localStorage("task")],
  [types.BPF_MAP_TYPE_BLOOM_FILTER, bloom],
  [types.BPF_MAP_TYPE_USER_RINGBUF, rings],
  [types.BPF_MAP_TYPE_CGRP_STORAGE, localStorage("cgroup")],
  [types.BPF_MAP_TYPE_ARENA, arenas],
]);
