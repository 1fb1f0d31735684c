// BPF_MAP_TYPE_BLOOM_FILTER: a set that tells for certain what is not in it.
// Linux: kernel/bpf/bloom_filter.c

import { E2BIG, EINVAL } from "../../uapi/errno.ts";
import type { MapFamily } from "./map.ts";
import { checkElement, checkShape } from "./shape.ts";

/** map_extra is the number of hash functions. */
const MAX_HASHES = 15;
const DEFAULT_HASHES = 5;

export const bloom: MapFamily = {
  check: (attributes) => (checkElement({ ...attributes, key_size: 0 }) === -E2BIG ? -E2BIG : 0),
  checkAllocation: (attributes) => (attributes.map_extra > MAX_HASHES ? -EINVAL : checkShape(attributes)),
  /** 7/5 bits for each value and hash function, which the machine rounds up to a power of two. */
  memoryNeeded: ({ max_entries, map_extra }) =>
    Math.min((((max_entries * Number(map_extra || DEFAULT_HASHES)) / 5) * 7) / 8, 2 ** 29),
  checkKeyType: (_attributes, key) => (key.kind === "void" ? 0 : -EINVAL),
  perCpu: false,
  operations: {
    looksForValue: true,
    lookup: ({ machine }, map, _key, value) => machine.mapPeek(map.handle, value),
    update: ({ machine }, map, _key, value, flags) => machine.mapPush(map.handle, value, flags),
  },
  hasDirectValue: false,
};
