// Maps: created, opened by path or id, or adopted by file descriptor. The class of a map has the methods that its type has.
// Linux: man 2 bpf, Documentation/bpf/maps.rst

import { buildBtf } from "../btf/build.ts";
import { shown } from "../codec/codec.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Attr } from "../uapi/attr.ts";
import * as commands from "../uapi/commands.ts";
import { BPF_MAP_TYPE_STRUCT_OPS } from "../uapi/map-types.ts";
import { checkAddress, checkNumbers, checkText } from "./arguments.ts";
import { check, UnsupportedError } from "./errors.ts";
import { explainMapCreate } from "./explain-map-create.ts";
import { closingOnFailure } from "./handle.ts";
import { checkIsMap } from "./info.ts";
import { type AnyOptions, attributesOf, openMap } from "./maps/families.ts";
import { MapHandle } from "./maps/handle.ts";
import { fdOf } from "./maps/held.ts";
import { KeyedMap } from "./maps/keyed.ts";
import type { MapOf, MapOpenOptions, MapOptions, Strict } from "./maps/options.ts";
import { createPinned } from "./maps/pinned.ts";
import { localStorageTypes, type MapTypeName, mapTypeNumber } from "./maps/types.ts";
import { openPin } from "./pins.ts";

/** A live map. Every map is an instance of it; `create`, `open`, `fromId` and `adopt` give the class of the map's type. */
export abstract class BpfMap extends MapHandle {
  /**
   * Creates a map. BPF_MAP_CREATE, Linux 3.18.
   *
   * @throws BpfError `EINVAL` where an attribute does not fit the type, `E2BIG` where a size is too large,
   *   `ENOMEM` where memory does not suffice, `EPERM` without CAP_BPF; and with `pin`, as `PinPolicy` says
   * @example
   * using map = BpfMap.create(kernel, { name: "my_array", type: "array", key: u32, value: u64, maxEntries: 100 });
   * map.set(1, 1234n);
   */
  static create<const Options extends MapOptions>(kernel: Kernel, options: Options & Strict<Options>): MapOf<Options> {
    return createMap(kernel, options) as MapOf<Options>;
  }

  /**
   * Creates a map with entries in it, and room for as many as there are where `maxEntries` is left out.
   *
   * @throws BpfError as `create`; with `count` where an entry could not be written
   * @example
   * using ports = BpfMap.fromEntries(kernel, { type: "hash", key: u16, value: u64 }, [[80, 1n], [443, 2n]]);
   */
  static fromEntries<const Options extends FilledOptions>(
    kernel: Kernel,
    options: Options,
    entries: Iterable<readonly [KeyOf<Options>, ValueOf<Options>]>,
  ): MapOf<Options> {
    const all = [...entries];
    const map: MapHandle = createMap(kernel, {
      maxEntries: Math.max(1, all.length),
      ...(options as object),
    } as CreateOptions);
    try {
      if (!(map instanceof KeyedMap))
        throw new UnsupportedError(`map "${map.name}": a ${map.type} has no entries to begin with`);
      map.setMany(all as [unknown, unknown][]);
      return map as MapOf<Options>;
    } catch (error) {
      map.close();
      throw error;
    }
  }

  /**
   * Opens a map that is pinned at `path`. BPF_OBJ_GET, Linux 4.4.
   *
   * @throws BpfError `ENOENT` where nothing is pinned there, `EACCES` without permission, `EINVAL` where it is no such map
   * @example
   * using map = BpfMap.open(kernel, "/sys/fs/bpf/my_array", { type: "array", key: u32, value: u64 });
   */
  static open<const Options extends MapOpenOptions = object>(
    kernel: Kernel,
    path: string,
    options?: Options,
  ): MapOf<Options> {
    const fd = openPin(kernel, path);
    return closingOnFailure(kernel, fd, () => {
      checkIsMap(kernel, fd);
      return openMap(kernel, fd, (options ?? {}) as AnyOptions, path);
    }) as MapOf<Options>;
  }

  /**
   * Opens a map by its id. BPF_MAP_GET_FD_BY_ID, Linux 4.13; needs CAP_SYS_ADMIN.
   *
   * @throws BpfError `ENOENT` where there is no such map, `EPERM` without the capability, `EINVAL` where it is no map as described
   */
  static fromId<const Options extends MapOpenOptions = object>(
    kernel: Kernel,
    id: number,
    options?: Options,
  ): MapOf<Options> {
    checkNumbers({ id }, { command: commands.BPF_MAP_GET_FD_BY_ID });
    const subject = `id ${id}`;
    const fd = check(kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: id }), commands.BPF_MAP_GET_FD_BY_ID, {
      subject,
    });
    return closingOnFailure(kernel, fd, () => openMap(kernel, fd, (options ?? {}) as AnyOptions)) as MapOf<Options>;
  }

  /**
   * Takes over a map's file descriptor that somebody else opened: the map closes it from now on.
   *
   * @throws BpfError `EBADFD` where it is not open, `EINVAL` where it is no such map; the file descriptor stays open then
   */
  static adopt<const Options extends MapOpenOptions = object>(
    kernel: Kernel,
    fd: number,
    options?: Options,
  ): MapOf<Options> {
    checkNumbers({ fd }, { command: commands.BPF_OBJ_GET_INFO_BY_FD });
    checkIsMap(kernel, fd);
    return openMap(kernel, fd, (options ?? {}) as AnyOptions) as MapOf<Options>;
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof MapHandle;
  }
}

/** What `create` takes, before it is known of which type. */
export type CreateOptions = AnyOptions & Pick<MapOptions, "name" | "flags" | "numaNode" | "btf" | "pin">;

type CreateAttr = Attr<typeof commands.BPF_MAP_CREATE>;

/** Options of a type with keys and values; `maxEntries` may be left out. */
type FilledOptions = Omit<
  Exclude<
    Extract<MapOptions, { readonly value: unknown; readonly maxEntries: number; readonly key?: unknown }>,
    { readonly type: "queue" | "stack" | "bloom_filter" }
  >,
  "maxEntries"
> & {
  readonly maxEntries?: number;
};
type KeyOf<Options> = MapOf<Options> extends { get(key: infer K): unknown } ? K : never;
type ValueOf<Options> = MapOf<Options> extends { set(key: never, value: infer V): unknown } ? V : never;

/** BpfMap.create, for those who do not know the type at compile time. */
export function createMap(kernel: Kernel, options: CreateOptions): MapHandle {
  const attr = attributes(kernel, options);
  const makers = makersOf(kernel, attr, options);
  return options.pin === undefined ? makers.create() : createPinned(options.pin, attr, makers);
}

/** How a map with these attributes is made, and how one is opened that is pinned at the options' path. */
export function makersOf(kernel: Kernel, attr: CreateAttr, options: CreateOptions) {
  const { inner, name, pin } = options;
  return {
    create: (): MapHandle =>
      withInnerMap(kernel, inner, (innerFd) =>
        withBtf(kernel, attr, name, (btf) => {
          const fd = requestMap(kernel, { ...attr, ...innerFd, ...btf }, name);
          return closingOnFailure(kernel, fd, () => openMap(kernel, fd, options));
        }),
      ),
    open: (as: "any" | "declared"): MapHandle =>
      BpfMap.open(kernel, pin?.path ?? "", as === "any" ? {} : (options as MapOpenOptions)),
  };
}

function attributes(kernel: Kernel, options: CreateOptions): CreateAttr {
  const { name = "", type = "", maxEntries, flags = 0, numaNode, btf, hashes, depth, valueTypeId, address } = options;
  const map_type = mapTypeNumber(type);
  if (map_type === undefined) throw new UnsupportedError(`map "${name}": "${type}" is no type of maps`);
  const purpose = { command: commands.BPF_MAP_CREATE, subject: options.name };
  checkText(name, "a map's name", purpose);
  checkCodecs(options, name);
  checkNumbers({ maxEntries, flags, numaNode, hashes, depth, valueTypeId }, purpose);
  if (btf !== undefined) {
    const { fd = Number.NaN, keyTypeId = Number.NaN, valueTypeId: btfValueTypeId = Number.NaN } = btf;
    checkNumbers({ "btf.fd": fd, "btf.keyTypeId": keyTypeId, "btf.valueTypeId": btfValueTypeId }, purpose);
  }
  checkAddress(address, purpose);
  const attr = attributesOf(type as MapTypeName, options, kernel);
  // What options come to: keys and values as large as their codecs, a ring rounded up, a stack of so many addresses.
  const { key_size, value_size, max_entries } = attr;
  checkNumbers({ key_size, value_size, max_entries }, purpose);
  return {
    ...attr,
    map_type,
    map_name: name,
    map_flags: ((attr.map_flags ?? 0) | flags) >>> 0,
    ...(numaNode === undefined ? {} : { numa_node: numaNode }),
    ...(btf === undefined
      ? {}
      : { btf_fd: btf.fd, btf_key_type_id: btf.keyTypeId, btf_value_type_id: btf.valueTypeId }),
  };
}

/** @throws TypeError where something else stands in the place of a codec */
function checkCodecs({ key, value, record }: CreateOptions, name: string): void {
  for (const [option, codec] of Object.entries({ key, value, record })) {
    if (codec === undefined || typeof Object(codec).encode === "function") continue;
    throw new TypeError(`map "${name}": ${option} is a codec, such as u32 or struct({ … }); got ${shown(codec)}`);
  }
}

function requestMap(kernel: Kernel, attr: CreateAttr, name: string | undefined): number {
  const fd = kernel.bpf(commands.BPF_MAP_CREATE, attr);
  const hint = fd < 0 ? explainMapCreate(-fd, attr, kernel.system.pageSize) : undefined;
  return check(fd, commands.BPF_MAP_CREATE, {
    ...(name === undefined ? {} : { subject: name }),
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The attribute of the inner map that a map of maps is made after; one that is made of options is gone afterwards. */
function withInnerMap<T>(kernel: Kernel, inner: AnyOptions["inner"], make: (attr: CreateAttr) => T): T {
  if (inner === undefined) return make({});
  if (inner instanceof MapHandle) return make({ inner_map_fd: fdOf(inner, kernel) });
  using template = createMap(kernel, inner);
  return make({ inner_map_fd: template.fd });
}

/**
 * Local storage needs BTF of key and value: where the caller has none, it is made for an int and as many bytes as a value has.
 * A struct_ops map needs any BTF, and its value's type is one of the kernel's.
 */
function withBtf<T>(kernel: Kernel, attr: CreateAttr, name: string | undefined, make: (btf: CreateAttr) => T): T {
  const { btf_fd, map_type = 0 } = attr;
  const isStorage = localStorageTypes.has(map_type);
  if (btf_fd !== undefined || !(isStorage || map_type === BPF_MAP_TYPE_STRUCT_OPS)) return make({});
  const btf = storageBtf(attr.value_size ?? 0);
  const fd = kernel.bpf(commands.BPF_BTF_LOAD, { btf, btf_size: btf.length });
  check(fd, commands.BPF_BTF_LOAD, name === undefined ? {} : { subject: name });
  try {
    return make({ btf_fd: fd, ...(isStorage ? { btf_key_type_id: 1, btf_value_type_id: 3 } : {}) });
  } finally {
    // The map holds the BTF from now on.
    kernel.close(fd);
  }
}

function storageBtf(valueSize: number): Uint8Array {
  const int = { kind: "int", offset: 0, bool: false } as const;
  return buildBtf([
    { ...int, name: "int", size: 4, bits: 32, signed: true, char: false },
    { ...int, name: "unsigned char", size: 1, bits: 8, signed: false, char: true },
    { kind: "array", name: "", type: 2, indexType: 1, length: valueSize },
  ]);
}
