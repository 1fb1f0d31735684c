// BPF_MAP_TYPE_ARENA: pages that a program and user space share, and which pointers in them can point to.
// Linux: kernel/bpf/arena.c

import { PAGE_BYTES } from "../../../machine/layout.ts";
import { E2BIG, EINVAL, ENOMEM, EOPNOTSUPP, ERANGE } from "../../uapi/errno.ts";
import { BPF_F_MMAPABLE, BPF_F_NO_USER_CONV, BPF_F_SEGV_ON_FAULT } from "../../uapi/flags.ts";
import { toBigInt } from "../../uapi/struct.ts";
import { type MapFamily, refuse, wholePages } from "./map.ts";

const FLAGS = BPF_F_SEGV_ON_FAULT | BPF_F_MMAPABLE | BPF_F_NO_USER_CONV;
const MAX_BYTES = 2 ** 32;

export const arena: MapFamily = {
  checkAllocation({ key_size, value_size, max_entries, map_flags, map_extra }) {
    const valid =
      key_size === 0 &&
      value_size === 0 &&
      max_entries !== 0 &&
      (map_flags & BPF_F_MMAPABLE) !== 0 &&
      (map_flags & ~FLAGS) === 0;
    if (!valid) return -EINVAL;
    const start = toBigInt(map_extra);
    if (start % BigInt(PAGE_BYTES) !== 0n) return -EINVAL;
    const bytes = max_entries * PAGE_BYTES;
    if (bytes > MAX_BYTES) return -E2BIG;
    return start >> 32n === (start + BigInt(bytes) - 1n) >> 32n ? 0 : -ERANGE;
  },
  /** A byte for each page; the pages come when they are used. */
  memoryNeeded: ({ max_entries }) => max_entries,
  checkKeyType: () => 0,
  perCpu: false,
  operations: {
    lookup: refuse(EINVAL),
    update: refuse(EOPNOTSUPP),
    remove: refuse(EOPNOTSUPP),
    nextKey: refuse(EOPNOTSUPP),
  },
  hasDirectValue: false,
  checkPlace({ machine }, map, { address = 0, offset = 0, length }) {
    if (offset !== 0) return -EINVAL;
    const bytes = wholePages(length);
    if (bytes > MAX_BYTES) return -E2BIG;
    const user = machine.arenaUserPages(map.handle) * PAGE_BYTES;
    if (user === 0) return 0;
    if (bytes > user) return -E2BIG;
    const start = Number(map.map_extra) || machine.mapData(map.handle);
    return bytes === user && address === start ? 0 : -EINVAL;
  },
  checkMapping: (map, _offset, length, _writable, { machine }) =>
    machine.arenaMap(map.handle, length) === 0 ? -ENOMEM : 0,
};
