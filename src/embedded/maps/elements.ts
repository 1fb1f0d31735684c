// The commands on a map's elements. They are hot: nothing is allocated, and a miss costs no more than a hit.
// Linux: kernel/bpf/syscall.c

import type { Attr } from "../../uapi/attr.ts";
import type * as commands from "../../uapi/commands.ts";
import { EBUSY, EFAULT, EINVAL, ENOMEM, ENOTSUPP, EPERM } from "../../uapi/errno.ts";
import { BPF_F_LOCK } from "../../uapi/flags.ts";
import { toBigInt } from "../../uapi/struct.ts";
import { type UserPointer, userBytes } from "../memory.ts";
import { type File, notOpen } from "../objects.ts";
import type { KernelState } from "../state.ts";
import { type EmbeddedMap, stride } from "./map.ts";
import { refusal } from "./shape.ts";
import { hasSpinLock } from "./special-fields.ts";

export function lookupElement(state: KernelState, attr: Attr<typeof commands.BPF_MAP_LOOKUP_ELEM>): number {
  const flags = flagsOf(attr.flags);
  if ((flags & ~BPF_F_LOCK) !== 0) return -EINVAL;
  const file = findMapFile(state, attr.map_fd);
  if (typeof file === "number") return file;
  const map = file.object;
  if (!file.canRead) return -EPERM;
  if (flags !== 0 && !hasSpinLock(map.fields)) return -EINVAL;
  const key = copyKey(state, map, attr.key);
  if (key < 0) return key;
  const { lookup, looksForValue } = map.family.operations;
  if (lookup === undefined) return refusal(map, "lookup");
  const room = key + stride(map.key_size);
  if (looksForValue && !state.memory.copyIn(attr.value, room, map.userValueSize)) return -EFAULT;
  const value = lookup(state, map, key, room);
  if (value < 0 || looksForValue) return value;
  return state.memory.copyOut(value, attr.value, map.userValueSize) ? 0 : -EFAULT;
}

export function updateElement(state: KernelState, attr: Attr<typeof commands.BPF_MAP_UPDATE_ELEM>): number {
  const file = findMapFile(state, attr.map_fd);
  if (typeof file === "number") return file;
  const map = file.object;
  if (!mayWrite(file, map)) return -EPERM;
  const flags = flagsOf(attr.flags);
  if ((flags & BPF_F_LOCK) !== 0 && !hasSpinLock(map.fields)) return -EINVAL;
  const key = copyKey(state, map, attr.key);
  if (key < 0) return key;
  const value = key + stride(map.key_size);
  if (!state.memory.copyIn(attr.value, value, map.userValueSize)) return -EFAULT;
  return map.family.operations.update?.(state, map, key, value, flags, file) ?? refusal(map, "update");
}

export function deleteElement(state: KernelState, attr: Attr<typeof commands.BPF_MAP_DELETE_ELEM>): number {
  const file = findMapFile(state, attr.map_fd);
  if (typeof file === "number") return file;
  const map = file.object;
  if (!mayWrite(file, map)) return -EPERM;
  const key = copyKey(state, map, attr.key);
  if (key < 0) return key;
  return map.family.operations.remove?.(state, map, key) ?? refusal(map, "delete");
}

export function nextKey(state: KernelState, attr: Attr<typeof commands.BPF_MAP_GET_NEXT_KEY>): number {
  const file = findMapFile(state, attr.map_fd);
  if (typeof file === "number") return file;
  const map = file.object;
  if (!file.canRead) return -EPERM;
  const isFirst = attr.key === null || attr.key === undefined;
  const key = isFirst ? state.memory.scratch(scratchSize(map)) : copyKey(state, map, attr.key);
  if (key < 0) return key;
  if (key === 0) return -ENOMEM;
  const next = key + stride(map.key_size);
  const result = map.family.operations.nextKey?.(state, map, isFirst ? 0 : key, next) ?? refusal(map, "nextKey");
  if (result !== 0) return result;
  return state.memory.copyOut(next, attr.next_key, map.key_size) ? 0 : -EFAULT;
}

export function lookupAndDeleteElement(
  state: KernelState,
  attr: Attr<typeof commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM>,
): number {
  const flags = flagsOf(attr.flags);
  if ((flags & ~BPF_F_LOCK) !== 0) return -EINVAL;
  const file = findMapFile(state, attr.map_fd);
  if (typeof file === "number") return file;
  const map = file.object;
  if (!file.canRead || !mayWrite(file, map)) return -EPERM;
  if (flags !== 0 && !hasSpinLock(map.fields)) return -EINVAL;
  const key = copyKey(state, map, attr.key);
  if (key < 0) return key;
  const room = key + stride(map.key_size);
  const { lookup, lookupAndDelete } = map.family.operations;
  if (lookupAndDelete === undefined) return refusal(map, "take");
  // Linux itself would take the element out, and then find that its value has no room: no kernel of ours loses it.
  if (userBytes(attr.value, map.userValueSize) === undefined) {
    return Math.min(lookup?.(state, map, key, room) ?? 0, 0) || -EFAULT;
  }
  const result = lookupAndDelete(state, map, key, room);
  if (result < 0) return result;
  return state.memory.copyOut(room, attr.value, map.userValueSize) ? 0 : -EFAULT;
}

/** BPF_MAP_FREEZE: commands may write no longer. What the kernel keeps in values is never frozen. */
export function freezeMap(state: KernelState, attr: Attr<typeof commands.BPF_MAP_FREEZE>): number {
  const file = findMapFile(state, attr.map_fd);
  if (typeof file === "number") return file;
  const map = file.object;
  if (map.fields.length > 0) return -ENOTSUPP;
  if (!mayWrite(file, map)) return -EPERM;
  if (map.writableMappings > 0) return -EBUSY;
  map.frozen = true;
  return 0;
}

export type MapFile = File & { readonly object: EmbeddedMap };

/** The open file of a map; -EBADF where it is not open, -EINVAL where it is no map. */
export function findMapFile({ files }: KernelState, fd = 0): MapFile | number {
  const file = files.get(fd);
  if (file === undefined) return notOpen(fd);
  return file.object.kind === "map" ? (file as MapFile) : -EINVAL;
}

export type MapAccess = "read" | "write" | "read and write";

/** 0, or -EPERM where a file descriptor does not give this access to its map. */
export function mayAccess(file: MapFile, access: MapAccess): number {
  const isRefused = (access !== "write" && !file.canRead) || (access !== "read" && !mayWrite(file, file.object));
  return isRefused ? -EPERM : 0;
}

/** 0, or -EINVAL for flags of an element that its map does not know. */
export const lockFlags = ({ fields }: EmbeddedMap, flags: number | bigint): number =>
  Number(flags) === 0 || (Number(flags) === BPF_F_LOCK && hasSpinLock(fields)) ? 0 : -EINVAL;

const mayWrite = (file: File, map: EmbeddedMap): boolean => file.canWrite && !map.frozen;

/** Flags as a number below 2^31: bits above become one that no command knows. */
function flagsOf(flags: number | bigint | undefined): number {
  if (flags === undefined) return 0;
  const number = Number(flags) || 0;
  return number >= 0 && number < UNKNOWN_FLAG ? number : UNKNOWN_FLAG | Number(toBigInt(flags) & BigInt(BPF_F_LOCK));
}

const UNKNOWN_FLAG = 0x4000_0000;

const scratchSize = (map: EmbeddedMap): number => stride(map.key_size) + Math.max(map.userValueSize, map.key_size);

/** Address of a copy of the caller's key, behind which a value has room; or -errno. */
function copyKey({ memory }: KernelState, map: EmbeddedMap, key: UserPointer): number {
  const address = memory.scratch(scratchSize(map));
  if (address === 0) return -ENOMEM;
  if (map.key_size === 0) return key === null || key === undefined ? address : -EINVAL;
  return memory.copyIn(key, address, map.key_size) ? address : -EFAULT;
}
