// Objects of the kernel as elements of maps: what is written is a file descriptor, which means something to its own kernel alone.

import { CodecError, shown } from "../../codec/codec.ts";
import type { Kernel } from "../../kernel/kernel.ts";

/** An object of the kernel by what holds it: one of ours, or a file descriptor. */
export type Held<Object extends { readonly fd: number } = { readonly fd: number }> = Object | number;

/**
 * The file descriptor of an object, for a map of `kernel`.
 *
 * @throws CodecError where it is none, or one of another kernel; BpfError `EBADF` where the object is closed
 */
export function fdOf(held: Held, kernel: Kernel): number {
  const { kernel: owner } = Object(held) as { kernel?: Kernel };
  if (owner !== undefined && !haveFdsInCommon(owner, kernel)) {
    throw new CodecError(`it is an object of another kernel (${owner.kind}) than the map, which is on ${kernel.kind}`);
  }
  const fd = typeof held === "number" ? held : (held as { fd?: number } | null | undefined)?.fd;
  if (fd !== undefined && Number.isInteger(fd) && fd >= NO_FD && fd <= LARGEST_FD) return fd;
  throw new CodecError(`${shown(held)} is no file descriptor, and has none`);
}

/** What the kernel refuses, or takes for nothing. */
const NO_FD = -1;
const LARGEST_FD = 0x7fff_ffff;

/** All that open the running kernel share the process's file descriptors; an embedded one has its own, however it is wrapped. */
const haveFdsInCommon = (one: Kernel, other: Kernel): boolean =>
  one.kind === other.kind && (one.kind === "linux" || one.system === other.system);
