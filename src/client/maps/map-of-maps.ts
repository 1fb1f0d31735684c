// Maps in maps: written as file descriptors, read as ids, opened anew for whoever asks.
// Linux: kernel/bpf/map_in_map.c

import type { Codec } from "../../codec/codec.ts";
import { u32 } from "../../codec/scalars.ts";
import * as commands from "../../uapi/commands.ts";
import { ENOENT } from "../../uapi/errno.ts";
import { check } from "../errors.ts";
import { Elements } from "./elements.ts";
import { MapHandle, type OpenedMap } from "./handle.ts";
import type { Held } from "./held.ts";
import { held } from "./references.ts";
import { MapEntries } from "./walk.ts";

/**
 * Maps in a map. BPF_MAP_TYPE_ARRAY_OF_MAPS and HASH_OF_MAPS, Linux 4.12. Written as a file descriptor, read as an id.
 *
 * @example
 * const inner = { type: "array", value: u64, maxEntries: 1 } as const;
 * using outer = BpfMap.create(kernel, { type: "hash_of_maps", key: u32, maxEntries: 8, inner });
 * using counters = BpfMap.create(kernel, inner);
 * outer.set(7, counters);
 * using same = outer.get(7); // another handle of the same map
 */
export class MapOfMaps<K, Inner extends MapHandle> extends MapHandle {
  readonly #elements: Elements<K, number, Held>;
  readonly #adopt: (fd: number) => Inner;

  /** @param adopt makes an inner map of its file descriptor */
  constructor(opened: OpenedMap, key: Codec<K>, adopt: (fd: number) => Inner) {
    super(opened);
    this.#elements = new Elements(this, key, held(opened.kernel, u32));
    this.#adopt = adopt;
  }

  /**
   * The inner map of a key, opened anew: whoever asks closes it. Undefined where there is none.
   * BPF_MAP_LOOKUP_ELEM, BPF_MAP_GET_FD_BY_ID; needs CAP_SYS_ADMIN.
   *
   * @throws BpfError `EPERM` without the capability
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

  /** Whether there is a map under a key. BPF_MAP_LOOKUP_ELEM. */
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

  /** Keys and the ids of their maps. BPF_MAP_LOOKUP_BATCH, or key by key. */
  ids(): MapEntries<K, number> {
    return new MapEntries(this.#elements);
  }

  /** The keys that have a map. */
  *keys(): IterableIterator<K> {
    for (const [key] of this.ids()) yield key;
  }

  protected override inspected(): Iterable<readonly [unknown, unknown]> {
    return this.ids();
  }
}
