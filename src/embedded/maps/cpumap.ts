// BPF_MAP_TYPE_CPUMAP: CPUs that XDP programs redirect to, each with a queue, and a program for what comes out of it.
// Linux: kernel/bpf/cpumap.c

import { BPF_XDP_CPUMAP } from "../../uapi/attach-types.ts";
import { E2BIG, EEXIST, EINVAL, ENODEV, ENOMEM, EOVERFLOW } from "../../uapi/errno.ts";
import { BPF_EXIST, BPF_NOEXIST } from "../../uapi/flags.ts";
import { POINTER } from "./fd-array.ts";
import { walk } from "./machine-elements.ts";
import type { MapFamily } from "./map.ts";
import * as target from "./redirect-target.ts";
import { checkShape } from "./shape.ts";

/** Most frames in a queue. */
const MAX_QUEUE = 16384;

export const cpumap: MapFamily = {
  checkAllocation: checkShape,
  memoryNeeded: ({ max_entries }) => max_entries * POINTER,
  perCpu: false,
  hasDirectValue: false,
  operations: {
    ...walk,
    update(state, map, key, value, flags) {
      const cpu = state.memory.u32[key / 4] as number;
      const { number: frames, fd } = target.readTarget(state, map, value);
      if (flags > BPF_EXIST) return -EINVAL;
      if (cpu >= map.max_entries) return -E2BIG;
      if (flags === BPF_NOEXIST) return -EEXIST;
      if (frames > MAX_QUEUE) return -EOVERFLOW;
      if (cpu >= state.cpus) return -ENODEV;
      if (frames === 0) return target.removeTarget(state, map, cpu);
      // Linux says that memory does not suffice, whatever is wrong with the program.
      const program = target.takeProgram(state, map, fd, BPF_XDP_CPUMAP, -ENOMEM);
      return typeof program === "number" ? program : target.putTarget(state, map, cpu, frames, program);
    },
    remove: target.removeAt,
  },
  destroy: target.removeTargets,
};
