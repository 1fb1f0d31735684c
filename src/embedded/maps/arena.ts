// BPF_MAP_TYPE_ARENA: pages that a program and user space share, and which pointers in them can point to.
// Linux: kernel/bpf/arena.c

import { PAGE_BYTES } from "../../../machine/layout.ts";
import { E2BIG, EINVAL, ENOMEM, ERANGE } from "../../uapi/errno.ts";
import { toBigInt } from "../../uapi/struct.ts";
import { type MapFamily, wholePages } from "./map.ts";
import { checkShape } from "./shape.ts";

const MAX_BYTES = 2 ** 32;

export const arena: MapFamily = {
  checkAllocation(attributes) {
    const { max_entries, map_extra } = attributes;
    const start = toBigInt(map_extra);
    const isAligned = start % BigInt(PAGE_BYTES) === 0n;
    const error = isAligned ? checkShape(attributes) : -EINVAL;
    if (error !== 0) return error;
    const end = start + BigInt(max_entries * PAGE_BYTES) - 1n;
    return start >> 32n === end >> 32n ? 0 : -ERANGE;
  },
  /** A byte for each page; the pages come when they are used. */
  memoryNeeded: ({ max_entries }) => max_entries,
  checkKeyType: () => 0,
  perCpu: false,
  operations: {},
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
