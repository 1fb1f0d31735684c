// Arrays that are written with a file descriptor, and hold what it stands for: maps, programs, performance events, cgroups.
// Linux: bpf_fd_array_map_update_elem and its neighbours in kernel/bpf/arraymap.c

import { E2BIG, EINVAL, ENOENT } from "../../uapi/errno.ts";
import type { File } from "../objects.ts";
import type { KernelState } from "../state.ts";
import { Beside } from "./beside.ts";
import { walk } from "./machine-elements.ts";
import type { EmbeddedMap, MapFamily } from "./map.ts";
import { checkShape } from "./shape.ts";

/** What an array holds. */
export interface Held<T> {
  /** What a file descriptor stands for, with a reference; or -errno. */
  take(state: KernelState, map: EmbeddedMap, fd: number, file: File): T | number;
  drop(held: T): void;
  /** Its address, which programs find. */
  address(held: T): number;
  /** What a lookup shows; absent: there is no lookup. */
  id?(held: T): number;
}

/** A family of such arrays. */
export interface FdArray<T> {
  readonly family: MapFamily;
  /** What a map holds, by index. */
  readonly contents: Beside<Map<number, T>>;
  /** Takes out what stands at an index, if something does: 0, or -ENOENT. */
  remove(state: KernelState, map: EmbeddedMap, index: number): number;
}

export const fdArray = <T extends object>(held: Held<T>): FdArray<T> => {
  const contents = new Beside(() => new Map<number, T>());

  function put(state: KernelState, map: EmbeddedMap, index: number, value: T | undefined): number {
    const values = contents.of(map);
    const old = values.get(index);
    if (value === undefined) values.delete(index);
    else values.set(index, value);
    setAddress(state, map, index, value === undefined ? 0 : held.address(value));
    if (old !== undefined) held.drop(old);
    return old === undefined ? -ENOENT : 0;
  }
  const remove = (state: KernelState, map: EmbeddedMap, index: number): number => put(state, map, index, undefined);

  const { id } = held;
  const family: MapFamily = {
    check: checkShape,
    memoryNeeded: ({ max_entries }) => max_entries * POINTER,
    perCpu: false,
    hasDirectValue: false,
    operations: {
      ...(id && {
        lookup({ memory }, map, key, room) {
          const value = contents.of(map).get(memory.u32[key / 4] as number);
          if (value === undefined) return -ENOENT;
          memory.u32[room / 4] = id(value);
          return room;
        },
      }),
      update(state, map, key, value, flags, file) {
        const index = state.memory.u32[key / 4] as number;
        if (flags !== 0) return -EINVAL;
        if (index >= map.max_entries) return -E2BIG;
        const taken = held.take(state, map, state.memory.u32[value / 4] as number, file);
        if (typeof taken === "number") return taken;
        put(state, map, index, taken);
        return 0;
      },
      remove(state, map, key) {
        const index = state.memory.u32[key / 4] as number;
        return index >= map.max_entries ? -E2BIG : remove(state, map, index);
      },
      nextKey: walk.nextKey as NonNullable<typeof walk.nextKey>,
    },
    destroy(_state, map) {
      for (const value of contents.of(map).values()) held.drop(value);
    },
  };
  return { family, contents, remove };
};

/** Bytes of an element in the machine. */
export const POINTER = 8;

/** Writes an element: the address that programs find at an index. */
export function setAddress({ machine, memory }: KernelState, map: EmbeddedMap, index: number, address: number): void {
  memory.u32[(machine.mapData(map.handle) + POINTER * index) / 4] = address;
}
