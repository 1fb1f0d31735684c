// The elements of a map through bpf(2), typed by codecs: one at a time, many at once, or walked.
// Linux: kernel/bpf/syscall.c (map_lookup_elem, generic_map_update_batch, …)

import { type Codec, CodecError } from "../../codec/codec.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Attr } from "../../uapi/attr.ts";
import * as commands from "../../uapi/commands.ts";
import { ENOENT } from "../../uapi/errno.ts";
import { BPF_ANY } from "../../uapi/flags.ts";
import type { MapInfo } from "../../uapi/info.ts";
import { checkNumbers } from "../arguments.ts";
import { BpfError, failed } from "../errors.ts";
import { explainElement } from "./explain-element.ts";

/** A codec whose values are read in another form than they are written: a program is written as its descriptor and read as its id. */
export interface ValueCodec<Read, Written = Read> extends Pick<Codec<Read>, "name" | "size" | "align" | "decode"> {
  encode(value: Written, view: DataView, offset: number): void;
}

/** The map that elements are of. */
export interface ElementsOwner {
  readonly kernel: Kernel;
  readonly fd: number;
  readonly info: MapInfo;
}

type ElementCommand =
  | typeof commands.BPF_MAP_LOOKUP_ELEM
  | typeof commands.BPF_MAP_UPDATE_ELEM
  | typeof commands.BPF_MAP_DELETE_ELEM
  | typeof commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM
  | typeof commands.BPF_MAP_GET_NEXT_KEY;

/** Commands on elements. What a map's type has of them, its class shows. */
export class Elements<K, V, W = V> {
  readonly key: Codec<K>;
  readonly value: ValueCodec<V, W>;
  readonly owner: ElementsOwner;
  readonly #keyView: DataView;
  readonly #valueView: DataView;
  readonly #keyBytes: Uint8Array;
  /** How often the buffers were used. */
  #runs = 0;
  readonly #attr: { map_fd: number; key: Uint8Array; value: Uint8Array; flags: number };

  constructor(owner: ElementsOwner, key: Codec<K>, value: ValueCodec<V, W>) {
    this.owner = owner;
    this.key = key;
    this.value = value;
    this.#keyBytes = new Uint8Array(key.size);
    const valueBytes = new Uint8Array(value.size);
    this.#keyView = new DataView(this.#keyBytes.buffer);
    this.#valueView = new DataView(valueBytes.buffer);
    this.#attr = { map_fd: owner.fd, key: this.#keyBytes, value: valueBytes, flags: 0 };
  }

  get(key: K, flags: number): V | undefined {
    this.key.encode(key, this.#keyView, 0);
    return this.#run(commands.BPF_MAP_LOOKUP_ELEM, flags) ? this.value.decode(this.#valueView, 0) : undefined;
  }

  has(key: K): boolean {
    this.key.encode(key, this.#keyView, 0);
    return this.#run(commands.BPF_MAP_LOOKUP_ELEM, 0);
  }

  /** Throws ENOENT, unlike the others: a key that BPF_EXIST wants is not there. */
  set(key: K, value: W, flags: number): void {
    const runs = this.#runs;
    this.key.encode(key, this.#keyView, 0);
    this.value.encode(value, this.#valueView, 0);
    // A getter in key or value that asks the same map has used the buffers in between.
    if (this.#runs === runs) this.#update(flags);
    else new Elements(this.owner, this.key, this.value).set(key, value, flags);
  }

  delete(key: K): boolean {
    this.key.encode(key, this.#keyView, 0);
    return this.#run(commands.BPF_MAP_DELETE_ELEM, 0);
  }

  take(key: K, flags: number): V | undefined {
    this.key.encode(key, this.#keyView, 0);
    return this.#run(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, flags)
      ? this.value.decode(this.#valueView, 0)
      : undefined;
  }

  /** Writes the key behind `key` into `next`, the first where it is null. False behind the last. */
  keyAfter(key: Uint8Array | null, next: Uint8Array): boolean {
    const attr = { map_fd: this.owner.fd, key, next_key: next };
    const result = this.owner.kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, attr);
    if (result === -ENOENT) return false;
    if (result < 0) throw this.#failed(result, commands.BPF_MAP_GET_NEXT_KEY, 0);
    return true;
  }

  /** Key and value by the key's own bytes, whose padding need not be zero. */
  entryOf(key: Uint8Array, flags: number): [K, V] | undefined {
    this.#keyBytes.set(key);
    if (!this.#run(commands.BPF_MAP_LOOKUP_ELEM, flags)) return undefined;
    return [this.key.decode(this.#keyView, 0), this.value.decode(this.#valueView, 0)];
  }

  /**
   * Writes many elements. BPF_MAP_UPDATE_BATCH; the elements that it refuses, or all where the type has no such command, one by one.
   *
   * @returns how many were written
   * @throws BpfError with `count`, how many were written before the element that failed
   */
  setMany(entries: Iterable<readonly [K, W]>, flags: number): number {
    return this.#many(commands.BPF_MAP_UPDATE_BATCH, entries, flags, () => {
      this.#update(flags);
      return true;
    });
  }

  /** Removes many keys, as `setMany` writes; keys that are not there are passed over. BPF_MAP_DELETE_BATCH. */
  deleteMany(keys: Iterable<K>): number {
    const entries = (function* () {
      for (const key of keys) yield [key] as const;
    })();
    return this.#many(commands.BPF_MAP_DELETE_BATCH, entries, 0, () => this.#run(commands.BPF_MAP_DELETE_ELEM, 0));
  }

  /** Chunks of encoded entries, each to be written by one command; `one` does the work of the command for a single element. */
  #many(
    command: typeof commands.BPF_MAP_UPDATE_BATCH | typeof commands.BPF_MAP_DELETE_BATCH,
    entries: Iterable<readonly [K, W] | readonly [K]>,
    flags: number,
    one: () => boolean,
  ): number {
    checkFlags(flags, command, this.owner);
    const keySize = this.key.size;
    const valueSize = command === commands.BPF_MAP_UPDATE_BATCH ? this.value.size : 0;
    const room = batchRoom(keySize + valueSize, CHUNK);
    const keys = new DataView(new ArrayBuffer(room * keySize));
    const values = new DataView(new ArrayBuffer(room * valueSize));
    let done = 0;
    let seen = 0;
    let filled = 0;
    const flush = (): void => {
      const attr: Attr<typeof command> = {
        map_fd: this.owner.fd,
        keys: new Uint8Array(keys.buffer, 0, filled * keySize),
        values: new Uint8Array(values.buffer, 0, filled * valueSize),
        count: filled,
        elem_flags: flags,
      };
      const result = this.owner.kernel.bpf(command, attr);
      // Where a batch fails, the kernel has written how many it did; unless it failed before the first.
      const whole = result >= 0 ? filled : countOf(attr, filled);
      done += whole;
      for (let at = whole; at < filled; at++) {
        this.#keyBytes.set(new Uint8Array(keys.buffer, at * keySize, keySize));
        this.#attr.value.set(new Uint8Array(values.buffer, at * valueSize, valueSize));
        if (one()) done++;
      }
      filled = 0;
    };
    try {
      for (const entry of entries) {
        encodeEntry(seen++, () => {
          this.key.encode(entry[0], keys, filled * keySize);
          if (valueSize > 0) this.value.encode(entry[1] as W, values, filled * valueSize);
        });
        if (++filled === room) flush();
      }
      if (filled > 0) flush();
    } catch (error) {
      if (error instanceof BpfError) error.count = done;
      throw error;
    }
    return done;
  }

  /** A command on the key that is encoded already. False where it is not there. */
  #run(command: Exclude<ElementCommand, typeof commands.BPF_MAP_GET_NEXT_KEY>, flags: number): boolean {
    this.#runs++;
    const attr = this.#attr;
    attr.map_fd = this.owner.fd;
    if (flags !== 0) checkFlags(flags, command, this.owner);
    attr.flags = flags;
    const result = this.owner.kernel.bpf(command, attr);
    if (result >= 0) return true;
    if (result === -ENOENT) return false;
    throw this.#failed(result, command, flags);
  }

  #update(flags: number): void {
    this.#runs++;
    const attr = this.#attr;
    attr.map_fd = this.owner.fd;
    if (flags !== BPF_ANY) checkFlags(flags, commands.BPF_MAP_UPDATE_ELEM, this.owner);
    attr.flags = flags;
    const result = this.owner.kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, attr);
    if (result < 0) throw this.#failed(result, commands.BPF_MAP_UPDATE_ELEM, flags);
  }

  #failed(result: number, command: number, flags: number): BpfError {
    return failure(this.owner, result, { command, key: this.#keyBytes, flags });
  }
}

/** The error of a command on a map's elements that answered -errno. */
export function failure(
  { info }: Pick<ElementsOwner, "info">,
  result: number,
  asked: { readonly command: number; readonly key?: Uint8Array; readonly flags?: number },
): BpfError {
  const hint = explainElement(-result, { flags: 0, ...asked, info });
  return failed(-result, asked.command, { subject: info.name, ...(hint === undefined ? {} : { hint }) });
}

/** Entries of the largest batch, and bytes: those that a walk or a write holds at once. */
const CHUNK = 4096;
const CHUNK_BYTES = 1 << 20;

/** How many entries of `bytes` a batch holds: `wanted`, unless that took too much memory. */
export const batchRoom = (bytes: number, wanted: number): number =>
  Math.max(1, Math.min(wanted, Math.floor(CHUNK_BYTES / Math.max(1, bytes))));

/** How many elements a batch did that failed: the kernel leaves `count` as it was where it failed before the first. */
export const countOf = ({ count = 0 }: { count?: number }, asked: number): number => (count < asked ? count : 0);

function checkFlags(flags: number, command: number, { info }: ElementsOwner): void {
  checkNumbers({ flags }, { command, subject: info.name });
}

/** Encodes one of many entries; an error says which. */
function encodeEntry(index: number, encode: () => void): void {
  try {
    encode();
  } catch (error) {
    throw error instanceof CodecError ? error.at(`[${index}]`) : error;
  }
}
