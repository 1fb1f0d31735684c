// BPF_BTF_LOAD looks at the structs of which programs may make objects: locks, lists, trees, refcounts and kernel pointers in them.

import { expect } from "vitest";
import { type BuildableType, buildBtf } from "../../src/btf/build.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import * as types from "../../src/uapi/map-types.ts";
import { array, int, pointer } from "./btf-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, u32 } from "./maps.ts";

/** A type's id, its offset in bytes, and a name where that matters. */
type Member = readonly [type: number, at: number, name?: string];

// The types that every case's BTF begins with, by id.
const U32 = 1;
const U64 = 2;
const SPIN_LOCK = 3;
const RES_SPIN_LOCK = 4;
const LIST_HEAD = 5;
const LIST_NODE = 6;
const RB_ROOT = 7;
const RB_NODE = 8;
const REFCOUNT = 9;
const TARGET = 10;
const KPTR = 12;
const USER = 14;
const UPTR = 16;
const TWO_LOCKS = 17;
const TWO_HEADS = 18;
const TWO_KPTRS = 21;
const KPTR_TO_INT = 23;
const VOLATILE_KPTR = 24;
const TWICE_TAGGED = 26;
const TIMER = 27;
const HUGE = 28;
const UPTR_TO_HUGE = 30;
/** The id of a case's first type. */
const VALUE = 31;

const words = (count: number): Member[] => Array.from({ length: count }, (_, index) => [U64, 8 * index]);
const struct = (name: string, size: number, members: readonly Member[]): BuildableType => ({
  kind: "struct",
  name,
  size,
  members: members.map(([type, at, member], index) => ({
    name: member ?? `m${index}`,
    type,
    bitOffset: at * 8,
    bitSize: 0,
  })),
});
const tagged = (name: string, type = TARGET): BuildableType => ({ kind: "type_tag", name, type });

const common: readonly BuildableType[] = [
  int("u32", 4),
  int("u64", 8),
  struct("bpf_spin_lock", 4, [[U32, 0]]),
  struct("bpf_res_spin_lock", 4, [[U32, 0]]),
  struct("bpf_list_head", 16, words(2)),
  struct("bpf_list_node", 24, words(3)),
  struct("bpf_rb_root", 16, words(2)),
  struct("bpf_rb_node", 32, words(4)),
  struct("bpf_refcount", 4, [[U32, 0]]),
  struct("target", 8, words(1)),
  tagged("kptr"),
  pointer(11),
  tagged("user"),
  pointer(13),
  tagged("uptr"),
  pointer(15),
  array(SPIN_LOCK, 2),
  array(LIST_HEAD, 2),
  struct("listed", 32, [
    [LIST_NODE, 0, "node"],
    [U64, 24, "number"],
  ]),
  struct("sorted", 40, [
    [RB_NODE, 0, "node"],
    [U64, 32, "number"],
  ]),
  array(KPTR, 2),
  tagged("kptr", U32),
  pointer(22),
  { kind: "volatile", name: "", type: KPTR },
  tagged("kptr", 11),
  pointer(25),
  struct("bpf_timer", 16, words(2)),
  struct("huge", 4104, words(513)),
  tagged("uptr", HUGE),
  pointer(29),
];

const contains = (what: string, member: number, type = VALUE): BuildableType => ({
  kind: "decl_tag",
  name: `contains:${what}`,
  type,
  componentIndex: member,
});
const value = (size: number, ...members: Member[]): BuildableType => struct("value", size, members);
const kptrs = (count: number, from = 0): Member[] =>
  Array.from({ length: count }, (_, index) => [KPTR, from + 8 * index]);

function load(kernel: Kernel, more: readonly BuildableType[]): number {
  const btf = buildBtf([...common, ...more]);
  return kernel.bpf(commands.BPF_BTF_LOAD, { btf, btf_size: btf.length });
}

const lockAndHead = value(24, [SPIN_LOCK, 0], [LIST_HEAD, 8]);
const lockAndRoot = value(24, [SPIN_LOCK, 0], [RB_ROOT, 8]);
const bitField = (bitOffset: number): BuildableType => ({
  kind: "struct",
  name: "value",
  size: 8,
  members: [
    { name: "lock", type: SPIN_LOCK, bitOffset: 0, bitSize: 0 },
    { name: "bits", type: U32, bitOffset, bitSize: 3 },
  ],
});

const structs: readonly (readonly [fact: string, types: readonly BuildableType[], expected: string])[] = [
  ["a spin lock", [value(8, [SPIN_LOCK, 0])], "ok"],
  ["two spin locks", [value(8, [SPIN_LOCK, 0], [SPIN_LOCK, 4])], "E2BIG"],
  [
    "two spin locks in a struct of a struct",
    [
      struct("inner", 8, [
        [SPIN_LOCK, 0],
        [SPIN_LOCK, 4],
      ]),
    ],
    "E2BIG",
  ],
  ["two res spin locks alone, which are not looked for", [value(8, [RES_SPIN_LOCK, 0], [RES_SPIN_LOCK, 4])], "ok"],
  ["a spin lock and a res spin lock", [value(8, [SPIN_LOCK, 0], [RES_SPIN_LOCK, 4])], "EINVAL"],
  ["an array of locks alone, which is not looked into", [value(8, [TWO_LOCKS, 0])], "ok"],
  ["an array of locks and a lock", [value(12, [TWO_LOCKS, 0], [SPIN_LOCK, 8])], "EINVAL"],
  ["a lock that is not aligned, and nothing else", [value(8, [SPIN_LOCK, 2])], "EFAULT"],
  ["a lock that is not aligned, and a kernel pointer", [value(16, [SPIN_LOCK, 2], [KPTR, 8])], "ok"],
  ["two timers, which are not looked for", [value(40, [TIMER, 0], [TIMER, 16], [KPTR, 32])], "ok"],
  ["a lock and a bit-field at a byte", [bitField(32)], "ok"],
  ["a lock and a bit-field elsewhere", [bitField(33)], "EINVAL"],
  ["a member behind the end of its struct", [value(8, [HUGE, 0])], "EINVAL"],

  ["a list", [lockAndHead, contains("listed:node", 1)], "ok"],
  ["a list without a tag", [lockAndHead], "EINVAL"],
  ["a list without a lock", [value(16, [LIST_HEAD, 0]), contains("listed:node", 0)], "EINVAL"],
  ["a list of a struct that is not there", [lockAndHead, contains("nothing:node", 1)], "ENOENT"],
  ["a list by a member that is not there", [lockAndHead, contains("listed:nothing", 1)], "ENOENT"],
  ["a list by a member that is no node", [lockAndHead, contains("listed:number", 1)], "EINVAL"],
  ["a list by a node of trees", [lockAndHead, contains("sorted:node", 1)], "EINVAL"],
  ["a list whose tag names no member", [lockAndHead, contains("listed", 1)], "EINVAL"],
  ["a list whose tag names an empty member", [lockAndHead, contains("listed:", 1)], "EINVAL"],
  ["a list with two tags", [lockAndHead, contains("listed:node", 1), contains("listed:node", 1)], "EINVAL"],
  ["a list whose tag is that of the struct", [lockAndHead, contains("listed:node", -1)], "EINVAL"],
  ["a list that is not aligned, and nothing else", [value(24, [LIST_HEAD, 4])], "EFAULT"],
  ["an array of lists", [value(40, [SPIN_LOCK, 0], [TWO_HEADS, 8]), contains("listed:node", 1)], "ok"],
  ["a tree", [lockAndRoot, contains("sorted:node", 1)], "ok"],
  ["a tree by a node of lists", [lockAndRoot, contains("listed:node", 1)], "EINVAL"],
  ["a tree without a lock", [value(16, [RB_ROOT, 0]), contains("sorted:node", 0)], "EINVAL"],
  ["nodes of two lists", [value(48, [LIST_NODE, 0], [LIST_NODE, 24])], "ok"],
  ["nodes of a list and of a tree", [value(56, [LIST_NODE, 0], [RB_NODE, 24])], "EINVAL"],
  ["those with a refcount", [value(64, [LIST_NODE, 0], [RB_NODE, 24], [REFCOUNT, 56])], "ok"],
  [
    "a list of itself",
    [value(48, [SPIN_LOCK, 0], [LIST_HEAD, 8], [LIST_NODE, 24, "node"]), contains("value:node", 1)],
    "ELOOP",
  ],
  [
    "something listed with a list of what has none",
    [value(48, [SPIN_LOCK, 0], [LIST_HEAD, 8], [LIST_NODE, 24, "node"]), contains("listed:node", 1)],
    "ok",
  ],
  [
    "something listed with a list of what has one",
    [
      value(48, [SPIN_LOCK, 0], [LIST_HEAD, 8], [LIST_NODE, 24, "node"]),
      contains("other:node", 1),
      struct("other", 48, [
        [SPIN_LOCK, 0],
        [LIST_HEAD, 8],
        [LIST_NODE, 24, "node"],
      ]),
      contains("listed:node", 1, VALUE + 2),
    ],
    "ELOOP",
  ],

  ["a refcount", [value(8, [REFCOUNT, 0])], "ok"],
  ["a kernel pointer", [value(8, [KPTR, 0])], "ok"],
  ["a volatile kernel pointer", [value(8, [VOLATILE_KPTR, 0])], "ok"],
  ["a kernel pointer that is not aligned, and nothing else", [value(16, [KPTR, 4])], "EFAULT"],
  ["two kernel pointers at one place", [value(16, [KPTR, 0], [KPTR, 0])], "EEXIST"],
  ["a lock in a kernel pointer", [value(16, [KPTR, 0], [SPIN_LOCK, 4])], "EEXIST"],
  ["a kernel pointer to an int alone, which is none", [value(8, [KPTR_TO_INT, 0])], "ok"],
  ["a kernel pointer to an int, and another", [value(16, [KPTR_TO_INT, 0], [KPTR, 8])], "EINVAL"],
  ["a pointer with two tags alone", [value(8, [TWICE_TAGGED, 0])], "ok"],
  ["a pointer with two tags, and a kernel pointer", [value(16, [TWICE_TAGGED, 0], [KPTR, 8])], "EINVAL"],
  ["a user pointer alone", [value(8, [USER, 0])], "ok"],
  ["a user pointer and a lock", [value(16, [USER, 0], [SPIN_LOCK, 8])], "EINVAL"],
  ["a uptr and a kernel pointer", [value(16, [UPTR, 0], [KPTR, 8])], "ok"],
  ["11 kernel pointers", [value(88, ...kptrs(11))], "ok"],
  ["12 kernel pointers", [value(96, ...kptrs(12))], "E2BIG"],
  ["11 kernel pointers and a lock", [value(96, [SPIN_LOCK, 0], ...kptrs(11, 8))], "E2BIG"],
  ["12 kernel pointers in arrays alone", [value(96, ...kptrs(6).map(([, at]): Member => [TWO_KPTRS, 2 * at]))], "ok"],
  [
    "13 kernel pointers, 12 in arrays",
    [value(104, [KPTR, 0], ...kptrs(6).map(([, at]): Member => [TWO_KPTRS, 8 + 2 * at]))],
    "E2BIG",
  ],
];

for (const [fact, more, expected] of structs) {
  contract(`BTF with ${fact}: ${expected}`, (kernel) => {
    const result = load(kernel, more);
    if (result >= 0) kernel.close(result);
    expect(result >= 0 ? "ok" : outcome(result)).toBe(expected);
  });
}

/** The map types that a value may be in, by name; and with what others refuse it. */
const mapTypes = {
  hash: types.BPF_MAP_TYPE_HASH,
  array: types.BPF_MAP_TYPE_ARRAY,
  lru_hash: types.BPF_MAP_TYPE_LRU_HASH,
  percpu_hash: types.BPF_MAP_TYPE_PERCPU_HASH,
  percpu_array: types.BPF_MAP_TYPE_PERCPU_ARRAY,
  lru_percpu_hash: types.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  sk_storage: types.BPF_MAP_TYPE_SK_STORAGE,
  inode_storage: types.BPF_MAP_TYPE_INODE_STORAGE,
  task_storage: types.BPF_MAP_TYPE_TASK_STORAGE,
  cgrp_storage: types.BPF_MAP_TYPE_CGRP_STORAGE,
};
const isStorage = (name: string): boolean => name.endsWith("_storage");
const everywhere = Object.keys(mapTypes).join(" ");

for (const [fact, size, more, where, errno] of [
  ["a list and its lock", 24, [lockAndHead, contains("listed:node", 1)], "hash array", "EOPNOTSUPP"],
  ["a tree and its lock", 24, [lockAndRoot, contains("sorted:node", 1)], "hash array", "EOPNOTSUPP"],
  ["a refcount", 8, [value(8, [REFCOUNT, 0])], everywhere, ""],
  ["a kernel pointer", 8, [value(8, [KPTR, 0])], everywhere, ""],
  ["a uptr", 8, [value(8, [UPTR, 0])], "task_storage", "EOPNOTSUPP"],
  ["a node of a list, which is nothing to maps", 24, [value(24, [LIST_NODE, 0])], everywhere, ""],
  [
    "a res spin lock",
    8,
    [value(8, [RES_SPIN_LOCK, 0])],
    "hash array sk_storage inode_storage task_storage cgrp_storage",
    "EOPNOTSUPP",
  ],
] as const) {
  contract(`a value with ${fact} may be in: ${where}`, (kernel, { open }) => {
    const btf_fd = open(load(kernel, more));
    const accepted = Object.entries(mapTypes).filter(([name, map_type]) => {
      const shape = isStorage(name) ? { map_flags: 1, max_entries: 0 } : {};
      const typed = { btf_fd, btf_key_type_id: U32, btf_value_type_id: VALUE };
      const result = create(kernel, { map_type, value_size: size, ...typed, ...shape });
      if (result >= 0) kernel.close(result);
      else expect([name, outcome(result)]).toEqual([name, errno]);
      return result >= 0;
    });
    expect(accepted.map(([name]) => name).join(" ")).toBe(where);
  });
}

contract("a uptr points to no more than a page: E2BIG", (kernel, { open }) => {
  const btf_fd = open(load(kernel, [value(8, [UPTR_TO_HUGE, 0])]));
  const typed = { btf_fd, btf_key_type_id: U32, btf_value_type_id: VALUE, map_flags: 1, max_entries: 0 };
  expect(outcome(create(kernel, { map_type: types.BPF_MAP_TYPE_TASK_STORAGE, ...typed }))).toBe("E2BIG");
});

/** What a lookup shows of a value that was written as bytes of 0xff. */
function shown(kernel: Kernel, map_fd: number, size: number): Uint8Array {
  const found = new Uint8Array(size);
  const full = new Uint8Array(size).fill(0xff);
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value: full })).toBe(0);
  expect(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(1), value: found })).toBe(0);
  return found;
}

for (const map_type of [types.BPF_MAP_TYPE_HASH, types.BPF_MAP_TYPE_ARRAY]) {
  const name = map_type === types.BPF_MAP_TYPE_HASH ? "hash" : "array";

  contract(`a refcount in a value of a ${name} reads as 1, a tree as zeros`, (kernel, { open }) => {
    const more = [value(32, [SPIN_LOCK, 0], [REFCOUNT, 4], [RB_ROOT, 8]), contains("sorted:node", 2)];
    const typed = { btf_fd: open(load(kernel, more)), btf_key_type_id: U32, btf_value_type_id: VALUE };
    const map_fd = open(create(kernel, { map_type, value_size: 32, ...typed }));
    const bytes = shown(kernel, map_fd, 32);
    expect([...bytes]).toEqual([0, 0, 0, 0, 1, 0, 0, 0, ...new Array(16).fill(0), ...new Array(8).fill(0xff)]);
  });

  contract(`a list in a value of a ${name} reads as two equal addresses: it is empty`, (kernel, { open }) => {
    const more = [lockAndHead, contains("listed:node", 1)];
    const typed = { btf_fd: open(load(kernel, more)), btf_key_type_id: U32, btf_value_type_id: VALUE };
    const map_fd = open(create(kernel, { map_type, value_size: 24, ...typed }));
    const [next, previous] = new BigUint64Array(shown(kernel, map_fd, 24).slice(8).buffer);
    expect(next).not.toBe(0n);
    expect(next).toBe(previous);
  });
}
