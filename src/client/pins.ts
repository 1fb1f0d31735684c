// Pins: maps and programs under a path in a BPF file system.
// Linux: kernel/bpf/inode.c

import type { Kernel } from "../kernel/kernel.ts";
import { BPF_OBJ_GET, BPF_OBJ_PIN } from "../uapi/commands.ts";
import { EEXIST, EINVAL, ENOENT, EPERM } from "../uapi/errno.ts";
import { cString } from "../uapi/struct.ts";
import { checkText } from "./arguments.ts";
import { BpfError, check } from "./errors.ts";
import { identityOf } from "./info.ts";

const DEFAULT_BPFFS = "/sys/fs/bpf";

/**
 * Sees to it that there is a BPF file system at `path`: makes the directory where it is not there, and mounts one unless it
 * lies in one already. mount(2); needs CAP_SYS_ADMIN.
 *
 * @returns whether it was mounted now
 * @throws BpfError `EPERM` without the capability, `ENOENT` where the directory around it is not there, `EINVAL` for what is no path
 * @example
 * mountBpffs(kernel);
 * map.pin("/sys/fs/bpf/my_map");
 */
export function mountBpffs(kernel: Kernel, path: string = DEFAULT_BPFFS): boolean {
  checkText(path, "a path", { syscall: "mount", subject: path });
  const fail = (errno: number, syscall: string): BpfError =>
    new BpfError(errno, {
      syscall,
      subject: path,
      ...(errno === EPERM ? { hint: "mounting a BPF file system needs CAP_SYS_ADMIN" } : {}),
    });
  if (kernel.bpffs.contains(path)) return false;
  const made = kernel.bpffs.mkdir(path);
  if (made < 0 && made !== -EEXIST) throw fail(-made, "mkdir");
  const mounted = kernel.bpffs.mount(path);
  if (mounted < 0) {
    if (made >= 0) kernel.bpffs.rmdir(path);
    throw fail(-mounted, "mount");
  }
  return true;
}

/** Pins at `path` what `fd` is of. */
export function pin(kernel: Kernel, fd: number, path: string): void {
  checkText(path, "a path", { command: BPF_OBJ_PIN, subject: path });
  const result = kernel.bpf(BPF_OBJ_PIN, { pathname: cString(path), bpf_fd: fd });
  const slash = path.lastIndexOf("/");
  const outside = (result === -EINVAL || result === -EPERM) && !kernel.bpffs.contains(path.slice(0, slash) || "/");
  const dotted = result === -EPERM && !outside && path.slice(slash + 1).includes(".");
  const hint = outside
    ? "a pin's path lies in a BPF file system; mount one with mountBpffs(), or mount -t bpf bpf /sys/fs/bpf"
    : dotted
      ? "the name of a pin has no dot"
      : undefined;
  check(result, BPF_OBJ_PIN, { subject: path, ...(hint === undefined ? {} : { hint }) });
}

/** Pins at `path` what `fd` is of, in the place of what is pinned there: whoever opens the path gets the one or the other. */
export function pinOver(kernel: Kernel, fd: number, path: string): void {
  checkText(path, "a path", { command: BPF_OBJ_PIN });
  const aside = `${path}-${Math.random().toString(36).slice(2)}`;
  pin(kernel, fd, aside);
  const result = kernel.bpffs.rename(aside, path);
  if (result >= 0) return;
  kernel.bpffs.unlink(aside);
  throw new BpfError(-result, { syscall: "rename", subject: path });
}

/** Removes the pin at `path` if it is one of what `fd` is of. */
export function unpin(kernel: Kernel, fd: number, path: string): void {
  const there = kernel.bpf(BPF_OBJ_GET, { pathname: cString(path) });
  if (there < 0) return;
  const isOurs = identityOf(kernel, there) === identityOf(kernel, fd);
  kernel.close(there);
  const result = isOurs ? kernel.bpffs.unlink(path) : 0;
  if (result < 0 && result !== -ENOENT) throw new BpfError(-result, { syscall: "unlink", subject: path });
}

/** A file descriptor of what is pinned at `path`. */
export function openPin(kernel: Kernel, path: string): number {
  checkText(path, "a path", { command: BPF_OBJ_GET, subject: path });
  return check(kernel.bpf(BPF_OBJ_GET, { pathname: cString(path) }), BPF_OBJ_GET, { subject: path });
}
