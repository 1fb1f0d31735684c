// Maps whose values are other objects of the kernel: programs, maps, sockets, devices, events. They are written as file descriptors.
// Linux: kernel/bpf/arraymap.c (fd arrays), map_in_map.c, devmap.c, cpumap.c, net/core/sock_map.c, net/xdp/xskmap.c

import { type Codec, CodecError, shown } from "../../codec/codec.ts";
import { u32, u64 } from "../../codec/scalars.ts";
import * as commands from "../../uapi/commands.ts";
import { ENOENT } from "../../uapi/errno.ts";
import { check } from "../errors.ts";
import { Elements, type ValueCodec } from "./elements.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";
import { DeletableMap } from "./keyed.ts";
import { MapEntries } from "./walk.ts";

/** An object of the kernel by what holds it: one of ours, or a file descriptor. */
export type Held<Object extends { readonly fd: number } = { readonly fd: number }> = Object | number;

const fdOf = (held: Held): number => (typeof held === "number" ? held : held?.fd);

/** Written as a file descriptor, read as what the kernel knows the object by. */
const held = <Read>(read: Codec<Read>): ValueCodec<Read, Held> => ({
  ...read,
  name: "file descriptor",
  encode(value, view, offset) {
    const fd = fdOf(value);
    if (!Number.isInteger(fd)) throw new CodecError(`${shown(value)} is no file descriptor, and has none`);
    for (let at = 4; at < read.size; at += 4) view.setUint32(offset + at, 0, true);
    view.setInt32(offset, fd, true);
  },
});

/** Programs, by which a program goes on with `bpf_tail_call`. BPF_MAP_TYPE_PROG_ARRAY, Linux 4.2. A slot reads as its program's id. */
export class ProgramArrayMap extends DeletableMap<number, number, Held> {
  constructor(opened: OpenedMap) {
    super(opened, u32, held(u32));
  }
}

/** A map of file descriptors that only programs look into: slots are set and emptied. */
export abstract class WriteOnlyMap<K> extends MapHandle {
  readonly #elements: Elements<K, number, Held>;

  constructor(opened: OpenedMap, key: Codec<K>) {
    super(opened);
    this.#elements = new Elements(this, key, held(u32));
  }

  /**
   * Puts an object into a slot. BPF_MAP_UPDATE_ELEM.
   *
   * @throws BpfError `EBADF` or `EINVAL` where it is no such object, `E2BIG` for an index that is too large
   */
  set(key: K, object: Held, flags = 0): this {
    this.#elements.set(key, object, flags);
    return this;
  }

  /** Empties a slot. BPF_MAP_DELETE_ELEM. */
  delete(key: K): boolean {
    return this.#elements.delete(key);
  }
}

/** Cgroups, by a file descriptor of their directory, for `bpf_current_task_under_cgroup`. BPF_MAP_TYPE_CGROUP_ARRAY, Linux 4.8. */
export class CgroupArrayMap extends WriteOnlyMap<number> {
  constructor(opened: OpenedMap) {
    super(opened, u32);
  }
}

/** AF_XDP sockets, by receive queue. BPF_MAP_TYPE_XSKMAP, Linux 4.18. */
export class XskMap extends WriteOnlyMap<number> {
  constructor(opened: OpenedMap) {
    super(opened, u32);
  }
}

/**
 * Sockets. BPF_MAP_TYPE_SOCKMAP, Linux 4.14; SOCKHASH, 4.18; REUSEPORT_SOCKARRAY, 4.19.
 * Written as a file descriptor, read as the socket's cookie; reading needs values of 8 bytes.
 */
export class SocketMap<K> extends DeletableMap<K, bigint, Held> {
  constructor(opened: OpenedMap, key: Codec<K>) {
    super(opened, key, held(opened.info.value_size === u64.size ? u64 : cookieOfWord));
  }
}

/** Values of 4 bytes take a file descriptor and never show a cookie. */
const cookieOfWord: Codec<bigint> = { ...u64, size: 4, decode: (view, offset) => BigInt(view.getUint32(offset, true)) };

/** Where packets are redirected to, and a program that sees them there. */
export interface DeviceTarget {
  readonly ifindex: number;
  /** An XDP program with the attach type BPF_XDP_DEVMAP. Linux 5.8; the map's values have 8 bytes for it. */
  readonly program?: Held;
}

export interface CpuTarget {
  /** Packets that may wait. */
  readonly queueSize: number;
  /** An XDP program with the attach type BPF_XDP_CPUMAP. Linux 5.9; the map's values have 8 bytes for it. */
  readonly program?: Held;
}

/** What a redirect map shows of a target: its program as an id, which is 0 where there is none. */
type Shown<Target extends object> = Omit<Target, "program"> & { readonly programId: number };

/** Network devices to which programs redirect packets. BPF_MAP_TYPE_DEVMAP, Linux 4.14; DEVMAP_HASH, 5.4. */
export class DeviceMap extends DeletableMap<number, Shown<DeviceTarget>, DeviceTarget> {
  constructor(opened: OpenedMap) {
    super(opened, u32, target<DeviceTarget>("struct bpf_devmap_val", "ifindex", opened.info.value_size));
  }
}

/** CPUs to which programs redirect packets. BPF_MAP_TYPE_CPUMAP, Linux 4.15. */
export class CpuMap extends DeletableMap<number, Shown<CpuTarget>, CpuTarget> {
  constructor(opened: OpenedMap) {
    super(opened, u32, target<CpuTarget>("struct bpf_cpumap_val", "queueSize", opened.info.value_size));
  }
}

/** A u32, and in values of 8 bytes a program: written as its file descriptor, where 0 and -1 are none, read as its id. */
function target<Target extends { readonly program?: Held }>(
  name: string,
  member: string,
  size: number,
): ValueCodec<Shown<Target>, Target> {
  return {
    name,
    size,
    align: 4,
    encode(value, view, offset) {
      if (typeof value !== "object" || value === null)
        throw new CodecError(`${name}: ${shown(value)} is not an object`);
      u32.encode((value as Record<string, unknown>)[member] as number, view, offset);
      if (size >= 8) view.setInt32(offset + 4, value.program === undefined ? -1 : fdOf(value.program), true);
      else if (value.program !== undefined) {
        throw new CodecError(`${name}: the map's values have ${size} bytes; a program needs 8`, "program");
      }
    },
    decode: (view, offset) =>
      ({
        [member]: view.getUint32(offset, true),
        programId: size >= 8 ? view.getUint32(offset + 4, true) : 0,
      }) as unknown as Shown<Target>,
  };
}

/** Maps in a map. BPF_MAP_TYPE_ARRAY_OF_MAPS and HASH_OF_MAPS, Linux 4.12. Written as a file descriptor, read as an id. */
export class MapOfMaps<K, Inner extends MapHandle> extends MapHandle {
  readonly #elements: Elements<K, number, Held>;
  readonly #adopt: (fd: number) => Inner;

  /** @param adopt makes an inner map of its file descriptor */
  constructor(opened: OpenedMap, key: Codec<K>, adopt: (fd: number) => Inner) {
    super(opened);
    this.#elements = new Elements(this, key, held(u32));
    this.#adopt = adopt;
  }

  /**
   * The inner map of a key, opened anew: whoever asks closes it. Undefined where there is none.
   * BPF_MAP_LOOKUP_ELEM, BPF_MAP_GET_FD_BY_ID; needs CAP_SYS_ADMIN.
   */
  get(key: K): Inner | undefined {
    const id = this.idOf(key);
    if (id === undefined) return undefined;
    const fd = this.kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: id });
    // It may have gone since it was looked up.
    if (fd === -ENOENT) return undefined;
    return this.#adopt(check(fd, commands.BPF_MAP_GET_FD_BY_ID, { subject: this.name }));
  }

  /** The id of the inner map of a key; undefined where there is none. BPF_MAP_LOOKUP_ELEM. */
  idOf(key: K): number | undefined {
    return this.#elements.get(key, 0);
  }

  has(key: K): boolean {
    return this.#elements.has(key);
  }

  /**
   * Puts a map in, which must be like the inner map that this one was created with. BPF_MAP_UPDATE_ELEM.
   *
   * @throws BpfError `EINVAL` where it is not like it; `E2BIG` where the map is full or the index too large
   */
  set(key: K, map: Held<MapHandle>, flags = 0): this {
    this.#elements.set(key, map, flags);
    return this;
  }

  /** Takes a map out, which lives on while something else holds it. BPF_MAP_DELETE_ELEM. */
  delete(key: K): boolean {
    return this.#elements.delete(key);
  }

  /** Keys and the ids of their maps. */
  ids(): MapEntries<K, number> {
    return new MapEntries(this.#elements);
  }

  *keys(): IterableIterator<K> {
    for (const [key] of this.ids()) yield key;
  }

  protected override inspected(): Iterable<readonly [unknown, unknown]> {
    return this.ids();
  }
}

/** Values that belong to a socket, an inode, a task or a cgroup, and go with it. The key is a file descriptor of the owner. */
export class StorageMap<V> extends MapHandle {
  readonly #elements: Elements<Held, V>;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap, value: Codec<V>) {
    super(opened);
    this.#elements = new Elements(this, held(u32), value);
  }

  /**
   * The value of an owner, or undefined where it has none. BPF_MAP_LOOKUP_ELEM.
   *
   * @param owner a socket; a file of the inode; a pidfd of the task (pidfd_open(2)); the cgroup's directory
   * @throws BpfError `EBADF` where it is no such file descriptor
   */
  get(owner: Held, flags = 0): V | undefined {
    return this.#elements.get(owner, flags);
  }

  has(owner: Held): boolean {
    return this.#elements.has(owner);
  }

  /** Writes the value of an owner. BPF_MAP_UPDATE_ELEM. */
  set(owner: Held, value: V, flags = 0): this {
    this.#elements.set(owner, value, flags);
    return this;
  }

  /** Removes the value of an owner; whether it had one. BPF_MAP_DELETE_ELEM. */
  delete(owner: Held): boolean {
    return this.#elements.delete(owner);
  }
}
