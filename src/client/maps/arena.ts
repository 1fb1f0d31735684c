// BPF_MAP_TYPE_ARENA: memory that a program and user space share, pages of it as they are used.
// Linux: kernel/bpf/arena.c

import { bytes } from "../../codec/bytes.ts";
import { BPF_F_SEGV_ON_FAULT } from "../../uapi/flags.ts";
import { UnsupportedError } from "../errors.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";
import { MappedMemory } from "./mapped.ts";

/**
 * Memory that a program and user space share. BPF_MAP_TYPE_ARENA, Linux 6.9.
 *
 * @example
 * using arena = BpfMap.create(kernel, { type: "arena", maxEntries: 4 }); // pages
 * arena.view()[0] = 1;
 */
export class ArenaMap extends MapHandle {
  readonly #memory: MappedMemory;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap) {
    super(opened);
    this.#memory = new MappedMemory(this);
  }

  /**
   * The address that the arena has in user space: a pointer that a program stored, less this, is an offset in `view()`.
   * Without `mapExtra`, mapping the arena decides: then it is 0n before the first `view()`.
   */
  get address(): bigint {
    return BigInt(this.info.map_extra) || BigInt(this.#memory.address ?? 0);
  }

  /**
   * The arena's memory, live. A page that nobody allocated yet is allocated when it is touched.
   * After `close()` the view may still be read: zeros, or the last content. mmap(2)
   *
   * @throws BpfError `EINVAL` where the arena is mapped already, by another handle or process, at an address that is not free
   * @throws UnsupportedError for an arena with BPF_F_SEGV_ON_FAULT, in which touching such a page would end the process
   */
  view(): Uint8Array {
    if ((this.info.map_flags & BPF_F_SEGV_ON_FAULT) !== 0) {
      throw new UnsupportedError(
        `arena "${this.name}": touching memory of an arena with BPF_F_SEGV_ON_FAULT may end the process`,
      );
    }
    const length = this.maxEntries * this.kernel.system.pageSize;
    const address = Number(this.address);
    const options = { length, writable: true, ...(address === 0 ? {} : { address }) };
    return this.#memory.view(bytes(0), options) as Uint8Array;
  }

  override close(): void {
    this.#memory.unmap();
    super.close();
  }
}
