// BPF_MAP_TYPE_DEVMAP and BPF_MAP_TYPE_DEVMAP_HASH: network devices that XDP programs redirect to, each with a program for what
// is sent.
// Linux: kernel/bpf/devmap.c

import { BPF_XDP_DEVMAP } from "../../uapi/attach-types.ts";
import { E2BIG, EEXIST, EINVAL, ENOENT } from "../../uapi/errno.ts";
import { BPF_EXIST, BPF_F_RDONLY_PROG, BPF_NOEXIST } from "../../uapi/flags.ts";
import { whenIdle } from "../state.ts";
import { POINTER } from "./fd-array.ts";
import { walk } from "./machine-elements.ts";
import type { MapFamily } from "./map.ts";
import * as target from "./redirect-target.ts";
import { checkShape } from "./shape.ts";

/** The one network device: lo. */
const LOOPBACK = 1;

const common: Omit<MapFamily, "operations"> = {
  check: checkShape,
  capability: "CAP_NET_ADMIN",
  memoryNeeded: ({ max_entries }) => max_entries * POINTER,
  // A lookup gives a program the value itself.
  impliedFlags: BPF_F_RDONLY_PROG,
  perCpu: false,
  hasDirectValue: false,
};

export const devmap: MapFamily = {
  ...common,
  operations: {
    ...walk,
    update(state, map, key, value, flags) {
      const index = state.memory.u32[key / 4] as number;
      if (flags > BPF_EXIST) return -EINVAL;
      if (index >= map.max_entries) return -E2BIG;
      if (flags === BPF_NOEXIST) return -EEXIST;
      const { number: device, fd } = target.readTarget(state, map, value);
      if (device === 0) return fd > 0 ? -EINVAL : target.removeTarget(state, map, index);
      if (device !== LOOPBACK) return -EINVAL;
      const program = target.takeProgram(state, map, fd, BPF_XDP_DEVMAP, -EINVAL);
      return typeof program === "number" ? program : target.putTarget(state, map, index, device, program);
    },
    remove: target.removeAt,
  },
  destroy: target.removeTargets,
};

export const devmapHash: MapFamily = {
  ...common,
  operations: {
    ...walk,
    update(state, map, key, value, flags) {
      const { machine, memory } = state;
      const { number: device, fd } = target.readTarget(state, map, value);
      if (flags > BPF_EXIST || device === 0) return -EINVAL;
      const isThere = machine.mapLookup(map.handle, key) !== 0;
      // BPF_EXIST asks for nothing here.
      if (isThere && flags === BPF_NOEXIST) return -EEXIST;
      if (device !== LOOPBACK) return -EINVAL;
      const program = target.takeProgram(state, map, fd, BPF_XDP_DEVMAP, -EINVAL);
      if (typeof program === "number") return program;
      const index = memory.u32[key / 4] as number;
      const address = machine.devmapHashSet(map.handle, index);
      if (address < 0) program?.references.drop();
      else target.writeTarget(state, map, index, address, device, program);
      return Math.min(address, 0);
    },
    remove(state, map, key) {
      const { machine, memory } = state;
      const index = memory.u32[key / 4] as number;
      const removed = machine.devmapHashTake(map.handle, index);
      if (removed === 0) return -ENOENT;
      target.keepProgram(map, index, undefined);
      whenIdle(state, () => machine.free(removed));
      return 0;
    },
  },
  destroy: (_state, map) => target.dropPrograms(map),
};
