// BPF_MAP_TYPE_STRUCT_OPS: a struct of the kernel whose functions are programs.
// Linux: kernel/bpf/bpf_struct_ops.c

import type { Codec } from "../../codec/codec.ts";
import { u32 } from "../../codec/scalars.ts";
import { Elements } from "./elements.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";

/**
 * A struct of the kernel whose functions are programs: its only value. BPF_MAP_TYPE_STRUCT_OPS, Linux 5.6.
 * `valueTypeId` is the id of `struct bpf_struct_ops_NAME` in the BTF of vmlinux; the embedded kernel has none.
 */
export class StructOpsMap<V = Uint8Array> extends MapHandle {
  readonly #elements: Elements<number, V>;

  constructor(opened: OpenedMap, value: Codec<V>) {
    super(opened);
    this.#elements = new Elements(this, u32, value);
  }

  /**
   * Writes the struct, with programs as file descriptors in the places of its functions, and registers it
   * (with BPF_F_LINK a link registers it). BPF_MAP_UPDATE_ELEM.
   *
   * @throws BpfError `EBUSY` where it is registered already, `EINVAL` where a member may not be set
   */
  register(value: V): this {
    this.#elements.set(0, value, 0);
    return this;
  }

  /** The struct, with its state and the ids of its programs. BPF_MAP_LOOKUP_ELEM. */
  read(): V | undefined {
    return this.#elements.get(0, 0);
  }

  /** Takes it back; whether it was registered. BPF_MAP_DELETE_ELEM; a map with BPF_F_LINK is unregistered by its link. */
  unregister(): boolean {
    return this.#elements.delete(0);
  }
}
