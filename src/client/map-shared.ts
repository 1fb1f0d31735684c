// Memory that a reader or writer shares with a kernel, mapped as a whole or not at all.

import type { Kernel, Mapping, MmapOptions } from "../kernel/kernel.ts";
import { BPF_OBJ_GET_INFO_BY_FD } from "../uapi/commands.ts";
import { EINVAL, EPERM } from "../uapi/errno.ts";
import { BPF_RINGBUF_HDR_SZ } from "../uapi/flags.ts";
import { mapInfo } from "../uapi/info.ts";
import { BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_USER_RINGBUF } from "../uapi/map-types.ts";
import { decode, sizeOf } from "../uapi/struct.ts";
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

/** A ring buffer, or a user ring buffer, as it is mapped. */
interface SharedRing {
  readonly mappings: readonly Mapping[];
  /** The positions of both sides. */
  readonly consumer: Int32Array;
  readonly producer: Int32Array;
  /** The data, twice in a row, so that a record is always in one piece; and the same as words, of which headers are two. */
  readonly data: Uint8Array;
  readonly headers: Int32Array;
}

/**
 * Maps a ring.
 *
 * @param side whose position and memory is written here: a reader is the consumer, a writer the producer
 * @throws BpfError `EINVAL` where `fd` is a ring of another size, and as `mapShared`
 */
export function mapRing(
  kernel: Kernel,
  fd: number,
  subject: string,
  size: number,
  side: "consumer" | "producer",
): SharedRing {
  checkRingSize(kernel, fd, subject, size);
  const { pageSize } = kernel.system;
  const mappings = mapShared(kernel, fd, subject, [
    { length: pageSize, writable: side === "consumer" },
    { offset: pageSize, length: pageSize + 2 * size, writable: side === "producer" },
  ]);
  const [consumer, rest] = mappings as [Mapping, Mapping];
  const data = rest.bytes.subarray(pageSize);
  return {
    mappings,
    consumer: wordsOf(consumer.bytes, 2),
    producer: wordsOf(rest.bytes, 2),
    data,
    headers: wordsOf(data, (2 * size) / 4),
  };
}

const wordsOf = ({ buffer, byteOffset }: Uint8Array, count: number): Int32Array =>
  new Int32Array(buffer, byteOffset, count);

/** Bytes that a record takes in a ring: its header, its data, and up to a multiple of 8. */
export const recordBytes = (length: number): number => (length + BPF_RINGBUF_HDR_SZ + 7) & ~7;

/** @throws BpfError `EINVAL` where `fd` is a ring buffer, or a user ring buffer, of another size. What is none, mapping refuses. */
function checkRingSize(kernel: Kernel, fd: number, subject: string, size: number): void {
  const bytes = new Uint8Array(sizeOf(ringInfo));
  if (kernel.bpf(BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: fd, info_len: bytes.length, info: bytes }) < 0) return;
  const { type, max_entries } = decode(ringInfo, new DataView(bytes.buffer));
  if ((type !== BPF_MAP_TYPE_RINGBUF && type !== BPF_MAP_TYPE_USER_RINGBUF) || max_entries === size) return;
  throw new BpfError(EINVAL, { syscall: "mmap", subject, hint: `the ring has ${max_entries} bytes; got ${size}` });
}

/** What is asked of struct bpf_map_info. */
const ringInfo = { type: mapInfo.type, max_entries: mapInfo.max_entries };
