// What becomes of a map that is pinned already where a new one shall be.

import { bytes } from "../../codec/bytes.ts";
import type { Attr } from "../../uapi/attr.ts";
import type * as commands from "../../uapi/commands.ts";
import { EEXIST, EINVAL, ENOENT } from "../../uapi/errno.ts";
import { BPF_F_RDONLY, BPF_F_RDONLY_PROG, BPF_F_WRONLY } from "../../uapi/flags.ts";
import type { MapInfo } from "../../uapi/info.ts";
import * as types from "../../uapi/map-types.ts";
import { BpfError } from "../errors.ts";
import { Elements } from "./elements.ts";
import type { MapHandle } from "./handle.ts";
import { mapTypeName, perCpuTypes } from "./types.ts";
import { MapEntries } from "./walk.ts";

/**
 * What to do where a map is pinned at the path already:
 * - `"fail"`: throw `EEXIST`;
 * - `"reuse"`: use that map; where an attribute differs, throw `EINVAL`, which names each difference;
 * - `"replace"`: pin the new map in its place;
 * - `"migrate"`: copy its entries into the new map, then pin that in its place. What is written to the old map meanwhile is
 *   not copied, and who holds the old map goes on with it.
 *
 * Whoever opens the path gets the one map or the other: it is never empty in between. Where a process is killed just before it
 * puts the new map there, that is left beside it, pinned at the path with `-` and random letters behind it.
 */
export type PinPolicy = "fail" | "reuse" | "replace" | "migrate";

export interface PinOptions {
  /** A path in a BPF file system, in a directory that is there. */
  readonly path: string;
  /** `"fail"` where absent. */
  readonly policy?: PinPolicy;
}

type CreateAttr = Attr<typeof commands.BPF_MAP_CREATE>;

/** How maps are made: what the policies need. */
interface Makers {
  create(): MapHandle;
  /** Opens the path, as what it is or as what was asked for. */
  open(as: "any" | "declared"): MapHandle;
}

/** A map that is to be pinned, and the last step: until then, the path is as it was. */
export interface PinnedMap {
  readonly map: MapHandle;
  readonly pin: () => void;
}

/** A map for a path, as a policy wants it. */
export function preparePinned({ path, policy = "fail" }: PinOptions, declared: CreateAttr, makers: Makers): PinnedMap {
  if (!Object.hasOwn(policies, policy)) {
    throw refused(path, `a policy is "fail", "reuse", "replace" or "migrate"; got "${policy as string}"`);
  }
  return policies[policy](path, declared, makers);
}

const policies: Readonly<Record<PinPolicy, (path: string, declared: CreateAttr, makers: Makers) => PinnedMap>> = {
  fail: fresh,
  reuse(path, declared, makers) {
    const old = orAbsent(() => makers.open("any"));
    if (old === undefined) return fresh(path, declared, makers);
    const different = differences(old.info, declared);
    old.close();
    if (different.length > 0) throw refused(path, `the map pinned there is another: ${different.join("; ")}`);
    return { map: makers.open("declared"), pin: () => {} };
  },
  replace(path, _, { create }) {
    const map = create();
    return { map, pin: () => map.pin(path, { replace: true }) };
  },
  migrate(path, declared, makers) {
    const old = orAbsent(() => makers.open("any"));
    if (old === undefined) return fresh(path, declared, makers);
    try {
      const problem = obstacle(old.info, declared);
      if (problem !== undefined) throw refused(path, `its entries cannot be migrated: ${problem}`);
      const replaced = policies.replace(path, declared, makers);
      return closingOnError(replaced, () => {
        rawElements(replaced.map).setMany(new MapEntries(rawElements(old)), 0);
        return replaced;
      });
    } finally {
      old.close();
    }
  },
};

function fresh(path: string, _: CreateAttr, { create }: Makers): PinnedMap {
  const map = create();
  return { map, pin: () => map.pin(path) };
}

/** Closes a map where what follows fails. */
function closingOnError<T>({ map }: PinnedMap, body: () => T): T {
  try {
    return body();
  } catch (error) {
    map.close();
    throw error;
  }
}

/** The map that is pinned at the path in the end. */
export function createPinned(pin: PinOptions, declared: CreateAttr, makers: Makers): MapHandle {
  try {
    const prepared = preparePinned(pin, declared, makers);
    closingOnError(prepared, prepared.pin);
    return prepared.map;
  } catch (error) {
    // Somebody else may have pinned a map there between our looking and our pinning.
    if (pin.policy !== "reuse" || !isErrno(error, EEXIST)) throw error;
    return preparePinned(pin, declared, makers).map;
  }
}

/** Attributes that tell maps apart, and what the kernel changes of them by itself. */
const COMPARED = [
  {
    name: "type",
    pinned: ({ type }: MapInfo) => mapTypeName(type),
    declared: (a: CreateAttr) => mapTypeName(a.map_type ?? 0),
  },
  { name: "key_size", pinned: (info: MapInfo) => info.key_size, declared: (a: CreateAttr) => a.key_size ?? 0 },
  { name: "value_size", pinned: (info: MapInfo) => info.value_size, declared: (a: CreateAttr) => a.value_size ?? 0 },
  { name: "max_entries", pinned: (info: MapInfo) => info.max_entries, declared: (a: CreateAttr) => a.max_entries ?? 0 },
  {
    name: "map_flags",
    pinned: (info: MapInfo) => flagsKept(info.type, info.map_flags),
    declared: (a: CreateAttr) => flagsKept(a.map_type ?? 0, a.map_flags ?? 0),
  },
  {
    name: "map_extra",
    pinned: (info: MapInfo) => Number(info.map_extra),
    declared: (a: CreateAttr) => Number(a.map_extra ?? 0),
  },
] as const;

/** `max_entries: 100 pinned, 200 declared` */
const differences = (info: MapInfo, declared: CreateAttr): string[] =>
  COMPARED.filter((attribute) => attribute.pinned(info) !== attribute.declared(declared)).map(
    (attribute) => `${attribute.name}: ${attribute.pinned(info)} pinned, ${attribute.declared(declared)} declared`,
  );

/** Access belongs to file descriptors, not to the map; programs never write devmaps, and the kernel says so. */
function flagsKept(type: number, flags: number): number {
  const isDevmap = type === types.BPF_MAP_TYPE_DEVMAP || type === types.BPF_MAP_TYPE_DEVMAP_HASH;
  return flags & ~(BPF_F_RDONLY | BPF_F_WRONLY | (isDevmap ? BPF_F_RDONLY_PROG : 0));
}

/** Types whose entries can be read and written again without a change. */
const MIGRATABLE: readonly number[] = [
  types.BPF_MAP_TYPE_ARRAY,
  types.BPF_MAP_TYPE_PERCPU_ARRAY,
  types.BPF_MAP_TYPE_HASH,
  types.BPF_MAP_TYPE_PERCPU_HASH,
  types.BPF_MAP_TYPE_LRU_HASH,
  types.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  types.BPF_MAP_TYPE_LPM_TRIE,
];

/** Why entries do not go from a map into one that is declared so; undefined where they do. */
function obstacle(info: MapInfo, declared: CreateAttr): string | undefined {
  const type = declared.map_type ?? 0;
  for (const one of [info.type, type]) {
    if (!MIGRATABLE.includes(one)) return `a ${mapTypeName(one)} has none that can be copied; use "replace"`;
  }
  const sizes = differences(info, declared).filter((difference) => /^(key|value)_size/.test(difference));
  if (sizes.length > 0) return sizes.join("; ");
  if (perCpuTypes.has(info.type) !== perCpuTypes.has(type)) {
    return `type: ${mapTypeName(info.type)} pinned, ${mapTypeName(type)} declared, and only one has a value for each CPU`;
  }
  return undefined;
}

/** A map's elements as they are, bytes. */
function rawElements(map: MapHandle): Elements<Uint8Array, Uint8Array> {
  const { key_size, value_size, type } = map.info;
  const cpus = map.kernel.system.possibleCpus.length;
  const size = perCpuTypes.has(type) ? Math.ceil(value_size / 8) * 8 * cpus : value_size;
  return new Elements(map, bytes(key_size), bytes(size));
}

/** What `open` opens; undefined where nothing is pinned there. */
function orAbsent<T>(open: () => T): T | undefined {
  try {
    return open();
  } catch (error) {
    if (isErrno(error, ENOENT)) return undefined;
    throw error;
  }
}

const isErrno = (error: unknown, errno: number): boolean => error instanceof BpfError && error.errno === errno;

const refused = (path: string, hint: string): BpfError =>
  new BpfError(EINVAL, { syscall: "bpf(BPF_OBJ_GET)", subject: path, hint });
