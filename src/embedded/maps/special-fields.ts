// Fields of a map's value that the kernel keeps for itself, found in the BTF of its type: locks, timers, pointers into the kernel, …
// Commands read them as zero and write around them.
// Linux: btf_parse_fields in kernel/bpf/btf.c, map_check_btf in kernel/bpf/syscall.c

import { type Btf, BtfError, type BtfMember, type BtfType, maxDepth } from "../../btf/btf.ts";
import { EACCES, EOPNOTSUPP } from "../../uapi/errno.ts";
import { BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG } from "../../uapi/flags.ts";
import * as types from "../../uapi/map-types.ts";
import type { Machine } from "../machine.ts";
import type { MachineMemory } from "../memory.ts";
import { type EmbeddedMap, type MapAttributes, stride } from "./map.ts";

export type SpecialFieldKind = keyof typeof kinds;

/** A field that belongs to the kernel; offset and size in bytes. */
export interface SpecialField {
  readonly kind: SpecialFieldKind;
  readonly offset: number;
  readonly size: number;
}

/** What is known of a kind. `name` is that of its struct; pointers have none, for their target's type tag makes them. */
interface Kind {
  readonly name?: string;
  readonly size: number;
  readonly align: number;
  /** How many a value may have. */
  readonly once: boolean;
  /** The map types that may have it. */
  readonly maps: readonly number[];
}

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

const kinds = {
  spin_lock: { name: "bpf_spin_lock", size: 4, align: 4, once: true, maps: lockable },
  res_spin_lock: { name: "bpf_res_spin_lock", size: 4, align: 4, once: true, maps: lockable },
  timer: { name: "bpf_timer", size: 16, align: 8, once: true, maps: elementary },
  workqueue: { name: "bpf_wq", size: 16, align: 8, once: true, maps: elementary },
  task_work: { name: "bpf_task_work", size: 8, align: 8, once: true, maps: elementary },
  list_head: { name: "bpf_list_head", size: 16, align: 8, once: false, maps: elementary },
  rb_root: { name: "bpf_rb_root", size: 16, align: 8, once: false, maps: elementary },
  refcount: { name: "bpf_refcount", size: 4, align: 4, once: true, maps: pointable },
  kptr: { size: 8, align: 8, once: false, maps: pointable },
  kptr_untrusted: { size: 8, align: 8, once: false, maps: pointable },
  percpu_kptr: { size: 8, align: 8, once: false, maps: pointable },
  uptr: { size: 8, align: 8, once: false, maps: [types.BPF_MAP_TYPE_TASK_STORAGE] },
} as const satisfies Record<string, Kind>;

const kindsByName = new Map(
  Object.entries(kinds).flatMap(([kind, rule]) =>
    "name" in rule ? [[rule.name as string, kind as SpecialFieldKind]] : [],
  ),
);

/** Most special fields of a value. */
const MAX_FIELDS = 11;

/** The special fields of a value's type, in the order of their offsets. Where they break a rule, the value counts as one without. */
export function specialFields(btf: Btf, value: BtfType): readonly SpecialField[] {
  try {
    const fields = new FieldSearch(btf).inType(value, 0);
    return areSound(fields) ? fields : [];
  } catch (error) {
    if (error instanceof BtfError || error instanceof Unsound) return [];
    throw error;
  }
}

/** Whether a map of these attributes may have these fields: 0, or -errno. */
export function checkSpecialFields(fields: readonly SpecialField[], { map_type, map_flags }: MapAttributes): number {
  if (fields.length === 0) return 0;
  if ((map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) !== 0) return -EACCES;
  const isAllowed = ({ kind }: SpecialField): boolean => (kinds[kind].maps as readonly number[]).includes(map_type);
  return fields.every(isAllowed) ? 0 : -EOPNOTSUPP;
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

/** Copies a value, or the values of all CPUs, to `room`, with zeros for its special fields. Returns `room`. */
export function withoutSpecialFields(memory: MachineMemory, map: EmbeddedMap, value: number, room: number): number {
  const { userValueSize, fields } = map;
  memory.reach(Math.max(value, room) + userValueSize);
  memory.u8.copyWithin(room, value, value + userValueSize);
  for (let copy = room; copy < room + userValueSize; copy += stride(map.value_size)) {
    for (const { offset, size } of fields) memory.u8.fill(0, copy + offset, copy + offset + size);
  }
  return room;
}

/** Fields that break a rule for all of them. */
class Unsound extends Error {}

/** Neither do they overlap, nor are there two kinds of locks, nor a list or tree without a lock. */
function areSound(fields: readonly SpecialField[]): boolean {
  const has = (...wanted: SpecialFieldKind[]): boolean => fields.some(({ kind }) => wanted.includes(kind));
  const inOrder = fields.every(({ offset }, index) => {
    const before = fields[index - 1];
    return before === undefined || offset >= before.offset + before.size;
  });
  if (!inOrder || (has("spin_lock") && has("res_spin_lock"))) return false;
  return !has("list_head", "rb_root") || has("spin_lock", "res_spin_lock");
}

class FieldSearch {
  readonly #btf: Btf;
  readonly #seen = new Set<SpecialFieldKind>();

  constructor(btf: Btf) {
    this.#btf = btf;
  }

  /** The fields of a struct's members, or a section's variables. */
  inType(type: BtfType, depth: number): readonly SpecialField[] {
    if (depth >= maxDepth) throw new Unsound();
    const fields: SpecialField[] = [];
    if (type.kind === "struct") {
      for (const [index, member] of type.members.entries()) fields.push(...this.#inMember(type, member, index, depth));
    } else if (type.kind === "datasec") {
      for (const { type: id, offset, size } of type.variables) {
        const variable = this.#btf.type(id);
        if (variable.kind === "var")
          fields.push(...this.#inPlace(variable.type, offset, { size, depth, owner: variable, index: -1 }));
      }
    }
    if (fields.length > MAX_FIELDS) throw new Unsound();
    return fields;
  }

  #inMember(owner: BtfType, { type, bitOffset }: BtfMember, index: number, depth: number): readonly SpecialField[] {
    if (bitOffset % 8 !== 0) throw new Unsound();
    return this.#inPlace(type, bitOffset / 8, { depth, owner, index });
  }

  /** The fields of what lies at an offset: a field, a struct that has some, or an array of those. `size`: what it must have together. */
  #inPlace(id: number, offset: number, place: Place): readonly SpecialField[] {
    let type = this.#btf.type(id);
    let count = 1;
    for (; type.kind === "array"; type = this.#btf.type(type.type)) count *= type.length;
    if (count === 0) return [];
    const kind = this.#kindOf(type);
    const isOtherSize = (size: number): boolean => place.size !== undefined && place.size !== size * count;
    if (kind === undefined) {
      if (type.kind !== "struct" || isOtherSize(type.size)) return [];
      return repeated(this.inType(type, place.depth + 1), offset, count, type.size);
    }
    const { size, align } = kinds[kind];
    if (isOtherSize(size) || offset % align !== 0) return [];
    if (type.kind === "struct" && type.size !== size) return [];
    if (kind === "list_head" || kind === "rb_root") this.#checkContents(place);
    return repeated([{ kind, offset: 0, size }], offset, count, size);
  }

  #kindOf(type: BtfType): SpecialFieldKind | undefined {
    const kind = kindsByName.get(type.name);
    if (kind === undefined) return this.#pointerKind(type);
    if (kinds[kind].once && this.#seen.has(kind)) throw new Unsound();
    this.#seen.add(kind);
    return kind;
  }

  /** The kind that the type tag of a pointer's target names. */
  #pointerKind(type: BtfType): SpecialFieldKind | undefined {
    const pointer = type.kind === "volatile" ? this.#btf.type(type.type) : type;
    if (pointer.kind !== "ptr") return undefined;
    const tag = this.#btf.type(pointer.type);
    if (tag.kind !== "type_tag") return undefined;
    const isPointerKind = pointerKinds.includes(tag.name as SpecialFieldKind);
    const isStruct = this.#btf.type(this.#btf.resolve(tag.type)).kind === "struct";
    if (!isPointerKind || !isStruct || this.#btf.type(tag.type).kind === "type_tag") throw new Unsound();
    return tag.name as SpecialFieldKind;
  }

  /** A list head or tree root says in a tag of its own what it contains: `contains:STRUCT:MEMBER`. */
  #checkContents({ owner, index }: Place): void {
    for (let id = 1; id < this.#btf.length; id++) {
      const tag = this.#btf.type(id);
      if (tag.kind !== "decl_tag" || tag.componentIndex !== index || this.#btf.type(tag.type) !== owner) continue;
      const [prefix, name = "", member] = tag.name.split(":");
      const found = prefix === "contains" ? this.#btf.find(name, "struct") : undefined;
      const type = found === undefined ? undefined : this.#btf.type(found);
      if (type?.kind === "struct" && type.members.some((one) => one.name === member)) return;
    }
    throw new Unsound();
  }
}

/** Where something lies: a member of a struct, or a variable. */
interface Place {
  readonly size?: number;
  readonly depth: number;
  readonly owner: BtfType;
  readonly index: number;
}

const pointerKinds: readonly SpecialFieldKind[] = ["kptr", "kptr_untrusted", "percpu_kptr", "uptr"];

/** The fields of `count` elements of `size` bytes. What there may be one of cannot be in an array. */
function repeated(fields: readonly SpecialField[], offset: number, count: number, size: number): SpecialField[] {
  if (fields.length * count > MAX_FIELDS || (count > 1 && fields.some(({ kind }) => kinds[kind].once)))
    throw new Unsound();
  return Array.from({ length: count }, (_, index) =>
    fields.map((field) => ({ ...field, offset: offset + index * size + field.offset })),
  ).flat();
}
