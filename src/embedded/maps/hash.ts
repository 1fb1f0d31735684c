// BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, and both with a value for each CPU.
// Linux: kernel/bpf/hashtab.c

import { EINVAL, ENOTSUPP, EPERM } from "../../uapi/errno.ts";
import { BPF_F_NO_COMMON_LRU, BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED } from "../../uapi/flags.ts";
import { BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_MAP_TYPE_PERCPU_HASH } from "../../uapi/map-types.ts";
import { elements, perCpu } from "./machine-elements.ts";
import { type MapAttributes, type MapFamily, stride } from "./map.ts";
import { checkElement, checkEntries, checkFlags, isOnNode } from "./shape.ts";

export const hash: MapFamily = {
  check: (attributes, capable) => check(attributes, capable("CAP_SYS_ADMIN")),
  checkAllocation: checkEntries,
  memoryNeeded: (attributes) => memoryNeeded(attributes, stride(attributes.value_size)),
  perCpu: false,
  operations: elements,
  hasBuckets: true,
  hasDirectValue: false,
};

export const perCpuHash: MapFamily = {
  ...hash,
  memoryNeeded: (attributes, cpus) => memoryNeeded(attributes, cpus * stride(attributes.value_size)),
  perCpu: true,
  operations: perCpu(elements),
};

export const lruHash: MapFamily = { ...hash, roundEntries };
export const lruPerCpuHash: MapFamily = { ...perCpuHash, roundEntries };

function check(attributes: MapAttributes, isAdmin: boolean): number {
  const { map_type, map_flags, max_entries } = attributes;
  const isPerCpu = map_type === BPF_MAP_TYPE_PERCPU_HASH || map_type === BPF_MAP_TYPE_LRU_PERCPU_HASH;
  const isLru = map_type === BPF_MAP_TYPE_LRU_HASH || map_type === BPF_MAP_TYPE_LRU_PERCPU_HASH;
  const hasOwnLists = (map_flags & BPF_F_NO_COMMON_LRU) !== 0;
  if ((map_flags & BPF_F_ZERO_SEED) !== 0 && !isAdmin) return -EPERM;
  // The one flag that Linux knows of all hashes and refuses to these.
  const refused = isLru ? BPF_F_NO_PREALLOC : 0;
  if (checkFlags({ ...attributes, map_flags: map_flags & ~refused }) !== 0) return -EINVAL;
  if ((map_flags & refused) !== 0) return -ENOTSUPP;
  if (isOnNode(attributes) && (isPerCpu || hasOwnLists)) return -EINVAL;
  return max_entries === 0 ? -EINVAL : checkElement(attributes);
}

/** With lists for each CPU, every CPU has as many elements. */
function roundEntries({ map_flags, max_entries }: MapAttributes, cpus: number): number {
  if ((map_flags & BPF_F_NO_COMMON_LRU) === 0) return max_entries;
  const rounded = Math.ceil(max_entries / cpus) * cpus;
  return rounded < 2 ** 32 ? rounded : Math.floor(max_entries / cpus) * cpus;
}

function memoryNeeded({ map_flags, max_entries, key_size }: MapAttributes, valueBytes: number): number {
  const buckets = max_entries * 4;
  return (map_flags & BPF_F_NO_PREALLOC) === 0 ? buckets + max_entries * (stride(key_size) + valueBytes) : buckets;
}
