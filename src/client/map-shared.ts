// Memory that a reader or writer shares with a kernel, mapped as a whole or not at all.

import type { Kernel, Mapping, MmapOptions } from "../kernel/kernel.ts";
import { BPF_OBJ_GET_INFO_BY_FD } from "../uapi/commands.ts";
import { EINVAL, EPERM } from "../uapi/errno.ts";
import { mapInfo } from "../uapi/info.ts";
import { BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_USER_RINGBUF } from "../uapi/map-types.ts";
import { decode } from "../uapi/struct.ts";
import { BpfError } from "./errors.ts";

/**
 * Maps parts of an object.
 *
 * @param subject the map's name, for messages
 * @throws BpfError where one cannot be mapped; none is mapped then
 */
export function mapShared(kernel: Kernel, fd: number, subject: string, parts: readonly MmapOptions[]): Mapping[] {
  const mappings: Mapping[] = [];
  for (const part of parts) {
    const mapping = kernel.mmap(fd, part);
    if (typeof mapping !== "number") {
      mappings.push(mapping);
      continue;
    }
    for (const mapped of mappings) mapped.unmap();
    const hint =
      mapping === -EPERM ? { hint: "it may not be mapped so, or RLIMIT_MEMLOCK is too low for its pages" } : {};
    throw new BpfError(-mapping, { syscall: "mmap", subject, ...hint });
  }
  return mappings;
}

/** @throws BpfError `EINVAL` where `fd` is a ring buffer, or a user ring buffer, of another size. What is none, mapping refuses. */
export function checkRingSize(kernel: Kernel, fd: number, subject: string, size: number): void {
  const bytes = new Uint8Array(INFO_SIZE);
  if (kernel.bpf(BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: fd, info_len: bytes.length, info: bytes }) < 0) return;
  const { type, max_entries } = decode(ringInfo, new DataView(bytes.buffer));
  if ((type !== BPF_MAP_TYPE_RINGBUF && type !== BPF_MAP_TYPE_USER_RINGBUF) || max_entries === size) return;
  throw new BpfError(EINVAL, { syscall: "mmap", subject, hint: `the ring has ${max_entries} bytes; got ${size}` });
}

/** What is asked of struct bpf_map_info, up to its end. */
const ringInfo = { type: mapInfo.type, max_entries: mapInfo.max_entries };
const INFO_SIZE = 24;
