// BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, and both with a value for each CPU.
// Linux: kernel/bpf/hashtab.c

import { E2BIG, EINVAL, ENOTSUPP, EPERM } from "../../uapi/errno.ts";
import {
  BPF_F_NO_COMMON_LRU,
  BPF_F_NO_PREALLOC,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_F_ZERO_SEED,
} from "../../uapi/flags.ts";
import { BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_HASH } from "../../uapi/map-types.ts";
import { elements, perCpu } from "./machine-elements.ts";
import {
  type MapAttributes,
  type MapFamily,
  NUMA_NO_NODE,
  PER_CPU_VALUE_MAX,
  programAccessIsValid,
  stride,
} from "./map.ts";

const HASH_FLAGS =
  BPF_F_NO_PREALLOC |
  BPF_F_NO_COMMON_LRU |
  BPF_F_NUMA_NODE |
  BPF_F_RDONLY |
  BPF_F_WRONLY |
  BPF_F_RDONLY_PROG |
  BPF_F_WRONLY_PROG |
  BPF_F_ZERO_SEED;
/** Key and value stay below what Linux allocates in one piece, 4 MiB, less the 48 bytes of an element's header. */
const ELEMENT_LIMIT = 4 * 1024 * 1024 - 48;
/** The number of buckets, the power of two above max_entries, stays below 2^28. */
const MAX_ENTRIES = 2 ** 27;

export const hash: MapFamily = {
  check: (attributes, capable) => check(attributes, capable("CAP_SYS_ADMIN")),
  checkAllocation,
  memoryNeeded: (attributes) => memoryNeeded(attributes, stride(attributes.value_size)),
  perCpu: false,
  operations: elements,
  hasDirectValue: false,
};

export const perCpuHash: MapFamily = {
  check: (attributes, capable) => checkPerCpu(attributes, capable("CAP_SYS_ADMIN")),
  checkAllocation,
  memoryNeeded: (attributes, cpus) => memoryNeeded(attributes, cpus * stride(attributes.value_size)),
  perCpu: true,
  operations: perCpu(elements),
  hasDirectValue: false,
};

export const lruHash: MapFamily = { ...hash, roundEntries };
export const lruPerCpuHash: MapFamily = { ...perCpuHash, roundEntries };

function checkPerCpu(attributes: MapAttributes, isAdmin: boolean): number {
  const error = check(attributes, isAdmin);
  return error === 0 && attributes.value_size > PER_CPU_VALUE_MAX ? -E2BIG : error;
}

function check(attributes: MapAttributes, isAdmin: boolean): number {
  const { map_type, map_flags, max_entries, key_size, value_size, numa_node } = attributes;
  const isPerCpu = map_type === BPF_MAP_TYPE_PERCPU_HASH || map_type === BPF_MAP_TYPE_LRU_PERCPU_HASH;
  const isLru = map_type === BPF_MAP_TYPE_LRU_HASH || map_type === BPF_MAP_TYPE_LRU_PERCPU_HASH;
  const hasOwnLists = (map_flags & BPF_F_NO_COMMON_LRU) !== 0;
  if ((map_flags & BPF_F_ZERO_SEED) !== 0 && !isAdmin) return -EPERM;
  if ((map_flags & ~HASH_FLAGS) !== 0 || !programAccessIsValid(map_flags)) return -EINVAL;
  if (!isLru && hasOwnLists) return -EINVAL;
  if (isLru && (map_flags & BPF_F_NO_PREALLOC) !== 0) return -ENOTSUPP;
  const isOnNode = (map_flags & BPF_F_NUMA_NODE) !== 0 && numa_node !== NUMA_NO_NODE;
  if (isOnNode && (isPerCpu || hasOwnLists)) return -EINVAL;
  if (max_entries === 0 || key_size === 0 || value_size === 0) return -EINVAL;
  return key_size + value_size >= ELEMENT_LIMIT ? -E2BIG : 0;
}

/** With lists for each CPU, every CPU has as many elements. */
function roundEntries({ map_flags, max_entries }: MapAttributes, cpus: number): number {
  if ((map_flags & BPF_F_NO_COMMON_LRU) === 0) return max_entries;
  const rounded = Math.ceil(max_entries / cpus) * cpus;
  return rounded < 2 ** 32 ? rounded : Math.floor(max_entries / cpus) * cpus;
}

function checkAllocation({ max_entries }: MapAttributes): number {
  return max_entries > MAX_ENTRIES ? -E2BIG : 0;
}

function memoryNeeded({ map_flags, max_entries, key_size }: MapAttributes, valueBytes: number): number {
  const buckets = max_entries * 4;
  return (map_flags & BPF_F_NO_PREALLOC) === 0 ? buckets + max_entries * (stride(key_size) + valueBytes) : buckets;
}
