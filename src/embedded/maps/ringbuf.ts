// BPF_MAP_TYPE_RINGBUF and BPF_MAP_TYPE_USER_RINGBUF: a page with the consumer's position, a page with the producer's, and the data twice.
// Linux: kernel/bpf/ringbuf.c

import { PAGE_BYTES } from "../../../machine/layout.ts";
import { EINVAL, EPERM } from "../../uapi/errno.ts";
import type { MachineMemory } from "../memory.ts";
import type { EmbeddedMap, MapFamily } from "./map.ts";
import { checkShape } from "./shape.ts";

export const ringbuf: MapFamily = {
  checkAllocation: checkShape,
  memoryNeeded: ({ max_entries }) => 2 * PAGE_BYTES + 2 * max_entries,
  perCpu: false,
  operations: {},
  hasDirectValue: false,
  checkMapping(map, offset, length, writable) {
    // A reader may move its own position, and nothing else.
    if (writable && (offset !== 0 || length !== PAGE_BYTES)) return -EPERM;
    return endsBehindData(map, offset, length) ? -EINVAL : 0;
  },
  isReady: (_map, readiness, data, memory) => readiness === "readable" && unread(data, memory) !== 0n,
};

/** User space is the producer. */
export const userRingbuf: MapFamily = {
  ...ringbuf,
  checkMapping(map, offset, length, writable) {
    if (writable && offset === 0) return -EPERM;
    return endsBehindData(map, offset, length) ? -EINVAL : 0;
  },
  isReady: (map, readiness, data, memory) => readiness === "writable" && unread(data, memory) < BigInt(map.max_entries),
};

/** Bytes from the consumer's position to the producer's. */
const unread = (data: number, { view }: MachineMemory): bigint =>
  view.getBigUint64(data + PAGE_BYTES, true) - view.getBigUint64(data, true);

const endsBehindData = ({ max_entries }: EmbeddedMap, offset: number, length: number): boolean =>
  offset + length > 2 * PAGE_BYTES + 2 * max_entries;
