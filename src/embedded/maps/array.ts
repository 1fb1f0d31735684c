// BPF_MAP_TYPE_ARRAY and BPF_MAP_TYPE_PERCPU_ARRAY.
// Linux: kernel/bpf/arraymap.c

import type { BtfType } from "../../btf/btf.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { BPF_F_MMAPABLE } from "../../uapi/flags.ts";
import { BPF_MAP_TYPE_ARRAY } from "../../uapi/map-types.ts";
import { isInt } from "../btf.ts";
import { fixedElements, perCpu } from "./machine-elements.ts";
import { type MapAttributes, type MapFamily, stride, wholePages } from "./map.ts";
import { checkShape, isOnNode } from "./shape.ts";

export const array: MapFamily = {
  check: checkShape,
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
  check: (attributes) => (isOnNode(attributes) ? -EINVAL : checkShape(attributes)),
  memoryNeeded: ({ max_entries, value_size }, cpus) => max_entries * stride(value_size) * cpus,
  checkKeyType,
  perCpu: true,
  operations: perCpu(fixedElements),
  hasDirectValue: false,
};

function checkKeyType({ map_type, max_entries }: MapAttributes, key: BtfType, value: BtfType): number {
  // Global data has no key: one value, whose type is its section.
  if (key.kind === "void") {
    return map_type === BPF_MAP_TYPE_ARRAY && max_entries === 1 && value.kind === "datasec" ? 0 : -EINVAL;
  }
  return isInt(key, 32) ? 0 : -EINVAL;
}
