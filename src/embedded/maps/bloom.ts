// BPF_MAP_TYPE_BLOOM_FILTER: a set that tells for certain what is not in it.
// Linux: kernel/bpf/bloom_filter.c

import { E2BIG, EINVAL, EOPNOTSUPP } from "../../uapi/errno.ts";
import {
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_F_ZERO_SEED,
} from "../../uapi/flags.ts";
import { KMALLOC_MAX_SIZE, type MapFamily, programAccessIsValid, refuse } from "./map.ts";

const FLAGS = BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
/** map_extra is the number of hash functions. */
const MAX_HASHES = 15;
const DEFAULT_HASHES = 5;

export const bloom: MapFamily = {
  check: ({ value_size }) => (value_size > KMALLOC_MAX_SIZE ? -E2BIG : 0),
  checkAllocation({ key_size, value_size, max_entries, map_flags, map_extra }) {
    const valid =
      key_size === 0 &&
      value_size !== 0 &&
      max_entries !== 0 &&
      (map_flags & ~FLAGS) === 0 &&
      programAccessIsValid(map_flags) &&
      map_extra <= MAX_HASHES;
    return valid ? 0 : -EINVAL;
  },
  /** 7/5 bits for each value and hash function, which the machine rounds up to a power of two. */
  memoryNeeded: ({ max_entries, map_extra }) =>
    Math.min((((max_entries * Number(map_extra || DEFAULT_HASHES)) / 5) * 7) / 8, 2 ** 29),
  checkKeyType: (_attributes, key) => (key.kind === "void" ? 0 : -EINVAL),
  perCpu: false,
  operations: {
    looksForValue: true,
    lookup: ({ machine }, map, _key, value) => machine.mapPeek(map.handle, value),
    update: ({ machine }, map, _key, value, flags) => machine.mapPush(map.handle, value, flags),
    remove: refuse(EOPNOTSUPP),
    nextKey: refuse(EOPNOTSUPP),
  },
  hasDirectValue: false,
};
