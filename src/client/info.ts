// What a kernel says of its objects. BPF_OBJ_GET_INFO_BY_FD, Linux 4.13.

import type { Kernel } from "../kernel/kernel.ts";
import { BPF_OBJ_GET_INFO_BY_FD } from "../uapi/commands.ts";
import { type MapInfo, mapInfo, type ProgInfo, progInfo } from "../uapi/info.ts";
import { decode, type Struct, sizeOf, type ValuesOf } from "../uapi/struct.ts";
import { check } from "./errors.ts";

export const readMapInfo = (kernel: Kernel, fd: number): MapInfo => readInfo(kernel, fd, mapInfo);

export const readProgInfo = (kernel: Kernel, fd: number): ProgInfo => readInfo(kernel, fd, progInfo);

function readInfo<S extends Struct>(kernel: Kernel, fd: number, struct: S): ValuesOf<S> {
  // The kernel's structs are padded to 8 bytes; an older kernel fills less, and leaves the rest zero.
  const bytes = new Uint8Array(Math.ceil(sizeOf(struct) / 8) * 8);
  const attr = { bpf_fd: fd, info_len: bytes.length, info: bytes };
  check(kernel.bpf(BPF_OBJ_GET_INFO_BY_FD, attr), BPF_OBJ_GET_INFO_BY_FD, { subject: `fd ${fd}` });
  return decode(struct, new DataView(bytes.buffer));
}
