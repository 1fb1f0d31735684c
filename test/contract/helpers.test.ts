// What programs do with maps through helpers.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_HASH,
} from "../../src/uapi/map-types.ts";
import { contract } from "./contract.ts";
import { create, get, keys, set, toU64, u32 } from "./maps.ts";
import { load, refusal, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r10, add, mov, load: ldx, store, exit, call, jump, label, loadMapFd } = asm;

/** r1 = the map, r2 = the key's address. */
const keyOf = (map: number, key: number): asm.Item[] => [
  store("w", r10, -4, key),
  mov(r2, r10),
  add(r2, -4),
  loadMapFd(r1, map),
];

const update = (map: number, key: number, value: number, flags: number): asm.Item[] => [
  store("dw", r10, -16, value),
  ...keyOf(map, key),
  mov(r3, r10),
  add(r3, -16),
  mov(r4, flags),
  call(helpers.BPF_FUNC_map_update_elem),
  exit(),
];

const remove = (map: number, key: number): asm.Item[] => [
  ...keyOf(map, key),
  call(helpers.BPF_FUNC_map_delete_elem),
  exit(),
];

/** Adds 1 to the value of a key, and returns 1 where it is there. */
const count = (map: number, key: number): asm.Item[] => [
  ...keyOf(map, key),
  call(helpers.BPF_FUNC_map_lookup_elem),
  jump("jeq", r0, 0, "out"),
  mov(r1, 1),
  asm.atomic("dw", 0, r0, 0, r1),
  mov(r0, 1),
  label("out"),
  exit(),
];

/** The signed value that a program returns. */
const returned = (kernel: Kernel, open: (result: number) => number, items: asm.Item[]): number =>
  (testRun(kernel, open(load(kernel, items))).retval ?? 0) | 0;

for (const [name, map_type] of [
  ["a hash", BPF_MAP_TYPE_HASH],
  ["an array", BPF_MAP_TYPE_ARRAY],
] as const) {
  contract(`a program writes ${name}, and counts there`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type }));
    expect(returned(kernel, open, update(map, 2, 41, 0))).toBe(0);
    expect(returned(kernel, open, count(map, 2))).toBe(1);
    expect(get(kernel, map, 2)).toBe(42n);
    expect(returned(kernel, open, count(map, 99))).toBe(0);
  });
}

contract("a program's update and delete of a hash fail as a command's do", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH, max_entries: 2 }));
  const result = (items: asm.Item[]): number => returned(kernel, open, items);
  expect(result(update(map, 1, 1, BPF_EXIST))).toBe(-2);
  expect(result(update(map, 1, 1, BPF_NOEXIST))).toBe(0);
  expect(result(update(map, 1, 1, BPF_NOEXIST))).toBe(-17);
  expect(result(update(map, 2, 2, 0))).toBe(0);
  expect(result(update(map, 3, 3, 0))).toBe(-7);
  expect(result(update(map, 1, 1, 3))).toBe(-22);
  expect(result(remove(map, 1))).toBe(0);
  expect(result(remove(map, 1))).toBe(-2);
  expect(keys(kernel, map)).toEqual([2]);
});

contract("a program's update and delete of an array fail as a command's do", (kernel, { open }) => {
  const map = open(create(kernel));
  const result = (items: asm.Item[]): number => returned(kernel, open, items);
  expect(result(update(map, 4, 1, 0))).toBe(-7);
  expect(result(update(map, 0, 1, BPF_NOEXIST))).toBe(-17);
  expect(result(remove(map, 0))).toBe(-22);
});

for (const [name, map_type] of [
  ["a per-CPU array", BPF_MAP_TYPE_PERCPU_ARRAY],
  ["a per-CPU hash", BPF_MAP_TYPE_PERCPU_HASH],
] as const) {
  contract(`a program counts in ${name} on the CPU that runs it`, (kernel, { open }) => {
    const map_fd = open(create(kernel, { map_type }));
    const value = new Uint8Array(8 * kernel.system.possibleCpus.length);
    kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value });
    const prog = open(load(kernel, count(map_fd, 1)));
    for (let turn = 0; turn < 5; turn++) testRun(kernel, prog);
    kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(1), value });
    const counts = kernel.system.possibleCpus.map((_, index) => toU64(value, 8 * index));
    expect(counts.reduce((sum, each) => sum + each, 0n)).toBe(5n);
  });
}

contract("a program reads the value of a possible CPU, and NULL for any other", (kernel, { open }) => {
  const cpus = kernel.system.possibleCpus.length;
  const map_fd = open(create(kernel, { map_type: BPF_MAP_TYPE_PERCPU_ARRAY }));
  const value = new Uint8Array(BigUint64Array.from({ length: cpus }, (_, cpu) => BigInt(cpu + 10)).buffer);
  kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value });
  const valueOn = (cpu: number): number =>
    returned(kernel, open, [
      ...keyOf(map_fd, 1),
      mov(r3, cpu),
      call(helpers.BPF_FUNC_map_lookup_percpu_elem),
      jump("jeq", r0, 0, "out"),
      ldx("dw", r0, r0, 0),
      label("out"),
      exit(),
    ]);
  expect([0, cpus - 1, cpus, 4096].map(valueOn)).toEqual([10, cpus + 9, 0, 0]);
});

contract("the running CPU is a possible one", (kernel, { open }) => {
  const cpu = returned(kernel, open, [call(helpers.BPF_FUNC_get_smp_processor_id), exit()]);
  expect(kernel.system.possibleCpus).toContain(cpu);
});

contract("pseudo-random numbers differ", (kernel, { open }) => {
  const prog = open(load(kernel, [call(helpers.BPF_FUNC_get_prandom_u32), exit()]));
  const numbers = Array.from({ length: 10 }, () => testRun(kernel, prog).retval);
  expect(new Set(numbers).size).toBeGreaterThan(5);
});

contract("a map with RDONLY_PROG is read and not written by programs", (kernel, { open }) => {
  const map = open(create(kernel, { map_flags: BPF_F_RDONLY_PROG }));
  set(kernel, map, 0, 7);
  const read = [
    ...keyOf(map, 0),
    call(helpers.BPF_FUNC_map_lookup_elem),
    jump("jeq", r0, 0, "out"),
    ldx("dw", r0, r0, 0),
    label("out"),
    exit(),
  ];
  expect(returned(kernel, open, read)).toBe(7);
  expect(refusal(kernel, count(map, 0))).toEqual(["EACCES", "write into map forbidden, value_size=8 off=0 size=8"]);
  expect(refusal(kernel, update(map, 0, 1, 0))).toEqual(["EACCES", "write into map forbidden"]);
});

contract("a map with WRONLY_PROG is written and not read by programs", (kernel, { open }) => {
  const map = open(create(kernel, { map_flags: BPF_F_WRONLY_PROG }));
  expect(returned(kernel, open, update(map, 0, 9, 0))).toBe(0);
  expect(get(kernel, map, 0)).toBe(9n);
  expect(refusal(kernel, count(map, 0))).toEqual(["EACCES", "read from map forbidden, value_size=8 off=0 size=8"]);
});
