// BPF_MAP_TYPE_ARRAY_OF_MAPS and BPF_MAP_TYPE_HASH_OF_MAPS: maps that hold maps which are like their template. In the machine
// an element is the address of a map, which programs get from a lookup.
// Linux: kernel/bpf/map_in_map.c

import { EINVAL, ENOENT, ENOTSUPP } from "../../uapi/errno.ts";
import { BPF_EXIST, BPF_F_INNER_MAP } from "../../uapi/flags.ts";
import * as types from "../../uapi/map-types.ts";
import { findMap } from "../objects.ts";
import type { KernelState } from "../state.ts";
import { fdArray } from "./fd-array.ts";
import { hash } from "./hash.ts";
import { elements } from "./machine-elements.ts";
import type { EmbeddedMap, InnerTemplate, MapAttributes, MapFamily } from "./map.ts";

const maps = fdArray<EmbeddedMap>({
  take: ({ files }, outer, fd) => takeInner(findMap(files, fd), outer),
  drop: ({ references }) => references.drop(),
  address: ({ handle }) => handle,
  id: ({ id }) => id,
});

export const arrayOfMaps: MapFamily = { ...maps.family, innerTemplate };

export const hashOfMaps: MapFamily = {
  ...hash,
  innerTemplate,
  operations: {
    ...elements,
    lookup(state, map, key, room) {
      const inner = innerAt(state, map, key);
      if (inner === undefined) return -ENOENT;
      state.memory.u32[room / 4] = inner.id;
      return room;
    },
    update(state, map, key, value, flags) {
      const { machine, memory } = state;
      const inner = takeInner(findMap(state.files, memory.u32[value / 4] as number), map);
      if (typeof inner === "number") return inner;
      const old = innerAt(state, map, key);
      memory.u32[value / 4] = inner.handle;
      const error = flags > BPF_EXIST ? -EINVAL : machine.mapUpdate(map.handle, key, value, flags);
      if (error !== 0) inner.references.drop();
      else old?.references.drop();
      return error;
    },
    remove(state, map, key) {
      const inner = innerAt(state, map, key);
      const result = state.machine.mapDelete(map.handle, key);
      inner?.references.drop();
      return result;
    },
    lookupAndDelete: undefined,
  },
  destroy(state, map) {
    const { machine } = state;
    for (let bucket = machine.hashBuckets(map.handle) - 1; bucket >= 0; bucket--) {
      for (let key = machine.hashFirstKey(map.handle, bucket); key !== 0; key = machine.hashKeyBehind(map.handle, key))
        innerAt(state, map, key)?.references.drop();
    }
  },
};

/** Types that cannot be in another map, beside the maps of maps. */
const NEVER_INNER = new Set<number>([
  types.BPF_MAP_TYPE_PROG_ARRAY,
  types.BPF_MAP_TYPE_CGROUP_STORAGE,
  types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  types.BPF_MAP_TYPE_STRUCT_OPS,
]);

/** Types whose maps have as many entries as their template. */
const ENTRIES_COMPARED = new Set<number>([types.BPF_MAP_TYPE_ARRAY, types.BPF_MAP_TYPE_XSKMAP]);

/** What the maps in a new one are like: as the map is that it was made with. */
function innerTemplate({ files }: KernelState, { inner_map_fd }: MapAttributes): InnerTemplate | number {
  const map = findMap(files, inner_map_fd);
  if (typeof map === "number") return map;
  if (map.innerTemplate !== undefined) return -EINVAL;
  if (map.exclusiveHash !== undefined || NEVER_INNER.has(map.map_type)) return -ENOTSUPP;
  const { map_type, key_size, value_size, max_entries, map_flags, fields } = map;
  return { map_type, key_size, value_size, max_entries, map_flags, fields };
}

/** A map that is to be put into another, with a reference; or -errno. */
function takeInner(inner: EmbeddedMap | number, { innerTemplate }: EmbeddedMap): EmbeddedMap | number {
  if (typeof inner === "number") return inner;
  if (inner.exclusiveHash !== undefined) return -ENOTSUPP;
  if (innerTemplate === undefined || !isLike(innerTemplate, inner)) return -EINVAL;
  inner.references.take();
  return inner;
}

function isLike(template: InnerTemplate, map: EmbeddedMap): boolean {
  const isFree = !ENTRIES_COMPARED.has(template.map_type) || (template.map_flags & BPF_F_INNER_MAP) !== 0;
  return (
    template.map_type === map.map_type &&
    template.key_size === map.key_size &&
    template.value_size === map.value_size &&
    template.map_flags === map.map_flags &&
    isSame(template.fields, map.fields) &&
    (isFree || template.max_entries === map.max_entries)
  );
}

const isSame = (a: InnerTemplate["fields"], b: InnerTemplate["fields"]): boolean =>
  a.length === b.length && a.every(({ kind, offset }, index) => b[index]?.kind === kind && b[index]?.offset === offset);

/** The map under a key, undefined where there is none. */
const innerAt = ({ machine, mapsByAddress }: KernelState, map: EmbeddedMap, key: number): EmbeddedMap | undefined =>
  mapsByAddress.get(machine.mapLookup(map.handle, key));
