// bpf_spin_lock and bpf_spin_unlock in programs: how locks are taken, and what else may touch them.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import { buildBtf } from "../../src/btf/build.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_BTF_LOAD, BPF_MAP_FREEZE, BPF_MAP_LOOKUP_ELEM } from "../../src/uapi/commands.ts";
import { BPF_F_LOCK, BPF_F_MMAPABLE } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH } from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SOCKET_FILTER } from "../../src/uapi/program-types.ts";
import { int, struct } from "./btf-types.ts";
import { type Bench, contract, outcome } from "./contract.ts";
import { create, type MapCreate, toU32, u32 } from "./maps.ts";
import { load, refusal, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r6, r7, r8, r10, add, mov, load: ldx, store, exit, call, jump, label, loadMapFd } = asm;
const tc = { prog_type: BPF_PROG_TYPE_SCHED_CLS };

/** Types: 1 u32, 2 u64, 3 the lock, 4 a value with a lock, 5 the timer, 6 a value with a timer. */
const types = (): Uint8Array =>
  buildBtf([
    int("u32", 4),
    int("u64", 8),
    struct("bpf_spin_lock", 4, ["val", 1, 0]),
    struct("locked", 16, ["before", 1, 0], ["lock", 3, 4], ["count", 2, 8]),
    struct("bpf_timer", 16, ["a", 2, 0], ["b", 2, 8]),
    struct("timed", 24, ["count", 2, 0], ["timer", 5, 8]),
  ]);

const LOCK = 4;
const COUNT = 8;

/** A map whose values are `u32 before; struct bpf_spin_lock lock; u64 count`. */
function locked(kernel: Kernel, { open }: Pick<Bench, "open">, attr: MapCreate = {}): number {
  const btf = types();
  const btf_fd = open(kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length }));
  return open(create(kernel, { value_size: 16, btf_fd, btf_key_type_id: 1, btf_value_type_id: 4, ...attr }));
}

/** r0 = the value of a key, which is there; the program ends where it is not. */
const find = (map: number, key: number): asm.Item[] => [
  store("w", r10, -4, key),
  mov(r2, r10),
  add(r2, -4),
  loadMapFd(r1, map),
  call(helpers.BPF_FUNC_map_lookup_elem),
  jump("jeq", r0, 0, "out"),
];
const lock = (value: typeof r6 | typeof r7, offset = LOCK): asm.Item[] => [
  mov(r1, value),
  add(r1, offset),
  call(helpers.BPF_FUNC_spin_lock),
];
const unlock = (value: typeof r6 | typeof r7, offset = LOCK): asm.Item[] => [
  mov(r1, value),
  add(r1, offset),
  call(helpers.BPF_FUNC_spin_unlock),
];
const end: asm.Item[] = [label("out"), mov(r0, 0), exit()];
const keep = mov(r6, r0);

for (const [name, map_type] of [
  ["an array", BPF_MAP_TYPE_ARRAY],
  ["a hash", BPF_MAP_TYPE_HASH],
] as const) {
  contract(`a program counts under the lock of ${name}`, (kernel, bench) => {
    const map = locked(kernel, bench, { map_type });
    const insert: asm.Item[] = [
      store("dw", r10, -32, 0),
      store("dw", r10, -24, 0),
      store("w", r10, -4, 1),
      loadMapFd(r1, map),
      mov(r2, r10),
      add(r2, -4),
      mov(r3, r10),
      add(r3, -32),
      mov(r4, BPF_F_LOCK),
      call(helpers.BPF_FUNC_map_update_elem),
      exit(),
    ];
    const items = [
      ...find(map, 1),
      keep,
      ...lock(r6),
      ldx("dw", r7, r6, COUNT),
      add(r7, 1),
      store("dw", r6, COUNT, r7),
    ];
    const prog = bench.open(load(kernel, [...items, ...unlock(r6), ...end], tc));
    const inserted = testRun(kernel, bench.open(load(kernel, insert, tc))).retval ?? -1;
    for (let turn = 0; turn < 3; turn++) expect(testRun(kernel, prog).outcome).toBe(0);
    const value = new Uint8Array(16);
    const result = kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd: map, key: u32(1), value, flags: BPF_F_LOCK });
    expect([inserted | 0, result, toU32(value.subarray(COUNT)), toU32(value.subarray(LOCK))]).toEqual([0, 0, 3, 0]);
  });
}

/** What is refused of a program that has looked a value up, and its line. */
const refusals: readonly (readonly [fact: string, items: (map: number) => asm.Item[], line: string])[] = [
  [
    "a lock that is held at the end",
    () => lock(r6),
    "BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region",
  ],
  ["an unlock without a lock", () => unlock(r6), "bpf_spin_unlock without taking a lock"],
  ["two locks at once", () => [...lock(r6), ...lock(r6)], "function calls are not allowed while holding a lock"],
  [
    "a helper under a lock",
    () => [...lock(r6), call(helpers.BPF_FUNC_ktime_get_ns), ...unlock(r6)],
    "function calls are not allowed while holding a lock",
  ],
  [
    "a lock of one lookup unlocked through another",
    (map) => [...find(map, 1), mov(r7, r0), ...lock(r6), ...unlock(r7)],
    "bpf_spin_unlock of different lock",
  ],
  ["a lock that is elsewhere", () => lock(r6, 0), "off 0 doesn't point to 'struct bpf_spin_lock' that is at 4"],
  [
    "a lock at an offset that is not known",
    () => [ldx("w", r7, r6, 0), asm.alu64("and", r7, 4), mov(r1, r6), add(r1, r7), call(helpers.BPF_FUNC_spin_lock)],
    "R1 doesn't have constant offset. bpf_spin_lock has to be at the constant offset",
  ],
  ["a lock that is read", () => [ldx("w", r7, r6, LOCK)], "bpf_spin_lock cannot be accessed directly by load/store"],
  [
    "a lock that is written with its neighbours",
    () => [store("dw", r6, 0, 0)],
    "bpf_spin_lock cannot be accessed directly by load/store",
  ],
  [
    "a lock that a helper writes",
    () => [mov(r1, r6), mov(r2, 0), mov(r3, r6), mov(r4, 8), mov(r1, r8), call(helpers.BPF_FUNC_skb_load_bytes)],
    "bpf_spin_lock cannot be accessed directly by load/store",
  ],
  [
    "a lock of the stack",
    () => [mov(r1, r10), add(r1, -4), call(helpers.BPF_FUNC_spin_lock)],
    "R1 type=fp expected=map_value, ptr_",
  ],
];

for (const [fact, items, line] of refusals) {
  contract(`refused: ${fact}`, (kernel, bench) => {
    const map = locked(kernel, bench);
    const prog = [mov(r8, r1), ...find(map, 1), keep, ...items(map), ...end];
    expect(refusal(kernel, prog, tc)[1]).toBe(line);
  });
}

contract("a map whose values have no type has no lock", (kernel, { open }) => {
  const map = open(create(kernel, { map_name: "untyped" }));
  const [, line] = refusal(kernel, [...find(map, 1), keep, ...lock(r6), ...end], tc);
  expect(line).toBe("map 'untyped' has to have BTF in order to use bpf_spin_lock");
});

contract("a map whose values are numbers has no lock", (kernel, bench) => {
  const map = locked(kernel, bench, { value_size: 8, btf_value_type_id: 2, map_name: "numbers" });
  const [, line] = refusal(kernel, [...find(map, 1), keep, ...lock(r6), ...end], tc);
  expect(line).toBe("map 'numbers' has no valid bpf_spin_lock");
});

contract("a timer cannot be read", (kernel, bench) => {
  const map = locked(kernel, bench, { value_size: 24, btf_value_type_id: 6 });
  const [, line] = refusal(kernel, [...find(map, 1), keep, ldx("w", r7, r6, 8), ...end], tc);
  expect(line).toBe("bpf_timer cannot be accessed directly by load/store");
});

contract("a socket filter cannot use a map with a lock", (kernel, bench) => {
  const map = locked(kernel, bench);
  const [error, line] = refusal(kernel, [...find(map, 1), ...end], { prog_type: BPF_PROG_TYPE_SOCKET_FILTER });
  expect([error, line]).toEqual(["EINVAL", "socket filter progs cannot use bpf_spin_lock yet"]);
});

contract("a map whose values have a lock is neither frozen nor mapped: ENOTSUPP", (kernel, bench) => {
  const map_fd = locked(kernel, bench, { map_type: BPF_MAP_TYPE_ARRAY, map_flags: BPF_F_MMAPABLE });
  expect(outcome(kernel.bpf(BPF_MAP_FREEZE, { map_fd }))).toBe("ENOTSUPP");
  const mapping = kernel.mmap(map_fd, { length: kernel.system.pageSize });
  expect(typeof mapping === "number" ? outcome(mapping) : "ok").toBe("ENOTSUPP");
});
