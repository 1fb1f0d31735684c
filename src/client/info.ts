// What a kernel says of its objects. BPF_OBJ_GET_INFO_BY_FD, Linux 4.13.

import type { Kernel } from "../kernel/kernel.ts";
import { BPF_OBJ_GET_INFO_BY_FD } from "../uapi/commands.ts";
import { type BtfInfo, btfInfo, type MapInfo, mapInfo, type ProgInfo, progInfo } from "../uapi/info.ts";
import { decode, encode, type Memory, type Struct, sizeOf, type ValuesOf } from "../uapi/struct.ts";
import { check } from "./errors.ts";

export const readMapInfo = (kernel: Kernel, fd: number): MapInfo => readInfo(kernel, fd, mapInfo);

export const readProgInfo = (kernel: Kernel, fd: number): ProgInfo => readInfo(kernel, fd, progInfo);

/** The info of a BTF object, and its bytes. */
export function readBtf(kernel: Kernel, fd: number): { info: BtfInfo; bytes: Uint8Array } {
  const { btf_size } = readInfo(kernel, fd, btfInfo);
  const bytes = new Uint8Array(btf_size);
  const info = readInfo(kernel, fd, btfInfo, { btf: bytes, btf_size });
  return { info, bytes };
}

function readInfo<S extends Struct>(
  kernel: Kernel,
  fd: number,
  struct: S,
  ask: Partial<ValuesOf<S>> = {},
): ValuesOf<S> {
  // The kernel's structs are padded to 8 bytes; an older kernel fills less, and leaves the rest zero.
  const bytes = new Uint8Array(Math.ceil(sizeOf(struct) / 8) * 8);
  const view = new DataView(bytes.buffer);
  const info: Memory = { bytes, pointers: encode(struct, ask, view) };
  const attr = { bpf_fd: fd, info_len: bytes.length, info };
  check(kernel.bpf(BPF_OBJ_GET_INFO_BY_FD, attr), BPF_OBJ_GET_INFO_BY_FD, { subject: `fd ${fd}` });
  return decode(struct, view);
}
