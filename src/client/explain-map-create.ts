// Why the kernel refused to create a map: its answer is one number for many mistakes, so the attributes are looked at again,
// with the rules of the map's type.
// Linux: kernel/bpf/syscall.c (map_create)

import { type Attr, BPF_OBJ_NAME_LEN } from "../uapi/attr.ts";
import type { BPF_MAP_CREATE } from "../uapi/commands.ts";
import { E2BIG, EBADF, EBUSY, EINVAL, ENOMEM, ENOTSUPP, EPERM } from "../uapi/errno.ts";
import * as flags from "../uapi/flags.ts";
import { checkSize, type MapRules, mapRules, type SizeRule } from "../uapi/map-rules.ts";
import * as types from "../uapi/map-types.ts";
import { namesByNumber } from "../uapi/names.ts";
import { aMap, mapTypeName } from "./maps/types.ts";

type CreateAttr = Attr<typeof BPF_MAP_CREATE>;

/** The first attribute that explains `errno`, as a sentence; undefined where none does. */
export function explainMapCreate(errno: number, attr: CreateAttr, pageSize: number): string | undefined {
  const { key_size = 0, value_size = 0, max_entries = 0, map_flags = 0 } = attr;
  switch (errno) {
    case ENOMEM:
      return `the kernel has no memory for ${max_entries} entries of ${key_size} + ${value_size} bytes`;
    case EPERM:
      if ((map_flags & flags.BPF_F_ZERO_SEED) !== 0)
        return "BPF_F_ZERO_SEED needs CAP_SYS_ADMIN; run as root or leave it out";
      return 'needs CAP_BPF, and for some types CAP_NET_ADMIN; run as root or grant them, or use openKernel({ kind: "embedded" })';
    case EBADF:
      return "the file descriptor of its inner map, its BTF or its token is not open";
    case EBUSY:
      return "another map has the file descriptors or the memory that it needs";
    case ENOTSUPP:
      return unsupported(attr);
    case E2BIG:
    case EINVAL:
      return (errno === EINVAL ? nameProblem(attr) : undefined) ?? ruleProblem(errno, attr, pageSize);
    default:
      return undefined;
  }
}

function unsupported({ map_type = 0, map_flags = 0, btf_vmlinux_value_type_id: id = 0 }: CreateAttr): string {
  if (isLru(map_type) && (map_flags & flags.BPF_F_NO_PREALLOC) !== 0) {
    return "an LRU map is always preallocated: it does not take BPF_F_NO_PREALLOC";
  }
  if (map_type === types.BPF_MAP_TYPE_STRUCT_OPS) {
    return `the value type is the id of a struct bpf_struct_ops_… in the BTF of vmlinux; got ${id}`;
  }
  return mapRules.get(map_type)?.needs === "an inner map"
    ? "its inner map is of a type that no map holds"
    : `the key or value type that its BTF names does not go with ${aMap(map_type)}`;
}

function nameProblem({ map_name = "" }: CreateAttr): string | undefined {
  if (!/^[\w.]*$/.test(map_name)) return `a map's name has letters, digits, "_" and "."; got "${map_name}"`;
  if (map_name.length < BPF_OBJ_NAME_LEN) return undefined;
  return `a map's name has at most ${BPF_OBJ_NAME_LEN - 1} characters; got ${map_name.length}`;
}

/** The attribute that breaks a rule of the map's type. */
function ruleProblem(errno: number, attr: CreateAttr, pageSize: number): string | undefined {
  const { map_type = 0, key_size = 0, value_size = 0, max_entries = 0, map_flags = 0 } = attr;
  const rules = mapRules.get(map_type);
  if (rules === undefined) return `this kernel has no maps of type ${map_type}`;
  const subject = aMap(map_type);
  if (isRing(map_type) && checkSize(rules.maxEntries, max_entries) !== 0) {
    return `${subject}'s max_entries is a power of two and a multiple of the page size (${pageSize}); got ${max_entries}`;
  }
  const sizes = [
    ["max_entries", max_entries, rules.maxEntries],
    ["value_size", value_size, valueSize(rules, map_flags)],
    ["key_size", key_size, rules.keySize],
    ["key_size + value_size", key_size + value_size, rules.elementSize],
  ] as const;
  for (const [name, size, rule] of sizes) {
    if (rule !== undefined && checkSize(rule, size) === -errno)
      return `${subject}'s ${name} is ${wanted(rule)}; got ${size}`;
  }
  if (errno === E2BIG) return undefined;
  return flagProblem(attr, rules, subject) ?? extraProblem(attr) ?? (rules.needs && `${subject} needs ${rules.needs}`);
}

function flagProblem(
  { map_type = 0, map_flags = 0, numa_node = 0 }: CreateAttr,
  rules: MapRules,
  subject: string,
): string | undefined {
  const unknown = map_flags & ~rules.flags;
  if (unknown !== 0) {
    return unknown === flags.BPF_F_NO_PREALLOC && !isHash(map_type)
      ? `${subject} is always preallocated: it does not take BPF_F_NO_PREALLOC`
      : `${subject} does not take ${flagNames(unknown)}; it takes ${flagNames(rules.flags) || "no flags"}`;
  }
  const missing = rules.requiredFlags & ~map_flags;
  if (missing !== 0) return `${subject} needs ${flagNames(missing)}`;
  if (both(map_flags, flags.BPF_F_RDONLY | flags.BPF_F_WRONLY))
    return "BPF_F_RDONLY and BPF_F_WRONLY exclude each other";
  if (both(map_flags, flags.BPF_F_RDONLY_PROG | flags.BPF_F_WRONLY_PROG)) {
    return "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other";
  }
  if ((map_flags & flags.BPF_F_NUMA_NODE) !== 0 && numa_node > 0) {
    return `numa_node names a memory node of this machine, and per-CPU maps have none; got ${numa_node}`;
  }
  return undefined;
}

function extraProblem({ map_type, map_extra = 0 }: CreateAttr): string | undefined {
  const extra = Number(map_extra);
  if (map_type === types.BPF_MAP_TYPE_BLOOM_FILTER) {
    return extra > 15 ? `a bloom_filter's map_extra is its number of hashes, 1 to 15; got ${map_extra}` : undefined;
  }
  return map_type === types.BPF_MAP_TYPE_ARENA || extra === 0
    ? undefined
    : `only a bloom_filter and an arena take map_extra; got ${map_extra}`;
}

/** A stack's frames are addresses, or structs as large as four. */
function valueSize({ valueSize }: MapRules, map_flags: number): SizeRule {
  if ((map_flags & flags.BPF_F_STACK_BUILD_ID) === 0) return valueSize;
  const { min, max, multipleOf = 1 } = valueSize;
  return { min: 4 * min, max: 4 * max, multipleOf: 4 * multipleOf };
}

const flagNumbers = namesByNumber(
  Object.fromEntries(
    Object.entries(flags).filter(
      ([name]) =>
        name.startsWith("BPF_F_") &&
        /PREALLOC|LRU|NUMA|RDONLY|WRONLY|BUILD_ID|ZERO_SEED|CLONE|MMAPABLE|PRESERVE|INNER|LINK|VTYPE|TOKEN|SEGV|USER_CONV/.test(
          name,
        ),
    ),
  ),
);

/** `BPF_F_RDONLY, BPF_F_NUMA_NODE` */
const flagNames = (bits: number): string =>
  Array.from({ length: 32 }, (_, bit) => (1 << bit) >>> 0)
    .filter((flag) => (bits & flag) !== 0)
    .map((flag) => flagNumbers.get(flag) ?? `0x${flag.toString(16)}`)
    .join(", ");

/** `at least 1`, `4`, `8 to 1016, in steps of 8` */
function wanted({ min, max, multipleOf, powerOfTwo }: SizeRule): string {
  if (min === max) return `${min}`;
  const range = max === 0xffff_ffff ? `at least ${min}` : `${min} to ${max}`;
  const steps = multipleOf === undefined ? "" : `, in steps of ${multipleOf}`;
  return `${range}${steps}${powerOfTwo ? ", a power of two" : ""}`;
}

const both = (bits: number, wanted: number): boolean => (bits & wanted) === wanted;

const isRing = (type: number): boolean =>
  type === types.BPF_MAP_TYPE_RINGBUF || type === types.BPF_MAP_TYPE_USER_RINGBUF;
const isLru = (type: number): boolean =>
  type === types.BPF_MAP_TYPE_LRU_HASH || type === types.BPF_MAP_TYPE_LRU_PERCPU_HASH;
const isHash = (type: number): boolean => /hash/.test(mapTypeName(type));
