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

/** A map's memory, mapped when it is first asked for. */
export class MappedMemory {
  readonly #map: ElementsOwner;
  #mapping: Mapping | undefined;

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

  unmap(): void {
    this.#mapping?.unmap();
    this.#mapping = undefined;
  }

  #open(options: MmapOptions): Mapping {
    if (this.#mapping !== undefined) return this.#mapping;
    const { kernel, fd, info } = this.#map;
    const mapping = kernel.mmap(fd, options);
    if (typeof mapping === "number") {
      const hint = hints[-mapping]?.(mapTypeName(info.type));
      throw new BpfError(-mapping, { syscall: "mmap", subject: info.name, ...(hint === undefined ? {} : { hint }) });
    }
    this.#mapping = mapping;
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
