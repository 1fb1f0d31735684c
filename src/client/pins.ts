// Pins: maps and programs under a path in a BPF file system.

import type { Kernel } from "../kernel/kernel.ts";
import { BPF_OBJ_GET, BPF_OBJ_PIN } from "../uapi/commands.ts";
import { EINVAL, EPERM } from "../uapi/errno.ts";
import { cString } from "../uapi/struct.ts";
import { checkText } from "./arguments.ts";
import { check } from "./errors.ts";

/** Pins at `path` what `fd` is of. */
export function pin(kernel: Kernel, fd: number, path: string): void {
  checkText(path, "a path", { command: BPF_OBJ_PIN, subject: path });
  const result = kernel.bpf(BPF_OBJ_PIN, { pathname: cString(path), bpf_fd: fd });
  const outside = (result === -EINVAL || result === -EPERM) && !kernel.bpffs.contains(path);
  check(result, BPF_OBJ_PIN, {
    subject: path,
    ...(outside ? { hint: "a pin's path lies in a BPF file system; mount one with mount -t bpf bpf /sys/fs/bpf" } : {}),
  });
}

/** A file descriptor of what is pinned at `path`. */
export function openPin(kernel: Kernel, path: string): number {
  checkText(path, "a path", { command: BPF_OBJ_GET, subject: path });
  return check(kernel.bpf(BPF_OBJ_GET, { pathname: cString(path) }), BPF_OBJ_GET, { subject: path });
}
