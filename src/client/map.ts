// Maps: created, opened by path, or adopted by file descriptor. The class of a map has the methods that its type has.
// Linux: man 2 bpf, Documentation/bpf/maps.rst

import { bytesAt, type Codec, CodecError, encodeAt, shown } from "../codec/codec.ts";
import type { Kernel } from "../kernel/kernel.ts";
import * as commands from "../uapi/commands.ts";
import { E2BIG, EINVAL, ENOENT, EPERM } from "../uapi/errno.ts";
import { BPF_ANY } from "../uapi/flags.ts";
import type { MapInfo } from "../uapi/info.ts";
import * as mapTypes from "../uapi/map-types.ts";
import { type NameOf, namesByNumber, numbersByName } from "../uapi/names.ts";
import { checkNumbers, checkText } from "./arguments.ts";
import { BpfError, check, IterationError, syscallName, UnsupportedError } from "./errors.ts";
import { explainMapCreate } from "./explain-map-create.ts";
import { closingOnFailure, Handle } from "./handle.ts";
import { checkIsMap, readMapInfo } from "./info.ts";
import { openPin } from "./pins.ts";
import { RingBuffer, type RingBufferOptions } from "./ring-buffer.ts";

type MapTypeName = NameOf<typeof mapTypes, "BPF_MAP_TYPE_">;
/** Types with a value for each key; the per-CPU ones with a value for each key and possible CPU. */
export type KeyedType = Extract<MapTypeName, "array" | "hash" | "percpu_array" | "percpu_hash">;

/** The class of the maps of a type. */
export type MapOfType<Type extends KeyedType, K, V> = Type extends "array"
  ? KeyedMap<K, V>
  : Type extends "percpu_array"
    ? KeyedMap<K, V[]>
    : Type extends "hash"
      ? HashMap<K, V>
      : HashMap<K, V[]>;

const numberOfType = numbersByName(mapTypes, "BPF_MAP_TYPE_");
const nameOfType = namesByNumber(mapTypes, "BPF_MAP_TYPE_");
const arrayTypes = new Set([mapTypes.BPF_MAP_TYPE_ARRAY, mapTypes.BPF_MAP_TYPE_PERCPU_ARRAY]);
const hashTypes = new Set([mapTypes.BPF_MAP_TYPE_HASH, mapTypes.BPF_MAP_TYPE_PERCPU_HASH]);
const perCpuTypes = new Set([mapTypes.BPF_MAP_TYPE_PERCPU_ARRAY, mapTypes.BPF_MAP_TYPE_PERCPU_HASH]);

interface CommonOptions {
  /** At most 15 characters of `[A-Za-z0-9_.]`. */
  readonly name?: string;
  readonly maxEntries: number;
  /** BPF_F_… of map creation. */
  readonly flags?: number;
  /** Memory node; the kernel looks at it only with BPF_F_NUMA_NODE in `flags`. */
  readonly numaNode?: number;
}

export interface KeyedOptions<K, V, Type extends KeyedType = KeyedType> extends CommonOptions {
  readonly type: Type;
  readonly key: Codec<K>;
  /** For a per-CPU type, the codec of one CPU's value. */
  readonly value: Codec<V>;
  /** BTF that describes key and value: a file descriptor and type ids. */
  readonly btf?: { readonly fd: number; readonly keyTypeId: number; readonly valueTypeId: number };
}

export interface RingBufferMapOptions<T = Uint8Array> extends Omit<CommonOptions, "maxEntries"> {
  readonly type: "ringbuf";
  /** Bytes of data; rounded up to a power of two that is a multiple of the page size. */
  readonly maxEntries: number;
  /** How a record is decoded; without it, a reader gives bytes. */
  readonly record?: Codec<T>;
}

/** How to read a map that is there already: `type` must be the map's. Without it, the map is an array or a hash whose keys are not deleted. */
type Opening<Options> = Pick<Options, Extract<keyof Options, "type" | "key" | "value" | "record">>;

/** A live map: a file descriptor, what the kernel says of it, and its life. */
export abstract class BpfMap extends Handle {
  /** What the kernel says of the map. BPF_OBJ_GET_INFO_BY_FD, at creation or opening. */
  readonly info: MapInfo;

  protected constructor(kernel: Kernel, fd: number, info: MapInfo) {
    super(kernel, fd);
    this.info = info;
  }

  /**
   * Creates a map. BPF_MAP_CREATE, Linux 3.18.
   *
   * @throws BpfError `EINVAL` where an attribute does not fit the type, `E2BIG` where a size is too large,
   *   `ENOMEM` where memory does not suffice, `EPERM` without CAP_BPF
   * @example
   * using map = BpfMap.create(kernel, { name: "my_array", type: "array", key: u32, value: u64, maxEntries: 100 });
   * map.set(1, 1234n);
   */
  static create<K, V, Type extends KeyedType>(kernel: Kernel, options: KeyedOptions<K, V, Type>): MapOfType<Type, K, V>;
  static create<T = Uint8Array>(kernel: Kernel, options: RingBufferMapOptions<T>): RingBufferMap<T>;
  static create(kernel: Kernel, options: AnyOptions): BpfMap {
    const type = numberOfType.get(options.type);
    if (type === undefined || !isSupported(type)) throw unsupportedType(options.type, options.name);
    const { name = "", maxEntries, flags, numaNode } = options;
    const purpose = { command: commands.BPF_MAP_CREATE, subject: options.name };
    checkText(name, "a map's name", purpose);
    checkNumbers({ maxEntries, flags, numaNode }, purpose);
    const ring = options.type === "ringbuf";
    const attr = {
      map_type: type,
      map_name: name,
      key_size: ring ? 0 : options.key.size,
      value_size: ring ? 0 : options.value.size,
      max_entries: ring ? roundUpRing(maxEntries, kernel.system.pageSize) : maxEntries,
      map_flags: flags ?? 0,
      numa_node: numaNode ?? 0,
      ...(ring || options.btf === undefined
        ? {}
        : {
            btf_fd: options.btf.fd,
            btf_key_type_id: options.btf.keyTypeId,
            btf_value_type_id: options.btf.valueTypeId,
          }),
    };
    const fd = kernel.bpf(commands.BPF_MAP_CREATE, attr);
    const hint = fd < 0 ? explainMapCreate(-fd, attr, kernel.system.pageSize) : undefined;
    check(fd, commands.BPF_MAP_CREATE, {
      ...(options.name === undefined ? {} : { subject: options.name }),
      ...(hint === undefined ? {} : { hint }),
    });
    return closingOnFailure(kernel, fd, () => make(kernel, fd, options));
  }

  /**
   * Opens a map that is pinned at `path`. BPF_OBJ_GET, Linux 4.4.
   *
   * @throws BpfError `ENOENT` where nothing is pinned there, `EACCES` without permission, `EINVAL` where it is no such map
   */
  static open<K, V, Type extends KeyedType>(
    kernel: Kernel,
    path: string,
    options: Opening<KeyedOptions<K, V, Type>>,
  ): MapOfType<Type, K, V>;
  static open<K, V>(kernel: Kernel, path: string, options: Omit<Opening<KeyedOptions<K, V>>, "type">): KeyedMap<K, V>;
  static open<T = Uint8Array>(
    kernel: Kernel,
    path: string,
    options: Opening<RingBufferMapOptions<T>>,
  ): RingBufferMap<T>;
  static open(kernel: Kernel, path: string, options: AnyOpening): BpfMap {
    const fd = openPin(kernel, path);
    return closingOnFailure(kernel, fd, () => {
      checkIsMap(kernel, fd);
      return make(kernel, fd, options);
    });
  }

  /**
   * Takes over a map's file descriptor that somebody else opened: the map closes it from now on.
   *
   * @throws BpfError `EBADFD` where it is not open, `EINVAL` where it is no such map; the file descriptor stays open then
   */
  static adopt<K, V, Type extends KeyedType>(
    kernel: Kernel,
    fd: number,
    options: Opening<KeyedOptions<K, V, Type>>,
  ): MapOfType<Type, K, V>;
  static adopt<K, V>(kernel: Kernel, fd: number, options: Omit<Opening<KeyedOptions<K, V>>, "type">): KeyedMap<K, V>;
  static adopt<T = Uint8Array>(kernel: Kernel, fd: number, options: Opening<RingBufferMapOptions<T>>): RingBufferMap<T>;
  static adopt(kernel: Kernel, fd: number, options: AnyOpening): BpfMap {
    checkNumbers({ fd }, { command: commands.BPF_OBJ_GET_INFO_BY_FD });
    checkIsMap(kernel, fd);
    return make(kernel, fd, options);
  }

  /** The name the kernel has for it; empty where it has none. */
  get name(): string {
    return this.info.name;
  }

  /** The type's name: `"array"`. */
  get type(): string {
    return mapTypeName(this.info.type);
  }

  get maxEntries(): number {
    return this.info.max_entries;
  }
}

/** A map with a value for each key; for a per-CPU type the value is an array with one element a possible CPU. */
export class KeyedMap<K, V> extends BpfMap implements Iterable<[K, V]> {
  readonly #key: Codec<K>;
  readonly #value: Codec<V>;
  readonly #keyView: DataView;
  readonly #valueView: DataView;
  readonly #lookup: { map_fd: number; key: Uint8Array; value: Uint8Array; flags: number };
  readonly #update: { map_fd: number; key: Uint8Array; value: Uint8Array; flags: number };

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(kernel: Kernel, fd: number, info: MapInfo, key: Codec<K>, value: Codec<V>) {
    super(kernel, fd, info);
    this.#key = key;
    this.#value = value;
    const keyBytes = new Uint8Array(key.size);
    const valueBytes = new Uint8Array(value.size);
    this.#keyView = new DataView(keyBytes.buffer);
    this.#valueView = new DataView(valueBytes.buffer);
    this.#lookup = { map_fd: fd, key: keyBytes, value: valueBytes, flags: 0 };
    this.#update = { map_fd: fd, key: keyBytes, value: valueBytes, flags: 0 };
  }

  /**
   * The value of a key, or undefined where the key is not there. BPF_MAP_LOOKUP_ELEM, Linux 3.18.
   *
   * @throws BpfError `EPERM` on a map opened for writing only
   */
  get(key: K): V | undefined {
    this.#encodeKey(key);
    return this.#lookUp() ? this.#value.decode(this.#valueView, 0) : undefined;
  }

  /** Whether the key is there. BPF_MAP_LOOKUP_ELEM. */
  has(key: K): boolean {
    this.#encodeKey(key);
    return this.#lookUp();
  }

  /**
   * Writes the value of a key. BPF_MAP_UPDATE_ELEM, Linux 3.18.
   *
   * @param flags BPF_ANY (create or replace), BPF_NOEXIST (create only), BPF_EXIST (replace only)
   * @throws BpfError `E2BIG` where the map is full or the index too large, `EEXIST`, `ENOENT` by the flags,
   *   `EPERM` on a map that is frozen or opened for reading only
   */
  set(key: K, value: V, flags: number = BPF_ANY): this {
    this.#encodeKey(key);
    this.#value.encode(value, this.#valueView, 0);
    this.#update.map_fd = this.fd;
    if (flags !== BPF_ANY) checkNumbers({ flags }, { command: commands.BPF_MAP_UPDATE_ELEM, subject: this.name });
    this.#update.flags = flags;
    this.#check(this.kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, this.#update), commands.BPF_MAP_UPDATE_ELEM);
    return this;
  }

  /** Makes the map read-only for user space, for ever. BPF_MAP_FREEZE, Linux 5.2. `EBUSY` while it is mapped writable. */
  freeze(): void {
    this.#check(this.kernel.bpf(commands.BPF_MAP_FREEZE, { map_fd: this.fd }), commands.BPF_MAP_FREEZE);
  }

  /**
   * Keys and values, in the kernel's order. BPF_MAP_GET_NEXT_KEY, Linux 3.18.
   * Keys may be deleted meanwhile: one that vanishes before its turn is left out and counted in `skipped`.
   *
   * @throws IterationError after more than `maxEntries` steps, when changes keep sending the walk back to its start
   */
  entries(): MapEntries<K, V> {
    return new MapEntries(
      this,
      (key) => this.#keyAfter(key),
      (key) => this.#entryOf(key),
    );
  }

  *keys(): IterableIterator<K> {
    for (const [key] of this.entries()) yield key;
  }

  *values(): IterableIterator<V> {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator](): MapEntries<K, V> {
    return this.entries();
  }

  /** BPF_MAP_DELETE_ELEM; whether the key was there. */
  protected remove(key: K): boolean {
    this.#encodeKey(key);
    const result = this.kernel.bpf(commands.BPF_MAP_DELETE_ELEM, { map_fd: this.fd, key: this.#lookup.key });
    if (result === -ENOENT) return false;
    this.#check(result, commands.BPF_MAP_DELETE_ELEM);
    return true;
  }

  /** The key behind `key`, or the first where that is null; undefined behind the last. */
  #keyAfter(key: Uint8Array | null): Uint8Array | undefined {
    const next = new Uint8Array(this.#key.size);
    const result = this.kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { map_fd: this.fd, key, next_key: next });
    if (result === -ENOENT) return undefined;
    this.#check(result, commands.BPF_MAP_GET_NEXT_KEY);
    return next;
  }

  /** Key and value, looked up by the key's own bytes: its padding need not be zero. */
  #entryOf(key: Uint8Array): [K, V] | undefined {
    this.#lookup.key.set(key);
    return this.#lookUp() ? [this.#key.decode(this.#keyView, 0), this.#value.decode(this.#valueView, 0)] : undefined;
  }

  #encodeKey(key: K): void {
    this.#key.encode(key, this.#keyView, 0);
  }

  #lookUp(): boolean {
    this.#lookup.map_fd = this.fd;
    const result = this.kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, this.#lookup);
    if (result === -ENOENT) return false;
    this.#check(result, commands.BPF_MAP_LOOKUP_ELEM);
    return true;
  }

  #check(result: number, command: number): void {
    if (result >= 0) return;
    const hint = this.#explain(-result);
    check(result, command, { subject: this.name, ...(hint === undefined ? {} : { hint }) });
  }

  #explain(errno: number): string | undefined {
    const { max_entries, type } = this.info;
    if (errno === E2BIG) {
      return arrayTypes.has(type)
        ? `an array's index is below its max_entries, ${max_entries}; got ${this.#keyView.getUint32(0, true)}`
        : `the map is full: it has its max_entries, ${max_entries}`;
    }
    if (errno === EPERM) return "the map is frozen, or it was opened without this access";
    return undefined;
  }
}

/** A map whose keys come and go. */
export class HashMap<K, V> extends KeyedMap<K, V> {
  /**
   * Removes a key. BPF_MAP_DELETE_ELEM, Linux 3.18.
   *
   * @returns whether the key was there
   * @throws BpfError `EPERM` on a map that is frozen or opened for reading only
   */
  delete(key: K): boolean {
    return this.remove(key);
  }
}

/** A walk over a map. */
export class MapEntries<K, V> implements IterableIterator<[K, V]> {
  /** Keys that vanished between being named and being read. */
  skipped = 0;
  readonly #map: Pick<BpfMap, "name" | "maxEntries">;
  readonly #keyAfter: (key: Uint8Array | null) => Uint8Array | undefined;
  readonly #entryOf: (key: Uint8Array) => [K, V] | undefined;
  #next: Uint8Array | undefined;
  #steps = 0;

  constructor(
    map: Pick<BpfMap, "name" | "maxEntries">,
    keyAfter: (key: Uint8Array | null) => Uint8Array | undefined,
    entryOf: (key: Uint8Array) => [K, V] | undefined,
  ) {
    this.#map = map;
    this.#keyAfter = keyAfter;
    this.#entryOf = entryOf;
    this.#next = keyAfter(null);
  }

  next(): IteratorResult<[K, V], undefined> {
    const { name, maxEntries } = this.#map;
    while (this.#next !== undefined) {
      if (this.#steps++ >= maxEntries) {
        throw new IterationError(
          `map "${name}": not at its end after ${maxEntries} keys, because keys were deleted meanwhile; walk it again`,
        );
      }
      const entry = this.#entryOf(this.#next);
      this.#next = this.#keyAfter(this.#next);
      if (entry !== undefined) return { done: false, value: entry };
      this.skipped++;
    }
    return { done: true, value: undefined };
  }

  [Symbol.iterator](): this {
    return this;
  }
}

/** A ring buffer: records that programs write, and readers take in order. BPF_MAP_TYPE_RINGBUF, Linux 5.8. */
export class RingBufferMap<T = Uint8Array> extends BpfMap {
  readonly #record: Codec<T> | undefined;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(kernel: Kernel, fd: number, info: MapInfo, record: Codec<T> | undefined) {
    super(kernel, fd, info);
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
    return new RingBuffer(
      this.kernel,
      this.fd,
      this.info.max_entries,
      record === undefined ? named : { ...named, record },
    );
  }
}

type AnyOptions = KeyedOptions<unknown, unknown> | RingBufferMapOptions<unknown>;
type AnyOpening = { type?: string; key?: Codec<unknown>; value?: Codec<unknown>; record?: Codec<unknown> };

/** The name of a BPF_MAP_TYPE_…: `"array"`. */
export const mapTypeName = (type: number): string =>
  nameOfType.get(type)?.slice("BPF_MAP_TYPE_".length).toLowerCase() ?? `type ${type}`;

const isSupported = (type: number): boolean =>
  arrayTypes.has(type) || hashTypes.has(type) || type === mapTypes.BPF_MAP_TYPE_RINGBUF;

const unsupportedType = (type: string, name = ""): UnsupportedError =>
  new UnsupportedError(
    `map "${name}": ${type} is not supported yet; these are: array, hash, percpu_array, percpu_hash, ringbuf`,
  );

function make(kernel: Kernel, fd: number, { type, key, value, record }: AnyOpening): BpfMap {
  const info = readMapInfo(kernel, fd);
  if (!isSupported(info.type)) throw unsupportedType(mapTypeName(info.type), info.name);
  const actual = mapTypeName(info.type);
  const perCpu = perCpuTypes.has(info.type);
  const ring = info.type === mapTypes.BPF_MAP_TYPE_RINGBUF;
  if (type === undefined ? perCpu || ring : type !== actual) {
    throw mismatch(info, `it is a ${actual}; got type ${type === undefined ? "none" : `"${type}"`}`);
  }
  if (ring) return new RingBufferMap(kernel, fd, info, record);
  if (key === undefined || value === undefined) throw mismatch(info, "a map with keys needs the codecs key and value");
  if (key.size !== info.key_size)
    throw mismatch(info, `its keys have ${info.key_size} bytes; ${key.name} has ${key.size}`);
  if (value.size !== info.value_size) {
    throw mismatch(info, `its values have ${info.value_size} bytes; ${value.name} has ${value.size}`);
  }
  const Keyed = hashTypes.has(info.type) ? HashMap : KeyedMap;
  return perCpu
    ? new Keyed(kernel, fd, info, key, perCpuCodec(value, kernel.system.possibleCpus.length))
    : new Keyed(kernel, fd, info, key, value);
}

const mismatch = (info: MapInfo, hint: string): BpfError =>
  new BpfError(EINVAL, { syscall: syscallName(commands.BPF_OBJ_GET_INFO_BY_FD), subject: info.name, hint });

/** One value a possible CPU, each at a multiple of 8 bytes, as the kernel copies per-CPU values. */
function perCpuCodec<V>(value: Codec<V>, cpus: number): Codec<V[]> {
  const stride = Math.ceil(value.size / 8) * 8;
  return {
    name: `${value.name} of each CPU`,
    size: stride * cpus,
    align: 8,
    encode(values, view, offset) {
      if (!Array.isArray(values)) throw new CodecError(`a per-CPU value is an array; got ${shown(values)}`);
      if (values.length !== cpus) {
        throw new CodecError(`a per-CPU value has one element a possible CPU: ${cpus}; got ${values.length}`);
      }
      bytesAt(view, offset, stride * cpus).fill(0);
      for (let cpu = 0; cpu < cpus; cpu++) encodeAt(cpu, value, values[cpu] as V, view, offset + cpu * stride);
    },
    decode: (view, offset) => Array.from({ length: cpus }, (_, cpu) => value.decode(view, offset + cpu * stride)),
  };
}

/** The size the kernel takes for a ring of at least `bytes`; 0 stays 0, which is an error of its own. */
function roundUpRing(bytes: number, pageSize: number): number {
  if (bytes <= 0) return bytes;
  let size = pageSize;
  while (size < bytes) size *= 2;
  return size;
}
