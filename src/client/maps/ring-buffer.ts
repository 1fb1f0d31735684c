// Ring buffers as maps: what programs write and user space reads, and the other way round.
// Linux: Documentation/bpf/ringbuf.rst

import type { Codec } from "../../codec/codec.ts";
import { RingBuffer, type RingBufferOptions } from "../ring-buffer.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";

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
export class UserRingBufferMap extends MapHandle {
  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap) {
    super(opened);
  }
}
