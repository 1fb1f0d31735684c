// Maps whose values are other objects of the kernel: programs, cgroups, sockets. They are written as file descriptors.
// Linux: kernel/bpf/arraymap.c (fd arrays), net/core/sock_map.c, net/xdp/xskmap.c

import type { Codec } from "../../codec/codec.ts";
import { u32, u64 } from "../../codec/scalars.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import { Elements, type ValueCodec } from "./elements.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";
import { fdOf, type Held } from "./held.ts";
import { DeletableMap } from "./keyed.ts";

/** Written as a file descriptor, read as what the kernel knows the object by. */
export const held = <Read>(kernel: Kernel, read: Codec<Read>): ValueCodec<Read, Held> => ({
  ...read,
  name: "file descriptor",
  encode(value, view, offset) {
    const fd = fdOf(value, kernel);
    for (let at = 4; at < read.size; at += 4) view.setUint32(offset + at, 0, true);
    view.setInt32(offset, fd, true);
  },
});

/**
 * Programs, by which a program goes on with `bpf_tail_call`. BPF_MAP_TYPE_PROG_ARRAY, Linux 4.2. A slot reads as its program's id.
 * It is emptied when no file descriptor and no pin of it is left.
 *
 * @example
 * using steps = BpfMap.create(kernel, { type: "prog_array", maxEntries: 4 });
 * steps.set(0, program); // a BpfProgram, or its file descriptor
 */
export class ProgramArrayMap extends DeletableMap<number, number, Held> {
  constructor(opened: OpenedMap) {
    super(opened, u32, held(opened.kernel, u32));
  }
}

/** A map of file descriptors that only programs look into: slots are set and emptied. */
export abstract class WriteOnlyMap<K> extends MapHandle {
  readonly #elements: Elements<K, number, Held>;

  constructor(opened: OpenedMap, key: Codec<K>) {
    super(opened);
    this.#elements = new Elements(this, key, held(opened.kernel, u32));
  }

  /**
   * Puts an object into a slot. BPF_MAP_UPDATE_ELEM.
   *
   * @throws BpfError `EBADF`, `EINVAL` or `ENOTSOCK` where it is no such object, `E2BIG` for an index that is too large
   */
  set(key: K, object: Held, flags = 0): this {
    this.#elements.set(key, object, flags);
    return this;
  }

  /** Empties a slot; whether there was something. BPF_MAP_DELETE_ELEM. */
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

/** AF_XDP sockets, by receive queue. BPF_MAP_TYPE_XSKMAP, Linux 4.18; needs CAP_NET_ADMIN. */
export class XskMap extends WriteOnlyMap<number> {
  constructor(opened: OpenedMap) {
    super(opened, u32);
  }
}

/**
 * Sockets. BPF_MAP_TYPE_SOCKMAP, Linux 4.14; SOCKHASH, 4.18; REUSEPORT_SOCKARRAY, 4.19.
 * Written as a file descriptor, read as the socket's cookie; reading needs values of 8 bytes.
 *
 * @example
 * using sockets = BpfMap.create(kernel, { type: "sockhash", key: u32, maxEntries: 64 });
 * sockets.set(7, fd); // an established TCP socket
 * sockets.get(7); // its SO_COOKIE
 */
export class SocketMap<K> extends DeletableMap<K, bigint, Held> {
  constructor(opened: OpenedMap, key: Codec<K>) {
    super(opened, key, held(opened.kernel, opened.info.value_size === u64.size ? u64 : cookieOfWord));
  }
}

/** Values of 4 bytes take a file descriptor and never show a cookie. */
const cookieOfWord: Codec<bigint> = { ...u64, size: 4, decode: (view, offset) => BigInt(view.getUint32(offset, true)) };
