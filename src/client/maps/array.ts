// BPF_MAP_TYPE_ARRAY as memory: one value after the other, each at a multiple of 8 bytes.
// Linux: Documentation/bpf/map_array.rst

import type { Codec } from "../../codec/codec.ts";
import type { OpenedMap } from "./handle.ts";
import { KeyedMap } from "./keyed.ts";
import { MappedMemory, type MapView } from "./mapped.ts";

/** An array. BPF_MAP_TYPE_ARRAY, Linux 3.19. `View` is what shows its memory. */
export class ArrayMap<K, V, View extends MapView = MapView> extends KeyedMap<K, V> {
  readonly #memory: MappedMemory;

  /** Made by `BpfMap.create`, `open` and `adopt`. */
  constructor(opened: OpenedMap, key: Codec<K>, value: Codec<V>) {
    super(opened, key, value);
    this.#memory = new MappedMemory(this);
  }

  /** Bytes from one value to the next in the array's memory: its size, rounded up to a multiple of 8. */
  get stride(): number {
    return Math.ceil(this.valueSize / 8) * 8;
  }

  /**
   * The array's memory, live: what programs write shows in it at once, and what is written to it programs see. No command is
   * made. mmap(2), Linux 5.5, of an array that was created with `mmapable: true`.
   *
   * Values of numbers show as the typed array of their size: u64 as a BigUint64Array, in which the value of index i is `view[i]`.
   * A value begins at each multiple of `stride` bytes, so that of a u32 array the value of index i is `view[2 * i]`.
   * Values that are no numbers show as a DataView. After `close()` the view may still be read: zeros, or the last content.
   *
   * With `writable: false` it is a view of a map that is frozen or read-only: writing to it ends the process on Linux (SIGSEGV).
   * @throws BpfError `EINVAL` where the array is not mmapable, `EPERM` for a writable view of a frozen map
   * @example
   * using map = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 100, mmapable: true });
   * const counters = map.view(); // BigUint64Array
   * counters[3]++; // map.get(3) is 1n
   */
  view({ writable = true }: { readonly writable?: boolean } = {}): View {
    const length = this.stride * this.maxEntries;
    return this.#memory.view(this.elements.value, { length, writable }) as View;
  }

  override close(): void {
    this.#memory.unmap();
    super.close();
  }
}
