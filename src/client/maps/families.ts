// Each type of map at run time: the attributes that its options make, and the class that an opened one gets.
// Linux: kernel/bpf/syscall.c (map_create) and the file of each type

import { parseBtf } from "../../btf/btf.ts";
import { codecOf } from "../../btf/codec.ts";
import { bytes } from "../../codec/bytes.ts";
import type { Codec } from "../../codec/codec.ts";
import { struct } from "../../codec/composites.ts";
import { u32, u64 } from "../../codec/scalars.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Attr } from "../../uapi/attr.ts";
import * as commands from "../../uapi/commands.ts";
import { EINVAL } from "../../uapi/errno.ts";
import { BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_F_STACK_BUILD_ID } from "../../uapi/flags.ts";
import { btfInfo, type MapInfo } from "../../uapi/info.ts";
import { sizeOf } from "../../uapi/struct.ts";
import { BpfError, syscallName, UnsupportedError } from "../errors.ts";
import { closingOnFailure } from "../handle.ts";
import { readMapInfo } from "../info.ts";
import { ArenaMap } from "./arena.ts";
import { ArrayMap } from "./array.ts";
import type { MapHandle, OpenedMap } from "./handle.ts";
import { DeletableMap, HashMap, KeyedMap } from "./keyed.ts";
import { MapOfMaps } from "./map-of-maps.ts";
import type { CgroupStorageKey } from "./options.ts";
import { perCpu } from "./per-cpu.ts";
import { BloomFilterMap, QueueMap } from "./queue.ts";
import { CpuMap, DeviceMap } from "./redirect.ts";
import { CgroupArrayMap, ProgramArrayMap, SocketMap, XskMap } from "./references.ts";
import { PerfEventArrayMap, RingBufferMap, UserRingBufferMap } from "./ring-buffer.ts";
import { ADDRESS_SIZE, BUILD_ID_SIZE, StackTraceMap } from "./stack-trace.ts";
import { StorageMap } from "./storage.ts";
import { StructOpsMap } from "./struct-ops.ts";
import { type MapTypeName, mapTypeName, perCpuTypes } from "./types.ts";

/** Options of any type, before it is known which: what `MapOptions` and `MapOpenOptions` allow, loosely. */
export interface AnyOptions {
  readonly type?: string;
  readonly key?: Codec<unknown>;
  readonly value?: Codec<unknown>;
  readonly record?: Codec<unknown>;
  readonly inner?: AnyOptions | MapHandle;
  readonly maxEntries?: number;
  readonly mmapable?: boolean;
  readonly hashes?: number;
  readonly depth?: number;
  readonly buildId?: boolean;
  readonly programs?: boolean;
  readonly valueTypeId?: number;
  readonly address?: bigint;
}

type CreateAttr = Attr<typeof commands.BPF_MAP_CREATE>;

interface Family {
  attributes(options: AnyOptions, kernel: Kernel): CreateAttr;
  open(opened: OpenedMap, options: AnyOptions): MapHandle;
}

/** The attributes with which a map of a type is created. Inner maps and BTF are the caller's to add. */
export const attributesOf = (type: MapTypeName, options: AnyOptions, kernel: Kernel): CreateAttr =>
  families[type].attributes(options, kernel);

/**
 * A map's object, of the class of its type. The file descriptor is its own from then on.
 *
 * @throws BpfError `EINVAL` where the options do not fit the map
 */
export function openMap(kernel: Kernel, fd: number, options: AnyOptions, path?: string): MapHandle {
  const info = readMapInfo(kernel, fd);
  const actual = mapTypeName(info.type);
  const { type, key, value } = options;
  const isOpaque = key === undefined && value === undefined;
  const fits = type === undefined ? isOpaque || singleValued.has(actual) : type === actual;
  if (!fits) throw mismatch(info, `it is a ${actual}; got type ${type === undefined ? "none" : `"${type}"`}`);
  const family: Family | undefined = families[actual];
  if (family === undefined) {
    throw new UnsupportedError(
      `map "${info.name}": ${actual} is not known; these are: ${Object.keys(families).join(", ")}`,
    );
  }
  const map = family.open(path === undefined ? { kernel, fd, info } : { kernel, fd, info, path }, options);
  optionsOf.set(map, options);
  return map;
}

/** What a map was opened with, to open others like it. */
const optionsOf = new WeakMap<MapHandle, AnyOptions>();

const mismatch = (info: MapInfo, hint: string): BpfError =>
  new BpfError(EINVAL, { syscall: syscallName(commands.BPF_OBJ_GET_INFO_BY_FD), subject: info.name, hint });

const entries = ({ maxEntries }: AnyOptions): CreateAttr => ({ max_entries: maxEntries ?? 0 });

const keyed =
  (map_flags = 0) =>
  (options: AnyOptions): CreateAttr => ({
    ...entries(options),
    key_size: options.key?.size ?? u32.size,
    value_size: options.value?.size ?? 0,
    map_flags,
  });

const keyless = (options: AnyOptions): CreateAttr => ({ ...entries(options), value_size: options.value?.size ?? 0 });

/** Slots of 4 bytes for file descriptors, or of 8 where they show something else. */
const slots =
  (value_size: number = u32.size) =>
  (options: AnyOptions): CreateAttr => ({ ...entries(options), key_size: options.key?.size ?? u32.size, value_size });

const cpuSlots = ({ maxEntries }: AnyOptions, { system }: Kernel): CreateAttr => ({
  max_entries: maxEntries ?? Math.max(...system.possibleCpus) + 1,
});

const redirect = ({ programs = true }: AnyOptions): CreateAttr => ({
  key_size: u32.size,
  value_size: programs ? 2 * u32.size : u32.size,
});

const ring = ({ maxEntries = 0 }: AnyOptions, { system }: Kernel): CreateAttr => ({
  max_entries: roundUpRing(maxEntries, system.pageSize),
});

const storage = ({ value }: AnyOptions): CreateAttr => ({
  key_size: u32.size,
  value_size: value?.size ?? 0,
  map_flags: BPF_F_NO_PREALLOC,
});

const cgroupStorageKey: Codec<CgroupStorageKey> = struct({ cgroupId: u64, attachType: u32 });

const cgroupStorage: Family = {
  attributes: ({ key, value }) => ({ key_size: (key ?? cgroupStorageKey).size, value_size: value?.size ?? 0 }),
  open(opened, options) {
    const key = options.key ?? (opened.info.key_size === cgroupStorageKey.size ? cgroupStorageKey : u64);
    return new KeyedMap(opened, fitting(opened, "key", key as Codec<unknown>), valueCodec(opened, options));
  },
};

const array: Family = {
  attributes: ({ mmapable = false, ...options }) => keyed(mmapable ? BPF_F_MMAPABLE : 0)(options),
  open: (opened, options) => new ArrayMap(opened, keyCodec(opened, options, u32), valueCodec(opened, options)),
};
const indexedArray: Family = {
  attributes: keyed(),
  open: (opened, options) => new KeyedMap(opened, keyCodec(opened, options, u32), valueCodec(opened, options)),
};
const hash: Family = {
  attributes: keyed(),
  open: (opened, options) => new HashMap(opened, keyCodec(opened, options), valueCodec(opened, options)),
};
const queue: Family = {
  attributes: keyless,
  open: (opened, options) => new QueueMap(opened, valueCodec(opened, options)),
};
const mapOfMaps: Family = {
  attributes: slots(),
  open(opened, options) {
    const { inner = {} } = options;
    const innerOptions = "fd" in inner ? (optionsOf.get(inner) ?? {}) : inner;
    const fallback = opened.info.key_size === u32.size ? u32 : undefined;
    const { kernel } = opened;
    return new MapOfMaps(opened, keyCodec(opened, options, fallback), (fd) =>
      closingOnFailure(kernel, fd, () => openMap(kernel, fd, innerOptions)),
    );
  },
};
const devices: Family = {
  attributes: (options) => ({ ...entries(options), ...redirect(options) }),
  open: (opened) => new DeviceMap(opened),
};
const sockets: Family = {
  attributes: slots(u64.size),
  open: (opened, options) => new SocketMap(opened, keyCodec(opened, options, u32)),
};
const localStorage: Family = {
  attributes: storage,
  open: (opened, options) => new StorageMap(opened, valueCodec(opened, options)),
};

const families: Readonly<Record<MapTypeName, Family>> = {
  array,
  percpu_array: indexedArray,
  hash,
  percpu_hash: hash,
  lru_hash: hash,
  lru_percpu_hash: hash,
  lpm_trie: {
    attributes: keyed(BPF_F_NO_PREALLOC),
    open: (opened, options) => new DeletableMap(opened, keyCodec(opened, options), valueCodec(opened, options)),
  },
  queue,
  stack: queue,
  bloom_filter: {
    attributes: (options) => ({ ...keyless(options), map_extra: options.hashes ?? 0 }),
    open: (opened, options) => new BloomFilterMap(opened, valueCodec(opened, options)),
  },
  array_of_maps: mapOfMaps,
  hash_of_maps: mapOfMaps,
  prog_array: { attributes: slots(), open: (opened) => new ProgramArrayMap(opened) },
  perf_event_array: {
    attributes: (options, kernel) => ({ ...slots()(options), ...cpuSlots(options, kernel) }),
    open: (opened, { record }) => new PerfEventArrayMap(opened, record),
  },
  cgroup_array: { attributes: slots(), open: (opened) => new CgroupArrayMap(opened) },
  stack_trace: {
    attributes: ({ depth = DEFAULT_DEPTH, buildId = false, ...options }) => ({
      ...entries(options),
      key_size: u32.size,
      value_size: depth * (buildId ? BUILD_ID_SIZE : ADDRESS_SIZE),
      map_flags: buildId ? BPF_F_STACK_BUILD_ID : 0,
    }),
    open: (opened) => new StackTraceMap(opened),
  },
  devmap: devices,
  devmap_hash: devices,
  cpumap: {
    attributes: (options, kernel) => ({ ...redirect(options), ...cpuSlots(options, kernel) }),
    open: (opened) => new CpuMap(opened),
  },
  xskmap: { attributes: slots(), open: (opened) => new XskMap(opened) },
  sockmap: sockets,
  sockhash: {
    ...sockets,
    open: (opened, options) => new SocketMap(opened, keyCodec(opened, options)),
  },
  reuseport_sockarray: sockets,
  cgroup_storage: cgroupStorage,
  percpu_cgroup_storage: cgroupStorage,
  sk_storage: localStorage,
  inode_storage: localStorage,
  task_storage: localStorage,
  cgrp_storage: localStorage,
  struct_ops: {
    attributes: ({ value, valueTypeId = 0 }) => ({
      key_size: u32.size,
      value_size: value?.size ?? 0,
      max_entries: 1,
      btf_vmlinux_value_type_id: valueTypeId,
    }),
    open: (opened, options) => new StructOpsMap(opened, valueCodec(opened, options)),
  },
  ringbuf: { attributes: ring, open: (opened, { record }) => new RingBufferMap(opened, record) },
  user_ringbuf: { attributes: ring, open: (opened, { record }) => new UserRingBufferMap(opened, record) },
  arena: {
    attributes: ({ address = 0n, ...options }) => ({
      ...entries(options),
      map_flags: BPF_F_MMAPABLE,
      map_extra: address,
    }),
    open: (opened) => new ArenaMap(opened),
  },
  insn_array: indexedArray,
  rhash: { ...hash, attributes: keyed(BPF_F_NO_PREALLOC) },
};

/** kernel.perf_event_max_stack, unless somebody has changed it. */
const DEFAULT_DEPTH = 127;

/** Types whose class is a KeyedMap of single values: key and value alone say how to read them. */
const singleValued: ReadonlySet<MapTypeName> = new Set(["array", "hash", "lru_hash", "lpm_trie", "cgroup_storage"]);

function keyCodec(opened: OpenedMap, { key }: AnyOptions, fallback?: Codec<unknown>): Codec<unknown> {
  const { info } = opened;
  return fitting(opened, "key", key ?? fallback ?? described(opened, info.btf_key_type_id) ?? bytes(info.key_size));
}

function valueCodec(opened: OpenedMap, { value }: AnyOptions): Codec<unknown> {
  const { info, kernel } = opened;
  const one = fitting(opened, "value", value ?? described(opened, info.btf_value_type_id) ?? bytes(info.value_size));
  return perCpuTypes.has(info.type) ? perCpu(one, kernel.system.possibleCpus.length) : one;
}

function fitting<T>({ info }: OpenedMap, what: "key" | "value", codec: Codec<T>): Codec<T> {
  const size = what === "key" ? info.key_size : info.value_size;
  if (codec.size !== size) throw mismatch(info, `its ${what}s have ${size} bytes; ${codec.name} has ${codec.size}`);
  return codec;
}

/** The codec of a type of the BTF that the map was created with; undefined where there is none that has values. */
function described({ kernel, info }: OpenedMap, typeId: number): Codec<unknown> | undefined {
  if (info.btf_id === 0 || typeId === 0) return undefined;
  const fd = kernel.bpf(commands.BPF_BTF_GET_FD_BY_ID, { btf_id: info.btf_id });
  if (fd < 0) return undefined;
  try {
    const data = readBtf(kernel, fd);
    return data === undefined ? undefined : codecOf(parseBtf(data), typeId);
  } catch {
    // Types that have no values of their own: the map is read as bytes.
    return undefined;
  } finally {
    kernel.close(fd);
  }
}

function readBtf(kernel: Kernel, fd: number): Uint8Array | undefined {
  const info = new Uint8Array(sizeOf(btfInfo));
  const ask = (pointers: { offset: number; bytes: Uint8Array; direction: "out" }[]): number =>
    kernel.bpf(commands.BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: fd, info_len: info.length, info: { bytes: info, pointers } });
  if (ask([]) < 0) return undefined;
  const [sizeAt] = btfInfo.btf_size;
  const data = new Uint8Array(new DataView(info.buffer).getUint32(sizeAt, true));
  return ask([{ offset: btfInfo.btf[0], bytes: data, direction: "out" }]) < 0 ? undefined : data;
}

/** The size the kernel takes for a ring of at least `bytes`; 0 stays 0, which is an error of its own. */
export function roundUpRing(bytes: number, pageSize: number): number {
  if (bytes <= 0) return bytes;
  let size = pageSize;
  while (size < bytes) size *= 2;
  return size;
}
