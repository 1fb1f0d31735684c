// The maps of an object: made as its spec declares them, with codecs of its BTF and their first contents.
// libbpf: src/libbpf.c (bpf_object__create_map), for what loaders add to a declaration

import { BtfError } from "../btf/btf.ts";
import { codecOf } from "../btf/codec.ts";
import { bytes } from "../codec/bytes.ts";
import type { Codec } from "../codec/codec.ts";
import { u32 } from "../codec/scalars.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { MapSpec, ObjectSpec } from "../spec/spec.ts";
import { type Attr, BPF_OBJ_NAME_LEN } from "../uapi/attr.ts";
import * as commands from "../uapi/commands.ts";
import { EINVAL, ENOTSUPP } from "../uapi/errno.ts";
import * as types from "../uapi/map-types.ts";
import { BpfError, failed } from "./errors.ts";
import { type BpfMap, type CreateOptions, makersOf } from "./map.ts";
import { roundUpRing } from "./maps/families.ts";
import { type PinnedMap, preparePinned } from "./maps/pinned.ts";
import { mapTypeName } from "./maps/types.ts";
import type { LoadOptions } from "./object.ts";

type CreateAttr = Attr<typeof commands.BPF_MAP_CREATE>;

const DEFAULT_PIN_ROOT = "/sys/fs/bpf";
/** The longest name the kernel keeps. */
const NAME_LENGTH = BPF_OBJ_NAME_LEN - 1;

/** A map of the object with its contents, and how to pin it: one that is not declared so is not pinned. */
export function makeMap(
  kernel: Kernel,
  object: ObjectSpec,
  spec: MapSpec,
  btfFd: number | undefined,
  { pinRoot = DEFAULT_PIN_ROOT, pinPolicy = "reuse" }: LoadOptions,
): PinnedMap {
  const attr = attributesOf(kernel, object, spec);
  const pin = spec.pinByName ? { path: `${pinRoot}/${spec.name}`, policy: pinPolicy } : undefined;
  using inner = spec.inner === undefined ? undefined : makeMap(kernel, object, spec.inner, btfFd, {}).map;
  const options: CreateOptions = {
    ...openingOf(object, spec),
    ...(inner !== undefined && { inner }),
    ...(pin !== undefined && { pin }),
    name: attr.map_name ?? "",
  };
  const { open, create: createPlain } = makersOf(kernel, attr, options);
  const create = (): BpfMap => {
    const map = createWithBtf(kernel, attr, options, spec, btfFd) ?? createPlain();
    try {
      if (spec.contents !== undefined) write(map, spec.contents);
      if (spec.freeze) map.freeze();
      return map;
    } catch (error) {
      map.close();
      throw error;
    }
  };
  return pin === undefined ? { map: create(), pin: () => {} } : preparePinned(pin, attr, { create, open });
}

function attributesOf(kernel: Kernel, object: ObjectSpec, spec: MapSpec): CreateAttr {
  return {
    map_type: spec.type,
    map_name: kernelName(object, spec),
    key_size: spec.keySize,
    value_size: spec.valueSize,
    max_entries: entriesOf(kernel, spec),
    map_flags: spec.flags,
    ...(spec.mapExtra !== undefined && { map_extra: spec.mapExtra }),
    ...(spec.numaNode !== undefined && { numa_node: spec.numaNode }),
  };
}

/** A ring's size as the kernel takes it; a slot for each possible CPU where perf events have no number of their own. */
function entriesOf({ system }: Kernel, { type, maxEntries }: MapSpec): number {
  if (type === types.BPF_MAP_TYPE_RINGBUF || type === types.BPF_MAP_TYPE_USER_RINGBUF) {
    return roundUpRing(maxEntries, system.pageSize);
  }
  if (type === types.BPF_MAP_TYPE_PERF_EVENT_ARRAY && maxEntries === 0) return Math.max(...system.possibleCpus) + 1;
  return maxEntries;
}

/** The map with the types of its keys and values; undefined where kernel or type takes none. */
function createWithBtf(
  kernel: Kernel,
  attr: CreateAttr,
  options: CreateOptions,
  { btfKeyTypeId = 0, btfValueTypeId = 0 }: MapSpec,
  btfFd: number | undefined,
): BpfMap | undefined {
  if (btfFd === undefined || btfValueTypeId === 0) return undefined;
  const ids = { btf_fd: btfFd, btf_key_type_id: btfKeyTypeId, btf_value_type_id: btfValueTypeId };
  try {
    return makersOf(kernel, { ...attr, ...ids }, options).create();
  } catch (error) {
    if (error instanceof BpfError && (error.errno === EINVAL || error.errno === ENOTSUPP)) return undefined;
    throw error;
  }
}

/** The type of a map with the codecs that its BTF gives, or bytes; the key of an array is always an index. */
function openingOf({ btf }: ObjectSpec, spec: MapSpec): CreateOptions {
  const codec = (typeId: number | undefined): Codec<unknown> | undefined => {
    if (btf === undefined || !typeId) return undefined;
    try {
      return codecOf(btf, typeId);
    } catch (error) {
      // A type without values of its own (void *, an array of millions) does not keep the object from being used.
      if (error instanceof BtfError) return undefined;
      throw error;
    }
  };
  const type = mapTypeName(spec.type);
  const isIndex = spec.type === types.BPF_MAP_TYPE_ARRAY || spec.type === types.BPF_MAP_TYPE_PERCPU_ARRAY;
  return {
    type,
    key: codec(spec.btfKeyTypeId) ?? (isIndex ? u32 : bytes(spec.keySize)),
    value: codec(spec.btfValueTypeId) ?? bytes(spec.valueSize),
  };
}

/** As libbpf calls them: a data map after its object, `counter.rodata`, unless its section is one of several, `.rodata.str1.1`. */
function kernelName(object: ObjectSpec, spec: MapSpec): string {
  if (spec.name.lastIndexOf(".") !== 0) return spec.name.slice(0, NAME_LENGTH);
  const file = object.name.slice(object.name.lastIndexOf("/") + 1);
  const stem = file.replace(/\..*$/, "").replace(/\W/g, "_");
  return `${stem.slice(0, 8)}${spec.name}`.slice(0, NAME_LENGTH);
}

function write(map: BpfMap, contents: Uint8Array): void {
  const key = new Uint8Array(4);
  const result = map.kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd: map.fd, key, value: contents, flags: 0 });
  if (result < 0) throw failed(-result, commands.BPF_MAP_UPDATE_ELEM, { subject: map.name });
}
