// BPF_MAP_TYPE_CGROUP_STORAGE and BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE: a value for each cgroup and attach type.
// The kernel makes an element where a program that uses the map is attached; without one there is none.
// Linux: kernel/bpf/local_storage.c

import type { Btf, BtfMember, BtfType } from "../../btf/btf.ts";
import { EINVAL, ENOENT } from "../../uapi/errno.ts";
import { BPF_EXIST, BPF_F_LOCK } from "../../uapi/flags.ts";
import { isInt } from "../btf.ts";
import { type EmbeddedMap, type MapAttributes, type MapFamily, refuse } from "./map.ts";
import { checkElement, checkEntries, checkFlags } from "./shape.ts";

/** A key that is a cgroup's inode id; the other one, struct bpf_cgroup_storage_key, has an attach type behind it. */
const ID_SIZE = 8;

export const cgroupStorage: MapFamily = {
  // A value that is too large is told before anything else.
  checkAllocation: (attributes) => checkElement(attributes) || checkFlags(attributes) || checkEntries(attributes),
  memoryNeeded: () => 0,
  checkKeyType,
  perCpu: false,
  operations: {
    lookup: refuse(ENOENT),
    // An element is never new: BPF_NOEXIST is no flag here.
    update: (_state, _map, _key, _value, flags) => ((flags & ~(BPF_F_LOCK | BPF_EXIST)) !== 0 ? -EINVAL : -ENOENT),
    remove: refuse(EINVAL),
    nextKey: refuse(ENOENT),
  },
  hasDirectValue: false,
};

export const perCpuCgroupStorage: MapFamily = {
  ...cgroupStorage,
  perCpu: true,
};

export const isCgroupStorage = ({ family }: EmbeddedMap): boolean =>
  family === cgroupStorage || family === perCpuCgroupStorage;

/** An id of 64 bits; or a struct of such an id and an attach type of 32. */
function checkKeyType({ key_size }: MapAttributes, key: BtfType, _value: BtfType, btf: Btf): number {
  if (key_size === ID_SIZE) return isInt(key, 64) ? 0 : -EINVAL;
  if (key.kind !== "struct" || key.members.length !== 2) return -EINVAL;
  const [id, attachType] = key.members as readonly [BtfMember, BtfMember];
  const isMember = (member: BtfMember, bitOffset: number, bits: number): boolean =>
    member.bitOffset === bitOffset && isInt(btf.type(btf.resolve(member.type)), bits);
  return isMember(id, 0, 64) && isMember(attachType, 64, 32) ? 0 : -EINVAL;
}
