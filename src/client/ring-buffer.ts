// The reader of a ring buffer: records are taken from the memory that program and reader share.
// Linux: Documentation/bpf/ringbuf.rst, kernel/bpf/ringbuf.c

import type { Codec } from "../codec/codec.ts";
import type { Kernel, Mapping } from "../kernel/kernel.ts";
import { BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ } from "../uapi/flags.ts";
import { BpfError } from "./errors.ts";

export interface RingBufferOptions<T> {
  /** How a record is decoded; without it, a record is its bytes. */
  readonly record?: Codec<T>;
  /** Ends the reading: a waiting read and an iteration end as if closed. */
  readonly signal?: AbortSignal;
  /** The map's name, for messages. */
  readonly name?: string;
}

/** A ring buffer whose memory says what cannot be: a record longer than the buffer or than its codec reads. */
export class RingBufferError extends Error {
  override readonly name = "RingBufferError";
  readonly code = "ERR_RING_BUFFER";
}

/** Takes records in order: at once with `drain`, or waiting with `read` and `for await`. */
export class RingBuffer<T = Uint8Array> implements AsyncIterable<T>, Disposable {
  readonly #kernel: Kernel;
  readonly #fd: number;
  readonly #options: RingBufferOptions<T>;
  readonly #size: number;
  readonly #mappings: readonly Mapping[];
  /** Consumer position: one 64-bit store, so that a program never sees half of it. */
  readonly #consumer: BigInt64Array;
  /** Producer position, as two halves. */
  readonly #producer: Int32Array;
  readonly #headers: Int32Array;
  readonly #data: Uint8Array;
  #position: number;
  #closed = false;
  readonly #waiting = new Set<(reason: Wake) => void>();
  /** Reads and iterations that are under way, and what watches for them. */
  #readers = 0;
  #watched: Disposable | undefined;
  /** Whether data came since somebody last waited for it. */
  #ready = false;
  readonly #onAbort = () => this.close();

  /** @param size the map's max_entries, bytes */
  constructor(kernel: Kernel, fd: number, size: number, options: RingBufferOptions<T> = {}) {
    this.#kernel = kernel;
    this.#fd = fd;
    this.#size = size;
    this.#options = options;
    const { pageSize } = kernel.system;
    const consumer = this.#map({ length: pageSize, writable: true });
    let rest: Mapping;
    try {
      // Behind the producer's page the data appears twice, so that a record is always in one piece.
      rest = this.#map({ offset: pageSize, length: pageSize + 2 * size });
    } catch (error) {
      consumer.unmap();
      throw error;
    }
    this.#mappings = [consumer, rest];
    this.#consumer = new BigInt64Array(consumer.bytes.buffer, consumer.bytes.byteOffset, 1);
    this.#producer = new Int32Array(rest.bytes.buffer, rest.bytes.byteOffset, 2);
    this.#data = rest.bytes.subarray(pageSize);
    this.#headers = new Int32Array(this.#data.buffer, this.#data.byteOffset, (2 * size) / 4);
    this.#position = Number(Atomics.load(this.#consumer, 0));
    if (options.signal?.aborted) this.close();
    else options.signal?.addEventListener("abort", this.#onAbort);
  }

  /** Takes the records that are there now; none while the oldest is still being written. */
  *drain(): IterableIterator<T> {
    for (let record = this.#take(); record !== undefined; record = this.#take()) yield record;
  }

  /**
   * Takes the next record, waiting for one.
   *
   * @param options.timeout milliseconds to wait; without it, for ever
   * @returns undefined when the time is over, after `flush` where nothing was there, and when the reader is closed
   * @throws RingBufferError where the shared memory holds no valid record
   */
  async read(options: { timeout?: number } = {}): Promise<T | undefined> {
    const there = this.#take();
    if (there !== undefined || this.#closed) return there;
    using _watch = this.#watch();
    const deadline = options.timeout === undefined ? undefined : performance.now() + options.timeout;
    for (;;) {
      const woken = await this.#wait(deadline);
      const record = this.#take();
      if (record !== undefined || woken === "end") return record;
    }
  }

  /** Wakes every waiting read: each takes what is there, or gives undefined. */
  flush(): void {
    this.#wake("end");
  }

  /** Records as they come, until the reader is closed or its signal aborts. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    if (this.#closed) return;
    using _watch = this.#watch();
    while (!this.#closed) {
      const record = await this.read();
      if (record !== undefined) yield record;
    }
  }

  /** Ends waiting reads and gives the mapped memory back. The map stays open. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.flush();
    for (const mapping of this.#mappings) mapping.unmap();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #take(): T | undefined {
    if (this.#closed) return undefined;
    const end = this.#producerPosition();
    while (this.#position < end) {
      const at = this.#position % this.#size;
      const header = Atomics.load(this.#headers, at / 4) >>> 0;
      if ((header & BPF_RINGBUF_BUSY_BIT) !== 0) return undefined;
      const length = header & ~BPF_RINGBUF_DISCARD_BIT;
      if (length + BPF_RINGBUF_HDR_SZ > this.#size) {
        throw this.#error(`the record at position ${this.#position} claims ${length} bytes`);
      }
      const start = at + BPF_RINGBUF_HDR_SZ;
      // A copy: what is taken must not change under the reader's hands.
      const bytes = (header & BPF_RINGBUF_DISCARD_BIT) === 0 ? this.#data.slice(start, start + length) : undefined;
      this.#position += roundUp8(length + BPF_RINGBUF_HDR_SZ);
      Atomics.store(this.#consumer, 0, BigInt(this.#position));
      if (bytes !== undefined) return this.#decode(bytes);
    }
    return undefined;
  }

  #decode(bytes: Uint8Array): T {
    const { record } = this.#options;
    if (record === undefined) return bytes as T;
    if (bytes.length < record.size) {
      throw this.#error(`a record has ${bytes.length} bytes; ${record.name} needs ${record.size}`);
    }
    return record.decode(new DataView(bytes.buffer), 0);
  }

  /** The low half is read again where the high half moved meanwhile. */
  #producerPosition(): number {
    for (;;) {
      const high = Atomics.load(this.#producer, 1);
      const low = Atomics.load(this.#producer, 0);
      if (Atomics.load(this.#producer, 1) === high) return (high >>> 0) * 2 ** 32 + (low >>> 0);
    }
  }

  /** Watches the map as long as somebody reads; a watch keeps the process alive. */
  #watch(): Disposable {
    if (this.#readers === 0) {
      const watch = this.#kernel.watch(this.#fd, () => {
        this.#ready = true;
        this.#wake("data");
      });
      if (typeof watch === "number") throw new BpfError(-watch, { syscall: "epoll_ctl", ...this.#subject() });
      this.#watched = watch;
    }
    this.#readers++;
    return {
      [Symbol.dispose]: () => {
        if (--this.#readers === 0) this.#watched?.[Symbol.dispose]();
      },
    };
  }

  /** Waits for data, the deadline (milliseconds of performance.now), or `flush`. */
  async #wait(deadline: number | undefined): Promise<Wake> {
    if (this.#ready) {
      this.#ready = false;
      return "data";
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    let wake: ((reason: Wake) => void) | undefined;
    try {
      return await new Promise<Wake>((resolve) => {
        wake = resolve;
        this.#waiting.add(resolve);
        if (deadline === undefined) return;
        const left = deadline - performance.now();
        timer = setTimeout(resolve, Math.min(Math.max(0, left), LONGEST_TIMER), left > LONGEST_TIMER ? "data" : "end");
      });
    } finally {
      clearTimeout(timer);
      if (wake !== undefined) this.#waiting.delete(wake);
      this.#ready = false;
    }
  }

  #wake(reason: Wake): void {
    for (const wake of this.#waiting) wake(reason);
  }

  #map(options: { length: number; offset?: number; writable?: boolean }): Mapping {
    const mapping = this.#kernel.mmap(this.#fd, options);
    if (typeof mapping !== "number") return mapping;
    throw new BpfError(-mapping, { syscall: "mmap", ...this.#subject() });
  }

  #subject(): { subject?: string } {
    return this.#options.name === undefined ? {} : { subject: this.#options.name };
  }

  #error(what: string): RingBufferError {
    return new RingBufferError(`ring buffer "${this.#options.name ?? ""}" of ${this.#size} bytes: ${what}`);
  }
}

/** Why a waiting read goes on: there may be data, or it shall end. */
type Wake = "data" | "end";

/** Milliseconds of the longest timer that there is. */
const LONGEST_TIMER = 2 ** 31 - 1;

const roundUp8 = (bytes: number): number => Math.ceil(bytes / 8) * 8;
