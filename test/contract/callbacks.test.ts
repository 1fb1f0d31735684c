// Helpers that call a function of the program: bpf_loop and bpf_for_each_map_elem.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import { BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG, BPF_F_ZERO_SEED } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import * as types from "../../src/uapi/map-types.ts";
import { contract } from "./contract.ts";
import { callWithCallback, functionsOf } from "./functions.ts";
import { create, get, keys, set, u32 } from "./maps.ts";
import { load, refusal, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10 } = asm;
const { add, mov, load: ldx, store, exit, call, jump, label, loadFunction, loadImm64, loadMapFd, loadMapValue } = asm;

type Reg = Parameters<typeof mov>[0];
type Open = (result: number) => number;

/** Loads a program with functions, runs it once, and gives the signed value that it returns. */
function returned(kernel: Kernel, open: Open, items: asm.Item[]): number {
  const prog_fd = open(load(kernel, items, functionsOf(kernel, open, items)));
  return (testRun(kernel, prog_fd).retval ?? 0) | 0;
}

/** How the verifier refuses a program with functions. */
const refused = (kernel: Kernel, open: Open, items: asm.Item[], linkage?: "static" | "global") =>
  refusal(kernel, items, functionsOf(kernel, open, items, linkage));

/** r0 = bpf_loop(turns, callback, &fp-8, flags); fp-8 is 0 before. */
const loop = (turns: number, flags = 0): asm.Item[] => callWithCallback(helpers.BPF_FUNC_loop, mov(r1, turns), flags);

/** r0 = bpf_for_each_map_elem(map, callback, &fp-8, flags); fp-8 is 0 before. */
const forEach = (map: number, flags = 0): asm.Item[] =>
  callWithCallback(helpers.BPF_FUNC_for_each_map_elem, loadMapFd(r1, map), flags);

/** The callback's end: go on, or stop. */
const goOn = [mov(r0, 0), exit()];
const stop = [mov(r0, 1), exit()];

/** *(u64 *)(context) += register. */
const addTo = (context: Reg, register: Reg): asm.Item[] => [
  ldx("dw", r0, context, 0),
  asm.alu64("add", r0, register),
  store("dw", context, 0, r0),
];

contract("bpf_loop calls its function with 0, 1, 2, … and its context, and returns how often", (kernel, { open }) => {
  const callback = [label("callback"), add(r1, 1), ...addTo(r2, r1), ...goOn];
  expect(returned(kernel, open, [...loop(10), exit(), ...callback])).toBe(10);
  expect(returned(kernel, open, [...loop(10), ldx("dw", r0, r10, -8), exit(), ...callback])).toBe(55);
  expect(returned(kernel, open, [...loop(0), exit(), ...callback])).toBe(0);
  expect(returned(kernel, open, [...loop(0), ldx("dw", r0, r10, -8), exit(), ...callback])).toBe(0);
});

contract("bpf_loop ends when its function returns 1, and counts that turn", (kernel, { open }) => {
  const callback = [label("callback"), jump("jne", r1, 4, "on"), ...stop, label("on"), ...goOn];
  expect(returned(kernel, open, [...loop(10), exit(), ...callback])).toBe(5);
});

contract("bpf_loop takes up to 8 Mi turns, and no flags", (kernel, { open }) => {
  const callback = [label("callback"), ...stop];
  expect(returned(kernel, open, [...loop(8 << 20), exit(), ...callback])).toBe(1);
  expect(returned(kernel, open, [...loop((8 << 20) + 1), exit(), ...callback])).toBe(-7);
  expect(returned(kernel, open, [...loop(1, 1), exit(), ...callback])).toBe(-22);
});

contract("a function that bpf_loop calls keeps r6 to r9 of its caller", (kernel, { open }) => {
  const items = [
    mov(r6, 1),
    mov(r7, 2),
    mov(r8, 3),
    mov(r9, 4),
    ...loop(3),
    ...[r6, r7, r8, r9].flatMap((register) => [asm.alu64("lsh", r0, 4), asm.alu64("or", r0, register)]),
    exit(),
    label("callback"),
    ...[r6, r7, r8, r9].map((register) => mov(register, 9)),
    ...goOn,
  ];
  expect(returned(kernel, open, items)).toBe(0x31234);
});

contract("functions that bpf_loop calls loop themselves", (kernel, { open }) => {
  const items = [
    ...loop(5),
    ldx("dw", r0, r10, -8),
    exit(),
    label("callback"),
    mov(r3, r2),
    mov(r1, 7),
    loadFunction(r2, "inner"),
    mov(r4, 0),
    call(helpers.BPF_FUNC_loop),
    ...goOn,
    label("inner"),
    mov(r1, 1),
    ...addTo(r2, r1),
    ...goOn,
  ];
  expect(returned(kernel, open, items)).toBe(35);
});

contract("what a function of bpf_loop counted has no known bound afterwards", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 1, value_size: 8 }));
  const items = [
    ...loop(10),
    ldx("dw", r6, r10, -8),
    loadMapValue(r1, map, 0),
    asm.alu64("add", r1, r6),
    ldx("b", r0, r1, 0),
    exit(),
    label("callback"),
    mov(r1, 1),
    ...addTo(r2, r1),
    ...goOn,
  ];
  expect(refused(kernel, open, items)).toEqual(["EACCES", "R1 min value is outside of the allowed memory range"]);
});

contract("a bound that the function of bpf_loop checks itself holds on every turn", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 1, value_size: 8 }));
  const callback = (bound: number) => [
    label("callback"),
    ldx("dw", r3, r2, 0),
    jump("jgt", r3, bound, "out"),
    loadMapValue(r1, map, 0),
    asm.alu64("add", r1, r3),
    mov(r4, 5),
    store("b", r1, 0, r4),
    add(r3, 1),
    store("dw", r2, 0, r3),
    label("out"),
    ...goOn,
  ];
  expect(returned(kernel, open, [...loop(100), ldx("dw", r0, r10, -8), exit(), ...callback(7)])).toBe(8);
  expect(get(kernel, map, 0)).toBe(0x0505050505050505n);
  expect(refused(kernel, open, [...loop(100), exit(), ...callback(8)])).toEqual([
    "EACCES",
    "R1 min value is outside of the allowed memory range",
  ]);
});

contract("a pointer that one turn leaves in the context is not there on the next", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 1, value_size: 8 }));
  const items = [
    loadMapValue(r6, map, 0),
    store("dw", r10, -8, r6),
    mov(r1, 2),
    loadFunction(r2, "callback"),
    mov(r3, r10),
    add(r3, -8),
    mov(r4, 0),
    call(helpers.BPF_FUNC_loop),
    mov(r0, 0),
    exit(),
    label("callback"),
    ldx("dw", r3, r2, 0),
    ldx("dw", r0, r3, 0),
    store("dw", r2, 0, 7),
    ...goOn,
  ];
  expect(refused(kernel, open, items)).toEqual(["EACCES", "R3 invalid mem access 'scalar'"]);
});

contract("a helper's function must return 0 or 1", (kernel, { open }) => {
  expect(refused(kernel, open, [...loop(1), exit(), label("callback"), mov(r0, 2), exit()])).toEqual([
    "EINVAL",
    "At callback return the register R0 has smin=2 smax=2 should have been in [0, 1]",
  ]);
  expect(refused(kernel, open, [...loop(1), exit(), label("callback"), mov(r0, r1), exit()])).toEqual([
    "EINVAL",
    "At callback return the register R0 has unknown scalar value should have been in [0, 1]",
  ]);
  expect(refused(kernel, open, [...loop(1), exit(), label("callback"), mov(r0, r2), exit()])).toEqual([
    "EINVAL",
    "cannot return stack pointer to the caller",
  ]);
  expect(refused(kernel, open, [...loop(1), exit(), label("callback"), exit()])).toEqual([
    "EACCES",
    "R0 not a scalar value",
  ]);
});

contract("a helper's function is static, and described by BTF", (kernel, { open }) => {
  const items = [...loop(1), exit(), label("callback"), ...goOn];
  expect(refusal(kernel, items)).toEqual(["EINVAL", "missing btf func_info"]);
  expect(refused(kernel, open, items, "global")).toEqual(["EINVAL", "callback function not static"]);
});

contract("a helper's function cannot be called with what it was not given", (kernel, { open }) => {
  const items = [...loop(1), exit(), label("callback"), mov(r0, r3), ...goOn];
  expect(refused(kernel, open, items)).toEqual(["EACCES", "R3 !read_ok"]);
});

contract("helpers call functions only, and take stack or NULL as their context", (kernel, { open }) => {
  const call2 = (second: asm.Item, third: asm.Item) => [
    mov(r6, r1),
    mov(r1, 1),
    loadFunction(r2, "callback"),
    second,
    third,
    mov(r4, 0),
    call(helpers.BPF_FUNC_loop),
    exit(),
    label("callback"),
    ...goOn,
  ];
  expect(refused(kernel, open, call2(mov(r2, 0), mov(r3, 0)))).toEqual(["EACCES", "R2 type=scalar expected=func"]);
  expect(refused(kernel, open, call2(mov(r2, r10), mov(r3, 0)))).toEqual(["EACCES", "R2 type=fp expected=func"]);
  expect(refused(kernel, open, call2(mov(r5, 0), mov(r3, r6)))).toEqual(["EACCES", "R3 type=ctx expected=fp"]);
  expect(refused(kernel, open, call2(mov(r5, 0), mov(r3, 1)))).toEqual(["EACCES", "R3 type=scalar expected=fp"]);
  expect(returned(kernel, open, call2(mov(r5, 0), mov(r3, 0)))).toBe(1);
  expect(refused(kernel, open, call2(add(r2, 1), mov(r3, 0)))).toEqual([
    "EACCES",
    "dereference of modified func ptr R2 off=1 disallowed",
  ]);
  expect(refused(kernel, open, call2(ldx("dw", r5, r2, 0), mov(r3, 0)))).toEqual([
    "EACCES",
    "R2 invalid mem access 'func'",
  ]);
});

contract("a function that helpers call counts in the stack of its caller", (kernel, { open }) => {
  const deep = (bytes: number) => [
    store("dw", r10, -256, 0),
    ...loop(1),
    exit(),
    label("callback"),
    store("dw", r10, -bytes, 0),
    ...goOn,
  ];
  expect(returned(kernel, open, deep(256))).toBe(1);
  expect(refused(kernel, open, deep(264))).toEqual(["EACCES", "combined stack size of 2 calls is 528. Too large"]);
});

contract("a helper's function cannot have its own address called for ever", (kernel, { open }) => {
  const items = [
    ...loop(1),
    exit(),
    label("callback"),
    mov(r1, 1),
    loadFunction(r2, "callback"),
    mov(r3, 0),
    mov(r4, 0),
    call(helpers.BPF_FUNC_loop),
    ...goOn,
  ];
  expect(refused(kernel, open, items)).toEqual(["E2BIG", "the call stack of 9 frames is too deep"]);
});

const sum = [label("callback"), ldx("w", r2, r2, 0), ldx("dw", r3, r3, 0), asm.alu64("lsh", r2, 8)];
const sumUp = [...sum, asm.alu64("add", r3, r2), ...addTo(r4, r3), ...goOn];

for (const [name, map_type] of [
  ["an array", types.BPF_MAP_TYPE_ARRAY],
  ["a hash", types.BPF_MAP_TYPE_HASH],
  ["an LRU hash", types.BPF_MAP_TYPE_LRU_HASH],
] as const) {
  contract(`bpf_for_each_map_elem visits each element of ${name} and returns how many`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type, max_entries: 3 }));
    for (const key of [0, 1, 2]) set(kernel, map, key, 10 * (key + 1));
    expect(returned(kernel, open, [...forEach(map), exit(), ...sumUp])).toBe(3);
    expect(returned(kernel, open, [...forEach(map), ldx("dw", r0, r10, -8), exit(), ...sumUp])).toBe(0x300 + 60);
    expect(returned(kernel, open, [...forEach(map, 1), exit(), ...sumUp])).toBe(-22);
    expect(returned(kernel, open, [...forEach(map), exit(), label("callback"), ...stop])).toBe(1);
  });

  contract(`a callback may write the values of ${name}, but not its keys`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type, max_entries: 2 }));
    for (const key of [0, 1]) set(kernel, map, key, 1);
    const write = (register: Reg, off = 0) => [
      ...forEach(map),
      exit(),
      label("callback"),
      store("dw", register, off, 77),
      ...goOn,
    ];
    expect(returned(kernel, open, write(r3))).toBe(2);
    expect([0, 1].map((key) => get(kernel, map, key))).toEqual([77n, 77n]);
    expect(refused(kernel, open, write(r2))).toEqual(["EACCES", "write to change key R2 not allowed"]);
    expect(refused(kernel, open, write(r3, 4)).at(0)).toBe("EACCES");
  });
}

for (const [name, map_type] of [
  ["a per-CPU array", types.BPF_MAP_TYPE_PERCPU_ARRAY],
  ["a per-CPU hash", types.BPF_MAP_TYPE_PERCPU_HASH],
  ["a per-CPU LRU hash", types.BPF_MAP_TYPE_LRU_PERCPU_HASH],
] as const) {
  contract(`bpf_for_each_map_elem gives the running CPU's values of ${name}`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type, max_entries: 2 }));
    const cpus = kernel.system.possibleCpus.length;
    for (const key of [0, 1]) {
      const value = new Uint8Array(new BigUint64Array(cpus).fill(BigInt(key + 5)).buffer);
      kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd: map, key: u32(key), value });
    }
    expect(returned(kernel, open, [...forEach(map), ldx("dw", r0, r10, -8), exit(), ...sumUp])).toBe(0x100 + 11);
  });
}

contract("a key is as long as the map's", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: types.BPF_MAP_TYPE_HASH, key_size: 4 }));
  const items = [...forEach(map), exit(), label("callback"), ldx("dw", r0, r2, 0), ...goOn];
  expect(refused(kernel, open, items)).toEqual(["EACCES", "R2 min value is outside of the allowed memory range"]);
});

contract("a callback may pass its key and value to helpers that read them", (kernel, { open }) => {
  const from = open(create(kernel, { map_type: types.BPF_MAP_TYPE_HASH, max_entries: 4 }));
  const to = open(create(kernel, { map_type: types.BPF_MAP_TYPE_HASH, max_entries: 4 }));
  for (const key of [3, 5, 8]) set(kernel, from, key, key * key);
  const items = [
    ...forEach(from),
    exit(),
    label("callback"),
    loadMapFd(r1, to),
    mov(r4, 0),
    call(helpers.BPF_FUNC_map_update_elem),
    ...goOn,
  ];
  expect(returned(kernel, open, items)).toBe(3);
  expect([3, 5, 8].map((key) => get(kernel, to, key))).toEqual([9n, 25n, 64n]);
});

for (const map_flags of [BPF_F_ZERO_SEED, BPF_F_ZERO_SEED | BPF_F_NO_PREALLOC]) {
  const name = map_flags & BPF_F_NO_PREALLOC ? "allocated one by one" : "preallocated";
  contract(`a callback may delete the element that it was given, ${name}`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type: types.BPF_MAP_TYPE_HASH, max_entries: 64, map_flags }));
    for (let key = 0; key < 64; key++) set(kernel, map, key, key);
    const items = [
      ...forEach(map),
      exit(),
      label("callback"),
      mov(r6, r3),
      call(helpers.BPF_FUNC_map_delete_elem),
      ldx("dw", r0, r6, 0),
      ...goOn,
    ];
    expect(returned(kernel, open, items)).toBe(64);
    expect(keys(kernel, map)).toEqual([]);
  });

  contract(
    `a callback may delete what comes next, ${name}: what shares its bucket is visited still`,
    (kernel, { open }) => {
      const all = Array.from({ length: 16 }, (_, key) => key);
      const map = open(create(kernel, { map_type: types.BPF_MAP_TYPE_HASH, max_entries: 16, map_flags }));
      for (const key of all) set(kernel, map, key, 1 << key);
      const items = [
        ...forEach(map),
        asm.alu64("lsh", r0, 16),
        ldx("dw", r1, r10, -8),
        asm.alu64("or", r0, r1),
        exit(),
        label("callback"),
        mov(r6, r3),
        mov(r7, r4),
        mov(r8, r1),
        ...all.flatMap((key) => [
          store("w", r10, -4, key),
          mov(r1, r8),
          mov(r2, r10),
          add(r2, -4),
          call(helpers.BPF_FUNC_map_delete_elem),
        ]),
        ldx("dw", r1, r6, 0),
        ...addTo(r7, r1),
        ...goOn,
      ];
      const result = returned(kernel, open, items);
      expect(keys(kernel, map)).toEqual([]);
      expect([result >> 16, result & 0xffff]).toEqual([2, (1 << 10) + (1 << 4)]);
    },
  );
}

contract("bpf_for_each_map_elem obeys BPF_F_RDONLY_PROG", (kernel, { open }) => {
  const map = open(create(kernel, { map_flags: BPF_F_RDONLY_PROG }));
  const items = [...forEach(map), exit(), label("callback"), store("dw", r3, 0, 1), ...goOn];
  expect(refused(kernel, open, items)).toEqual(["EACCES", "write into map forbidden, value_size=8 off=0 size=8"]);
});

contract("bpf_for_each_map_elem does not take a ring buffer", (kernel, { open }) => {
  const map = open(
    create(kernel, { map_type: types.BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 }),
  );
  const items = [...forEach(map), exit(), label("callback"), ...goOn];
  expect(refused(kernel, open, items)).toEqual(["ENOTSUPP", "callback function not allowed for map"]);
});

contract("a callback must not keep what it acquired", (kernel, { open }) => {
  const map = open(
    create(kernel, { map_type: types.BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 }),
  );
  const items = [
    ...loop(1),
    mov(r0, 0),
    exit(),
    label("callback"),
    loadMapFd(r1, map),
    mov(r2, 8),
    mov(r3, 0),
    call(helpers.BPF_FUNC_ringbuf_reserve),
    ...goOn,
  ];
  expect(refused(kernel, open, items)).toEqual([
    "EINVAL",
    "BPF_EXIT instruction in main prog would lead to reference leak",
  ]);
});

contract("the error of bpf_loop with too many turns has 32 bits", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 1 }));
  const items = (first: asm.Item[]) => [
    ...first,
    loadFunction(r2, "callback"),
    mov(r3, 0),
    mov(r4, 0),
    call(helpers.BPF_FUNC_loop),
    loadMapValue(r1, map, 0),
    store("dw", r1, 0, r0),
    exit(),
    label("callback"),
    ...goOn,
  ];
  returned(kernel, open, items([mov(r1, (8 << 20) + 1)]));
  expect(get(kernel, map, 0)).toBe(0xffff_fff9n);
  returned(kernel, open, items([loadImm64(r1, (1n << 32n) + 1n)]));
  expect(get(kernel, map, 0)).toBe(0xffff_fff9n);
});

contract("a turn after which more may follow is not taken for one after which fewer do", (kernel, { open }) => {
  const value = (size: number): number => open(create(kernel, { value_size: size, max_entries: 1 }));
  // At random 0 -> 1 or 8, then 1 -> 8 and 8 -> 16: first comes 8 after the second turn, then 8 after the first.
  const put = (to: number): asm.Item[] => [store("dw", r6, 0, to), ...goOn];
  const program = (size: number): asm.Item[] => [
    ...loop(2),
    ldx("dw", r6, r10, -8),
    loadMapValue(r1, value(size), 0),
    add(r1, r6),
    ldx("b", r0, r1, 0),
    mov(r0, 0),
    exit(),
    label("callback"),
    mov(r6, r2),
    ldx("dw", r7, r6, 0),
    call(helpers.BPF_FUNC_get_prandom_u32),
    jump("jeq", r0, 7, "rare"),
    jump("jeq", r7, 0, "to 1"),
    jump("jeq", r7, 1, "to 8"),
    ...put(16),
    label("rare"),
    jump("jeq", r7, 0, "to 8"),
    jump("jeq", r7, 1, "to 8"),
    ...put(16),
    label("to 1"),
    ...put(1),
    label("to 8"),
    ...put(8),
  ];
  expect(refused(kernel, open, program(16))).toEqual(["EACCES", "R1 min value is outside of the allowed memory range"]);
  expect(returned(kernel, open, program(24))).toBe(0);
});
