// Memory of a map in this process: mapped once, let go with the map. Views of it stay readable for ever.
// Linux: bpf_map_mmap in kernel/bpf/syscall.c

import type { TypedArray, Viewable } from "../../codec/codec.ts";
import type { Mapping, MmapOptions } from "../../kernel/kernel.ts";
import { EACCES, EBUSY, EINVAL, ENOTSUPP, EPERM } from "../../uapi/errno.ts";
import { BpfError } from "../errors.ts";
import type { ElementsOwner } from "./elements.ts";
import { mapTypeName } from "./types.ts";

/** What a view shows its memory as, where the codec does not say: bytes of all kinds. */
export type MapView = TypedArray | DataView;

/** A map's memory, mapped when it is first asked for: once to be read, and once to be written too. */
export class MappedMemory {
  readonly #map: ElementsOwner;
  readonly #mappings = new Map<boolean, Mapping>();

  constructor(map: ElementsOwner) {
    this.#map = map;
  }

  /** The memory as `codec` sees it, or as a DataView. */
  view(codec: object, options: MmapOptions): MapView {
    const { bytes } = this.#open(options);
    const { view: View } = codec as Partial<Viewable<TypedArray>>;
    const buffer = bytes.buffer as ArrayBuffer;
    const view =
      View === undefined
        ? new DataView(buffer, bytes.byteOffset, bytes.length)
        : new View(buffer, bytes.byteOffset, bytes.length / View.BYTES_PER_ELEMENT);
    kept.set(view, bytes);
    return view;
  }

  /** Address of the first byte where it was mapped first; undefined while nothing is mapped. */
  get address(): number | undefined {
    return this.#mappings.values().next().value?.address;
  }

  unmap(): void {
    for (const mapping of this.#mappings.values()) mapping.unmap();
    this.#mappings.clear();
  }

  #open(options: MmapOptions): Mapping {
    const { kernel, fd, info } = this.#map;
    const { writable = false } = options;
    const mapped = this.#mappings.get(writable);
    if (mapped !== undefined) return mapped;
    const mapping = kernel.mmap(fd, options);
    if (typeof mapping === "number") {
      const hint = hints[-mapping]?.(mapTypeName(info.type));
      throw new BpfError(-mapping, { syscall: "mmap", subject: info.name, ...(hint === undefined ? {} : { hint }) });
    }
    this.#mappings.set(writable, mapping);
    return mapping;
  }
}

/** A kernel keeps a mapping's memory as long as its bytes are reachable: so they are, as long as a view of them is. */
const kept = new WeakMap<MapView, Uint8Array>();

const hints: Readonly<Record<number, (type: string) => string>> = {
  [ENOTSUPP]: (type) => `maps of type ${type} cannot be mapped`,
  [EINVAL]: () => "an array is mapped where it was created with mmapable: true (BPF_F_MMAPABLE)",
  [EPERM]: () => "the map is frozen; view({ writable: false }) reads it",
  [EACCES]: () => "the map is read-only; view({ writable: false }) reads it",
  [EBUSY]: () => "an arena is mapped at one address, once",
};
