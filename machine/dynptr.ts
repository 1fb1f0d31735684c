// Dynptrs: pointers with a length that a program keeps on its stack, 16 bytes each, and that only helpers look into.
// Linux: kernel/bpf/helpers.c, kernel/bpf/ringbuf.c; include/linux/bpf.h, struct bpf_dynptr_kern

import { E2BIG, EINVAL } from "../src/uapi/errno.ts";
import { MapHeader } from "./map.ts";
import { ringbufDiscard, ringbufReserve, ringbufSubmit } from "./ringbuf.ts";

@unmanaged
export class Dynptr {
  /** Address; 0 where it points to nothing, and every use of it fails. */
  data: u64;
  /** Bytes. */
  size: u32;
  reserved: u32;
}

/** Longest memory that a dynptr points to. Linux: DYNPTR_MAX_SIZE. */
export const MAX_SIZE: u32 = (1 << 24) - 1;

export function setDynptr(dynptr: Dynptr, data: u64, size: u32): void {
  dynptr.data = data;
  dynptr.size = size;
  dynptr.reserved = 0;
}

/** bpf_dynptr_from_mem. 0, -E2BIG for a size of 16 MiB or more, -EINVAL for flags. */
export function dynptrFromMemory(data: u64, size: u32, flags: u64, dynptr: Dynptr): i32 {
  const error = size > MAX_SIZE ? -E2BIG : flags ? -EINVAL : 0;
  setDynptr(dynptr, error ? 0 : data, error ? 0 : size);
  return error;
}

/** bpf_ringbuf_reserve_dynptr. 0, -E2BIG for a size of 16 MiB or more, -EINVAL for flags or where it does not fit. */
export function ringbufReserveDynptr(map: MapHeader, size: u32, flags: u64, dynptr: Dynptr): i32 {
  setDynptr(dynptr, 0, 0);
  if (flags) return -EINVAL;
  if (size > MAX_SIZE) return -E2BIG;
  const record = ringbufReserve(map, size);
  if (!record) return -EINVAL;
  setDynptr(dynptr, record, size);
  return 0;
}

export function ringbufSubmitDynptr(dynptr: Dynptr, flags: u64): void {
  if (dynptr.data) ringbufSubmit(<usize>dynptr.data, flags);
  setDynptr(dynptr, 0, 0);
}

export function ringbufDiscardDynptr(dynptr: Dynptr, flags: u64): void {
  if (dynptr.data) ringbufDiscard(<usize>dynptr.data, flags);
  setDynptr(dynptr, 0, 0);
}

/** bpf_dynptr_read. 0, -EINVAL for flags or a dynptr to nothing, -E2BIG for what lies outside. */
export function dynptrRead(target: usize, length: u32, dynptr: Dynptr, offset: u32, flags: u64): i32 {
  if (!dynptr.data || flags) return -EINVAL;
  if (!contains(dynptr, offset, length)) return -E2BIG;
  memory.copy(target, <usize>dynptr.data + offset, length);
  return 0;
}

/** bpf_dynptr_write. As `dynptrRead`. */
export function dynptrWrite(dynptr: Dynptr, offset: u32, source: usize, length: u32, flags: u64): i32 {
  if (!dynptr.data) return -EINVAL;
  if (!contains(dynptr, offset, length)) return -E2BIG;
  if (flags) return -EINVAL;
  memory.copy(<usize>dynptr.data + offset, source, length);
  return 0;
}

/** bpf_dynptr_data: the address, 0 for what lies outside. */
export function dynptrData(dynptr: Dynptr, offset: u32, length: u32): u64 {
  return dynptr.data && contains(dynptr, offset, length) ? dynptr.data + offset : 0;
}

function contains(dynptr: Dynptr, offset: u32, length: u32): bool {
  return length <= dynptr.size && offset <= dynptr.size - length;
}
