// The writer of a user ring buffer: samples from user space, which a program takes with bpf_user_ringbuf_drain.
// Linux: kernel/bpf/ringbuf.c

import { type Codec, CodecError, shown } from "../codec/codec.ts";
import type { Kernel, Mapping } from "../kernel/kernel.ts";
import { BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ } from "../uapi/flags.ts";
import { mapRing, recordBytes } from "./map-shared.ts";
import { loadPosition, storePosition } from "./position.ts";
import { RingBufferError } from "./ring-buffer.ts";
import { deadlineOf, Waiter, type WaitOptions } from "./waiter.ts";

export interface UserRingBufferOptions<T> {
  /** How a sample is encoded; without it, a sample is its bytes. */
  readonly record?: Codec<T>;
  /** The map's name, for messages. */
  readonly name?: string;
}

/**
 * Writes samples. BPF_MAP_TYPE_USER_RINGBUF, Linux 6.1. A ring has one writer: two overwrite each other's samples.
 *
 * @example
 * using writer = new UserRingBuffer(kernel, map.fd, map.maxEntries, { record: u64 });
 * if (!writer.send(1234n)) await writer.write(1234n, { timeout: 100 });
 */
export class UserRingBuffer<T = Uint8Array> implements Disposable {
  readonly #name: string;
  readonly #record: Codec<T> | undefined;
  readonly #size: number;
  readonly #mappings: readonly Mapping[];
  readonly #consumer: Int32Array;
  readonly #producer: Int32Array;
  readonly #headers: Int32Array;
  readonly #data: Uint8Array;
  readonly #waiter: Waiter;
  #position: number;
  #closed = false;

  /**
   * @param size the map's max_entries, bytes
   * @throws BpfError `EBADF`, `EINVAL` where `fd` is no user ring buffer of this size, `EPERM` without access
   */
  constructor(kernel: Kernel, fd: number, size: number, { record, name = "" }: UserRingBufferOptions<T> = {}) {
    this.#name = name;
    this.#record = record;
    this.#size = size;
    const { mappings, consumer, producer, data, headers } = mapRing(kernel, fd, name, size, "producer");
    this.#mappings = mappings;
    this.#consumer = consumer;
    this.#producer = producer;
    this.#data = data;
    this.#headers = headers;
    this.#position = loadPosition(this.#producer);
    this.#waiter = new Waiter(kernel, [fd], "writable", name);
  }

  /** Bytes that no sample takes; a sample takes its own, rounded up to 8, and 8 more. 0 when it is closed. */
  get available(): number {
    if (this.#closed) return 0;
    const used = this.#position - loadPosition(this.#consumer);
    if (used >= 0 && used <= this.#size && used % 8 === 0 && this.#position % 8 === 0) return this.#size - used;
    const consumer = this.#position - used;
    throw this.#error(
      `the consumer is at ${consumer}, where it is at most ${this.#size} bytes behind, at a multiple of 8`,
    );
  }

  /**
   * Makes room for a sample. The program gets no sample behind it until it is submitted or discarded.
   *
   * @returns undefined where there is no room now, and when the writer is closed
   * @throws RingBufferError where the ring is smaller than the sample, or its memory says what cannot be
   */
  reserve(bytes: number): UserSample | undefined {
    if (
      !(Number.isInteger(bytes) && bytes >= 0 && bytes < BPF_RINGBUF_DISCARD_BIT && recordBytes(bytes) <= this.#size)
    ) {
      throw this.#error(`a sample has at most ${this.#size - BPF_RINGBUF_HDR_SZ} bytes; got ${bytes}`);
    }
    if (this.#closed || this.available < recordBytes(bytes)) return undefined;
    const at = this.#position & (this.#size - 1);
    // The header must say busy before the producer's position says that it is there.
    Atomics.store(this.#headers, at / 4 + 1, 0);
    Atomics.store(this.#headers, at / 4, bytes | BPF_RINGBUF_BUSY_BIT);
    this.#position += recordBytes(bytes);
    storePosition(this.#producer, this.#position);
    const start = at + BPF_RINGBUF_HDR_SZ;
    return new UserSample(this.#data.subarray(start, start + bytes), (discarded) => {
      Atomics.store(this.#headers, at / 4, bytes | (discarded ? BPF_RINGBUF_DISCARD_BIT : 0));
    });
  }

  /**
   * Writes a sample, where there is room now.
   *
   * @returns whether there was
   * @throws CodecError where the value does not fit; RingBufferError as `reserve`
   */
  send(value: T): boolean {
    const bytes = this.#encode(value);
    const sample = this.reserve(bytes.length);
    if (sample === undefined) return false;
    sample.bytes.set(bytes);
    sample.submit();
    return true;
  }

  /**
   * Writes a sample, waiting for room. A program that drains with BPF_RB_NO_WAKEUP wakes nobody: give a timeout then.
   *
   * @returns whether it was written; false when the time is over, the signal aborts, or the writer is closed
   */
  async write(value: T, options: WaitOptions = {}): Promise<boolean> {
    if (this.send(value)) return true;
    if (this.#closed) return false;
    using _hold = this.#waiter.hold();
    const deadline = deadlineOf(options);
    for (;;) {
      const woken = await this.#waiter.wait(deadline, options.signal);
      if (this.send(value)) return true;
      if (woken === "end") return false;
    }
  }

  /** Ends waiting writes, and gives the mapped memory back. Samples that were submitted stay for the program. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiter.end();
    for (const mapping of this.#mappings) mapping.unmap();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #encode(value: T): Uint8Array {
    const record = this.#record;
    if (record === undefined) {
      if (value instanceof Uint8Array) return value;
      throw new CodecError(`a sample without a codec is a Uint8Array; got ${shown(value)}`);
    }
    const bytes = new Uint8Array(record.size);
    record.encode(value, new DataView(bytes.buffer), 0);
    return bytes;
  }

  #error(what: string): RingBufferError {
    const at = this.#position;
    return new RingBufferError(
      `user ring buffer "${this.#name}" of ${this.#size} bytes, at position ${at}: ${what}`,
      at,
    );
  }
}

/** Room for a sample in a user ring buffer. Disposing of it discards it where it was not submitted. */
export class UserSample implements Disposable {
  /** The room itself, with what was there before. */
  readonly bytes: Uint8Array;
  readonly #finish: (discarded: boolean) => void;
  #finished = false;

  /** Made by `UserRingBuffer.reserve`. */
  constructor(bytes: Uint8Array, finish: (discarded: boolean) => void) {
    this.bytes = bytes;
    this.#finish = finish;
  }

  /** Gives the sample to the program. Its bytes must not be written any more. */
  submit(): void {
    this.#end(false);
  }

  /** Takes the sample back: the program passes over it. */
  discard(): void {
    this.#end(true);
  }

  [Symbol.dispose](): void {
    this.discard();
  }

  #end(discarded: boolean): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#finish(discarded);
  }
}
