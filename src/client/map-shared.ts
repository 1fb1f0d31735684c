// Memory that a reader or writer shares with a kernel, mapped as a whole or not at all.

import type { Kernel, Mapping, MmapOptions } from "../kernel/kernel.ts";
import { EPERM } from "../uapi/errno.ts";
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
