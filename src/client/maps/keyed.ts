// Maps with a value for each key: arrays, hashes, tries, and the types that are used like them.
// Linux: Documentation/bpf/map_array.rst, map_hash.rst, map_lpm_trie.rst, map_cgroup_storage.rst

import type { Codec } from "../../codec/codec.ts";
import { Elements, type ValueCodec } from "./elements.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";
import { fromJson, type Json, toJson } from "./json.ts";
import { type BatchCursor, type EntryBatch, MapEntries, readBatch, takeAll, type WalkOptions } from "./walk.ts";
import { type MapChange, type WatchOptions, watchEntries } from "./watch.ts";

/**
 * A map with a value for each key. For a per-CPU type the value is an array with one element a possible CPU.
 * `Written` is what is written where that differs from what is read.
 */
export class KeyedMap<K, V, Written = V> extends MapHandle implements Iterable<[K, V]> {
  protected readonly elements: Elements<K, V, Written>;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap, key: Codec<K>, value: ValueCodec<V, Written>) {
    super(opened);
    this.elements = new Elements(this, key, value);
  }

  /**
   * The value of a key, or undefined where the key is not there. BPF_MAP_LOOKUP_ELEM, Linux 3.18.
   *
   * @param flags BPF_F_LOCK (Linux 5.1): no program is writing the value while it is read; it has a struct bpf_spin_lock
   * @throws BpfError `EPERM` on a map opened for writing only, `EINVAL` for BPF_F_LOCK without a lock
   */
  get(key: K, flags = 0): V | undefined {
    return this.elements.get(key, flags);
  }

  /** Whether the key is there. BPF_MAP_LOOKUP_ELEM. */
  has(key: K): boolean {
    return this.elements.has(key);
  }

  /**
   * Writes the value of a key. BPF_MAP_UPDATE_ELEM, Linux 3.18.
   *
   * @param flags BPF_ANY (create or replace), BPF_NOEXIST (create only), BPF_EXIST (replace only); with BPF_F_LOCK
   *   (Linux 5.1) no program reads the value half written
   * @throws BpfError `E2BIG` where the map is full or the index too large, `EEXIST`, `ENOENT` by the flags,
   *   `EPERM` on a map that is frozen or opened for reading only
   */
  set(key: K, value: Written, flags = 0): this {
    this.elements.set(key, value, flags);
    return this;
  }

  /**
   * Writes many entries, thousands with each command. BPF_MAP_UPDATE_BATCH, Linux 5.6; where kernel or type has no batches, one by one.
   *
   * @returns how many entries were written: all
   * @throws BpfError as `set`; its `count` is how many entries were written before the one that failed
   * @example
   * map.setMany(new Map([[1, 10n], [2, 20n]]));
   */
  setMany(entries: Iterable<readonly [K, Written]>, flags = 0): number {
    return this.elements.setMany(entries, flags);
  }

  /**
   * Up to `count` entries by one command, and where the next begin. BPF_MAP_LOOKUP_BATCH, Linux 5.6.
   * A hash gives whole buckets: where the first has more entries, there are more than `count`.
   *
   * @param cursor `next` of the batch before; without it, from the beginning
   * @throws BpfError `ENOTSUPP` where kernel or type has no batches
   * @example
   * for (let page = map.getBatch(100); ; page = map.getBatch(100, page.next)) {
   *   print(page.entries);
   *   if (page.next === undefined) break;
   * }
   */
  getBatch(count: number, cursor?: BatchCursor, flags = 0): EntryBatch<K, V> {
    return readBatch(this.elements, count, cursor, flags);
  }

  /**
   * Keys and values, in the kernel's order. BPF_MAP_LOOKUP_BATCH, Linux 5.6: what one command has read is given out as it was then.
   * Where kernel or type has no batches, and with `batch: 1`, BPF_MAP_GET_NEXT_KEY, Linux 3.18.
   * The map may change meanwhile: the walk ends, and no key that stays is left out by batches.
   *
   * @throws IterationError key by key, after more than `maxEntries` steps, when changes keep sending the walk back to its start
   */
  entries(options?: WalkOptions): MapEntries<K, V> {
    return new MapEntries(this.elements, options);
  }

  *keys(options?: WalkOptions): IterableIterator<K> {
    for (const [key] of this.entries(options)) yield key;
  }

  *values(options?: WalkOptions): IterableIterator<V> {
    for (const [, value] of this.entries(options)) yield value;
  }

  [Symbol.iterator](): MapEntries<K, V> {
    return this.entries();
  }

  /** How many keys are there now. The kernel keeps no such number for all types, so the map is walked. */
  count(): number {
    let count = 0;
    for (const walk = this.entries(); !walk.next().done; ) count++;
    return count;
  }

  /**
   * What is added, changed and removed, found by reading the map again every `interval`. Changes between two readings are seen as one.
   * It ends when `signal` aborts, and when the map is closed.
   *
   * @param options.interval milliseconds; 1000 where absent
   * @param options.initial whether the entries that are there at the beginning come first, as added
   * @example
   * for await (const { type, key, value } of map.watch({ interval: 100, signal })) console.log(type, key, value);
   */
  watch(options?: WatchOptions): AsyncGenerator<MapChange<K, V>, void, undefined> {
    return watchEntries(this, options);
  }

  /** The entries as JSON has them: pairs of key and value, in which a u64 is a decimal string and bytes are an array of numbers. */
  toJSON(): [Json, Json][] {
    return Array.from(this.entries(), ([key, value]) => [toJson(key), toJson(value)]);
  }

  /**
   * Writes the entries that `toJSON` gave, of this or another map with the same keys and values.
   *
   * @throws CodecError where an entry does not fit; BpfError as `setMany`
   * @example
   * copy.fromJSON(JSON.parse(JSON.stringify(map)));
   */
  fromJSON(json: unknown, flags = 0): this {
    const { key, value } = this.elements;
    this.elements.setMany(fromJson<K, Written>(json, key, value), flags);
    return this;
  }

  protected override inspected(): Iterable<readonly [unknown, unknown]> {
    return this.entries({ batch: INSPECTED });
  }
}

/** Entries that are read at once for printing: a little more than are printed. */
const INSPECTED = 128;

/**
 * A map whose keys come and go, and whose entries are not taken: a trie. BPF_MAP_TYPE_LPM_TRIE, Linux 4.11; and those that hold
 * references, such as BPF_MAP_TYPE_DEVMAP.
 */
export class DeletableMap<K, V, Written = V> extends KeyedMap<K, V, Written> {
  /**
   * Removes a key. BPF_MAP_DELETE_ELEM, Linux 3.18.
   *
   * @returns whether the key was there
   * @throws BpfError `EPERM` on a map that is frozen or opened for reading only
   */
  delete(key: K): boolean {
    return this.elements.delete(key);
  }

  /**
   * Removes many keys; those that are not there are passed over. BPF_MAP_DELETE_BATCH, Linux 5.6; without it, one by one.
   *
   * @returns how many were there
   * @throws BpfError as `delete`; its `count` is how many were removed before the one that failed
   */
  deleteMany(keys: Iterable<K>): number {
    return this.elements.deleteMany(keys);
  }

  /** Removes all keys. */
  clear(): void {
    this.deleteMany([...this.keys()]);
  }
}

/**
 * A hash. BPF_MAP_TYPE_HASH, Linux 3.19; PERCPU_HASH, 4.6; LRU_HASH and LRU_PERCPU_HASH, 4.10,
 * which make room for a new key by removing one that was not used lately.
 */
export class HashMap<K, V> extends DeletableMap<K, V> {
  /**
   * Removes a key and gives its value, in one step. BPF_MAP_LOOKUP_AND_DELETE_ELEM, Linux 5.14 for hashes.
   *
   * @returns undefined where the key is not there
   * @throws BpfError `EPERM` on a map that is frozen or not opened for both; `ENOTSUPP` before Linux 5.14
   */
  take(key: K, flags = 0): V | undefined {
    return this.elements.take(key, flags);
  }

  /**
   * Removes all entries and gives them. BPF_MAP_LOOKUP_AND_DELETE_BATCH, Linux 5.6. No entry is lost or taken twice,
   * whoever writes meanwhile; entries that are added meanwhile may stay.
   */
  takeAll(flags = 0): [K, V][] {
    return takeAll(this.elements, flags);
  }
}
