// Memory of maps and performance events that is shared with the caller.
// Linux: bpf_map_mmap in kernel/bpf/syscall.c

import { PAGE_BYTES } from "../../machine/layout.ts";
import type { Mapping, MmapOptions } from "../kernel/kernel.ts";
import { EACCES, EBADF, EINVAL, ENODEV, ENOTSUPP, EOVERFLOW, EPERM } from "../uapi/errno.ts";
import { BPF_F_RDONLY_PROG } from "../uapi/flags.ts";
import { wholePages } from "./maps/map.ts";
import { holdWhileReachable } from "./objects.ts";
import { mapPerfEvent } from "./perf-events.ts";
import type { KernelState } from "./state.ts";

export function mapMemory(state: KernelState, fd: number, options: MmapOptions): Mapping | number {
  const { length, offset = 0, writable = false } = options;
  const file = state.files.get(fd);
  if (file === undefined) return -EBADF;
  if (!(length > 0) || offset % PAGE_BYTES !== 0) return -EINVAL;
  if (offset < 0) return -EOVERFLOW;
  const map = file.object;
  const placeError = map.kind === "map" ? (map.family.checkPlace?.(state, map, options) ?? 0) : 0;
  if (placeError !== 0) return placeError;
  if (!file.canRead || (writable && !file.canWrite)) return -EACCES;
  if (map.kind === "perf event") return mapPerfEvent(state, map, options);
  if (map.kind !== "map") return -ENODEV;
  if (map.family.checkMapping === undefined || map.fields.length > 0) return -ENOTSUPP;
  // What may not be written cannot be shared.
  if (!file.canWrite) return -EINVAL;
  if (writable && map.frozen) return -EPERM;
  if (writable && (map.map_flags & BPF_F_RDONLY_PROG) !== 0) return -EACCES;
  const error = map.family.checkMapping(map, offset, wholePages(length), writable, state);
  if (error !== 0) return error;
  const start = state.machine.mapData(map.handle) + offset;
  state.memory.reach(start + length);
  const bytes = state.memory.u8.subarray(start, start + length);
  map.references.take();
  holdWhileReachable(map.storage, bytes);
  if (writable) map.writableMappings++;
  let mapped = true;
  return {
    bytes,
    address: Number(map.map_extra) || start,
    unmap() {
      if (!mapped) return;
      mapped = false;
      if (writable) map.writableMappings--;
      map.references.drop();
    },
  };
}
