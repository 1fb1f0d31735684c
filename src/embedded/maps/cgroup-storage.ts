// BPF_MAP_TYPE_CGROUP_STORAGE and BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE: a value for each cgroup and attach type.
// The kernel makes an element where a program that uses the map is attached; without one there is none.
// Linux: kernel/bpf/local_storage.c

import type { Btf, BtfMember, BtfType } from "../../btf/btf.ts";
import { E2BIG, EINVAL, ENOENT } from "../../uapi/errno.ts";
import {
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
} from "../../uapi/flags.ts";
import { LOCAL_STORAGE_VALUE_MAX } from "./local-storage.ts";
import {
  type EmbeddedMap,
  type MapAttributes,
  type MapFamily,
  PER_CPU_VALUE_MAX,
  programAccessIsValid,
  refuse,
} from "./map.ts";

const FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
/** A cgroup's inode id, or struct bpf_cgroup_storage_key, which has an attach type behind it. */
const ID_SIZE = 8;
const KEY_SIZE = 16;

export const cgroupStorage: MapFamily = {
  checkAllocation: (attributes) => check(attributes, LOCAL_STORAGE_VALUE_MAX),
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
  checkAllocation: (attributes) => check(attributes, PER_CPU_VALUE_MAX),
  perCpu: true,
};

export const isCgroupStorage = ({ family }: EmbeddedMap): boolean =>
  family === cgroupStorage || family === perCpuCgroupStorage;

function check({ key_size, value_size, max_entries, map_flags }: MapAttributes, valueMax: number): number {
  if ((key_size !== KEY_SIZE && key_size !== ID_SIZE) || value_size === 0) return -EINVAL;
  if (value_size > valueMax) return -E2BIG;
  return (map_flags & ~FLAGS) === 0 && programAccessIsValid(map_flags) && max_entries === 0 ? 0 : -EINVAL;
}

/** An id of 64 bits; or a struct of such an id and an attach type of 32. */
function checkKeyType({ key_size }: MapAttributes, key: BtfType, _value: BtfType, btf: Btf): number {
  if (key_size === ID_SIZE) return isInt(key, 64) ? 0 : -EINVAL;
  if (key.kind !== "struct" || key.members.length !== 2) return -EINVAL;
  const [id, attachType] = key.members as readonly [BtfMember, BtfMember];
  const isMember = (member: BtfMember, bitOffset: number, bits: number): boolean =>
    member.bitOffset === bitOffset && isInt(btf.type(btf.resolve(member.type)), bits);
  return isMember(id, 0, 64) && isMember(attachType, 64, 32) ? 0 : -EINVAL;
}

const isInt = (type: BtfType, bits: number): boolean => type.kind === "int" && type.bits === bits && type.offset === 0;
