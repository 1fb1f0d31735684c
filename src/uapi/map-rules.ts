// What each map type allows: sizes, flags, and operations, with the error number otherwise. As Linux 6.18 answers.
// Linux: the map_alloc_check, map_alloc and struct bpf_map_ops of each type, kernel/bpf and net/core

import { EINVAL, ENOTSUPP, EOPNOTSUPP } from "./errno.ts";
import * as f from "./flags.ts";
import * as types from "./map-types.ts";

export interface MapRules {
  /** Bytes. */
  readonly keySize: SizeRule;
  /** Bytes; of a per-CPU type, of one CPU's value. */
  readonly valueSize: SizeRule;
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

/** Sizes from `min` to `max`, both included; what is larger or smaller is EINVAL or E2BIG. */
export interface SizeRule {
  readonly min: number;
  readonly max: number;
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

/** Whether a size is one that a rule allows. */
export function allowsSize({ min, max, multipleOf = 1, powerOfTwo = false }: SizeRule, size: number): boolean {
  return size >= min && size <= max && size % multipleOf === 0 && !(powerOfTwo && !Number.isInteger(Math.log2(size)));
}

const PAGE = 4096;
const U32_MAX = 0xffff_ffff;
const INT_MAX = 0x7fff_ffff;
/** What Linux allocates in one piece, KMALLOC_MAX_SIZE. */
const PIECE = 4 * 1024 * 1024;
/** Most bytes of an element of a hash, less its header: of key and value together, each of which has one or more. */
const HASH_ELEMENT = PIECE - 49;
/** Most bytes of a trie's value: less its node and the longest key. */
const TRIE_VALUE = PIECE - 280;
/** Most bytes of a value that belongs to something: its element's size is 16 bits. */
const OWNED = 65407;
/** Most bytes of one CPU's value, PCPU_MIN_UNIT_SIZE. */
const PER_CPU = 32768;

/** CPUs that a kernel is built for; distributions choose from 64 to 8192. */
const NR_CPUS = 256;

const none: SizeRule = { min: 0, max: 0 };
const four: SizeRule = { min: 4, max: 4 };
const fourOrEight: SizeRule = { min: 4, max: 8, multipleOf: 4 };
const upTo = (max: number): SizeRule => ({ min: 1, max });
const anyCount = upTo(U32_MAX);

const ACCESS = f.BPF_F_RDONLY | f.BPF_F_WRONLY;
const PROGRAM_ACCESS = f.BPF_F_RDONLY_PROG | f.BPF_F_WRONLY_PROG;
const REFERENCE_FLAGS = ACCESS | f.BPF_F_NUMA_NODE;
const VALUE_FLAGS = REFERENCE_FLAGS | PROGRAM_ACCESS;
const HASH_FLAGS = VALUE_FLAGS | f.BPF_F_NO_PREALLOC | f.BPF_F_ZERO_SEED;
const LRU_FLAGS = VALUE_FLAGS | f.BPF_F_NO_COMMON_LRU | f.BPF_F_ZERO_SEED;

const noMapping = { mmap: ENOTSUPP };
const noBatches = {
  lookupBatch: ENOTSUPP,
  takeBatch: ENOTSUPP,
  updateBatch: ENOTSUPP,
  deleteBatch: ENOTSUPP,
  mmap: ENOTSUPP,
};
const noTaking = { take: ENOTSUPP, ...noBatches };
const indexed = { delete: EINVAL, take: ENOTSUPP, takeBatch: ENOTSUPP, deleteBatch: ENOTSUPP };
const nothing = { lookup: ENOTSUPP, update: ENOTSUPP, delete: ENOTSUPP, nextKey: ENOTSUPP, ...noTaking };

const hash: MapRules = {
  keySize: upTo(HASH_ELEMENT - 1),
  valueSize: upTo(HASH_ELEMENT - 1),
  maxEntries: upTo(2 ** 27),
  flags: HASH_FLAGS,
  requiredFlags: 0,
  refused: noMapping,
};
/** BPF_F_NUMA_NODE only with no node in particular: there is a copy on each. */
const perCpuHash: MapRules = { ...hash, valueSize: upTo(PER_CPU) };
const array: MapRules = {
  keySize: four,
  valueSize: upTo(INT_MAX),
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
  valueSize: upTo(PIECE),
  maxEntries: anyCount,
  flags: VALUE_FLAGS,
  requiredFlags: 0,
  refused: { delete: EINVAL, nextKey: EINVAL, ...noBatches },
};
const localStorage: MapRules = {
  keySize: four,
  valueSize: upTo(OWNED),
  maxEntries: none,
  flags: f.BPF_F_NO_PREALLOC | f.BPF_F_CLONE,
  requiredFlags: f.BPF_F_NO_PREALLOC,
  needs: "a BTF value type",
  refused: { nextKey: ENOTSUPP, ...noTaking },
};
const cgroupStorage: MapRules = {
  keySize: { min: 8, max: 16, multipleOf: 8 },
  valueSize: upTo(OWNED),
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
  refused: { ...nothing, mmap: 0 },
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
    { ...array, valueSize: upTo(PER_CPU), flags: VALUE_FLAGS, refused: { ...indexed, ...noMapping } },
  ],
  [
    types.BPF_MAP_TYPE_STACK_TRACE,
    {
      keySize: four,
      valueSize: { min: 8, max: 1016, multipleOf: 8 },
      maxEntries: anyCount,
      flags: REFERENCE_FLAGS | f.BPF_F_STACK_BUILD_ID,
      requiredFlags: 0,
      refused: { update: EINVAL, ...noBatches },
    },
  ],
  [types.BPF_MAP_TYPE_CGROUP_ARRAY, { ...references, refused: { lookup: ENOTSUPP, ...noTaking } }],
  [types.BPF_MAP_TYPE_LRU_HASH, { ...hash, flags: LRU_FLAGS }],
  [types.BPF_MAP_TYPE_LRU_PERCPU_HASH, { ...perCpuHash, flags: LRU_FLAGS }],
  [
    types.BPF_MAP_TYPE_LPM_TRIE,
    {
      keySize: { min: 5, max: 260 },
      valueSize: upTo(TRIE_VALUE),
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
    { ...references, valueSize: fourOrEight, maxEntries: upTo(NR_CPUS), flags: f.BPF_F_NUMA_NODE },
  ],
  [types.BPF_MAP_TYPE_XSKMAP, { ...references, refused: { lookup: EOPNOTSUPP, ...noTaking } }],
  [types.BPF_MAP_TYPE_SOCKHASH, { ...references, keySize: upTo(512), valueSize: fourOrEight }],
  [types.BPF_MAP_TYPE_CGROUP_STORAGE, cgroupStorage],
  [types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, { ...references, valueSize: fourOrEight, flags: VALUE_FLAGS }],
  [types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, { ...cgroupStorage, valueSize: upTo(PER_CPU) }],
  [types.BPF_MAP_TYPE_QUEUE, list],
  [types.BPF_MAP_TYPE_STACK, list],
  [types.BPF_MAP_TYPE_SK_STORAGE, localStorage],
  [types.BPF_MAP_TYPE_DEVMAP_HASH, { ...references, valueSize: fourOrEight }],
  [
    types.BPF_MAP_TYPE_STRUCT_OPS,
    {
      keySize: four,
      valueSize: upTo(PIECE),
      maxEntries: upTo(1),
      flags: f.BPF_F_LINK | f.BPF_F_VTYPE_BTF_OBJ_FD,
      requiredFlags: 0,
      needs: "a value type of the kernel",
      refused: { ...noTaking },
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
      maxEntries: upTo(2 ** 20),
      flags: f.BPF_F_MMAPABLE | f.BPF_F_SEGV_ON_FAULT | f.BPF_F_NO_USER_CONV,
      requiredFlags: f.BPF_F_MMAPABLE,
      refused: {
        ...nothing,
        lookup: EINVAL,
        update: EOPNOTSUPP,
        delete: EOPNOTSUPP,
        nextKey: EOPNOTSUPP,
        mmap: 0,
      },
    },
  ],
]);
