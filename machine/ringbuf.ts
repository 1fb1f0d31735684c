// BPF_MAP_TYPE_RINGBUF. Pages: one with the map's address, consumer position, producer position, data, and as much again,
// so that a record that wraps on Linux, whose data pages are mapped twice, lies here in one piece too.

import { EAGAIN, EINVAL, ENOMEM } from "../src/uapi/errno.ts";
import {
  BPF_RB_AVAIL_DATA,
  BPF_RB_CONS_POS,
  BPF_RB_FORCE_WAKEUP,
  BPF_RB_NO_WAKEUP,
  BPF_RB_PROD_POS,
  BPF_RB_RING_SIZE,
  BPF_RINGBUF_BUSY_BIT,
  BPF_RINGBUF_DISCARD_BIT,
} from "../src/uapi/flags.ts";
import { allocatePages, freePages } from "./allocator.ts";
import { copy } from "./bytes.ts";
import { wake } from "./imports.ts";
import { PAGE_BYTES } from "./layout.ts";
import { MapHeader } from "./map.ts";

/** Pages in front of the data: the map's address, and the two positions. */
const META_BYTES: usize = 3 * PAGE_BYTES;
const LARGEST_RECORD: u64 = 0x3fffffff;
export const BUSY: u32 = <u32>BPF_RINGBUF_BUSY_BIT;
export const DISCARDED: u32 = <u32>BPF_RINGBUF_DISCARD_BIT;

@unmanaged
export class RecordHeader {
  /** Bytes, and BUSY and DISCARDED. */
  length: u32;
  /** Pages from the ring buffer's first page to this header. */
  page: u32;
}

export function initialize(map: MapHeader): i32 {
  const bytes = META_BYTES + 2 * <u64>map.maxEntries;
  if (bytes > <u64>i32.MAX_VALUE) return -ENOMEM;
  const pages = allocatePages(<usize>bytes);
  if (!pages) return -ENOMEM;
  store<usize>(pages, changetype<usize>(map));
  map.data = pages + PAGE_BYTES;
  map.mask = map.maxEntries - 1;
  map.memory = <u32>bytes;
  return 0;
}

export function destroy(map: MapHeader): void {
  freePages(map.data - PAGE_BYTES, META_BYTES + 2 * map.maxEntries);
}

/** Address of a new record, 0 where it does not fit. */
export function ringbufReserve(map: MapHeader, bytes: u64): usize {
  if (bytes > LARGEST_RECORD) return 0;
  const length = recordBytes(<u32>bytes);
  if (length > map.maxEntries) return 0;
  const producer = producerPosition(map);
  const end = producer + length;
  const pending = skipFinished(map, producer);
  if (end - consumerPosition(map) > map.mask || end - pending > map.mask) return 0;
  const address = recordAt(map, producer);
  const header = changetype<RecordHeader>(address);
  header.length = <u32>bytes | BUSY;
  header.page = <u32>(address - firstPage(map)) / PAGE_BYTES;
  store<u64>(map.data + PAGE_BYTES, end);
  return address + offsetof<RecordHeader>();
}

export function ringbufSubmit(record: usize, flags: u64): void {
  finish(record, flags, 0);
}

export function ringbufDiscard(record: usize, flags: u64): void {
  finish(record, flags, DISCARDED);
}

/** 0 or -errno. */
export function ringbufOutput(map: MapHeader, data: usize, bytes: u64, flags: u64): i32 {
  if (!areWakeupFlags(flags)) return -EINVAL;
  const record = ringbufReserve(map, bytes);
  if (!record) return -EAGAIN;
  copy(record, data, <usize>bytes);
  ringbufSubmit(record, flags);
  return 0;
}

export function ringbufQuery(map: MapHeader, what: u64): u64 {
  switch (<u32>min(what, u32.MAX_VALUE)) {
    case BPF_RB_AVAIL_DATA:
      return producerPosition(map) - consumerPosition(map);
    case BPF_RB_RING_SIZE:
      return map.maxEntries;
    case BPF_RB_CONS_POS:
      return consumerPosition(map);
    case BPF_RB_PROD_POS:
      return producerPosition(map);
    default:
      return 0;
  }
}

export function areWakeupFlags(flags: u64): bool {
  return !(flags & ~(<u64>(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP)));
}

/** Wakes readers where they have read everything before this record, unless flags say otherwise. */
function finish(record: usize, flags: u64, discarded: u32): void {
  const address = record - offsetof<RecordHeader>();
  const header = changetype<RecordHeader>(address);
  header.length = (header.length ^ BUSY) | discarded;
  const first = (address & ~(PAGE_BYTES - 1)) - header.page * PAGE_BYTES;
  const map = changetype<MapHeader>(load<usize>(first));
  const isNext = recordAt(map, consumerPosition(map)) == address;
  if (flags & BPF_RB_FORCE_WAKEUP || (isNext && !(flags & BPF_RB_NO_WAKEUP))) wake(changetype<usize>(map));
}

/** Position of the first record that is still being written, kept behind the producer position. */
function skipFinished(map: MapHeader, producer: u64): u64 {
  const at = map.data + PAGE_BYTES + sizeof<u64>();
  let pending = load<u64>(at);
  // Whoever writes to the producer's page, which is there to be read, finds the ring buffer full.
  if (producer - pending > map.maxEntries) return pending;
  while (pending < producer) {
    const length = changetype<RecordHeader>(recordAt(map, pending)).length;
    if (length & BUSY) break;
    pending += recordBytes(length & ~DISCARDED);
  }
  store<u64>(at, pending);
  return pending;
}

/** Bytes from one record's header to the next. */
export function recordBytes(length: u32): u32 {
  return (length + offsetof<RecordHeader>() + 7) & ~7;
}

function recordAt(map: MapHeader, position: u64): usize {
  return firstPage(map) + META_BYTES + (<u32>position & map.mask);
}

function consumerPosition(map: MapHeader): u64 {
  return load<u64>(map.data);
}

function producerPosition(map: MapHeader): u64 {
  return load<u64>(map.data + PAGE_BYTES);
}

function firstPage(map: MapHeader): usize {
  return map.data - PAGE_BYTES;
}
