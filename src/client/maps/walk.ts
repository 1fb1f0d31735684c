// Walks over a map: many entries with each command where kernel and type have batches, else key by key.
// Linux: kernel/bpf/hashtab.c (__htab_map_lookup_and_delete_batch), kernel/bpf/syscall.c (generic_map_lookup_batch)

import { shown } from "../../codec/codec.ts";
import * as commands from "../../uapi/commands.ts";
import { EINVAL, ENOENT, ENOSPC, ENOTSUPP } from "../../uapi/errno.ts";
import { checkNumbers } from "../arguments.ts";
import { IterationError } from "../errors.ts";
import { batchRoom, countOf, type Elements, failure } from "./elements.ts";

export interface WalkOptions {
  /**
   * How many entries are read with one command; 4096 where absent, fewer where entries are large. With 1, the walk goes key by key:
   * slower, but each value is as it is when its turn comes, and a key that was deleted meanwhile is left out.
   */
  readonly batch?: number;
  /** BPF_F_LOCK, to read values whole that have a spin lock. */
  readonly flags?: number;
}

/** Where reading in batches goes on: what the kernel gave as `out_batch`. */
export type BatchCursor = Uint8Array;

export interface EntryBatch<K, V> {
  readonly entries: [K, V][];
  /** Where the next batch begins; undefined behind the last. */
  readonly next: BatchCursor | undefined;
}

/** Entries of a batch that nobody asked a size for. */
const DEFAULT_BATCH = 4096;

/** A walk over a map, from its beginning to its end. */
export class MapEntries<K, V> implements IterableIterator<[K, V]> {
  /** Keys that vanished between being named and being read; only walks key by key meet them. */
  skipped = 0;
  readonly #elements: Elements<K, V, never>;
  readonly #flags: number;
  /** Undefined where the walk goes key by key. */
  #batches: BatchWalk<K, V> | undefined;
  /** Whether the next key has been asked for. */
  #started = false;
  #next: Uint8Array | undefined;
  #spare: Uint8Array;
  #steps = 0;

  constructor(elements: Elements<K, V, never>, { batch = DEFAULT_BATCH, flags = 0 }: WalkOptions = {}) {
    const { info } = elements.owner;
    checkNumbers({ batch, flags }, { command: commands.BPF_MAP_LOOKUP_BATCH, subject: info.name });
    this.#elements = elements;
    this.#flags = flags;
    this.#spare = new Uint8Array(elements.key.size);
    if (batch > 1) {
      this.#batches = new BatchWalk(elements, commands.BPF_MAP_LOOKUP_BATCH, Math.min(batch, info.max_entries), flags);
    }
  }

  /**
   * @throws IterationError after more than `maxEntries` steps from key to key, when changes keep sending the walk back to its start
   */
  next(): IteratorResult<[K, V], undefined> {
    if (this.#batches !== undefined) {
      const entry = this.#batches.next();
      if (entry !== undefined) return { done: false, value: entry };
      if (this.#batches.isSupported) return { done: true, value: undefined };
      this.#batches = undefined;
    }
    if (!this.#started) this.#advance(null);
    while (this.#next !== undefined) {
      const { info } = this.#elements.owner;
      // A map whose entries come and go with others' has no such number.
      if (info.max_entries > 0 && this.#steps++ >= info.max_entries) {
        throw new IterationError(
          `map "${info.name}": not at its end after ${info.max_entries} keys, because keys were deleted meanwhile; walk it again`,
        );
      }
      // The next key is read before this one is given out, whose deletion would send the walk back to the start.
      const entry = this.#elements.entryOf(this.#next, this.#flags);
      this.#advance(this.#next);
      if (entry !== undefined) return { done: false, value: entry };
      this.skipped++;
    }
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }

  #advance(key: Uint8Array | null): void {
    this.#started = true;
    const next = this.#spare;
    this.#spare = key ?? new Uint8Array(next.length);
    this.#next = this.#elements.keyAfter(key, next) ? next : undefined;
  }
}

/** Up to `count` entries from a cursor on, by one command. */
export function readBatch<K, V>(
  elements: Elements<K, V, never>,
  count: number,
  cursor: BatchCursor | undefined,
  flags: number,
): EntryBatch<K, V> {
  checkNumbers({ count, flags }, { command: commands.BPF_MAP_LOOKUP_BATCH, subject: elements.owner.info.name });
  if (cursor !== undefined && !(cursor instanceof Uint8Array)) {
    throw new TypeError(`a cursor is the \`next\` of the batch before; got ${shown(cursor)}`);
  }
  const walk = new BatchWalk(elements, commands.BPF_MAP_LOOKUP_BATCH, count, flags, cursor);
  const entries = walk.read();
  if (!walk.isSupported) throw failure(elements.owner, -ENOTSUPP, { command: commands.BPF_MAP_LOOKUP_BATCH });
  return { entries, next: walk.cursor };
}

/** Takes all entries out of a map: in batches, or key by key where the kernel has no such batches. */
export function takeAll<K, V>(elements: Elements<K, V, never>, flags: number): [K, V][] {
  const { info } = elements.owner;
  checkNumbers({ flags }, { command: commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH, subject: info.name });
  const command = commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH;
  const taken: [K, V][] = [];
  const walk = new BatchWalk(elements, command, Math.min(DEFAULT_BATCH, info.max_entries), flags);
  for (let entry = walk.next(); entry !== undefined; entry = walk.next()) taken.push(entry);
  if (walk.isSupported) return taken;
  for (const [key] of new MapEntries(elements, { batch: 1, flags })) {
    const value = elements.take(key, flags);
    if (value !== undefined) taken.push([key, value]);
  }
  return taken;
}

type BatchCommand = typeof commands.BPF_MAP_LOOKUP_BATCH | typeof commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH;

/** Batches of one walk. A hash gives whole buckets: where one does not fit, the batch grows. */
class BatchWalk<K, V> {
  /** False once the kernel has answered that it has no such batches for the type. */
  isSupported = true;
  /** Where the next batch begins; undefined at the beginning, and behind the end. */
  cursor: BatchCursor | undefined;
  readonly #elements: Elements<K, V, never>;
  readonly #command: BatchCommand;
  readonly #flags: number;
  #room: number;
  #keys!: DataView;
  #values!: DataView;
  #filled = 0;
  #at = 0;
  #ended = false;

  constructor(
    elements: Elements<K, V, never>,
    command: BatchCommand,
    count: number,
    flags: number,
    cursor?: BatchCursor,
  ) {
    this.#elements = elements;
    this.#command = command;
    this.#flags = flags;
    this.cursor = cursor;
    this.#room = batchRoom(elements.key.size + elements.value.size, Math.max(1, count));
    this.#allocate();
  }

  next(): [K, V] | undefined {
    while (this.#at === this.#filled) {
      if (this.#ended) return undefined;
      this.#fill();
    }
    const { key, value } = this.#elements;
    const at = this.#at++;
    return [key.decode(this.#keys, at * key.size), value.decode(this.#values, at * value.size)];
  }

  /** The entries of one batch. */
  read(): [K, V][] {
    this.#fill();
    const entries: [K, V][] = [];
    while (this.#at < this.#filled) entries.push(this.next()!);
    return entries;
  }

  #fill(): void {
    const { owner } = this.#elements;
    for (;;) {
      const out = new Uint8Array(Math.max(CURSOR, owner.info.key_size));
      const attr = {
        map_fd: owner.fd,
        in_batch: this.cursor ?? null,
        out_batch: out,
        keys: new Uint8Array(this.#keys.buffer),
        values: new Uint8Array(this.#values.buffer),
        count: this.#room,
        elem_flags: this.#flags,
      };
      const result = owner.kernel.bpf(this.#command, attr);
      // A bucket has at most all entries, and a few more while they are being replaced.
      if (result === -ENOSPC && this.#room < 2 * owner.info.max_entries + SLACK) {
        this.#room *= 2;
        this.#allocate();
        continue;
      }
      this.#at = 0;
      this.#filled = 0;
      if ((result === -EINVAL || result === -ENOTSUPP) && this.cursor === undefined) {
        this.isSupported = false;
        this.#ended = true;
        return;
      }
      // ENOENT is the end; the batch that meets it has entries all the same.
      if (result < 0 && result !== -ENOENT)
        throw failure(owner, result, { command: this.#command, flags: this.#flags });
      this.#filled = result < 0 ? countOf(attr, this.#room + 1) : attr.count;
      this.#ended = result < 0;
      this.cursor = this.#ended ? undefined : out;
      return;
    }
  }

  #allocate(): void {
    const { key, value } = this.#elements;
    this.#keys = new DataView(new ArrayBuffer(this.#room * key.size));
    this.#values = new DataView(new ArrayBuffer(this.#room * value.size));
  }
}

/** Bytes of a hash's cursor: a u32, the number of a bucket. That of other types is a key. */
const CURSOR = 4;

const SLACK = 64;
