// Local storage: values that belong to other objects of the kernel, which file descriptors name.
// Linux: kernel/bpf/bpf_local_storage.c

import type { Codec } from "../../codec/codec.ts";
import { u32 } from "../../codec/scalars.ts";
import { Elements } from "./elements.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";
import type { Held } from "./held.ts";
import { held } from "./references.ts";

/**
 * Values that belong to a socket, an inode, a task or a cgroup, and go with it. The key is a file descriptor of the owner.
 * BPF_MAP_TYPE_SK_STORAGE, Linux 5.2; INODE_STORAGE, 5.10; TASK_STORAGE, 5.11; CGRP_STORAGE, 6.2.
 *
 * @example
 * using seen = BpfMap.create(kernel, { type: "task_storage", value: u64 });
 * seen.set(pidfd, 1n); // pidfd: what pidfd_open(2) gives
 */
export class StorageMap<V> extends MapHandle {
  readonly #elements: Elements<Held, V>;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap, value: Codec<V>) {
    super(opened);
    this.#elements = new Elements(this, held(opened.kernel, u32), value);
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

  /** Whether an owner has a value. BPF_MAP_LOOKUP_ELEM; errors as `get`. */
  has(owner: Held): boolean {
    return this.#elements.has(owner);
  }

  /**
   * Writes the value of an owner. BPF_MAP_UPDATE_ELEM.
   *
   * @throws BpfError `EBADF` or `ENOTSOCK` where it is no such file descriptor; `EEXIST` and `ENOENT` as `flags` ask;
   *   `ENOMEM` where a socket may be charged no more
   */
  set(owner: Held, value: V, flags = 0): this {
    this.#elements.set(owner, value, flags);
    return this;
  }

  /** Removes the value of an owner; whether it had one. BPF_MAP_DELETE_ELEM; errors as `get`. */
  delete(owner: Held): boolean {
    return this.#elements.delete(owner);
  }
}
