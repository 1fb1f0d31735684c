// BPF_MAP_TYPE_SK_STORAGE, INODE_STORAGE, TASK_STORAGE and CGRP_STORAGE: a value for each owner, which a file descriptor names.
// Linux: kernel/bpf/bpf_local_storage.c, net/core/bpf_sk_storage.c

import type { BtfType } from "../../btf/btf.ts";
import { EEXIST, EINVAL, ENOENT, ENOMEM } from "../../uapi/errno.ts";
import { BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST } from "../../uapi/flags.ts";
import { isInt } from "../btf.ts";
import { type EmbeddedOwner, findOwner, type OwnerKind } from "../owners.ts";
import { type KernelState, whenIdle } from "../state.ts";
import { type EmbeddedMap, type MapAttributes, type MapFamily, stride } from "./map.ts";
import { checkShape } from "./shape.ts";
import { withoutSpecialFields } from "./special-fields.ts";

export const socketStorage: MapFamily = family("socket");
export const inodeStorage: MapFamily = family("inode");
export const taskStorage: MapFamily = family("task");
export const cgroupLocalStorage: MapFamily = family("cgroup");

/** Address of an owner's value, made with zeros where there is none; 0 where memory, or what a socket may take, does not suffice. */
function getOrCreateValue(state: KernelState, map: EmbeddedMap, owner: EmbeddedOwner): number {
  const old = owner.storage.get(map);
  if (old !== undefined) return old;
  if (!mayCharge(owner, map, owner.storage.size === 0 ? STORAGE_SIZE : 0)) return 0;
  const value = state.machine.allocateZeroed(stride(map.value_size));
  if (value === 0) return 0;
  if (owner.kind === "socket") owner.charged += chargeOf(map) + (owner.storage.size === 0 ? STORAGE_SIZE : 0);
  owner.storage.set(map, value);
  state.memory.reach(value + map.value_size);
  return value;
}

/** Address of an owner's value that a program finds; where there is none and it asks for one, made of `value`, or of zeros where that is 0. */
export function getOrCreateFrom(state: KernelState, map: EmbeddedMap, owner: EmbeddedOwner, value: number): number {
  const isNew = !owner.storage.has(map);
  const address = getOrCreateValue(state, map, owner);
  if (!isNew || address === 0 || value === 0) return address;
  const { u8 } = state.memory;
  u8.copyWithin(address, value, value + map.value_size);
  for (const { offset, size } of map.fields) u8.fill(0, address + offset, address + offset + size);
  return address;
}

/** Takes away an owner's value. Returns whether there was one. */
export function deleteValue(state: KernelState, map: EmbeddedMap, owner: EmbeddedOwner): boolean {
  const value = owner.storage.get(map);
  if (value === undefined) return false;
  owner.storage.delete(map);
  whenIdle(state, () => state.machine.free(value));
  if (owner.kind === "socket") owner.charged -= chargeOf(map) + (owner.storage.size === 0 ? STORAGE_SIZE : 0);
  return true;
}

function family(kind: OwnerKind): MapFamily {
  const ownerAt = (state: KernelState, key: number): EmbeddedOwner | number =>
    findOwner(state, kind, state.memory.view.getInt32(key, true));
  return {
    check,
    memoryNeeded: () => 0,
    checkKeyType,
    perCpu: false,
    operations: {
      lookup(state, map, key, room) {
        const owner = ownerAt(state, key);
        if (typeof owner === "number") return owner;
        const value = owner.storage.get(map);
        return value === undefined ? -ENOENT : withoutSpecialFields(state.memory, map, value, room);
      },
      update(state, map, key, value, flags) {
        const owner = ownerAt(state, key);
        return typeof owner === "number" ? owner : update(state, map, owner, value, flags);
      },
      remove(state, map, key) {
        const owner = ownerAt(state, key);
        if (typeof owner === "number") return owner;
        return deleteValue(state, map, owner) ? 0 : -ENOENT;
      },
    },
    hasDirectValue: false,
    destroy(state, map) {
      for (const owner of state.owners) deleteValue(state, map, owner);
    },
  };
}

function check(attributes: MapAttributes): number {
  const hasTypes = attributes.btf_key_type_id !== 0 && attributes.btf_value_type_id !== 0;
  return hasTypes ? checkShape(attributes) : -EINVAL;
}

function checkKeyType(_attributes: MapAttributes, key: BtfType): number {
  return isInt(key, 32) ? 0 : -EINVAL;
}

function update(state: KernelState, map: EmbeddedMap, owner: EmbeddedOwner, value: number, flags: number): number {
  const existence = flags & ~BPF_F_LOCK;
  if (existence > BPF_EXIST) return -EINVAL;
  const isThere = owner.storage.has(map);
  if (isThere && existence === BPF_NOEXIST) return -EEXIST;
  if (!isThere && existence === BPF_EXIST) return -ENOENT;
  // Without a lock a new value takes the old one's place, and both are charged for a moment.
  if (isThere && (flags & BPF_F_LOCK) === 0 && !mayCharge(owner, map, 0)) return -ENOMEM;
  const address = getOrCreateValue(state, map, owner);
  if (address === 0) return -ENOMEM;
  const { u8 } = state.memory;
  for (const { offset, size } of map.fields) u8.copyWithin(value + offset, address + offset, address + offset + size);
  u8.copyWithin(address, value, value + map.value_size);
  return 0;
}

/** net.core.optmem_max: what the options and the storage of one socket stay below, in bytes. */
const OPTMEM_MAX = 131072;
/** Bytes of an element before its value, and of what holds a socket's elements. */
const ELEMENT_HEADER = 72;
const STORAGE_SIZE = 176;

const chargeOf = (map: EmbeddedMap): number => ELEMENT_HEADER + map.value_size;

/** Whether an owner has room for one more value; only sockets are charged. */
const mayCharge = (owner: EmbeddedOwner, map: EmbeddedMap, more: number): boolean =>
  owner.kind !== "socket" || owner.charged + chargeOf(map) + more < OPTMEM_MAX;
