// BPF_OBJ_PIN and BPF_OBJ_GET.
// Linux: kernel/bpf/inode.c

import type { BPF_OBJ_GET, BPF_OBJ_PIN } from "../uapi/commands.ts";
import { EFAULT, EINVAL } from "../uapi/errno.ts";
import { BPF_F_RDONLY, BPF_F_WRONLY } from "../uapi/flags.ts";
import { bytesAt, type UserPointer } from "./memory.ts";
import { isOwner } from "./owners.ts";
import type { KernelState } from "./state.ts";
import type { CommandAttr } from "./syscall.ts";

export function pinObject({ files, bpffs }: KernelState, attr: CommandAttr<typeof BPF_OBJ_PIN>): number {
  if (attr.file_flags !== 0 || attr.path_fd !== 0) return -EINVAL;
  const file = files.get(attr.bpf_fd);
  if (file === undefined || file.object.kind === "btf" || file.object.kind === "perf event") return -EINVAL;
  if (isOwner(file.object)) return -EINVAL;
  const path = userString(attr.pathname);
  return path === undefined ? -EFAULT : bpffs.pin(path, file.object);
}

export function getObject({ files, bpffs }: KernelState, attr: CommandAttr<typeof BPF_OBJ_GET>): number {
  const access = attr.file_flags;
  if (attr.bpf_fd !== 0 || attr.path_fd !== 0) return -EINVAL;
  if (access !== 0 && access !== BPF_F_RDONLY && access !== BPF_F_WRONLY) return -EINVAL;
  const path = userString(attr.pathname);
  if (path === undefined) return -EFAULT;
  const object = bpffs.get(path);
  if (typeof object === "number") return object;
  const restricted = object.kind === "map" ? access : 0;
  return files.open(object, restricted !== BPF_F_WRONLY, restricted !== BPF_F_RDONLY);
}

/** The caller's bytes up to a NUL as text; undefined (EFAULT) where none ends them. */
export function userString(pointer: UserPointer): string | undefined {
  const bytes = bytesAt(pointer);
  const end = bytes?.indexOf(0) ?? -1;
  return end < 0 ? undefined : new TextDecoder().decode(bytes?.slice(0, end));
}
