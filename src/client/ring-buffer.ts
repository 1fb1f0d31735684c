// The reader of a ring buffer: records are taken from the memory that program and reader share.
// Linux: Documentation/bpf/ringbuf.rst, kernel/bpf/ringbuf.c

import type { Codec } from "../codec/codec.ts";
import type { Kernel, Mapping } from "../kernel/kernel.ts";
import { BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ } from "../uapi/flags.ts";
import { EventReader, type EventReaderOptions } from "./event-reader.ts";
import { mapRing, recordBytes } from "./map-shared.ts";
import { LARGEST_POSITION, loadPosition, storePosition } from "./position.ts";
import { EXPIRED, type Place, type RecordView, viewOf } from "./record-view.ts";
import { Waiter } from "./waiter.ts";

export interface RingBufferOptions<T> extends EventReaderOptions {
  /** How a record is decoded; without it, a record is its bytes. */
  readonly record?: Codec<T>;
  /** A map in which the program counts, at key 0, the records that did not fit: the kernel counts none. A per-CPU one is summed up. */
  readonly lost?: LostCounter;
}

/** A map of numbers, such as an array or a per-CPU array of u64. */
export interface LostCounter {
  get(key: number): Count | readonly Count[] | undefined;
}
type Count = number | bigint;

/** A ring, perf or user ring buffer whose memory says what cannot be: `position` tells where. */
export class RingBufferError extends Error {
  override readonly name = "RingBufferError";
  readonly code = "ERR_RING_BUFFER";
  /** Bytes since the ring was made, to the record or position that is wrong. */
  readonly position: number;

  constructor(message: string, position: number) {
    super(message);
    this.position = position;
  }
}

/**
 * Takes records in order. A record that is still being written holds up those behind it.
 *
 * The kernel wakes readers that have read everything before a record, and not for records sent with BPF_RB_NO_WAKEUP:
 * take those with `drain` at times of your own.
 *
 * @example
 * for await (const event of map.ringBuffer({ record: struct({ pid: u32, size: u32 }) })) console.log(event.pid);
 */
export class RingBuffer<T = Uint8Array> extends EventReader<T> {
  protected readonly waiter: Waiter;
  readonly #size: number;
  readonly #record: Codec<T> | undefined;
  readonly #mappings: readonly Mapping[];
  readonly #consumer: Int32Array;
  readonly #producer: Int32Array;
  readonly #headers: Int32Array;
  readonly #data: Uint8Array;
  readonly #memory: DataView;
  /** What `drainViews` shows; made when it is first asked for. */
  #view: (RecordView<T> & { readonly place: Place }) | undefined;
  readonly #leases = new Set<Lease<T>>();
  readonly #ordered: boolean;
  /** Where the last known record ends, and how many bytes in front of it are unread. */
  #end: number;
  #left = 0;
  /** Bytes that were read and not given back. */
  #uncommitted = 0;
  /** The record that was stepped to: offset of its bytes in the data, and how many. */
  #start = 0;
  #length = 0;
  readonly #lost: LostCounter | undefined;
  readonly #lostBefore: number;

  /**
   * @param size the map's max_entries, bytes
   * @throws BpfError `EBADF`, `EINVAL` where `fd` is no ring buffer of this size, `EPERM` without access
   */
  constructor(kernel: Kernel, fd: number, size: number, options: RingBufferOptions<T> = {}) {
    super(kernel, options);
    this.waiter = new Waiter(kernel, [fd], "readable", this.name);
    this.#size = size;
    this.#record = options.record;
    this.#lost = options.lost;
    this.#lostBefore = this.#lostInAll();
    const { mappings, consumer, producer, data, headers } = mapRing(kernel, fd, this.name, size, "consumer");
    this.#mappings = mappings;
    this.#consumer = consumer;
    this.#producer = producer;
    this.#data = data;
    this.#headers = headers;
    this.#memory = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.#ordered = kernel.system.ordersLoads;
    this.#end = loadPosition(this.#consumer);
    this.opened();
  }

  /** Where the next record begins. */
  get #position(): number {
    return this.#end - this.#left;
  }

  override get readable(): boolean {
    if (this.closed) return false;
    const unread = loadPosition(this.#producer) - this.#position;
    return unread !== 0 && (!this.#isUnread(unread) || this.#headerAt(this.#position & (this.#size - 1)) >= 0);
  }

  override get available(): number {
    if (this.closed) return 0;
    return Math.min(Math.max(0, loadPosition(this.#producer) - this.#position), this.#size);
  }

  /** Records that did not fit since the reader was opened, as the map of the option `lost` counts them; undefined without it. */
  get lost(): number | undefined {
    return this.#lost === undefined ? undefined : this.#lostInAll() - this.#lostBefore;
  }

  /**
   * Takes the records that are there now; with a callback, gives it one after the other and returns how many there were,
   * at most as many as the ring holds. The program gets their room back in large pieces, and all of it at the end.
   *
   * @throws RingBufferError where the shared memory holds no valid record
   */
  override drain(): IterableIterator<T>;
  override drain(callback: (record: T) => void): number;
  override drain(callback?: (record: T) => void): IterableIterator<T> | number {
    if (callback === undefined) return super.drain();
    let count = 0;
    const limit = this.#position + this.#size;
    try {
      for (; this.#stepTo(limit); count++) callback(this.#decode());
    } finally {
      this.#commit();
    }
    return count;
  }

  /**
   * As `drain` with a callback, but nothing is copied or made: a record of a struct is one object for all, whose members are read in
   * shared memory when they are asked for; without a codec it is a view of the record's bytes.
   * It is valid within the callback: keep its members, or a `slice()` of bytes; `drain` gives whole copies.
   */
  drainViews(callback: (record: Readonly<T>) => void): number {
    this.#view ??= this.#makeView();
    const { place, object } = this.#view;
    const size = this.#record?.size ?? 0;
    let count = 0;
    const limit = this.#position + this.#size;
    try {
      for (; this.#stepTo(limit); count++) {
        if (this.#length < size) this.#checkLength(this.#record!);
        place.start = this.#start;
        callback(object ?? this.#view.make(this.#length));
      }
    } finally {
      place.start = EXPIRED;
      this.#commit();
    }
    return count;
  }

  /**
   * Calls back with each record as it comes, until disposed or closed.
   *
   * @param failed hears of an error of the ring or of the callback, which ends it; without it, the error is thrown from the event loop
   */
  on(callback: (record: T) => void, failed?: (error: unknown) => void): Disposable {
    return this.listen(() => this.drain(callback), failed);
  }

  /**
   * Takes the next record and leaves it where it is: its room is not given back to the program until the lease is released.
   * Records behind it may be read meanwhile. The kernel wakes nobody while a lease is held: release it before you wait.
   *
   * @returns undefined where there is no record
   * @example
   * using lease = reader.lease();
   * if (lease) socket.write(lease.bytes);
   */
  lease(): Lease<T> | undefined {
    if (!this.#step()) return undefined;
    const start = this.#start;
    const record = this.#record;
    if (record !== undefined) this.#checkLength(record);
    const lease = new Lease<T>({
      bytes: this.#data.subarray(start, start + this.#length),
      position: this.#position - recordBytes(this.#length),
      decode: (bytes) => (record === undefined ? (bytes as T) : record.decode(this.#memory, start)),
      release: () => {
        this.#leases.delete(lease);
        // What came meanwhile woke nobody.
        if (this.#commit() && this.readable) this.waiter.wake();
      },
    });
    this.#leases.add(lease);
    return lease;
  }

  /**
   * Goes on at the newest position, after a RingBufferError or where a record is never finished.
   *
   * @returns how many bytes were skipped
   */
  resync(): number {
    if (this.closed) return 0;
    const skipped = this.available;
    const position = this.#position;
    this.#end = Math.floor(loadPosition(this.#producer) / 8) * 8;
    this.#left = 0;
    this.#uncommitted += this.#end - position;
    this.#commit();
    return skipped;
  }

  protected override take(): T | undefined {
    if (!this.#step()) return undefined;
    try {
      return this.#decode();
    } finally {
      this.#commit();
    }
  }

  protected override release(): void {
    for (const mapping of this.#mappings) mapping.unmap();
  }

  /** As `#step`, up to a position. Gives back what was read in pieces, as an atomic store costs more than a record. */
  #stepTo(limit: number): boolean {
    if (this.#uncommitted >= this.#size / 4) {
      this.#commit();
      if (this.#position >= limit) return false;
    }
    return this.#step();
  }

  /** Goes to the next record, and past discarded ones. Returns false where there is none, or it is still being written. */
  #step(): boolean {
    while (!this.closed) {
      if (this.#left === 0 && !this.#findEnd()) {
        // A program that finishes a record now looks whether we were waiting for it: tell it, and look again.
        if (this.#commit()) continue;
        return false;
      }
      const at = (this.#end - this.#left) & (this.#size - 1);
      const header = this.#headerAt(at);
      if (header < 0) {
        if (this.#commit()) continue;
        return false;
      }
      const length = header & ~BPF_RINGBUF_DISCARD_BIT;
      const bytes = recordBytes(length);
      if (bytes > this.#left) throw this.#error(`a record claims ${length} bytes where ${this.#left} were written`);
      this.#start = at + BPF_RINGBUF_HDR_SZ;
      this.#length = length;
      this.#left -= bytes;
      this.#uncommitted += bytes;
      if (header === length) return true;
    }
    return false;
  }

  /** Whether the producer is ahead. */
  #findEnd(): boolean {
    const end = loadPosition(this.#producer);
    const unread = end - this.#end;
    if (unread === 0) return false;
    if (!this.#isUnread(unread)) {
      throw this.#error(
        `the producer is at ${end}, where it is at most ${this.#size} bytes ahead and at a multiple of 8`,
      );
    }
    this.#end = end;
    this.#left = unread;
    return true;
  }

  /** Whether so many bytes may be unread. */
  #isUnread(bytes: number): boolean {
    const isAhead = bytes >= 0 && bytes <= this.#size && this.#end <= LARGEST_POSITION;
    return isAhead && bytes % 8 === 0 && this.#end % 8 === 0;
  }

  /**
   * The first word of a record's header; negative while it is being written, as BPF_RINGBUF_BUSY_BIT is the sign.
   * The record's bytes are read behind it: an atomic load says so to machines that may turn them round, and costs as much as the rest.
   */
  #headerAt(at: number): number {
    return this.#ordered ? this.#headers[at >> 2]! : Atomics.load(this.#headers, at >> 2);
  }

  /** Gives read records back, as far as no lease holds them. Returns whether there were any. */
  #commit(): boolean {
    if (this.#uncommitted === 0 || this.closed) return false;
    const before = this.#position - this.#uncommitted;
    let position = this.#position;
    for (const lease of this.#leases) position = Math.min(position, lease.position);
    if (position === before) return false;
    storePosition(this.#consumer, position);
    this.#uncommitted = this.#position - position;
    return true;
  }

  /** The record that was stepped to. A copy: what is taken does not change under the reader's hands. */
  #decode(): T {
    const record = this.#record;
    if (record === undefined) return this.#data.slice(this.#start, this.#start + this.#length) as T;
    this.#checkLength(record);
    return record.decode(this.#memory, this.#start);
  }

  #checkLength({ name, size }: Codec<T>): void {
    if (this.#length >= size) return;
    const position = this.#position - recordBytes(this.#length);
    throw this.#error(`a record has ${this.#length} bytes; ${name} needs ${size}`, position);
  }

  #makeView() {
    const place: Place = { memory: this.#memory, start: EXPIRED };
    return { place, ...viewOf(place, this.#record) };
  }

  #lostInAll(): number {
    const value = this.#lost?.get(0) ?? 0;
    return typeof value === "object" ? value.reduce((sum: number, count) => sum + Number(count), 0) : Number(value);
  }

  #error(what: string, position = this.#position): RingBufferError {
    const where = `ring buffer "${this.name}" of ${this.#size} bytes, at position ${position}`;
    return new RingBufferError(`${where}: ${what}`, position);
  }
}

/** A record that stays in the ring until it is released. */
export class Lease<T = Uint8Array> implements Disposable {
  /** Where the record's header begins, in bytes since the ring was made. */
  readonly position: number;
  readonly #leased: Leased<T>;
  #released = false;

  /** Made by `RingBuffer.lease`. */
  constructor(leased: Leased<T>) {
    this.position = leased.position;
    this.#leased = leased;
  }

  /**
   * The record's bytes, in the ring itself. Later records overwrite them once the lease is released.
   *
   * @throws RingBufferError when it has been released
   */
  get bytes(): Uint8Array {
    if (!this.#released) return this.#leased.bytes;
    throw new RingBufferError("the lease was released: its record's room belongs to later records", this.position);
  }

  /** The record, decoded anew each time; without a codec its bytes. */
  get record(): T {
    return this.#leased.decode(this.bytes);
  }

  /** Gives the record's room back to the program. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#leased.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

interface Leased<T> {
  readonly bytes: Uint8Array;
  readonly position: number;
  readonly decode: (bytes: Uint8Array) => T;
  readonly release: () => void;
}
