// Buffers of events as maps: what programs write and user space reads, and the other way round.
// Linux: Documentation/bpf/ringbuf.rst, kernel/events/ring_buffer.c

import type { Codec } from "../../codec/codec.ts";
import { u32 } from "../../codec/scalars.ts";
import { PerfBuffer, type PerfBufferOptions } from "../perf-buffer.ts";
import { RingBuffer, type RingBufferOptions } from "../ring-buffer.ts";
import { UserRingBuffer, type UserRingBufferOptions } from "../user-ring-buffer.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";
import { WriteOnlyMap } from "./references.ts";

/** A ring buffer: records that programs write, and readers take in order. BPF_MAP_TYPE_RINGBUF, Linux 5.8. */
export class RingBufferMap<T = Uint8Array> extends MapHandle {
  readonly #record: Codec<T> | undefined;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap, record: Codec<T> | undefined) {
    super(opened);
    this.#record = record;
  }

  /**
   * A reader. A ring buffer has one place of reading: two readers take records from each other.
   *
   * @example
   * for await (const event of map.ringBuffer({ signal })) console.log(event);
   */
  ringBuffer(options?: Omit<RingBufferOptions<T>, "name">): RingBuffer<T>;
  ringBuffer<U>(options: Omit<RingBufferOptions<U>, "name"> & { record: Codec<U> }): RingBuffer<U>;
  ringBuffer(options: Omit<RingBufferOptions<unknown>, "name"> = {}): RingBuffer<unknown> {
    const record = options.record ?? this.#record;
    const named = { ...options, name: this.name };
    return new RingBuffer(this.kernel, this.fd, this.maxEntries, record === undefined ? named : { ...named, record });
  }
}

/** A ring buffer that user space writes and programs drain. BPF_MAP_TYPE_USER_RINGBUF, Linux 6.1. */
export class UserRingBufferMap<T = Uint8Array> extends MapHandle {
  readonly #record: Codec<T> | undefined;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap, record: Codec<T> | undefined) {
    super(opened);
    this.#record = record;
  }

  /**
   * A writer. A ring has one place of writing: two writers overwrite each other's samples.
   *
   * @example
   * using writer = map.userRingBuffer();
   * if (!writer.send(event)) await writer.write(event, { timeout: 100 });
   */
  userRingBuffer(options?: Omit<UserRingBufferOptions<T>, "name">): UserRingBuffer<T>;
  userRingBuffer<U>(options: { readonly record: Codec<U> }): UserRingBuffer<U>;
  userRingBuffer(options: Omit<UserRingBufferOptions<unknown>, "name"> = {}): UserRingBuffer<unknown> {
    const record = options.record ?? this.#record;
    const named = { name: this.name };
    const { kernel, fd, maxEntries } = this;
    return new UserRingBuffer(kernel, fd, maxEntries, record === undefined ? named : { ...named, record });
  }
}

/** Perf events, into whose buffers programs write with `bpf_perf_event_output`, one slot a CPU. BPF_MAP_TYPE_PERF_EVENT_ARRAY, Linux 4.3. */
export class PerfEventArrayMap<T = Uint8Array> extends WriteOnlyMap<number> {
  readonly #record: Codec<T> | undefined;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap, record: Codec<T> | undefined) {
    super(opened, u32);
    this.#record = record;
  }

  /**
   * A reader over all CPUs: it opens a buffer for each and puts it into its slot.
   *
   * @example
   * for await (const { record, cpu } of map.perfBuffer({ signal })) console.log(cpu, record);
   */
  perfBuffer(options?: Omit<PerfBufferOptions<T>, "name">): PerfBuffer<T>;
  perfBuffer<U>(options: Omit<PerfBufferOptions<U>, "name"> & { record: Codec<U> }): PerfBuffer<U>;
  perfBuffer(options: Omit<PerfBufferOptions<unknown>, "name"> = {}): PerfBuffer<unknown> {
    const record = options.record ?? this.#record;
    const named = { ...options, name: this.name };
    return new PerfBuffer(this.kernel, this.fd, this.maxEntries, record === undefined ? named : { ...named, record });
  }
}
