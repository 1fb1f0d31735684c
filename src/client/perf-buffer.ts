// The reader of a perf event array: one buffer for each CPU, into which programs on that CPU send samples.
// Linux: man 2 perf_event_open, kernel/events/ring_buffer.c

import type { Codec } from "../codec/codec.ts";
import type { Kernel, Mapping, PerfEventRequest } from "../kernel/kernel.ts";
import { BPF_MAP_DELETE_ELEM, BPF_MAP_UPDATE_ELEM } from "../uapi/commands.ts";
import { EACCES, EINVAL, ENODEV, EPERM } from "../uapi/errno.ts";
import { BPF_ANY } from "../uapi/flags.ts";
import * as perf from "../uapi/perf-event.ts";
import { checkNumbers } from "./arguments.ts";
import { BpfError, check } from "./errors.ts";
import { EventReader, type EventReaderOptions } from "./event-reader.ts";
import { identityOf } from "./info.ts";
import { mapShared } from "./map-shared.ts";
import { LARGEST_POSITION, loadPosition, storePosition } from "./position.ts";
import { RingBufferError } from "./ring-buffer.ts";
import { Waiter } from "./waiter.ts";

export interface PerfBufferOptions<T> extends EventReaderOptions {
  /** How a sample is decoded; without it, a sample is its bytes. The kernel rounds a sample up: 4 bytes more than a multiple of 8. */
  readonly record?: Codec<T>;
  /** Pages of data for each CPU, a power of two. Default: 16. */
  readonly pages?: number;
  /** Wakes readers after so many samples. Default: 1. */
  readonly wakeupEvents?: number;
  /** Wakes readers after so many bytes, in the place of `wakeupEvents`. */
  readonly watermark?: number;
  /** Hears of samples that found no room, when the kernel tells of them: with the next sample that does. */
  readonly onLost?: (count: number, cpu: number) => void;
}

/** A sample, and the CPU that its program ran on. */
export interface PerfEvent<T = Uint8Array> {
  readonly cpu: number;
  readonly record: T;
}

/**
 * Takes samples, of each CPU in order. BPF_MAP_TYPE_PERF_EVENT_ARRAY, Linux 4.3; bpf_perf_event_output, Linux 4.4.
 *
 * A map holds one buffer for each CPU: a second reader of the map takes the place of the first, and the first to close empties the map.
 *
 * @example
 * using reader = new PerfBuffer(kernel, map.fd, map.maxEntries, { record: struct({ pid: u32, size: u32 }) });
 * for await (const { cpu, record } of reader) console.log(cpu, record.pid);
 */
export class PerfBuffer<T = Uint8Array> extends EventReader<PerfEvent<T>> {
  protected readonly waiter: Waiter;
  readonly #mapFd: number;
  readonly #mapIdentity: string | undefined;
  readonly #options: PerfBufferOptions<T>;
  /** None once it is closed: the kernel gives their file descriptors to others. */
  readonly #buffers: CpuBuffer[] = [];
  #lost = 0;
  /** The buffer that is read from next. */
  #next = 0;
  /** The sample that was stepped to. */
  #sample: Sample = NO_SAMPLE;

  /**
   * Opens a buffer on every CPU that is online, and puts them into the map.
   *
   * @param mapFd a perf event array, which must stay open as long as the reader
   * @param maxEntries the map's max_entries: CPUs from there on have no buffer
   * @throws BpfError `EACCES` without CAP_PERFMON, `EPERM` beyond kernel.perf_event_mlock_kb, `EINVAL` where `pages` is no power of two
   */
  constructor(kernel: Kernel, mapFd: number, maxEntries: number, options: PerfBufferOptions<T> = {}) {
    super(kernel, options);
    this.#mapFd = mapFd;
    this.#mapIdentity = identityOf(kernel, mapFd);
    this.#options = options;
    checkOptions(options, this.name);
    try {
      for (const cpu of kernel.system.possibleCpus) {
        if (cpu < maxEntries) this.#open(cpu);
      }
    } catch (error) {
      this.release();
      throw error;
    }
    this.waiter = new Waiter(
      kernel,
      this.#buffers.map(({ fd }) => fd),
      "readable",
      this.name,
    );
    this.opened();
  }

  /** Samples that found no room, as far as the kernel has told: it tells of them with the next sample that does find room. */
  get lost(): number {
    return this.#lost;
  }

  override get readable(): boolean {
    return !this.closed && this.#buffers.some((buffer) => loadPosition(buffer.head) !== buffer.position);
  }

  override get available(): number {
    if (this.closed) return 0;
    return this.#buffers.reduce(
      (sum, { head, position, size }) => sum + Math.min(Math.max(0, loadPosition(head) - position), size),
      0,
    );
  }

  /**
   * Takes the samples that are there now, CPU by CPU; with a callback, gives it one after the other and returns how many there were,
   * at most as many as the buffers hold.
   *
   * @throws RingBufferError where the shared memory holds no valid record
   */
  override drain(): IterableIterator<PerfEvent<T>>;
  override drain(callback: (record: T, cpu: number) => void): number;
  override drain(callback?: (record: T, cpu: number) => void): IterableIterator<PerfEvent<T>> | number {
    if (callback === undefined) return super.drain();
    let count = 0;
    for (const buffer of this.#buffers) count += this.#drainOne(buffer, callback);
    return count;
  }

  /**
   * Calls back with each sample as it comes, until disposed or closed.
   *
   * @param failed hears of an error of the buffer or of the callback, which ends it; without it, the error is thrown from the event loop
   */
  on(callback: (record: T, cpu: number) => void, failed?: (error: unknown) => void): Disposable {
    return this.listen(() => this.drain(callback), failed);
  }

  /** Takes no more samples: they count as lost, until `resume`. PERF_EVENT_IOC_PAUSE_OUTPUT, Linux 4.7. */
  pause(): void {
    this.#control("pause");
  }

  resume(): void {
    this.#control("resume");
  }

  /**
   * Goes on at the newest position of every CPU, after a RingBufferError.
   *
   * @returns how many bytes were skipped
   */
  resync(): number {
    const skipped = this.available;
    for (const buffer of this.#buffers) {
      buffer.position = buffer.end = Math.floor(loadPosition(buffer.head) / 8) * 8;
      this.#commit(buffer);
    }
    return skipped;
  }

  protected override take(): PerfEvent<T> | undefined {
    // Beginning behind the one that was read last, so that a busy CPU does not keep the others waiting.
    for (let tried = 0; tried < this.#buffers.length && !this.closed; tried++) {
      const buffer = this.#buffers[this.#next]!;
      this.#next = (this.#next + 1) % this.#buffers.length;
      try {
        if (this.#step(buffer)) return { cpu: buffer.cpu, record: this.#decode(buffer) };
      } finally {
        this.#commit(buffer);
      }
    }
    return undefined;
  }

  protected override release(): void {
    // Where the map was closed first, its file descriptor may be another map's by now.
    const isOurs = identityOf(this.kernel, this.#mapFd) === this.#mapIdentity;
    for (const { fd, cpu, mapping } of this.#buffers.splice(0)) {
      // The map holds the event beyond its file descriptor.
      if (isOurs) this.kernel.bpf(BPF_MAP_DELETE_ELEM, { map_fd: this.#mapFd, key: wordBytes(cpu) });
      mapping.unmap();
      this.kernel.close(fd);
    }
  }

  #open(cpu: number): void {
    const { kernel, name: subject } = this;
    const { pages = 16, wakeupEvents = 1, watermark } = this.#options;
    const { pageSize } = kernel.system;
    const fd = kernel.perfEventOpen({
      cpu,
      type: perf.PERF_TYPE_SOFTWARE,
      config: perf.PERF_COUNT_SW_BPF_OUTPUT,
      sample_type: perf.PERF_SAMPLE_RAW,
      sample_period: 1,
      ...(watermark === undefined ? { wakeup_events: wakeupEvents } : { wakeup_watermark: watermark }),
    });
    // It is not online.
    if (fd === -ENODEV) return;
    if (fd < 0) throw new BpfError(-fd, { syscall: "perf_event_open", subject, ...permissionHint(-fd) });
    try {
      const [mapping] = mapShared(kernel, fd, subject, [{ length: (1 + pages) * pageSize, writable: true }]);
      this.#buffers.push(cpuBuffer(cpu, fd, mapping!));
    } catch (error) {
      kernel.close(fd);
      throw error;
    }
    const element = { map_fd: this.#mapFd, key: wordBytes(cpu), value: wordBytes(fd), flags: BPF_ANY };
    check(kernel.bpf(BPF_MAP_UPDATE_ELEM, element), BPF_MAP_UPDATE_ELEM, { subject });
  }

  #drainOne(buffer: CpuBuffer, callback: (record: T, cpu: number) => void): number {
    let count = 0;
    const limit = buffer.position + buffer.size;
    try {
      while (buffer.position < limit && this.#step(buffer)) {
        count++;
        callback(this.#decode(buffer), buffer.cpu);
        if (buffer.position - buffer.committed >= buffer.size / 4) this.#commit(buffer);
      }
    } finally {
      this.#commit(buffer);
    }
    return count;
  }

  /** Goes to the next sample, past records that tell of lost ones. Returns false where there is none. */
  #step(buffer: CpuBuffer): boolean {
    while (!this.closed) {
      const { position, view } = buffer;
      if (position === buffer.end) {
        const end = loadPosition(buffer.head);
        if (end === position) return false;
        const isAhead = end > position && end - position <= buffer.size && end <= LARGEST_POSITION;
        if (!(isAhead && end % 8 === 0 && position % 8 === 0)) {
          throw this.#error(
            buffer,
            `the head is at ${end}, where it is at most ${buffer.size} bytes ahead and at a multiple of 8`,
          );
        }
        buffer.end = end;
      }
      const at = position & (buffer.size - 1);
      const type = view.getUint32(at, true);
      const size = view.getUint16(at + SIZE_AT, true);
      if (size < perf.PERF_EVENT_HEADER_SIZE || size % 8 !== 0 || size > buffer.end - position) {
        throw this.#error(buffer, `a record claims ${size} bytes where ${buffer.end - position} were written`);
      }
      buffer.position = position + size;
      if (type === perf.PERF_RECORD_SAMPLE) {
        this.#sample = sampleAt(buffer, at, size);
        if (this.#sample !== NO_SAMPLE) return true;
        this.#tellLost(1, buffer.cpu);
      } else if (type === perf.PERF_RECORD_LOST && size >= LOST_COUNT_AT + 8) {
        this.#tellLost(Number(view.getBigUint64((at + LOST_COUNT_AT) & (buffer.size - 1), true)), buffer.cpu);
      }
    }
    return false;
  }

  #tellLost(count: number, cpu: number): void {
    this.#lost += count;
    this.#options.onLost?.(count, cpu);
  }

  /** Gives the room of read records back to the kernel. */
  #commit(buffer: CpuBuffer): void {
    if (this.closed || buffer.position === buffer.committed) return;
    storePosition(buffer.tail, buffer.position);
    buffer.committed = buffer.position;
  }

  /** The sample that was stepped to: a copy, or decoded. */
  #decode(buffer: CpuBuffer): T {
    const { view, start, length } = this.#sample;
    const { record } = this.#options;
    if (record === undefined) return new Uint8Array(view.buffer, view.byteOffset + start, length).slice() as T;
    if (length >= record.size) return record.decode(view, start);
    throw this.#error(buffer, `a sample has ${length} bytes; ${record.name} needs ${record.size}`);
  }

  #control(request: PerfEventRequest): void {
    for (const { fd } of this.#buffers) {
      const result = this.kernel.perfEventControl(fd, request);
      if (result < 0) throw new BpfError(-result, { syscall: "ioctl", subject: this.name });
    }
  }

  #error({ cpu, position }: CpuBuffer, what: string): RingBufferError {
    return new RingBufferError(`perf buffer "${this.name}" of CPU ${cpu}, at position ${position}: ${what}`, position);
  }
}

/** The buffer of one CPU, as it is mapped: its first page tells of the data behind it. */
interface CpuBuffer {
  readonly cpu: number;
  readonly fd: number;
  readonly mapping: Mapping;
  /** Bytes of data. */
  readonly size: number;
  readonly view: DataView;
  readonly head: Int32Array;
  readonly tail: Int32Array;
  /** Where a sample that goes over the end of the data is put together. */
  readonly joined: DataView;
  /** Where the next record begins, where the tail stands, and where the last known record ends. */
  position: number;
  committed: number;
  end: number;
}

/** The bytes of a sample. */
interface Sample {
  readonly view: DataView;
  readonly start: number;
  readonly length: number;
}

const NO_SAMPLE: Sample = { view: new DataView(new ArrayBuffer(0)), start: 0, length: 0 };

/** Offset of the u16 size in struct perf_event_header. */
const SIZE_AT = 6;
/** Offset of the raw data behind its u32 size. */
const RAW_AT = 12;
/** Offset of the count in a PERF_RECORD_LOST, behind the event's id. */
const LOST_COUNT_AT = 16;
/** More than a record can have. */
const LARGEST_RECORD = 65536;

function cpuBuffer(cpu: number, fd: number, mapping: Mapping): CpuBuffer {
  const { buffer, byteOffset, byteLength } = mapping.bytes;
  const page = new DataView(buffer, byteOffset, byteLength);
  const dataOffset = Number(page.getBigUint64(perf.perfEventMmapPage.data_offset[0], true));
  const size = Number(page.getBigUint64(perf.perfEventMmapPage.data_size[0], true));
  const tail = new Int32Array(buffer, byteOffset + perf.perfEventMmapPage.data_tail[0], 2);
  const position = loadPosition(tail);
  return {
    cpu,
    fd,
    mapping,
    size,
    view: new DataView(buffer, byteOffset + dataOffset, size),
    head: new Int32Array(buffer, byteOffset + perf.perfEventMmapPage.data_head[0], 2),
    tail,
    joined: new DataView(new ArrayBuffer(Math.min(size, LARGEST_RECORD))),
    position,
    committed: position,
    end: position,
  };
}

/** The raw data of a sample; NO_SAMPLE of one with less than it claims: of more than 65516 bytes the kernel leaves a rest. */
function sampleAt({ view, size: dataSize, joined }: CpuBuffer, at: number, size: number): Sample {
  if (size < RAW_AT) return NO_SAMPLE;
  const rawSizeAt = (at + perf.PERF_EVENT_HEADER_SIZE) & (dataSize - 1);
  const length = view.getUint32(rawSizeAt, true);
  if (length > size - RAW_AT) return NO_SAMPLE;
  if (at + size <= dataSize) return { view, start: at + RAW_AT, length };
  const target = new Uint8Array(joined.buffer);
  const data = new Uint8Array(view.buffer, view.byteOffset, dataSize);
  target.set(data.subarray(at));
  target.set(data.subarray(0, at + size - dataSize), dataSize - at);
  return { view: joined, start: RAW_AT, length };
}

/** The bytes of a u32. */
const wordBytes = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);

/** @throws BpfError `EINVAL` where a number is none that the kernel can be given */
function checkOptions({ pages, wakeupEvents, watermark }: PerfBufferOptions<unknown>, subject: string): void {
  const syscall = "perf_event_open";
  checkNumbers({ wakeupEvents, watermark }, { syscall, subject });
  if (
    pages === undefined ||
    (Number.isInteger(pages) && pages > 0 && Number.isInteger(Math.log2(pages)) && pages <= MOST_PAGES)
  )
    return;
  throw new BpfError(EINVAL, {
    syscall,
    subject,
    hint: `pages is a power of two from 1 to ${MOST_PAGES}; got ${pages}`,
  });
}

/** With pages of 4096 bytes, 4 GiB: more than any kernel gives. */
const MOST_PAGES = 2 ** 20;

function permissionHint(errno: number): { hint?: string } {
  if (errno !== EACCES && errno !== EPERM) return {};
  return { hint: 'needs CAP_PERFMON; run as root or grant it, or use openKernel({ kind: "embedded" })' };
}
