// Why a command on a map's elements failed, in words: the errno seen together with the map and what was asked.
// Linux: kernel/bpf/syscall.c and the file of each map type beside it

import { BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_ELEM } from "../../uapi/commands.ts";
import * as errnos from "../../uapi/errno.ts";
import { BPF_F_LOCK } from "../../uapi/flags.ts";
import type { MapInfo } from "../../uapi/info.ts";
import * as types from "../../uapi/map-types.ts";
import { indexedTypes, mapTypeName } from "./types.ts";

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
  [errnos.E2BIG]: ({ info, key }) =>
    indexedTypes.has(info.type) && key !== undefined
      ? `an ${info.type === types.BPF_MAP_TYPE_ARRAY ? "array" : mapTypeName(info.type)}'s index is below its max_entries, ${info.max_entries}; got ${wordOf(key)}`
      : `the map is full: it has its max_entries, ${info.max_entries}`,
  [errnos.ENOSPC]: ({ info, command }) => {
    if (info.type === types.BPF_MAP_TYPE_LPM_TRIE) {
      return `the map is full: it has its max_entries, ${info.max_entries}`;
    }
    return command === BPF_MAP_LOOKUP_ELEM
      ? `a ${mapTypeName(info.type)} shows socket cookies only where its values have 8 bytes; they have ${info.value_size}`
      : undefined;
  },
  [errnos.EPERM]: () => "the map is frozen, or it was opened without this access",
  [errnos.EEXIST]: ({ info }) =>
    info.type === types.BPF_MAP_TYPE_ARRAY || info.type === types.BPF_MAP_TYPE_PERCPU_ARRAY
      ? "an array has all its elements from the beginning: BPF_NOEXIST never succeeds"
      : "the key is there already",
  [errnos.EINVAL]: ({ command, info, key, flags }) => {
    if ((flags & BPF_F_LOCK) !== 0)
      return "BPF_F_LOCK needs a struct bpf_spin_lock in the value, told by the map's BTF";
    if (command === BPF_MAP_DELETE_ELEM && indexedTypes.has(info.type)) {
      return `the elements of a map of type ${mapTypeName(info.type)} cannot be deleted`;
    }
    if (info.type === types.BPF_MAP_TYPE_LPM_TRIE && key !== undefined && wordOf(key) > (info.key_size - 4) * 8) {
      return `a prefix of this map has at most ${(info.key_size - 4) * 8} bits; got ${wordOf(key)}`;
    }
    return undefined;
  },
  [errnos.EBADF]: ({ key }) => (key === undefined ? undefined : "a file descriptor in key or value is not open"),
  [errnos.EBUSY]: () => "the kernel is using the element or the map at this moment; try again",
  [errnos.ENOTSUPP]: ({ info }) => `maps of type ${mapTypeName(info.type)} do not have this command`,
  [errnos.EOPNOTSUPP]: ({ info }) => `maps of type ${mapTypeName(info.type)} do not have this command`,
};

const wordOf = (key: Uint8Array): number =>
  key.length < 4 ? 0 : new DataView(key.buffer, key.byteOffset).getUint32(0, true);
