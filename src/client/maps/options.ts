// What each type of map is created and opened with, and the class that it is given: for the compiler.

import type { Codec, Infer, TypedArray, Viewable } from "../../codec/codec.ts";
import type { ArenaMap } from "./arena.ts";
import type { ArrayMap } from "./array.ts";
import type { MapHandle } from "./handle.ts";
import type { DeletableMap, HashMap, KeyedMap } from "./keyed.ts";
import type { MapOfMaps } from "./map-of-maps.ts";
import type { PinOptions } from "./pinned.ts";
import type { BloomFilterMap, QueueMap } from "./queue.ts";
import type { CpuMap, DeviceMap } from "./redirect.ts";
import type { CgroupArrayMap, ProgramArrayMap, SocketMap, XskMap } from "./references.ts";
import type { PerfEventArrayMap, RingBufferMap, UserRingBufferMap } from "./ring-buffer.ts";
import type { StackFrame, StackTraceMap } from "./stack-trace.ts";
import type { StorageMap } from "./storage.ts";
import type { StructOpsMap } from "./struct-ops.ts";
import type { MapTypeName } from "./types.ts";

// biome-ignore lint/suspicious/noExplicitAny: a codec is invariant in its type, so no other type takes every codec
type AnyCodec = Codec<any>;

interface CommonOptions {
  /** At most 15 characters of `[A-Za-z0-9_.]`. */
  readonly name?: string;
  /** BPF_F_… of map creation, beside those that the type always needs. */
  readonly flags?: number;
  /** Memory node; the kernel looks at it only with BPF_F_NUMA_NODE in `flags`. */
  readonly numaNode?: number;
  /** BTF that describes key and value: a file descriptor and type ids. */
  readonly btf?: { readonly fd: number; readonly keyTypeId: number; readonly valueTypeId: number };
  /** Pins the map at a path, and says what becomes of a map that is pinned there. */
  readonly pin?: PinOptions;
}

interface Entries {
  readonly maxEntries: number;
}

interface Keyed extends Entries {
  readonly key: AnyCodec;
  /** For a per-CPU type, the codec of one CPU's value. */
  readonly value: AnyCodec;
}

interface Indexed extends Entries {
  /** A codec of 4 bytes; u32 where absent. */
  readonly key?: AnyCodec;
  /** For a per-CPU type, the codec of one CPU's value. */
  readonly value: AnyCodec;
}

interface Values extends Entries {
  readonly value: AnyCodec;
}

/** An inner map: one that is like all that will be put in, or how one is created. */
type Inner = MapOptions | MapHandle;

interface CgroupStorage {
  /** struct bpf_cgroup_storage_key, where absent: `{ cgroupId: bigint, attachType: number }`; u64, a cgroup's id, is possible too. */
  readonly key?: AnyCodec;
  readonly value: AnyCodec;
}

interface Redirect extends Partial<Entries> {
  /** Whether targets have programs: values of 8 bytes, where absent; else of 4. */
  readonly programs?: boolean;
}

interface TypeOptions {
  array: Indexed & {
    /** Whether `view()` can map the array: BPF_F_MMAPABLE. */
    readonly mmapable?: boolean;
  };
  percpu_array: Indexed;
  hash: Keyed;
  percpu_hash: Keyed;
  lru_hash: Keyed;
  lru_percpu_hash: Keyed;
  lpm_trie: Keyed;
  queue: Values;
  stack: Values;
  bloom_filter: Values & {
    /** Hash functions, 1 to 15; 5 where absent. */
    readonly hashes?: number;
  };
  array_of_maps: Entries & { readonly key?: AnyCodec; readonly inner: Inner };
  hash_of_maps: Entries & { readonly key: AnyCodec; readonly inner: Inner };
  prog_array: Entries;
  /** As many slots as there are possible CPUs, where absent. */
  perf_event_array: Partial<Entries> & {
    /** How a sample is decoded; without it, a reader gives bytes. */
    readonly record?: AnyCodec;
  };
  cgroup_array: Entries;
  stack_trace: Entries & {
    /** The most addresses of a stack; 127, where absent. */
    readonly depth?: number;
    /** Whether stacks are build ids and offsets instead of addresses: BPF_F_STACK_BUILD_ID. */
    readonly buildId?: boolean;
  };
  devmap: Redirect & Entries;
  devmap_hash: Redirect & Entries;
  /** As many slots as there are possible CPUs, where absent. */
  cpumap: Redirect;
  xskmap: Entries;
  sockmap: Entries;
  sockhash: Entries & { readonly key: AnyCodec };
  reuseport_sockarray: Entries;
  cgroup_storage: CgroupStorage;
  percpu_cgroup_storage: CgroupStorage;
  sk_storage: { readonly value: AnyCodec };
  inode_storage: { readonly value: AnyCodec };
  task_storage: { readonly value: AnyCodec };
  cgrp_storage: { readonly value: AnyCodec };
  struct_ops: {
    /** The codec of struct bpf_struct_ops_NAME. */
    readonly value: AnyCodec;
    /** The id of that struct in the BTF of vmlinux. */
    readonly valueTypeId: number;
  };
  ringbuf: {
    /** Bytes of data; rounded up to a power of two that is a multiple of the page size. */
    readonly maxEntries: number;
    /** How a record is decoded; without it, a reader gives bytes. */
    readonly record?: AnyCodec;
  };
  user_ringbuf: {
    /** Bytes of data; rounded up to a power of two that is a multiple of the page size. */
    readonly maxEntries: number;
    /** How a sample is encoded; without it, a writer takes bytes. */
    readonly record?: AnyCodec;
  };
  arena: {
    /** Pages. */
    readonly maxEntries: number;
    /** The address in user space, a multiple of the page size; where absent, mapping it decides. */
    readonly address?: bigint;
  };
  /** Newer than Linux 6.18. */
  insn_array: Indexed;
  /** Newer than Linux 6.18. */
  rhash: Keyed;
}

/** How a map is created: what its type takes. */
export type MapOptions = {
  [Type in MapTypeName]: CommonOptions & TypeOptions[Type] & { readonly type: Type };
}[MapTypeName];

/** How to read a map that is there already. Codecs that are left out are made of the map's BTF, or are bytes. */
export interface MapOpenOptions {
  /** Must be the map's. Without it, key and value make it a KeyedMap, whose keys are not deleted; and nothing at all, any map. */
  readonly type?: MapTypeName;
  readonly key?: AnyCodec;
  readonly value?: AnyCodec;
  /** Of a ring buffer. */
  readonly record?: AnyCodec;
  /** Of a map of maps: how its inner maps are read. */
  readonly inner?: MapOpenOptions | MapHandle;
}

/** An object that has no member but those that its type of map takes: a slip of the pen does not compile. */
export type Strict<Options> = Options extends { readonly type: infer Type extends MapTypeName }
  ? { readonly [Name in Exclude<keyof Options, keyof CommonOptions | keyof TypeOptions[Type] | "type">]: never }
  : unknown;

/** The class of the maps that options describe: that of their type, with keys and values as their codecs have them. */
export type MapOf<Options> = Options extends { readonly type: infer Type extends MapTypeName }
  ? Classes<Options>[Type]
  : Options extends { readonly key: AnyCodec; readonly value: AnyCodec }
    ? KeyedMap<Key<Options>, Value<Options>>
    : MapHandle;

interface Classes<Options> {
  array: ArrayMap<Key<Options, number>, Value<Options>, View<Options>>;
  percpu_array: KeyedMap<Key<Options, number>, Value<Options>[]>;
  hash: HashMap<Key<Options>, Value<Options>>;
  percpu_hash: HashMap<Key<Options>, Value<Options>[]>;
  lru_hash: HashMap<Key<Options>, Value<Options>>;
  lru_percpu_hash: HashMap<Key<Options>, Value<Options>[]>;
  lpm_trie: DeletableMap<Key<Options>, Value<Options>>;
  queue: QueueMap<Value<Options>>;
  stack: QueueMap<Value<Options>>;
  bloom_filter: BloomFilterMap<Value<Options>>;
  array_of_maps: MapOfMaps<Key<Options, number>, InnerMap<Options>>;
  hash_of_maps: MapOfMaps<Key<Options>, InnerMap<Options>>;
  prog_array: ProgramArrayMap;
  perf_event_array: PerfEventArrayMap<RecordOf<Options>>;
  cgroup_array: CgroupArrayMap;
  stack_trace: StackTraceMap<Options extends { readonly buildId: true } ? StackFrame : bigint>;
  devmap: DeviceMap;
  devmap_hash: DeviceMap;
  cpumap: CpuMap;
  xskmap: XskMap;
  sockmap: SocketMap<number>;
  sockhash: SocketMap<Key<Options>>;
  reuseport_sockarray: SocketMap<number>;
  cgroup_storage: KeyedMap<Key<Options, CgroupStorageKey>, Value<Options>>;
  percpu_cgroup_storage: KeyedMap<Key<Options, CgroupStorageKey>, Value<Options>[]>;
  sk_storage: StorageMap<Value<Options>>;
  inode_storage: StorageMap<Value<Options>>;
  task_storage: StorageMap<Value<Options>>;
  cgrp_storage: StorageMap<Value<Options>>;
  struct_ops: StructOpsMap<Value<Options>>;
  ringbuf: RingBufferMap<RecordOf<Options>>;
  user_ringbuf: UserRingBufferMap<RecordOf<Options>>;
  arena: ArenaMap;
  insn_array: KeyedMap<Key<Options, number>, Value<Options>>;
  rhash: HashMap<Key<Options>, Value<Options>>;
}

/** struct bpf_cgroup_storage_key: a cgroup, and the attach type of the program that the value is for. */
export interface CgroupStorageKey {
  cgroupId: bigint;
  attachType: number;
}

type Key<Options, Default = Uint8Array> = Options extends { readonly key: infer C extends AnyCodec }
  ? Infer<C>
  : Default;

type Value<Options> = Options extends { readonly value: infer C extends AnyCodec } ? Infer<C> : Uint8Array;

type RecordOf<Options> = Options extends { readonly record: infer C extends AnyCodec } ? Infer<C> : Uint8Array;

type View<Options> = Options extends { readonly value: Viewable<infer V extends TypedArray> } ? V : DataView;

type InnerMap<Options> = Options extends { readonly inner: infer Inner }
  ? Inner extends MapHandle
    ? Inner
    : MapOf<Inner>
  : MapHandle;
