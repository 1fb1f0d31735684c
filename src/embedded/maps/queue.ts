// BPF_MAP_TYPE_QUEUE and BPF_MAP_TYPE_STACK: values without keys, of which the oldest or the newest is read.
// Linux: kernel/bpf/queue_stack_maps.c

import { EINVAL } from "../../uapi/errno.ts";
import { BPF_EXIST } from "../../uapi/flags.ts";
import type { MapFamily } from "./map.ts";
import { checkShape } from "./shape.ts";

/** Of both: the machine tells them apart. */
export const queueOrStack: MapFamily = {
  check: checkShape,
  memoryNeeded: ({ max_entries, value_size }) => (max_entries + 1) * value_size,
  perCpu: false,
  operations: {
    lookup: ({ machine }, map, _key, room) => machine.mapPeek(map.handle, room) || room,
    update: ({ machine }, map, _key, value, flags) =>
      flags > BPF_EXIST ? -EINVAL : machine.mapPush(map.handle, value, flags),
    lookupAndDelete: ({ machine }, map, _key, room) => machine.mapPop(map.handle, room),
  },
  hasDirectValue: false,
};
