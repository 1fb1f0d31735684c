// Fields of a map's value that the kernel keeps for itself: locks, timers, pointers into the kernel, …
// Commands read them as the kernel makes them anew, and write around them.
// Linux: map_check_btf in kernel/bpf/syscall.c, bpf_obj_init_field in include/linux/bpf.h

import { PAGE_BYTES } from "../../../machine/layout.ts";
import { type Btf, BtfError, type BtfType } from "../../btf/btf.ts";
import { E2BIG, EACCES, EOPNOTSUPP } from "../../uapi/errno.ts";
import { BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG } from "../../uapi/flags.ts";
import * as types from "../../uapi/map-types.ts";
import { FieldsRefused, findFields, type SpecialField, type SpecialFieldKind } from "../btf-fields.ts";
import type { Machine } from "../machine.ts";
import type { MachineMemory } from "../memory.ts";
import { type EmbeddedMap, type MapAttributes, stride } from "./map.ts";

const storages = [
  types.BPF_MAP_TYPE_SK_STORAGE,
  types.BPF_MAP_TYPE_INODE_STORAGE,
  types.BPF_MAP_TYPE_TASK_STORAGE,
  types.BPF_MAP_TYPE_CGRP_STORAGE,
];
const hashAndArray = [types.BPF_MAP_TYPE_HASH, types.BPF_MAP_TYPE_ARRAY];
const lockable = [...hashAndArray, types.BPF_MAP_TYPE_CGROUP_STORAGE, ...storages];
const elementary = [...hashAndArray, types.BPF_MAP_TYPE_LRU_HASH];
const perCpu = [types.BPF_MAP_TYPE_PERCPU_HASH, types.BPF_MAP_TYPE_PERCPU_ARRAY, types.BPF_MAP_TYPE_LRU_PERCPU_HASH];
const pointable = [...elementary, ...perCpu, ...storages];

/** The map types that may have each kind of field; the nodes of lists and trees are in no map. */
const mapsOfKind: Readonly<Partial<Record<SpecialFieldKind, readonly number[]>>> = {
  spin_lock: lockable,
  res_spin_lock: lockable,
  timer: elementary,
  workqueue: elementary,
  task_work: elementary,
  list_head: elementary,
  rb_root: elementary,
  refcount: pointable,
  kptr: pointable,
  kptr_untrusted: pointable,
  percpu_kptr: pointable,
  uptr: [types.BPF_MAP_TYPE_TASK_STORAGE],
};

const kindsInMaps: ReadonlySet<SpecialFieldKind> = new Set(Object.keys(mapsOfKind) as SpecialFieldKind[]);

/** The special fields of a value's type, in the order of their offsets. Where they break a rule, the value counts as one without. */
export function specialFields(btf: Btf, value: BtfType): readonly SpecialField[] {
  try {
    return findFields(btf, value, kindsInMaps);
  } catch (error) {
    if (error instanceof BtfError || error instanceof FieldsRefused) return [];
    throw error;
  }
}

/** Whether a map of these attributes may have these fields: 0, or -errno. */
export function checkSpecialFields(
  btf: Btf,
  fields: readonly SpecialField[],
  { map_type, map_flags }: MapAttributes,
): number {
  if (fields.length === 0) return 0;
  if ((map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) !== 0) return -EACCES;
  if (!fields.every(({ kind }) => mapsOfKind[kind]?.includes(map_type))) return -EOPNOTSUPP;
  // The kernel keeps one page of what it points to.
  const isTooLarge = fields.some(({ kind, target }) => kind === "uptr" && btf.sizeOf(target as number) > PAGE_BYTES);
  return isTooLarge ? -E2BIG : 0;
}

export const hasSpinLock = (fields: readonly SpecialField[]): boolean =>
  fields.some(({ kind }) => kind === "spin_lock");

/** Tells the machine of a new map's fields. Returns false where memory does not suffice. */
export function setSpecialFields(
  machine: Machine,
  memory: MachineMemory,
  handle: number,
  fields: readonly SpecialField[],
  valueSize: number,
): boolean {
  if (fields.length === 0) return true;
  const words = [...fields, { offset: valueSize, size: 0 }].flatMap(({ offset, size }) => [offset, size]);
  const address = machine.allocate(words.length * 4);
  if (address === 0) return false;
  memory.reach(address + words.length * 4);
  memory.u32.set(words, address / 4);
  machine.mapSetFields(handle, address, hasSpinLock(fields));
  return true;
}

/** Copies a value, or the values of all CPUs, to `room`, with new special fields. Returns `room`. */
export function withoutSpecialFields(memory: MachineMemory, map: EmbeddedMap, value: number, room: number): number {
  const { userValueSize, fields } = map;
  memory.reach(Math.max(value, room) + userValueSize);
  memory.u8.copyWithin(room, value, value + userValueSize);
  for (let copy = room; copy < room + userValueSize; copy += stride(map.value_size)) {
    for (const field of fields) renew(memory, field, copy + field.offset);
  }
  return room;
}

/** Makes a field as it is in a new value: a refcount of one, an empty list, which is its own neighbour; else zeros. */
function renew({ u8, view }: MachineMemory, { kind, size }: SpecialField, address: number): void {
  u8.fill(0, address, address + size);
  if (kind === "refcount") view.setUint32(address, 1, true);
  if (kind !== "list_head") return;
  view.setUint32(address, address, true);
  view.setUint32(address + 8, address, true);
}
