// BPF_MAP_TYPE_ARRAY and BPF_MAP_TYPE_PERCPU_ARRAY.
// Linux: kernel/bpf/arraymap.c

import type { BtfType } from "../../btf/btf.ts";
import { E2BIG, EINVAL } from "../../uapi/errno.ts";
import {
  BPF_F_INNER_MAP,
  BPF_F_MMAPABLE,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
} from "../../uapi/flags.ts";
import { BPF_MAP_TYPE_ARRAY } from "../../uapi/map-types.ts";
import { fixedElements, perCpu } from "./machine-elements.ts";
import {
  type MapAttributes,
  type MapFamily,
  NUMA_NO_NODE,
  PER_CPU_VALUE_MAX,
  programAccessIsValid,
  stride,
  wholePages,
} from "./map.ts";

const ACCESS_FLAGS = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
const ARRAY_FLAGS = ACCESS_FLAGS | BPF_F_NUMA_NODE | BPF_F_MMAPABLE | BPF_F_INNER_MAP;
const PER_CPU_ARRAY_FLAGS = ACCESS_FLAGS | BPF_F_NUMA_NODE;
const KEY_SIZE = 4;
const INT_MAX = 0x7fffffff;

export const array: MapFamily = {
  check(attributes) {
    const error = checkShape(attributes, ARRAY_FLAGS);
    return error === 0 && attributes.value_size > INT_MAX ? -E2BIG : error;
  },
  memoryNeeded: ({ max_entries, value_size }) => max_entries * stride(value_size),
  checkKeyType,
  perCpu: false,
  operations: fixedElements,
  hasDirectValue: true,
  hashedBytes: ({ max_entries, value_size }) => max_entries * stride(value_size),
  checkMapping({ map_flags, max_entries, value_size }, offset, length) {
    if ((map_flags & BPF_F_MMAPABLE) === 0) return -EINVAL;
    return offset + length > wholePages(max_entries * stride(value_size)) ? -EINVAL : 0;
  },
};

export const perCpuArray: MapFamily = {
  check(attributes) {
    const isOnNode = (attributes.map_flags & BPF_F_NUMA_NODE) !== 0 && attributes.numa_node !== NUMA_NO_NODE;
    const error = isOnNode ? -EINVAL : checkShape(attributes, PER_CPU_ARRAY_FLAGS);
    return error === 0 && attributes.value_size > PER_CPU_VALUE_MAX ? -E2BIG : error;
  },
  memoryNeeded: ({ max_entries, value_size }, cpus) => max_entries * stride(value_size) * cpus,
  checkKeyType,
  perCpu: true,
  operations: perCpu(fixedElements),
  hasDirectValue: false,
};

function checkShape({ max_entries, key_size, value_size, map_flags }: MapAttributes, allowedFlags: number): number {
  const valid =
    max_entries !== 0 &&
    key_size === KEY_SIZE &&
    value_size !== 0 &&
    (map_flags & ~allowedFlags) === 0 &&
    programAccessIsValid(map_flags);
  return valid ? 0 : -EINVAL;
}

function checkKeyType({ map_type, max_entries }: MapAttributes, key: BtfType, value: BtfType): number {
  // Global data has no key: one value, whose type is its section.
  if (key.kind === "void") {
    return map_type === BPF_MAP_TYPE_ARRAY && max_entries === 1 && value.kind === "datasec" ? 0 : -EINVAL;
  }
  return key.kind === "int" && key.bits === 32 && key.offset === 0 ? 0 : -EINVAL;
}
