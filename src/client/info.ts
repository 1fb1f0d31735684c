// What a kernel says of its objects. BPF_OBJ_GET_INFO_BY_FD, Linux 4.13.

import type { Kernel } from "../kernel/kernel.ts";
import { BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_ELEM, BPF_OBJ_GET_INFO_BY_FD } from "../uapi/commands.ts";
import { EBADF, EINVAL } from "../uapi/errno.ts";
import { type MapInfo, mapInfo, type ProgInfo, progInfo } from "../uapi/info.ts";
import { decode, type Struct, sizeOf, type ValuesOf } from "../uapi/struct.ts";
import { BpfError, check, syscallName } from "./errors.ts";

/** What the kernel says of the map that `fd` is of. */
export const readMapInfo = (kernel: Kernel, fd: number): MapInfo => readInfo(kernel, fd, mapInfo);

/** What the kernel says of the program that `fd` is of. */
export const readProgInfo = (kernel: Kernel, fd: number): ProgInfo => readInfo(kernel, fd, progInfo);

/** Type and id, with which every info struct begins: what tells one object from all others of its kind. Undefined where `fd` is not open. */
export function identityOf(kernel: Kernel, fd: number): string | undefined {
  const info = new Uint8Array(8);
  const result = kernel.bpf(BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: fd, info_len: info.length, info });
  return result < 0 ? undefined : info.join();
}

/** @throws BpfError `EINVAL` where a file descriptor that somebody else opened is no map's */
export function checkIsMap(kernel: Kernel, fd: number): void {
  if (askAsMap(kernel, fd) === -EINVAL) throw wrongKind(fd, "it is no map's file descriptor");
}

/** @throws BpfError `EINVAL` where a file descriptor that somebody else opened is a map's */
export function checkIsProgram(kernel: Kernel, fd: number): void {
  const answer = askAsMap(kernel, fd);
  if (answer !== -EINVAL && answer !== -EBADF) throw wrongKind(fd, "it is a map's file descriptor, no program's");
}

/**
 * Info does not say what it is of, but a batch of nothing does: it is EINVAL on everything but maps, whatever their type.
 * Before Linux 5.6 it is on maps too; there a lookup of nothing tells, which only an arena, that is newer, answers so.
 */
function askAsMap(kernel: Kernel, fd: number): number {
  const answer = kernel.bpf(BPF_MAP_LOOKUP_BATCH, { map_fd: fd, count: 0 });
  return answer === -EINVAL ? kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd: fd }) : answer;
}

const wrongKind = (fd: number, hint: string): BpfError =>
  new BpfError(EINVAL, { syscall: syscallName(BPF_OBJ_GET_INFO_BY_FD), subject: `fd ${fd}`, hint });

function readInfo<S extends Struct>(kernel: Kernel, fd: number, struct: S): ValuesOf<S> {
  // The kernel's structs are padded to 8 bytes; an older kernel fills less, and leaves the rest zero.
  const bytes = new Uint8Array(Math.ceil(sizeOf(struct) / 8) * 8);
  const attr = { bpf_fd: fd, info_len: bytes.length, info: bytes };
  check(kernel.bpf(BPF_OBJ_GET_INFO_BY_FD, attr), BPF_OBJ_GET_INFO_BY_FD, { subject: `fd ${fd}` });
  return decode(struct, new DataView(bytes.buffer));
}
