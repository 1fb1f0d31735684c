// Why a command on a map's elements failed, in words: the errno seen together with the map and what was asked.
// Linux: kernel/bpf/syscall.c and the file of each map type beside it

import { BPF_MAP_DELETE_ELEM, BPF_MAP_FREEZE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM } from "../../uapi/commands.ts";
import * as errnos from "../../uapi/errno.ts";
import { BPF_ANY, BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST } from "../../uapi/flags.ts";
import type { MapInfo } from "../../uapi/info.ts";
import * as types from "../../uapi/map-types.ts";
import { aMap, indexedTypes, mapTypeName } from "./types.ts";

/** What was asked of a map. */
interface Asked {
  readonly command: number;
  readonly info: MapInfo;
  readonly key?: Uint8Array | undefined;
  readonly flags: number;
}

/** A sentence that explains `errno`; undefined where there is nothing to add. */
export function explainElement(errno: number, asked: Asked): string | undefined {
  return hints[errno]?.(asked);
}

const hints: Readonly<Record<number, (asked: Asked) => string | undefined>> = {
  [errnos.E2BIG]: (asked) => indexProblem(asked) ?? (asked.command === BPF_MAP_DELETE_ELEM ? undefined : full(asked)),
  [errnos.ENOSPC]: (asked) => {
    const { info, command } = asked;
    if (info.type === types.BPF_MAP_TYPE_LPM_TRIE) return full(asked);
    return command === BPF_MAP_LOOKUP_ELEM
      ? `${aMap(info.type)} shows socket cookies only where its values have 8 bytes; they have ${info.value_size}`
      : undefined;
  },
  [errnos.ENOENT]: ({ flags }) =>
    flags === BPF_EXIST ? "the key is not there, and BPF_EXIST writes only keys that are" : undefined,
  [errnos.EEXIST]: ({ info }) =>
    completeTypes.has(info.type)
      ? `${aMap(info.type)} has all its elements from the beginning: BPF_NOEXIST never succeeds`
      : "the key is there already",
  [errnos.EPERM]: () => "the map is frozen, or it was opened without this access",
  [errnos.EINVAL]: (asked) => {
    const { command, info, key, flags } = asked;
    if ((flags & BPF_F_LOCK) !== 0)
      return "BPF_F_LOCK needs a struct bpf_spin_lock in the value, told by the map's BTF";
    if (command === BPF_MAP_DELETE_ELEM && arrayTypes.has(info.type)) {
      return `the elements of ${aMap(info.type)} cannot be deleted`;
    }
    if (info.type === types.BPF_MAP_TYPE_LPM_TRIE && key !== undefined && wordOf(key) > (info.key_size - 4) * 8) {
      return `a prefix of this map has at most ${(info.key_size - 4) * 8} bits; got ${wordOf(key)}`;
    }
    return flagsProblem(asked) ?? (command === BPF_MAP_DELETE_ELEM ? indexProblem(asked) : undefined);
  },
  [errnos.EBADF]: ({ key }) => (key === undefined ? undefined : "a file descriptor in key or value is not open"),
  [errnos.ENOTSOCK]: () => "the file descriptor is open, and no socket",
  [errnos.EBUSY]: ({ command }) =>
    command === BPF_MAP_FREEZE
      ? "the map is mapped writable, or written to at this moment"
      : "the kernel is using the element or the map at this moment; try again",
  [errnos.ENOTSUPP]: ({ info }) => `maps of type ${mapTypeName(info.type)} do not have this command`,
  [errnos.EOPNOTSUPP]: ({ info }) => `maps of type ${mapTypeName(info.type)} do not have this command`,
};

const full = ({ info }: Asked): string => `the map is full: it has its max_entries, ${info.max_entries}`;

function indexProblem({ info, key }: Asked): string | undefined {
  if (!indexedTypes.has(info.type) || key === undefined || wordOf(key) < info.max_entries) return undefined;
  return `${aMap(info.type)}'s index is below its max_entries, ${info.max_entries}; got ${wordOf(key)}`;
}

function flagsProblem({ command, info, flags }: Asked): string | undefined {
  if (command !== BPF_MAP_UPDATE_ELEM) return undefined;
  const taken = takenFlags.get(info.type) ?? [BPF_ANY, BPF_NOEXIST, BPF_EXIST];
  if (taken.includes(flags)) return undefined;
  const names = taken.map((flag) => `${flagNames[flag]} (${flag})`);
  return `${aMap(info.type)} is written with flags ${names.join(", ")}; got ${flags}`;
}

const flagNames: Readonly<Record<number, string>> = {
  [BPF_ANY]: "BPF_ANY",
  [BPF_NOEXIST]: "BPF_NOEXIST",
  [BPF_EXIST]: "BPF_EXIST",
};

/** Flags of an update, of types that do not take all of those above. */
const takenFlags: ReadonlyMap<number, readonly number[]> = new Map([
  [types.BPF_MAP_TYPE_PROG_ARRAY, [BPF_ANY]],
  [types.BPF_MAP_TYPE_PERF_EVENT_ARRAY, [BPF_ANY]],
  [types.BPF_MAP_TYPE_CGROUP_ARRAY, [BPF_ANY]],
  [types.BPF_MAP_TYPE_ARRAY_OF_MAPS, [BPF_ANY]],
  [types.BPF_MAP_TYPE_STRUCT_OPS, [BPF_ANY]],
  [types.BPF_MAP_TYPE_BLOOM_FILTER, [BPF_ANY]],
  [types.BPF_MAP_TYPE_QUEUE, [BPF_ANY, BPF_EXIST]],
  [types.BPF_MAP_TYPE_STACK, [BPF_ANY, BPF_EXIST]],
]);

/** Types whose elements are always there. */
const arrayTypes: ReadonlySet<number> = new Set([types.BPF_MAP_TYPE_ARRAY, types.BPF_MAP_TYPE_PERCPU_ARRAY]);
/** Types that take no element as new. */
const completeTypes: ReadonlySet<number> = new Set([
  ...arrayTypes,
  types.BPF_MAP_TYPE_DEVMAP,
  types.BPF_MAP_TYPE_CPUMAP,
]);

const wordOf = (key: Uint8Array): number =>
  key.length < 4 ? 0 : new DataView(key.buffer, key.byteOffset).getUint32(0, true);
