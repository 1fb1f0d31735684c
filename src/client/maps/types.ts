// The types of maps by name, and which of them have something in common.
// Linux: include/uapi/linux/bpf.h, kernel/bpf/syscall.c

import * as mapTypes from "../../uapi/map-types.ts";
import { type NameOf, namesByNumber, numbersByName } from "../../uapi/names.ts";

/** The name of a BPF_MAP_TYPE_…, in lower case: `"array"`. */
export type MapTypeName = Exclude<NameOf<typeof mapTypes, "BPF_MAP_TYPE_">, "unspec">;

const numberOfType = numbersByName(mapTypes, "BPF_MAP_TYPE_");
const nameOfType = namesByNumber(mapTypes, "BPF_MAP_TYPE_");

/** The name of a BPF_MAP_TYPE_…: `"array"`; of a type that is newer than this table, `"type 40"`. */
export const mapTypeName = (type: number): MapTypeName =>
  (nameOfType.get(type)?.slice("BPF_MAP_TYPE_".length).toLowerCase() ?? `type ${type}`) as MapTypeName;

/** A map of a type, in a sentence: `"an array"`, `"a hash"`. */
export function aMap(type: number): string {
  const name = type === mapTypes.BPF_MAP_TYPE_RINGBUF ? "ring buffer" : mapTypeName(type);
  return `${/^([ai]|l[pr]|x)/.test(name) ? "an" : "a"} ${name}`;
}

/** The number of a type by its name; undefined where there is no such type. */
export const mapTypeNumber = (name: string): number | undefined =>
  name === "unspec" ? undefined : (numberOfType as ReadonlyMap<string, number>).get(name);

/** Types with a value for each possible CPU. */
export const perCpuTypes: ReadonlySet<number> = new Set([
  mapTypes.BPF_MAP_TYPE_PERCPU_ARRAY,
  mapTypes.BPF_MAP_TYPE_PERCPU_HASH,
  mapTypes.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  mapTypes.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
]);

/** Types whose keys are the indices below max_entries. */
export const indexedTypes: ReadonlySet<number> = new Set([
  mapTypes.BPF_MAP_TYPE_ARRAY,
  mapTypes.BPF_MAP_TYPE_PERCPU_ARRAY,
  mapTypes.BPF_MAP_TYPE_PROG_ARRAY,
  mapTypes.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  mapTypes.BPF_MAP_TYPE_CGROUP_ARRAY,
  mapTypes.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  mapTypes.BPF_MAP_TYPE_DEVMAP,
  mapTypes.BPF_MAP_TYPE_CPUMAP,
  mapTypes.BPF_MAP_TYPE_XSKMAP,
  mapTypes.BPF_MAP_TYPE_SOCKMAP,
  mapTypes.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
]);

/** Types whose values belong to another object of the kernel. */
export const localStorageTypes: ReadonlySet<number> = new Set([
  mapTypes.BPF_MAP_TYPE_SK_STORAGE,
  mapTypes.BPF_MAP_TYPE_INODE_STORAGE,
  mapTypes.BPF_MAP_TYPE_TASK_STORAGE,
  mapTypes.BPF_MAP_TYPE_CGRP_STORAGE,
]);
