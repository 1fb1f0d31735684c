// What each map type allows: sizes, flags, and operations, with the error number otherwise. As Linux 6.18 answers.
// Linux: the map_alloc_check, map_alloc and struct bpf_map_ops of each type, kernel/bpf and net/core

import { E2BIG, EINVAL, ENOTSUPP, EOPNOTSUPP } from "./errno.ts";
import * as f from "./flags.ts";
import * as types from "./map-types.ts";

export interface MapRules {
  /** Bytes. */
  readonly keySize: SizeRule;
  /** Bytes; of a per-CPU type, of one CPU's value. */
  readonly valueSize: SizeRule;
  /** Bytes of key and value together. */
  readonly elementSize?: SizeRule;
  readonly maxEntries: SizeRule;
  /** BPF_F_… that creation takes. */
  readonly flags: number;
  /** BPF_F_… without which creation is EINVAL. */
  readonly requiredFlags: number;
  /** What creation needs beside sizes and flags. */
  readonly needs?: "a BTF value type" | "an inner map" | "a value type of the kernel";
  /** Operations that the type has not, with the errno that says so. The others are there. */
  readonly refused: Readonly<Partial<Record<MapOperation, number>>>;
}

/** Sizes from `min` to `max`, both included; others are EINVAL. */
export interface SizeRule {
  readonly min: number;
  readonly max: number;
  /** The errno for larger sizes, where it is another. */
  readonly above?: number;
  /** Sizes are multiples of it. */
  readonly multipleOf?: number;
  readonly powerOfTwo?: boolean;
}

/** `take` is BPF_MAP_LOOKUP_AND_DELETE_ELEM, the others are BPF_MAP_…_ELEM, BPF_MAP_GET_NEXT_KEY, BPF_MAP_…_BATCH and mmap(2). */
export type MapOperation =
  | "lookup"
  | "update"
  | "delete"
  | "nextKey"
  | "take"
  | "lookupBatch"
  | "takeBatch"
  | "updateBatch"
  | "deleteBatch"
  | "mmap";

/** 0, or -errno for a size that a rule does not allow. */
export function checkSize(
  { min, max, above = EINVAL, multipleOf = 1, powerOfTwo = false }: SizeRule,
  size: number,
): number {
  if (size > max) return -above;
  const isAllowed = size >= min && size % multipleOf === 0 && !(powerOfTwo && !Number.isInteger(Math.log2(size)));
  return isAllowed ? 0 : -EINVAL;
}

const PAGE = 4096;
const U32_MAX = 0xffff_ffff;
const INT_MAX = 0x7fff_ffff;
/** What Linux allocates in one piece, KMALLOC_MAX_SIZE. */
const PIECE = 4 * 1024 * 1024;
/** Most bytes of one CPU's value, PCPU_MIN_UNIT_SIZE. */
const PER_CPU = 32768;
/** Most bytes of an element of a hash, less its header: of key and value together, each of which has one or more. */
const HASH_ELEMENT = PIECE - 49;
/** What a node of a trie has beside its key and value. */
const TRIE_HEADER = 24;
/** Most bytes of a prefix. */
const PREFIX = 256;
/** Most bytes of an element of local storage, 2^16 - 1, less its header. */
const LOCAL_STORAGE = 65407;
/** Hashes have a power of two of buckets, which stays below 2^28. */
const HASH_ENTRIES = 2 ** 27;
/** CPUs that a kernel is built for; distributions choose from 64 to 8192. */
const NR_CPUS = 256;

const none: SizeRule = { min: 0, max: 0 };
const four: SizeRule = { min: 4, max: 4 };
const fourOrEight: SizeRule = { min: 4, max: 8, multipleOf: 4 };
const upTo = (max: number, above: number): SizeRule => ({ min: 1, max, above });
const anyCount = upTo(U32_MAX, EINVAL);

const ACCESS = f.BPF_F_RDONLY | f.BPF_F_WRONLY;
const PROGRAM_ACCESS = f.BPF_F_RDONLY_PROG | f.BPF_F_WRONLY_PROG;
const REFERENCE_FLAGS = ACCESS | f.BPF_F_NUMA_NODE;
const VALUE_FLAGS = REFERENCE_FLAGS | PROGRAM_ACCESS;
const HASH_FLAGS = VALUE_FLAGS | f.BPF_F_NO_PREALLOC | f.BPF_F_ZERO_SEED;
const LRU_FLAGS = VALUE_FLAGS | f.BPF_F_NO_COMMON_LRU | f.BPF_F_ZERO_SEED;

const noMapping = { mmap: ENOTSUPP };
const noBatches = { lookupBatch: ENOTSUPP, takeBatch: ENOTSUPP, updateBatch: ENOTSUPP, deleteBatch: ENOTSUPP };
const onlyElements = { ...noBatches, ...noMapping };
const noTaking = { take: ENOTSUPP, ...onlyElements };
const indexed = { delete: EINVAL, take: ENOTSUPP, takeBatch: ENOTSUPP, deleteBatch: ENOTSUPP };
const onlyMapping = {
  lookup: ENOTSUPP,
  update: ENOTSUPP,
  delete: ENOTSUPP,
  nextKey: ENOTSUPP,
  take: ENOTSUPP,
  ...noBatches,
};

const hash: MapRules = {
  keySize: upTo(HASH_ELEMENT - 1, E2BIG),
  valueSize: upTo(HASH_ELEMENT - 1, E2BIG),
  elementSize: upTo(HASH_ELEMENT, E2BIG),
  maxEntries: upTo(HASH_ENTRIES, E2BIG),
  flags: HASH_FLAGS,
  requiredFlags: 0,
  refused: noMapping,
};
/** BPF_F_NUMA_NODE only with no node in particular: there is a copy on each. */
const perCpuHash: MapRules = { ...hash, valueSize: upTo(PER_CPU, E2BIG) };
const array: MapRules = {
  keySize: four,
  valueSize: upTo(INT_MAX, E2BIG),
  maxEntries: anyCount,
  flags: VALUE_FLAGS | f.BPF_F_MMAPABLE | f.BPF_F_INNER_MAP,
  requiredFlags: 0,
  refused: indexed,
};
/** Values are file descriptors, which are kept as references. */
const references: MapRules = {
  keySize: four,
  valueSize: four,
  maxEntries: anyCount,
  flags: REFERENCE_FLAGS,
  requiredFlags: 0,
  refused: noTaking,
};
const list: MapRules = {
  keySize: none,
  valueSize: upTo(PIECE, E2BIG),
  maxEntries: anyCount,
  flags: VALUE_FLAGS,
  requiredFlags: 0,
  refused: { delete: EINVAL, nextKey: EINVAL, ...onlyElements },
};
const localStorage: MapRules = {
  keySize: four,
  valueSize: upTo(LOCAL_STORAGE, E2BIG),
  maxEntries: none,
  flags: f.BPF_F_NO_PREALLOC | f.BPF_F_CLONE,
  requiredFlags: f.BPF_F_NO_PREALLOC,
  needs: "a BTF value type",
  refused: { nextKey: ENOTSUPP, ...noTaking },
};
const cgroupStorage: MapRules = {
  keySize: { min: 8, max: 16, multipleOf: 8 },
  valueSize: upTo(LOCAL_STORAGE, E2BIG),
  maxEntries: none,
  flags: VALUE_FLAGS,
  requiredFlags: 0,
  refused: { delete: EINVAL, ...noTaking },
};
const ring: MapRules = {
  keySize: none,
  valueSize: none,
  maxEntries: { min: PAGE, max: 2 ** 31, multipleOf: PAGE, powerOfTwo: true },
  flags: f.BPF_F_NUMA_NODE,
  requiredFlags: 0,
  refused: onlyMapping,
};

/** The rules of each type, in the order of their numbers. */
export const mapRules: ReadonlyMap<number, MapRules> = new Map<number, MapRules>([
  [types.BPF_MAP_TYPE_HASH, hash],
  [types.BPF_MAP_TYPE_ARRAY, array],
  [types.BPF_MAP_TYPE_PROG_ARRAY, references],
  [
    types.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
    { ...references, flags: REFERENCE_FLAGS | f.BPF_F_PRESERVE_ELEMS, refused: { lookup: ENOTSUPP, ...noTaking } },
  ],
  [types.BPF_MAP_TYPE_PERCPU_HASH, perCpuHash],
  [
    types.BPF_MAP_TYPE_PERCPU_ARRAY,
    { ...array, valueSize: upTo(PER_CPU, E2BIG), flags: VALUE_FLAGS, refused: { ...indexed, ...noMapping } },
  ],
  [
    types.BPF_MAP_TYPE_STACK_TRACE,
    {
      keySize: four,
      valueSize: { min: 8, max: 1016, multipleOf: 8 },
      maxEntries: upTo(2 ** 31, E2BIG),
      flags: REFERENCE_FLAGS | f.BPF_F_STACK_BUILD_ID,
      requiredFlags: 0,
      refused: { update: EINVAL, ...onlyElements },
    },
  ],
  [types.BPF_MAP_TYPE_CGROUP_ARRAY, { ...references, refused: { lookup: ENOTSUPP, ...noTaking } }],
  [types.BPF_MAP_TYPE_LRU_HASH, { ...hash, flags: LRU_FLAGS }],
  [types.BPF_MAP_TYPE_LRU_PERCPU_HASH, { ...perCpuHash, flags: LRU_FLAGS }],
  [
    types.BPF_MAP_TYPE_LPM_TRIE,
    {
      keySize: { min: 5, max: 4 + PREFIX },
      valueSize: upTo(PIECE - PREFIX - TRIE_HEADER, EINVAL),
      maxEntries: anyCount,
      flags: VALUE_FLAGS | f.BPF_F_NO_PREALLOC,
      requiredFlags: f.BPF_F_NO_PREALLOC,
      refused: { take: ENOTSUPP, takeBatch: ENOTSUPP, mmap: ENOTSUPP },
    },
  ],
  [
    types.BPF_MAP_TYPE_ARRAY_OF_MAPS,
    {
      ...references,
      needs: "an inner map",
      refused: { take: ENOTSUPP, takeBatch: ENOTSUPP, deleteBatch: ENOTSUPP, mmap: ENOTSUPP },
    },
  ],
  [
    types.BPF_MAP_TYPE_HASH_OF_MAPS,
    { ...hash, valueSize: four, needs: "an inner map", refused: { take: ENOTSUPP, mmap: ENOTSUPP } },
  ],
  [types.BPF_MAP_TYPE_DEVMAP, { ...references, valueSize: fourOrEight }],
  [types.BPF_MAP_TYPE_SOCKMAP, { ...references, valueSize: fourOrEight }],
  [
    types.BPF_MAP_TYPE_CPUMAP,
    { ...references, valueSize: fourOrEight, maxEntries: upTo(NR_CPUS, E2BIG), flags: f.BPF_F_NUMA_NODE },
  ],
  [types.BPF_MAP_TYPE_XSKMAP, { ...references, refused: { lookup: EOPNOTSUPP, ...noTaking } }],
  [
    types.BPF_MAP_TYPE_SOCKHASH,
    { ...references, keySize: upTo(512, E2BIG), valueSize: fourOrEight, maxEntries: upTo(HASH_ENTRIES, EINVAL) },
  ],
  [types.BPF_MAP_TYPE_CGROUP_STORAGE, cgroupStorage],
  [types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, { ...references, valueSize: fourOrEight, flags: VALUE_FLAGS }],
  [types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, { ...cgroupStorage, valueSize: upTo(PER_CPU, E2BIG) }],
  [types.BPF_MAP_TYPE_QUEUE, list],
  [types.BPF_MAP_TYPE_STACK, list],
  [types.BPF_MAP_TYPE_SK_STORAGE, localStorage],
  [types.BPF_MAP_TYPE_DEVMAP_HASH, { ...references, valueSize: fourOrEight, maxEntries: upTo(2 ** 31, EINVAL) }],
  [
    types.BPF_MAP_TYPE_STRUCT_OPS,
    {
      keySize: four,
      valueSize: upTo(PIECE, EINVAL),
      maxEntries: upTo(1, EINVAL),
      flags: f.BPF_F_LINK | f.BPF_F_VTYPE_BTF_OBJ_FD,
      requiredFlags: 0,
      needs: "a value type of the kernel",
      refused: noTaking,
    },
  ],
  [types.BPF_MAP_TYPE_RINGBUF, ring],
  [types.BPF_MAP_TYPE_INODE_STORAGE, localStorage],
  [types.BPF_MAP_TYPE_TASK_STORAGE, localStorage],
  [
    types.BPF_MAP_TYPE_BLOOM_FILTER,
    {
      ...list,
      flags: VALUE_FLAGS | f.BPF_F_ZERO_SEED,
      refused: { delete: EOPNOTSUPP, nextKey: EOPNOTSUPP, ...noTaking },
    },
  ],
  [types.BPF_MAP_TYPE_USER_RINGBUF, ring],
  [types.BPF_MAP_TYPE_CGRP_STORAGE, localStorage],
  [
    types.BPF_MAP_TYPE_ARENA,
    {
      keySize: none,
      valueSize: none,
      maxEntries: upTo(2 ** 20, E2BIG),
      flags: f.BPF_F_MMAPABLE | f.BPF_F_SEGV_ON_FAULT | f.BPF_F_NO_USER_CONV,
      requiredFlags: f.BPF_F_MMAPABLE,
      refused: { ...onlyMapping, lookup: EINVAL, update: EOPNOTSUPP, delete: EOPNOTSUPP, nextKey: EOPNOTSUPP },
    },
  ],
]);
