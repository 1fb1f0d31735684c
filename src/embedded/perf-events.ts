// Performance events as BPF uses them: software events of a CPU, into whose buffers programs send samples.
// Linux: kernel/events/core.c, kernel/events/ring_buffer.c

import { PAGE_BYTES } from "../../machine/layout.ts";
import type { Mapping, MmapOptions, PerfEventAttr, PerfEventRequest } from "../kernel/kernel.ts";
import { EACCES, EBADF, EINVAL, ENOENT, ENOMEM, ENOSPC, ENOTTY, EOPNOTSUPP } from "../uapi/errno.ts";
import * as perf from "../uapi/perf-event.ts";
import { encode } from "../uapi/struct.ts";
import { holdWhileReachable, References } from "./objects.ts";
import { capable, type KernelState } from "./state.ts";

/** A performance event: an open file, which perf event arrays hold by reference. */
export interface EmbeddedPerfEvent {
  readonly kind: "perf event";
  readonly id: number;
  readonly attr: PerfEventAttr;
  readonly references: References;
  enabled: boolean;
  /** While it is mapped. */
  buffer: PerfBuffer | undefined;
  /** Whether its readers were woken since somebody last asked. */
  ready: boolean;
  /** Tells those who watch it. */
  readonly wake: () => void;
}

/** The pages that an event shares with its readers: one that tells of the data, and the data. */
interface PerfBuffer {
  /** Address of the first page. */
  readonly address: number;
  readonly dataSize: number;
  /** Mapped to be read only: the newest sample overwrites the oldest. */
  readonly overwrites: boolean;
  readonly storage: References;
  /** Bytes between wake-ups. */
  readonly watermark: number;
  mappings: number;
  paused: boolean;
  head: number;
  /** Samples that found no room since the last record that tells of them. */
  lost: number;
  /** Samples since the last wake-up. */
  events: number;
  /** Moves with each wake-up, by a watermark or by 1. */
  wakeups: number;
}

/** perf_event_open(2), of the software events BPF_OUTPUT and DUMMY. */
export function openPerfEvent(
  state: KernelState,
  attr: PerfEventAttr,
  wake: (event: EmbeddedPerfEvent) => void,
): number {
  if (!capable(state, "CAP_PERFMON")) return -EACCES;
  const { cpu, type, config } = attr;
  if (!(cpu >= 0 && cpu < state.cpus)) return -EINVAL;
  if (type !== perf.PERF_TYPE_SOFTWARE || !SOFTWARE_EVENTS.has(config)) return -ENOENT;
  const event: EmbeddedPerfEvent = {
    kind: "perf event",
    id: ++state.lastPerfEventId,
    attr: { ...attr },
    // Its buffer goes with the last mapping, which holds a reference.
    references: new References(() => {}),
    enabled: attr.disabled !== true,
    buffer: undefined,
    ready: false,
    wake: () => wake(event),
  };
  return state.files.open(event);
}

/** ioctl(2) of a performance event. */
export function controlPerfEvent(state: KernelState, fd: number, request: PerfEventRequest): number {
  const event = state.files.get(fd)?.object;
  if (event === undefined) return -EBADF;
  if (event.kind !== "perf event") return -ENOTTY;
  if (request === "enable" || request === "disable") {
    event.enabled = request === "enable";
    return 0;
  }
  if (event.buffer === undefined) return -EINVAL;
  event.buffer.paused = request === "pause";
  return 0;
}

/** mmap(2) of a page and 2^n pages of data. */
export function mapPerfEvent(state: KernelState, event: EmbeddedPerfEvent, options: MmapOptions): Mapping | number {
  const { length, offset = 0, writable = false } = options;
  const pages = Math.ceil(length / PAGE_BYTES) - 1;
  // What lies behind an offset would be the trace data of a processor.
  if (offset !== 0 || (pages & (pages - 1)) !== 0) return -EINVAL;
  const buffer = event.buffer ?? createBuffer(state, event, pages, writable);
  if (buffer === undefined) return -ENOMEM;
  if (buffer.dataSize !== pages * PAGE_BYTES) return -EINVAL;
  event.buffer = buffer;
  buffer.mappings++;
  event.references.take();
  const bytes = state.memory.u8.subarray(buffer.address, buffer.address + length);
  holdWhileReachable(buffer.storage, bytes);
  let mapped = true;
  return {
    bytes,
    address: buffer.address,
    unmap() {
      if (!mapped) return;
      mapped = false;
      if (--buffer.mappings === 0) {
        event.buffer = undefined;
        buffer.storage.drop();
      }
      event.references.drop();
    },
  };
}

/**
 * Sends a sample: bpf_perf_event_output, behind its look at the map.
 *
 * @param cpu the CPU that the program runs on
 * @param parts the sample's bytes, in pieces
 * @returns 0; -EINVAL where the event is no BPF output, -EOPNOTSUPP where it is not enabled on this CPU, -ENOSPC where there is no room
 */
export function perfOutput(
  { memory }: Pick<KernelState, "memory">,
  event: EmbeddedPerfEvent,
  cpu: number,
  ...parts: readonly Uint8Array[]
): number {
  const { attr, buffer } = event;
  if (attr.type !== perf.PERF_TYPE_SOFTWARE || attr.config !== perf.PERF_COUNT_SW_BPF_OUTPUT) return -EINVAL;
  if (!event.enabled || attr.cpu !== cpu) return -EOPNOTSUPP;
  if (buffer === undefined || buffer.dataSize === 0) return -ENOSPC;
  const record = sampleRecord(((attr.sample_type ?? 0) & perf.PERF_SAMPLE_RAW) !== 0, parts);
  const needed = record.length + (buffer.lost > 0 ? LOST_RECORD_SIZE : 0);
  if (buffer.paused || !hasRoom(memory.view, buffer, needed)) {
    buffer.lost++;
    return -ENOSPC;
  }
  const before = buffer.wakeups;
  if (buffer.head + needed - buffer.wakeups > buffer.watermark) buffer.wakeups += buffer.watermark;
  if (buffer.lost > 0) put(memory.u8, buffer, lostRecord(event.id, buffer.lost));
  buffer.lost = 0;
  put(memory.u8, buffer, record);
  const { wakeup_events = 0, wakeup_watermark } = attr;
  if (wakeup_watermark === undefined && wakeup_events > 0 && ++buffer.events >= wakeup_events) {
    buffer.events -= wakeup_events;
    buffer.wakeups++;
  }
  memory.view.setBigUint64(buffer.address + DATA_HEAD, BigInt(buffer.head), true);
  if (buffer.wakeups !== before) {
    event.ready = true;
    event.wake();
  }
  return 0;
}

/** What perf_event_open answers with: events that count nothing of themselves. */
const SOFTWARE_EVENTS = new Set([perf.PERF_COUNT_SW_BPF_OUTPUT, perf.PERF_COUNT_SW_DUMMY]);

/** Bytes of a PERF_RECORD_LOST: header, u64 id of the event, u64 number of samples. */
const LOST_RECORD_SIZE = 24;

const [DATA_HEAD] = perf.perfEventMmapPage.data_head;
const [DATA_TAIL] = perf.perfEventMmapPage.data_tail;

/** Sizes have 32 bits in the machine: more would wrap. */
const MAX_BUFFER = 2 ** 32 - 1;

function createBuffer(
  { machine, memory }: KernelState,
  { attr: { wakeup_watermark = 0 } }: EmbeddedPerfEvent,
  pages: number,
  writable: boolean,
): PerfBuffer | undefined {
  const bytes = (1 + pages) * PAGE_BYTES;
  if (bytes > MAX_BUFFER) return undefined;
  const address = machine.allocatePages(bytes);
  if (address === 0) return undefined;
  memory.reach(address + bytes);
  const dataSize = pages * PAGE_BYTES;
  const storage = new References(() => machine.freePages(address, bytes));
  storage.take();
  const page = { size: perf.PERF_EVENT_MMAP_PAGE_SIZE, data_offset: PAGE_BYTES, data_size: dataSize };
  encode(perf.perfEventMmapPage, page, new DataView(memory.view.buffer, address, PAGE_BYTES));
  return {
    address,
    dataSize,
    overwrites: !writable,
    storage,
    watermark: Math.min(dataSize, wakeup_watermark) || dataSize / 2,
    mappings: 0,
    paused: false,
    head: 0,
    lost: 0,
    events: 0,
    wakeups: 0,
  };
}

/** One byte stays free, so that full and empty differ. */
function hasRoom(view: DataView, { overwrites, address, dataSize, head }: PerfBuffer, bytes: number): boolean {
  if (overwrites) return true;
  const tail = view.getUint32(address + DATA_TAIL, true);
  return ((tail - (head + 1)) & (dataSize - 1)) >>> 0 >= bytes;
}

/** A sample, which Linux rounds up to 8 bytes. Its size is a u16 that wraps: of one that is too long, little is left. */
function sampleRecord(raw: boolean, parts: readonly Uint8Array[]): Uint8Array {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  const rawSize = raw ? Math.ceil((bytes + 4) / 8) * 8 : 0;
  const record = recordOf(perf.PERF_RECORD_SAMPLE, perf.PERF_RECORD_MISC_KERNEL, perf.PERF_EVENT_HEADER_SIZE + rawSize);
  if (raw) {
    new DataView(record.buffer).setUint32(8, rawSize - 4, true);
    let at = 12;
    for (const part of parts) {
      record.set(part, at);
      at += part.length;
    }
  }
  return record.subarray(0, record.length & 0xffff);
}

function lostRecord(id: number, lost: number): Uint8Array {
  const record = recordOf(perf.PERF_RECORD_LOST, 0, LOST_RECORD_SIZE);
  const view = new DataView(record.buffer);
  view.setBigUint64(8, BigInt(id), true);
  view.setBigUint64(16, BigInt(lost), true);
  return record;
}

/** Bytes of a record with its header, struct perf_event_header. */
function recordOf(type: number, misc: number, size: number): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(size));
  view.setUint32(0, type, true);
  view.setUint16(4, misc, true);
  view.setUint16(6, size & 0xffff, true);
  return new Uint8Array(view.buffer);
}

/** Writes at the head, on past the end of the data at its start: more than once, where the record is longer than the data. */
function put(memory: Uint8Array, buffer: PerfBuffer, record: Uint8Array): void {
  const data = buffer.address + PAGE_BYTES;
  for (let rest = record; rest.length > 0; ) {
    const at = buffer.head % buffer.dataSize;
    const piece = rest.subarray(0, buffer.dataSize - at);
    memory.set(piece, data + at);
    buffer.head += piece.length;
    rest = rest.subarray(piece.length);
  }
}
