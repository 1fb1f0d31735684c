// Fields that the kernel keeps for itself, found in the BTF of a struct or a section: locks, timers, lists, pointers into the kernel, …
// Linux: btf_parse_fields and btf_parse_struct_metas in kernel/bpf/btf.c

import { type Btf, BtfError, type BtfMember, type BtfType, maxDepth } from "../btf/btf.ts";
import { E2BIG, EEXIST, EFAULT, EINVAL, ELOOP, ENOENT } from "../uapi/errno.ts";

export type SpecialFieldKind = keyof typeof fieldKinds;

/** A field that belongs to the kernel; offset and size in bytes. */
export interface SpecialField {
  readonly kind: SpecialFieldKind;
  readonly offset: number;
  readonly size: number;
  /** Id of the struct that a pointer points to, or whose objects a list or a tree contains. */
  readonly target?: number;
}

/** What is known of a kind. `name` is that of its struct; pointers have none, for their target's type tag makes them. */
interface Kind {
  readonly name?: string;
  readonly size: number;
  readonly align: number;
  /** How many a struct may have. */
  readonly once: boolean;
}

const fieldKinds = {
  spin_lock: { name: "bpf_spin_lock", size: 4, align: 4, once: true },
  res_spin_lock: { name: "bpf_res_spin_lock", size: 4, align: 4, once: true },
  timer: { name: "bpf_timer", size: 16, align: 8, once: true },
  workqueue: { name: "bpf_wq", size: 16, align: 8, once: true },
  task_work: { name: "bpf_task_work", size: 8, align: 8, once: true },
  list_head: { name: "bpf_list_head", size: 16, align: 8, once: false },
  list_node: { name: "bpf_list_node", size: 24, align: 8, once: false },
  rb_root: { name: "bpf_rb_root", size: 16, align: 8, once: false },
  rb_node: { name: "bpf_rb_node", size: 32, align: 8, once: false },
  refcount: { name: "bpf_refcount", size: 4, align: 4, once: true },
  kptr: { size: 8, align: 8, once: false },
  kptr_untrusted: { size: 8, align: 8, once: false },
  percpu_kptr: { size: 8, align: 8, once: false },
  uptr: { size: 8, align: 8, once: false },
} as const satisfies Record<string, Kind>;

/** Most special fields of a struct. */
const MAX_FIELDS = 11;

/** Why BTF is refused for its fields: positive errno, and what the log says. */
export class FieldsRefused extends Error {
  readonly errno: number;

  constructor(errno: number, reason: string) {
    super(reason);
    this.errno = errno;
  }
}

const kptrs: readonly SpecialFieldKind[] = ["kptr", "kptr_untrusted", "percpu_kptr"];
const pointers: readonly SpecialFieldKind[] = [...kptrs, "uptr"];
const roots: readonly SpecialFieldKind[] = ["list_head", "rb_root"];
const nodes: readonly SpecialFieldKind[] = ["list_node", "rb_node"];
/** What an array may have more than one of. */
const repeatable: readonly SpecialFieldKind[] = [...pointers, ...roots];
/** Kinds whose structs make Linux look at every struct that has one as a member. */
const ofObjects: readonly SpecialFieldKind[] = ["spin_lock", ...roots, ...nodes, "refcount"];
const nodeOf = { list_head: "list_node", rb_root: "rb_node" } as const;

/**
 * The fields of these kinds in a struct's members or a section's variables, in the order of their offsets.
 *
 * @throws FieldsRefused where they break a rule; BtfError
 */
export function findFields(btf: Btf, type: BtfType, kinds: ReadonlySet<SpecialFieldKind>): readonly SpecialField[] {
  const fields = new FieldSearch(btf, kinds).inType(type, 0);
  const refuse = refuseFieldsOf(type);
  const has = (...wanted: SpecialFieldKind[]): boolean => fields.some(({ kind }) => wanted.includes(kind));
  for (const [index, { offset }] of fields.entries()) {
    const before = fields[index - 1];
    if (before !== undefined && offset < before.offset + before.size) refuse(EEXIST, "fields overlap");
  }
  if (has("spin_lock") && has("res_spin_lock")) refuse(EINVAL, "two kinds of locks");
  if (has(...roots) && !has("spin_lock", "res_spin_lock")) refuse(EINVAL, "a list or a tree without a lock");
  if (has("list_node") && has("rb_node") && !has("refcount")) refuse(EINVAL, "two kinds of nodes without a refcount");
  return fields;
}

/**
 * Checks the structs of which programs may make objects: those with a lock, a list, a tree, a node, a refcount or a kernel pointer.
 *
 * @throws FieldsRefused `EFAULT` where such a member is no field, for it is not aligned; `ELOOP` where structs contain each other; as {@link findFields}
 */
export function checkStructs(btf: Btf): void {
  const special = new Set<number | undefined>(ofObjects.map((kind) => btf.find(nameOf(kind) as string, "struct")));
  const search = new FieldSearch(btf, new Set(kptrs));
  for (let id = 1; id < btf.length; id++) if (search.isPointer(id)) special.add(id);
  const structs = new Map<number, readonly SpecialField[]>();
  for (let id = 1; id < btf.length; id++) {
    const type = btf.type(id);
    if (type.kind !== "struct" || !type.members.some((member) => special.has(member.type))) continue;
    const fields = findFields(btf, type, objectKinds);
    if (fields.length === 0) refuseFieldsOf(type)(EFAULT, "a field is not aligned, or of another size");
    structs.set(id, fields);
  }
  for (const [id, fields] of structs) checkOwnership(btf.type(id), fields, structs);
}

const objectKinds: ReadonlySet<SpecialFieldKind> = new Set<SpecialFieldKind>([...ofObjects, "res_spin_lock", ...kptrs]);

/** What is in a list itself may not have a list of what has lists. */
function checkOwnership(
  type: BtfType,
  fields: readonly SpecialField[],
  structs: ReadonlyMap<number, readonly SpecialField[]>,
): void {
  const isNode = fields.some(({ kind }) => nodes.includes(kind));
  for (const { kind, target } of fields) {
    if (!roots.includes(kind)) continue;
    const contained = structs.get(target as number);
    if (contained === undefined) refuseFieldsOf(type)(EFAULT, "it contains a struct without a node");
    else if (isNode && contained.some((field) => roots.includes(field.kind))) {
      refuseFieldsOf(type)(ELOOP, "structs contain each other");
    }
  }
}

const refuseFieldsOf =
  (type: BtfType) =>
  (errno: number, reason: string): never => {
    throw new FieldsRefused(errno, `struct ${type.name}: ${reason}`);
  };

const nameOf = (kind: SpecialFieldKind): string | undefined => (fieldKinds[kind] as Kind).name;

class FieldSearch {
  readonly #btf: Btf;
  readonly #kinds: ReadonlySet<SpecialFieldKind>;
  readonly #byName: ReadonlyMap<string | undefined, SpecialFieldKind>;
  readonly #seen = new Set<SpecialFieldKind>();

  constructor(btf: Btf, kinds: ReadonlySet<SpecialFieldKind>) {
    this.#btf = btf;
    this.#kinds = kinds;
    this.#byName = new Map([...kinds].map((kind) => [nameOf(kind), kind]));
  }

  /** The fields of a struct's members, or a section's variables. */
  inType(type: BtfType, depth: number): readonly SpecialField[] {
    if (depth >= maxDepth) throw new FieldsRefused(E2BIG, `more than ${maxDepth} structs in each other`);
    const fields: SpecialField[] = [];
    const add = (found: readonly SpecialField[]): void => {
      fields.push(...found);
      if (fields.length > MAX_FIELDS) refuseFieldsOf(type)(E2BIG, `more than ${MAX_FIELDS} fields`);
    };
    if (type.kind === "struct") {
      for (const [index, member] of type.members.entries()) add(this.#inMember(type, member, index, depth));
    } else if (type.kind === "datasec") {
      for (const { type: id, offset, size } of type.variables) {
        const variable = this.#btf.type(id);
        if (variable.kind === "var")
          add(this.#inPlace(variable.type, offset, { size, depth, owner: variable, index: -1 }));
      }
    }
    return fields;
  }

  /** Whether a type is a pointer into the kernel of one of these kinds. */
  isPointer(id: number): boolean {
    try {
      return this.#pointerTo(this.#btf.type(id)) !== undefined;
    } catch (error) {
      if (error instanceof FieldsRefused || error instanceof BtfError) return false;
      throw error;
    }
  }

  #inMember(owner: BtfType, { type, bitOffset }: BtfMember, index: number, depth: number): readonly SpecialField[] {
    if (bitOffset % 8 !== 0) refuseFieldsOf(owner)(EINVAL, "a bit-field is not at a byte");
    return this.#inPlace(type, bitOffset / 8, { depth, owner, index });
  }

  /** The fields of what lies at an offset: a field, a struct that has some, or an array of those. `size`: what it must have together. */
  #inPlace(id: number, offset: number, place: Place): readonly SpecialField[] {
    let type = this.#btf.type(id);
    let count = 1;
    for (; type.kind === "array"; type = this.#btf.type(type.type)) count *= type.length;
    if (count === 0) return [];
    const isOtherSize = (size: number): boolean => place.size !== undefined && place.size !== size * count;
    const pointer = this.#pointerTo(type);
    const kind = pointer?.kind ?? this.#structKind(type, place.owner);
    if (kind === undefined) {
      if (type.kind !== "struct" || isOtherSize(type.size)) return [];
      return repeated(this.inType(type, place.depth + 1), offset, count, type.size);
    }
    const { size, align } = fieldKinds[kind];
    if (isOtherSize(size) || offset % align !== 0) return [];
    if (type.kind === "struct" && type.size !== size) return [];
    const target = kind === "list_head" || kind === "rb_root" ? this.#contained(kind, place) : pointer?.target;
    return repeated([{ kind, offset: 0, size, ...(target === undefined ? {} : { target }) }], offset, count, size);
  }

  #structKind(type: BtfType, owner: BtfType): SpecialFieldKind | undefined {
    if (type.name === "") return undefined;
    const kind = this.#byName.get(type.name);
    if (kind === undefined) return undefined;
    if (fieldKinds[kind].once && this.#seen.has(kind)) refuseFieldsOf(owner)(E2BIG, `two ${type.name}`);
    this.#seen.add(kind);
    return kind;
  }

  /** The kind that the type tag of a pointer's target names, and that target. */
  #pointerTo(type: BtfType): { readonly kind: SpecialFieldKind; readonly target: number } | undefined {
    if (!pointers.some((kind) => this.#kinds.has(kind))) return undefined;
    const pointer = type.kind === "volatile" ? this.#btf.type(type.type) : type;
    if (pointer.kind !== "ptr") return undefined;
    const tag = this.#btf.type(pointer.type);
    if (tag.kind !== "type_tag") return undefined;
    const kind = tag.name as SpecialFieldKind;
    if (this.#btf.type(tag.type).kind === "type_tag" || !pointers.includes(kind))
      throw new FieldsRefused(EINVAL, `a pointer is tagged ${tag.name}, and something else`);
    if (!this.#kinds.has(kind)) return undefined;
    const target = this.#btf.resolve(tag.type);
    if (this.#btf.type(target).kind !== "struct")
      throw new FieldsRefused(EINVAL, `a pointer that is tagged ${kind} points to no struct`);
    return { kind, target };
  }

  /** The struct that a list head or tree root contains, as a tag of its own says: `contains:STRUCT:MEMBER`. */
  #contained(kind: keyof typeof nodeOf, { owner, index }: Place): number {
    const refuse = refuseFieldsOf(owner);
    const tags = this.#containsTags(owner, index);
    const [name = "", member = ""] = tags[0]?.split(":") ?? [];
    if (tags.length !== 1 || !tags[0]?.includes(":")) return refuse(EINVAL, `${kind} has not one tag contains:`);
    const id = this.#btf.find(name, "struct");
    if (id === undefined) return refuse(ENOENT, `${kind} contains struct ${name}, which is not there`);
    if (member === "") return refuse(EINVAL, `${kind} does not say which member of struct ${name} is the node`);
    const struct = this.#btf.type(id);
    const candidates = struct.kind === "struct" ? struct.members.filter((one) => one.name === member) : [];
    const [node] = candidates;
    if (node === undefined) return refuse(ENOENT, `${kind} contains struct ${name}, which has no member ${member}`);
    const type = this.#btf.type(node.type);
    const { name: nodeName, align } = fieldKinds[nodeOf[kind]];
    const isNode = type.kind === "struct" && type.name === nodeName && node.bitOffset % (8 * align) === 0;
    if (candidates.length > 1 || !isNode) return refuse(EINVAL, `${member} of struct ${name} is no ${nodeName}`);
    return id;
  }

  #containsTags(owner: BtfType, index: number): string[] {
    const found: string[] = [];
    for (let id = 1; id < this.#btf.length; id++) {
      const tag = this.#btf.type(id);
      if (tag.kind !== "decl_tag" || tag.componentIndex !== index || this.#btf.type(tag.type) !== owner) continue;
      if (tag.name.startsWith(CONTAINS)) found.push(tag.name.slice(CONTAINS.length));
    }
    return found;
  }
}

const CONTAINS = "contains:";

/** Where something lies: a member of a struct, or a variable. */
interface Place {
  readonly size?: number;
  readonly depth: number;
  readonly owner: BtfType;
  readonly index: number;
}

/** The fields of `count` elements of `size` bytes. */
function repeated(fields: readonly SpecialField[], offset: number, count: number, size: number): SpecialField[] {
  if (count > 1 && fields.some(({ kind }) => !repeatable.includes(kind)))
    throw new FieldsRefused(EINVAL, "an array of what there may be one of");
  if (fields.length * count > MAX_FIELDS) throw new FieldsRefused(E2BIG, `more than ${MAX_FIELDS} fields`);
  return Array.from({ length: count }, (_, index) =>
    fields.map((field) => ({ ...field, offset: offset + index * size + field.offset })),
  ).flat();
}
