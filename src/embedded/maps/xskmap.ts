// BPF_MAP_TYPE_XSKMAP: AF_XDP sockets that XDP programs redirect to. The embedded kernel has no such sockets.
// Linux: net/xdp/xskmap.c

import { E2BIG, EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP } from "../../uapi/errno.ts";
import { BPF_EXIST } from "../../uapi/flags.ts";
import { notOpen } from "../objects.ts";
import { POINTER } from "./fd-array.ts";
import { walk } from "./machine-elements.ts";
import type { MapFamily } from "./map.ts";
import { checkShape } from "./shape.ts";

export const xskmap: MapFamily = {
  capability: "CAP_NET_ADMIN",
  checkAllocation: checkShape,
  memoryNeeded: ({ max_entries }) => max_entries * POINTER,
  perCpu: false,
  hasDirectValue: false,
  operations: {
    nextKey: walk.nextKey as NonNullable<typeof walk.nextKey>,
    update({ files, memory }, map, key, value, flags) {
      if (flags > BPF_EXIST) return -EINVAL;
      if ((memory.u32[key / 4] as number) >= map.max_entries) return -E2BIG;
      const fd = memory.u32[value / 4] as number;
      const object = files.get(fd)?.object;
      if (object === undefined && notOpen(fd) === -EBADF) return -EBADF;
      return object?.kind === "socket" ? -EOPNOTSUPP : -ENOTSOCK;
    },
    remove: ({ memory }, map, key) => ((memory.u32[key / 4] as number) >= map.max_entries ? -EINVAL : 0),
  },
};
