// BPF_MAP_TYPE_QUEUE and BPF_MAP_TYPE_STACK: values without keys, of which the oldest or the newest is read.
// Linux: kernel/bpf/queue_stack_maps.c

import { E2BIG, EINVAL } from "../../uapi/errno.ts";
import {
  BPF_EXIST,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
} from "../../uapi/flags.ts";
import { KMALLOC_MAX_SIZE, type MapFamily, programAccessIsValid, refuse } from "./map.ts";

const FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;

/** Of both: the machine tells them apart. */
export const queueOrStack: MapFamily = {
  check({ key_size, value_size, max_entries, map_flags }) {
    const valid =
      max_entries !== 0 &&
      key_size === 0 &&
      value_size !== 0 &&
      (map_flags & ~FLAGS) === 0 &&
      programAccessIsValid(map_flags);
    if (!valid) return -EINVAL;
    return value_size > KMALLOC_MAX_SIZE ? -E2BIG : 0;
  },
  memoryNeeded: ({ max_entries, value_size }) => (max_entries + 1) * value_size,
  perCpu: false,
  operations: {
    lookup: ({ machine }, map, _key, room) => machine.mapPeek(map.handle, room) || room,
    update: ({ machine }, map, _key, value, flags) =>
      flags > BPF_EXIST ? -EINVAL : machine.mapPush(map.handle, value, flags),
    remove: refuse(EINVAL),
    nextKey: refuse(EINVAL),
    lookupAndDelete: ({ machine }, map, _key, room) => machine.mapPop(map.handle, room),
  },
  hasDirectValue: false,
};
