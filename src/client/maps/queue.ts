// Maps without keys: queues and stacks, and bloom filters.
// Linux: Documentation/bpf/map_queue_stack.rst, map_bloom_filter.rst

import type { Codec } from "../../codec/codec.ts";
import * as commands from "../../uapi/commands.ts";
import { ENOENT } from "../../uapi/errno.ts";
import { checkNumbers } from "../arguments.ts";
import { failure } from "./elements.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";

type ValueCommand =
  | typeof commands.BPF_MAP_LOOKUP_ELEM
  | typeof commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM
  | typeof commands.BPF_MAP_UPDATE_ELEM;

/** A map of values alone. */
abstract class KeylessMap<V> extends MapHandle {
  protected readonly value: Codec<V>;
  readonly #attr: { map_fd: number; key: null; value: Uint8Array; flags: number };
  readonly #view: DataView;

  constructor(opened: OpenedMap, value: Codec<V>) {
    super(opened);
    this.value = value;
    this.#attr = { map_fd: opened.fd, key: null, value: new Uint8Array(value.size), flags: 0 };
    this.#view = new DataView(this.#attr.value.buffer);
  }

  /** Encodes a value and runs a command with it. False for ENOENT. */
  protected give(command: ValueCommand, value: V, flags: number): boolean {
    this.value.encode(value, this.#view, 0);
    return this.#run(command, flags);
  }

  /** Runs a command and decodes the value that it gives. Undefined for ENOENT. */
  protected obtain(command: ValueCommand): V | undefined {
    return this.#run(command, 0) ? this.value.decode(this.#view, 0) : undefined;
  }

  #run(command: ValueCommand, flags: number): boolean {
    if (flags !== 0) checkNumbers({ flags }, { command, subject: this.name });
    this.#attr.map_fd = this.fd;
    this.#attr.flags = flags;
    const result = this.kernel.bpf(command, this.#attr);
    if (result >= 0) return true;
    if (result === -ENOENT) return false;
    throw failure(this, result, { command, flags });
  }
}

/**
 * First in, first out: BPF_MAP_TYPE_QUEUE; or last in, first out: BPF_MAP_TYPE_STACK. Both Linux 4.20.
 *
 * @example
 * using queue = BpfMap.create(kernel, { type: "queue", value: u32, maxEntries: 8 });
 * queue.push(1).push(2);
 * queue.pop(); // 1
 */
export class QueueMap<V> extends KeylessMap<V> {
  /**
   * Adds a value. BPF_MAP_UPDATE_ELEM.
   *
   * @param flags BPF_EXIST: where the map is full, the oldest value makes room
   * @throws BpfError `E2BIG` where the map is full; `EPERM` on a map that is frozen or opened for reading only
   */
  push(value: V, flags = 0): this {
    this.give(commands.BPF_MAP_UPDATE_ELEM, value, flags);
    return this;
  }

  /**
   * Takes the next value out; undefined where there is none. BPF_MAP_LOOKUP_AND_DELETE_ELEM.
   *
   * @throws BpfError `EPERM` on a map that is frozen, or opened for reading or writing only
   */
  pop(): V | undefined {
    return this.obtain(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM);
  }

  /** The next value, which stays; undefined where there is none. BPF_MAP_LOOKUP_ELEM. */
  peek(): V | undefined {
    return this.obtain(commands.BPF_MAP_LOOKUP_ELEM);
  }

  /** Takes values out until there are none; errors as `pop`. */
  *drain(): IterableIterator<V> {
    for (let value = this.pop(); value !== undefined; value = this.pop()) yield value;
  }
}

/**
 * A set that may take a value for one of its own, and never misses one. BPF_MAP_TYPE_BLOOM_FILTER, Linux 5.16.
 *
 * @example
 * using seen = BpfMap.create(kernel, { type: "bloom_filter", value: u32, maxEntries: 1000, hashes: 5 });
 * seen.add(7).has(7); // true
 */
export class BloomFilterMap<V> extends KeylessMap<V> {
  /** Hash functions that each value is marked with. */
  get hashes(): number {
    return Number(this.info.map_extra) & 0xf || DEFAULT_HASHES;
  }

  /**
   * Adds a value; it cannot be removed. More values than max_entries make it err more often. BPF_MAP_UPDATE_ELEM.
   *
   * @throws BpfError `EPERM` on a map that is frozen or opened for reading only
   */
  add(value: V): this {
    this.give(commands.BPF_MAP_UPDATE_ELEM, value, 0);
    return this;
  }

  /** Whether the value may have been added; where false, it was not. BPF_MAP_LOOKUP_ELEM. */
  has(value: V): boolean {
    return this.give(commands.BPF_MAP_LOOKUP_ELEM, value, 0);
  }
}

/** What the kernel takes where `map_extra` is 0. */
const DEFAULT_HASHES = 5;
