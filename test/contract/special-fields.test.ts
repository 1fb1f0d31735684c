// Fields of a value that belong to the kernel: which map types may have which, and what commands see of them.

import { expect } from "vitest";
import { type BuildableType, buildBtf } from "../../src/btf/build.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import * as flags from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import { array, int, pointer } from "./btf-types.ts";
import { type Bench, contract, outcome } from "./contract.ts";
import { create, keys, type MapCreate, u32 } from "./maps.ts";

interface Member {
  readonly type: number;
  readonly at: number;
}

// The types that every case's BTF begins with, by id.
const U32 = 1;
const U64 = 2;
const SPIN_LOCK = 3;
const TIMER = 4;
const WQ = 5;
const RES_SPIN_LOCK = 6;
const TASK_WORK = 7;
const REFCOUNT = 8;
const TARGET = 9;
const KPTR = 11;
const UNTRUSTED = 13;
const TWO_LOCKS = 15;
const NESTED = 16;
const LOCK_TYPEDEF = 17;
const WIDE_LOCK = 18;
const PERCPU_KPTR = 20;
const UPTR = 22;
const TWO_KPTRS = 23;

const struct = (name: string, size: number, members: readonly Member[]): BuildableType => ({
  kind: "struct",
  name,
  size,
  members: members.map(({ type, at }, index) => ({ name: `m${index}`, type, bitOffset: at * 8, bitSize: 0 })),
});

const tagged = (name: string): BuildableType => ({ kind: "type_tag", name, type: TARGET });

const common: readonly BuildableType[] = [
  int("u32", 4),
  int("u64", 8),
  struct("bpf_spin_lock", 4, [{ type: U32, at: 0 }]),
  struct("bpf_timer", 16, [
    { type: U64, at: 0 },
    { type: U64, at: 8 },
  ]),
  struct("bpf_wq", 16, [
    { type: U64, at: 0 },
    { type: U64, at: 8 },
  ]),
  struct("bpf_res_spin_lock", 4, [{ type: U32, at: 0 }]),
  struct("bpf_task_work", 8, [{ type: U64, at: 0 }]),
  struct("bpf_refcount", 4, [{ type: U32, at: 0 }]),
  struct("target", 8, [{ type: U64, at: 0 }]),
  tagged("kptr"),
  pointer(10),
  tagged("kptr_untrusted"),
  pointer(12),
  int("u8", 1),
  array(SPIN_LOCK, 2),
  struct("nested", 8, [
    { type: U32, at: 0 },
    { type: SPIN_LOCK, at: 4 },
  ]),
  { kind: "typedef", name: "lock_t", type: SPIN_LOCK },
  { kind: "struct", name: "bpf_spin_lock", size: 8, members: [{ name: "m", type: U64, bitOffset: 0, bitSize: 0 }] },
  tagged("percpu_kptr"),
  pointer(19),
  tagged("uptr"),
  pointer(21),
  array(KPTR, 2),
];

/** A map whose value is a struct of `size` bytes with these members. */
function createWith(
  kernel: Kernel,
  { open }: Pick<Bench, "open">,
  map_type: number,
  size: number,
  members: readonly Member[],
  attr: MapCreate = {},
): number {
  const btf = buildBtf([...common, struct("value", size, members)]);
  const btf_fd = open(kernel.bpf(commands.BPF_BTF_LOAD, { btf, btf_size: btf.length }));
  return create(kernel, {
    map_type,
    value_size: size,
    btf_fd,
    btf_key_type_id: U32,
    btf_value_type_id: common.length + 1,
    ...attr,
  });
}

const mapTypes: readonly (readonly [name: string, type: number, attr?: MapCreate])[] = [
  ["hash", types.BPF_MAP_TYPE_HASH],
  ["array", types.BPF_MAP_TYPE_ARRAY],
  ["percpu_hash", types.BPF_MAP_TYPE_PERCPU_HASH],
  ["percpu_array", types.BPF_MAP_TYPE_PERCPU_ARRAY],
  ["lru_hash", types.BPF_MAP_TYPE_LRU_HASH],
  ["lru_percpu_hash", types.BPF_MAP_TYPE_LRU_PERCPU_HASH],
];

const fieldKinds: readonly (readonly [name: string, type: number, where: string])[] = [
  ["bpf_spin_lock", SPIN_LOCK, "hash array"],
  ["bpf_res_spin_lock", RES_SPIN_LOCK, "hash array"],
  ["bpf_timer", TIMER, "hash array lru_hash"],
  ["bpf_wq", WQ, "hash array lru_hash"],
  ["bpf_task_work", TASK_WORK, "hash array lru_hash"],
  ["bpf_refcount", REFCOUNT, "hash array percpu_hash percpu_array lru_hash lru_percpu_hash"],
  ["__kptr", KPTR, "hash array percpu_hash percpu_array lru_hash lru_percpu_hash"],
  ["__kptr_untrusted", UNTRUSTED, "hash array percpu_hash percpu_array lru_hash lru_percpu_hash"],
  ["__percpu_kptr", PERCPU_KPTR, "hash array percpu_hash percpu_array lru_hash lru_percpu_hash"],
  ["__uptr", UPTR, ""],
];

for (const [field, type, where] of fieldKinds) {
  contract(
    `a value with a ${field} may be in: ${where || "no map with keys"}; EOPNOTSUPP elsewhere`,
    (kernel, bench) => {
      const accepted = mapTypes.filter(([name, map_type, attr]) => {
        const result = createWith(kernel, bench, map_type, 32, [{ type, at: 8 }], attr);
        if (result >= 0) kernel.close(result);
        else expect([name, outcome(result)]).toEqual([name, "EOPNOTSUPP"]);
        return result >= 0;
      });
      expect(accepted.map(([name]) => name).join(" ")).toBe(where);
    },
  );
}

for (const [name, map_flags] of [
  ["RDONLY_PROG", flags.BPF_F_RDONLY_PROG],
  ["WRONLY_PROG", flags.BPF_F_WRONLY_PROG],
] as const) {
  contract(`a map with ${name} has no special fields: EACCES`, (kernel, bench) => {
    const members = [{ type: SPIN_LOCK, at: 0 }];
    expect(outcome(createWith(kernel, bench, types.BPF_MAP_TYPE_HASH, 16, members, { map_flags }))).toBe("EACCES");
  });
}

/** What a lookup shows of a value that was written as bytes of 0xff. */
function shown(kernel: Kernel, { open }: Bench, map_type: number, size: number, members: readonly Member[]): string {
  const map_fd = open(createWith(kernel, { open }, map_type, size, members));
  const value = new Uint8Array(size);
  const full = new Uint8Array(size).fill(0xff);
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value: full })).toBe(0);
  expect(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(1), value })).toBe(0);
  return [...value].map((byte) => (byte === 0xff ? "#" : String(byte))).join("");
}

const layouts: readonly (readonly [fact: string, members: readonly Member[], shown: string])[] = [
  ["a spin lock at 0 reads as zero", [{ type: SPIN_LOCK, at: 0 }], "0000####################"],
  ["a spin lock at 20 reads as zero", [{ type: SPIN_LOCK, at: 20 }], "####################0000"],
  ["a timer at 8 reads as zero", [{ type: TIMER, at: 8 }], "########0000000000000000"],
  ["a timer at 4 is none", [{ type: TIMER, at: 4 }], "########################"],
  [
    "a timer and a lock read as zero",
    [
      { type: SPIN_LOCK, at: 0 },
      { type: TIMER, at: 8 },
    ],
    "0000####0000000000000000",
  ],
  [
    "two kernel pointers read as zero",
    [
      { type: KPTR, at: 0 },
      { type: UNTRUSTED, at: 16 },
    ],
    "00000000########00000000",
  ],
  ["an array of kernel pointers reads as zero", [{ type: TWO_KPTRS, at: 8 }], "########0000000000000000"],
  ["a lock in a struct in the value reads as zero", [{ type: NESTED, at: 8 }], "############0000########"],
  ["an array of locks is none", [{ type: TWO_LOCKS, at: 0 }], "########################"],
  ["a typedef of a lock is none", [{ type: LOCK_TYPEDEF, at: 0 }], "########################"],
  ["a lock of 8 bytes is none", [{ type: WIDE_LOCK, at: 0 }], "########################"],
  [
    "with two timers there is none",
    [
      { type: TIMER, at: 0 },
      { type: TIMER, at: 16 },
    ],
    "#".repeat(32),
  ],
];

for (const [fact, members, expected] of layouts) {
  contract(`${fact}, in a hash and in an array`, (kernel, bench) => {
    expect(shown(kernel, bench, types.BPF_MAP_TYPE_HASH, expected.length, members)).toBe(expected);
    expect(shown(kernel, bench, types.BPF_MAP_TYPE_ARRAY, expected.length, members)).toBe(expected);
  });
}

/** The answers to BPF_F_LOCK on a map: update, update of an old key with NOEXIST, of a new one with EXIST, lookup, and what it shows. */
function locked(kernel: Kernel, map_fd: number, absent: number): unknown[] {
  const value = new Uint8Array(16).fill(7);
  const found = new Uint8Array(16);
  const update = (key: number, elem: number): number | string =>
    outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(key), value, flags: elem | flags.BPF_F_LOCK }));
  return [
    update(1, flags.BPF_ANY),
    update(1, flags.BPF_ANY),
    update(1, flags.BPF_NOEXIST),
    update(1, flags.BPF_EXIST),
    update(absent, flags.BPF_EXIST),
    update(1, 3),
    outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(1), value: found, flags: flags.BPF_F_LOCK })),
    found.join(),
  ];
}

const LOCKED = [{ type: SPIN_LOCK, at: 4 }];
const LOCKED_VALUE = "7,7,7,7,0,0,0,0,7,7,7,7,7,7,7,7";

contract("BPF_F_LOCK is for values with a spin lock: EINVAL elsewhere", (kernel, bench) => {
  const hash = bench.open(createWith(kernel, bench, types.BPF_MAP_TYPE_HASH, 16, LOCKED));
  expect(locked(kernel, hash, 9)).toEqual([0, 0, "EEXIST", 0, "ENOENT", "EINVAL", 0, LOCKED_VALUE]);
  const array = bench.open(createWith(kernel, bench, types.BPF_MAP_TYPE_ARRAY, 16, LOCKED));
  expect(locked(kernel, array, 9)).toEqual([0, 0, "EEXIST", 0, "E2BIG", "EINVAL", 0, LOCKED_VALUE]);
  for (const [, map_type] of mapTypes) {
    const plain = bench.open(create(kernel, { map_type, value_size: 16 }));
    const refused = locked(kernel, plain, 9).slice(0, 7);
    expect(new Set(refused)).toEqual(new Set(["EINVAL"]));
  }
});

contract("an update with BPF_F_LOCK leaves a hash's order", (kernel, bench) => {
  const map_fd = bench.open(createWith(kernel, bench, types.BPF_MAP_TYPE_HASH, 16, LOCKED, { max_entries: 2 }));
  const value = new Uint8Array(16);
  const update = (key: number, elem: number): unknown =>
    kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(key), value, flags: elem });
  update(1, 0);
  update(2, 0);
  const before = keys(kernel, map_fd);
  for (const key of before) {
    expect(update(key, flags.BPF_F_LOCK)).toBe(0);
    expect(keys(kernel, map_fd)).toEqual(before);
  }
});

contract("lookup and delete with BPF_F_LOCK takes the value out, its lock zero", (kernel, bench) => {
  const map_fd = bench.open(createWith(kernel, bench, types.BPF_MAP_TYPE_HASH, 16, LOCKED));
  const value = new Uint8Array(16);
  const command = commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM;
  locked(kernel, map_fd, 9);
  expect(outcome(kernel.bpf(command, { map_fd, key: u32(1), value, flags: flags.BPF_F_LOCK | 8 }))).toBe("EINVAL");
  expect(outcome(kernel.bpf(command, { map_fd, key: u32(1), value, flags: flags.BPF_F_LOCK }))).toBe(0);
  expect(value.join()).toBe(LOCKED_VALUE);
  expect(outcome(kernel.bpf(command, { map_fd, key: u32(1), value, flags: flags.BPF_F_LOCK }))).toBe("ENOENT");
});

contract("a per-CPU value's kernel pointers read as zero on every CPU", (kernel, bench) => {
  const size = kernel.system.possibleCpus.length * 16;
  for (const map_type of [
    types.BPF_MAP_TYPE_PERCPU_HASH,
    types.BPF_MAP_TYPE_PERCPU_ARRAY,
    types.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  ]) {
    const map_fd = bench.open(createWith(kernel, bench, map_type, 16, [{ type: KPTR, at: 8 }]));
    const value = new Uint8Array(size).fill(7);
    expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value })).toBe(0);
    expect(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(1), value })).toBe(0);
    expect([...value]).toEqual(Array.from({ length: size }, (_, index) => (index % 16 < 8 ? 7 : 0)));
  }
});
