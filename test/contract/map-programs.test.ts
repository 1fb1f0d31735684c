// What programs do with maps beyond elements: queues, maps in maps, redirects, samples, cgroups.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_DELETE_ELEM, BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import * as flags from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import * as types from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_CGROUP_SKB, BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP } from "../../src/uapi/program-types.ts";
import { type Bench, contract, outcome } from "./contract.ts";
import { create, get, set, u32 } from "./maps.ts";
import { bpfOutput, Samples } from "./perf-samples.ts";
import { load, refusal, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r10, add, mov, load: ldx, store, exit, call, jump, label, loadMapFd } = asm;
type Register = Parameters<typeof mov>[0];
type Open = Bench["open"];

const tc = { prog_type: BPF_PROG_TYPE_SCHED_CLS };
const xdp = { prog_type: BPF_PROG_TYPE_XDP };
const stack = (register: Register, offset: number): asm.Item[] => [mov(register, r10), add(register, offset)];

/** The signed value that a program returns. */
const returned = (kernel: Kernel, open: Open, items: readonly asm.Item[], attr = tc): number =>
  (testRun(kernel, open(load(kernel, items, attr))).retval ?? 0) | 0;
const put = (kernel: Kernel, map_fd: number, key: number, fd: number): number | string =>
  outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(key), value: u32(fd) }));

const push = (map: number, value: number, pushFlags = 0): asm.Item[] => [
  store("dw", r10, -8, value),
  loadMapFd(r1, map),
  ...stack(r2, -8),
  mov(r3, pushFlags),
  call(helpers.BPF_FUNC_map_push_elem),
  exit(),
];
/** The value that is taken or looked at; or -errno. */
const take = (map: number, helper: number): asm.Item[] => [
  loadMapFd(r1, map),
  ...stack(r2, -8),
  call(helper),
  jump("jne", r0, 0, "out"),
  ldx("dw", r0, r10, -8),
  label("out"),
  exit(),
];

for (const [name, map_type, first, last] of [
  ["queue", types.BPF_MAP_TYPE_QUEUE, 1, 3],
  ["stack", types.BPF_MAP_TYPE_STACK, 2, 3],
] as const) {
  contract(`a program pushes onto a ${name}, looks and takes`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type, key_size: 0, max_entries: 2 }));
    const run = (items: asm.Item[]): number => returned(kernel, open, items);
    const peek = take(map, helpers.BPF_FUNC_map_peek_elem);
    const pop = take(map, helpers.BPF_FUNC_map_pop_elem);
    expect([run(peek), run(pop)]).toEqual([-2, -2]);
    expect([run(push(map, 1)), run(push(map, 2)), run(push(map, 3))]).toEqual([0, 0, -7]);
    expect([run(push(map, 3, flags.BPF_NOEXIST)), run(push(map, 3, 4))]).toEqual([-22, -22]);
    expect(run(peek)).toBe(first);
    expect(run(push(map, 3, flags.BPF_EXIST))).toBe(0);
    expect([run(pop), run(pop), run(pop)]).toEqual(first === 1 ? [2, last, -2] : [last, 2, -2]);
  });
}

contract("a program adds to a Bloom filter and asks it", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: types.BPF_MAP_TYPE_BLOOM_FILTER, key_size: 0, max_entries: 100 }));
  const ask = (value: number): asm.Item[] => [
    store("dw", r10, -8, value),
    loadMapFd(r1, map),
    ...stack(r2, -8),
    call(helpers.BPF_FUNC_map_peek_elem),
    exit(),
  ];
  expect(returned(kernel, open, ask(7))).toBe(-2);
  expect(returned(kernel, open, push(map, 7))).toBe(0);
  expect(returned(kernel, open, ask(7))).toBe(0);
  expect(returned(kernel, open, push(map, 7, flags.BPF_EXIST))).toBe(-22);
});

contract("a queue writes where it is told to, and a Bloom filter reads there", (kernel, { open }) => {
  const peek = (map_type: number): unknown => {
    const map = open(create(kernel, { map_type, key_size: 0 }));
    const value = open(create(kernel, { map_flags: flags.BPF_F_RDONLY_PROG }));
    const items = [...inner(value, 0), mov(r2, r0), loadMapFd(r1, map), call(helpers.BPF_FUNC_map_peek_elem), exit()];
    return refusal(kernel, items, tc)[0];
  };
  expect(peek(types.BPF_MAP_TYPE_QUEUE)).toBe("EACCES");
  expect(peek(types.BPF_MAP_TYPE_BLOOM_FILTER)).toEqual(expect.any(Number));
});

contract("a program that may not write a map does not push or take", (kernel, { open }) => {
  const map = open(
    create(kernel, { map_type: types.BPF_MAP_TYPE_QUEUE, key_size: 0, map_flags: flags.BPF_F_RDONLY_PROG }),
  );
  expect(refusal(kernel, push(map, 1), tc)).toEqual(["EACCES", "write into map forbidden"]);
  expect(refusal(kernel, take(map, helpers.BPF_FUNC_map_pop_elem), tc)).toEqual(["EACCES", "write into map forbidden"]);
  expect(returned(kernel, open, take(map, helpers.BPF_FUNC_map_peek_elem))).toBe(-2);
});

/** r0 = what is under a key, or NULL. */
const inner = (outer: number, key: number): asm.Item[] => [
  store("w", r10, -4, key),
  loadMapFd(r1, outer),
  ...stack(r2, -4),
  call(helpers.BPF_FUNC_map_lookup_elem),
];
/** r0 = the value under a key of the map in r0, or -1 where there is no map or value. */
const valueInMap = (key: number): asm.Item[] => [
  mov(r6, r0),
  mov(r0, -1),
  jump("jeq", r6, 0, "out"),
  store("w", r10, -4, key),
  mov(r1, r6),
  ...stack(r2, -4),
  call(helpers.BPF_FUNC_map_lookup_elem),
  mov(r1, r0),
  mov(r0, -1),
  jump("jeq", r1, 0, "out"),
  ldx("dw", r0, r1, 0),
  label("out"),
  exit(),
];

for (const [name, map_type] of [
  ["an array", types.BPF_MAP_TYPE_ARRAY_OF_MAPS],
  ["a hash", types.BPF_MAP_TYPE_HASH_OF_MAPS],
] as const) {
  for (const [innerName, innerType] of [
    ["arrays", types.BPF_MAP_TYPE_ARRAY],
    ["hashes", types.BPF_MAP_TYPE_HASH],
  ] as const) {
    contract(`a program looks values up in ${innerName} of ${name} of maps`, (kernel, { open }) => {
      const make = (value: number): number => {
        const map = open(create(kernel, { map_type: innerType }));
        expect(set(kernel, map, 2, value)).toBe(0);
        return map;
      };
      const [first, second] = [make(100), make(200)];
      const outer = open(create(kernel, { map_type, value_size: 4, inner_map_fd: first! }));
      const run = (key: number, innerKey: number): number =>
        returned(kernel, open, [...inner(outer, key), ...valueInMap(innerKey)]);
      expect(run(1, 2)).toBe(-1);
      expect([put(kernel, outer, 1, first!), put(kernel, outer, 3, second!)]).toEqual([0, 0]);
      expect([run(1, 2), run(3, 2), run(0, 2), run(1, 77)]).toEqual([100, 200, -1, -1]);
      expect(put(kernel, outer, 1, second!)).toBe(0);
      expect(run(1, 2)).toBe(200);
      expect(outcome(kernel.bpf(BPF_MAP_DELETE_ELEM, { map_fd: outer, key: u32(1) }))).toBe(0);
      expect(run(1, 2)).toBe(-1);
    });
  }
}

contract("a program writes into a map in a map", (kernel, { open }) => {
  const map = open(create(kernel));
  const outer = open(create(kernel, { map_type: types.BPF_MAP_TYPE_ARRAY_OF_MAPS, value_size: 4, inner_map_fd: map }));
  expect(put(kernel, outer, 0, map)).toBe(0);
  const items = [
    ...inner(outer, 0),
    jump("jeq", r0, 0, "out"),
    mov(r1, r0),
    store("w", r10, -4, 3),
    store("dw", r10, -16, 55),
    ...stack(r2, -4),
    ...stack(r3, -16),
    mov(r4, 0),
    call(helpers.BPF_FUNC_map_update_elem),
    label("out"),
    mov(r0, 0),
    exit(),
  ];
  expect(returned(kernel, open, items)).toBe(0);
  expect(get(kernel, map, 3)).toBe(55n);
});

contract("refused: a map in a map without NULL check, and in place of another type", (kernel, { open }) => {
  const map = open(create(kernel));
  const outer = open(create(kernel, { map_type: types.BPF_MAP_TYPE_ARRAY_OF_MAPS, value_size: 4, inner_map_fd: map }));
  const behind = (...items: asm.Item[]): unknown => refusal(kernel, [...inner(outer, 0), ...items, exit()], tc);
  const checked = [jump("jne", r0, 0, "found"), exit(), label("found"), mov(r6, r0)];
  expect(behind(mov(r1, r0), ...stack(r2, -4), call(helpers.BPF_FUNC_map_lookup_elem))).toEqual([
    "EACCES",
    "R1 type=map_value_or_null expected=map_ptr",
  ]);
  expect(behind(...checked, mov(r1, r6), mov(r2, 0), call(helpers.BPF_FUNC_ringbuf_query))).toEqual([
    "EINVAL",
    "cannot pass map_type 2 into func bpf_ringbuf_query#134",
  ]);
  expect(behind(...checked, mov(r1, r6), add(r1, 8))).toEqual([
    "EACCES",
    "R1 pointer arithmetic on map_ptr prohibited",
  ]);
});

const redirect = (map: number, key: number, redirectFlags: number): asm.Item[] => [
  loadMapFd(r1, map),
  mov(r2, key),
  mov(r3, redirectFlags),
  call(helpers.BPF_FUNC_redirect_map),
  exit(),
];

for (const [name, map_type] of [
  ["devmap", types.BPF_MAP_TYPE_DEVMAP],
  ["devmap_hash", types.BPF_MAP_TYPE_DEVMAP_HASH],
  ["cpumap", types.BPF_MAP_TYPE_CPUMAP],
] as const) {
  contract(`a program redirects by a ${name}, or answers what it is asked for`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type, value_size: 4, max_entries: 2 }));
    const run = (key: number, redirectFlags: number): number =>
      returned(kernel, open, redirect(map, key, redirectFlags), xdp);
    expect([0, 1, 2, 3].map((answer) => run(1, answer))).toEqual([0, 1, 2, 3]);
    expect([run(5, 2), run(-1, 1)]).toEqual([2, 1]);
    // The interface lo; or a queue of 192 packets for the CPU.
    expect(put(kernel, map, 1, map_type === types.BPF_MAP_TYPE_CPUMAP ? 192 : 1)).toBe(0);
    expect([run(1, 0), run(1, 2), run(0, 2)]).toEqual([4, 4, 2]);
    expect([run(1, 32), run(1, 4)]).toEqual([0, 0]);
    const broadcast = map_type === types.BPF_MAP_TYPE_CPUMAP ? [0, 0] : [4, 4];
    expect([run(0, flags.BPF_F_BROADCAST), run(1, flags.BPF_F_EXCLUDE_INGRESS)]).toEqual(broadcast);
  });
}

contract("a program redirects by an xskmap without sockets, and asks for one", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: types.BPF_MAP_TYPE_XSKMAP, value_size: 4 }));
  expect([0, 2, 8].map((answer) => returned(kernel, open, redirect(map, 1, answer), xdp))).toEqual([0, 2, 0]);
  const queueId = [...inner(map, 1), jump("jeq", r0, 0, "out"), ldx("w", r0, r0, 0), label("out"), exit()];
  expect(returned(kernel, open, queueId, xdp)).toBe(0);
  const beyond = [...inner(map, 1), jump("jeq", r0, 0, "out"), ldx("w", r0, r0, 4), label("out"), exit()];
  expect(refusal(kernel, beyond, xdp)).toEqual(["EACCES", "R0 invalid xdp_sock access off=4 size=4"]);
});

contract("a program reads a devmap's entry and may not write it", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: types.BPF_MAP_TYPE_DEVMAP, value_size: 4 }));
  expect(put(kernel, map, 1, 1)).toBe(0);
  const item = (...use: asm.Item[]): asm.Item[] => [
    ...inner(map, 1),
    jump("jeq", r0, 0, "out"),
    ...use,
    label("out"),
    exit(),
  ];
  expect(returned(kernel, open, item(ldx("w", r0, r0, 0)), xdp)).toBe(1);
  expect(refusal(kernel, item(store("w", r0, 0, 1)), xdp)).toEqual([
    "EACCES",
    "write into map forbidden, value_size=4 off=0 size=4",
  ]);
});

/** bpf_perf_event_output of 8 bytes, and as many of the packet as the upper half of the flags says. */
const output = (map: number, outputFlags: bigint): asm.Item[] => [
  store("dw", r10, -8, 0x77),
  loadMapFd(r2, map),
  asm.loadImm64(r3, outputFlags),
  ...stack(r4, -8),
  mov(r5, 8),
  call(helpers.BPF_FUNC_perf_event_output),
  exit(),
];
const CURRENT = BigInt(flags.BPF_F_CURRENT_CPU);

for (const [name, attr] of [
  ["a socket filter", {}],
  ["a tc program", tc],
  ["an XDP program", xdp],
  ["a cgroup program", { prog_type: BPF_PROG_TYPE_CGROUP_SKB }],
] as const) {
  contract(`${name} sends samples with the begin of its packet`, (kernel, { open }) => {
    const { length } = kernel.system.possibleCpus;
    const map = open(
      create(kernel, { map_type: types.BPF_MAP_TYPE_PERF_EVENT_ARRAY, value_size: 4, max_entries: length }),
    );
    const run = (outputFlags: bigint): number =>
      // A cgroup program's answer is a bit: it is stored elsewhere.
      "prog_type" in attr && attr.prog_type === BPF_PROG_TYPE_CGROUP_SKB
        ? throughArray(kernel, open, output(map, outputFlags), attr)
        : returned(kernel, open, output(map, outputFlags), attr as typeof tc);
    expect([run(CURRENT), run(BigInt(length)), run(1n << 60n)]).toEqual([-2, -7, -22]);
    expect(run(CURRENT | (5000n << 32n))).toBe(-14);
    const events = kernel.system.possibleCpus.map((cpu) => open(kernel.perfEventOpen({ cpu, ...bpfOutput })));
    for (const [cpu, event] of events.entries()) expect(put(kernel, map, cpu, event)).toBe(0);
    using samples = new Samples(kernel, events, 2);
    expect([run(CURRENT), run(CURRENT | (20n << 32n))]).toEqual([0, 0]);
    expect(
      samples
        .take()
        .map(({ size }) => size)
        .sort((a, b) => a - b),
    ).toEqual([24, 40]);
  });
}

/** What a program would return, by way of an array. */
function throughArray(kernel: Kernel, open: Open, items: readonly asm.Item[], attr: { prog_type: number }): number {
  const result = open(create(kernel));
  const behind = [
    mov(r6, r0),
    store("w", r10, -16, 0),
    loadMapFd(r1, result),
    ...stack(r2, -16),
    call(helpers.BPF_FUNC_map_lookup_elem),
    jump("jeq", r0, 0, "end"),
    store("dw", r0, 0, r6),
    label("end"),
    mov(r0, 1),
    exit(),
  ];
  testRun(kernel, open(load(kernel, [...items.slice(0, -1), ...behind], attr)));
  return Number(BigInt.asIntN(64, get(kernel, result, 0) as bigint));
}

contract("whether a packet or a task is in a cgroup cannot be told without one", (kernel, bench) => {
  const { open } = bench;
  const map = open(create(kernel, { map_type: types.BPF_MAP_TYPE_CGROUP_ARRAY, value_size: 4 }));
  const packet = (index: number): number =>
    returned(kernel, open, [loadMapFd(r2, map), mov(r3, index), call(helpers.BPF_FUNC_skb_under_cgroup), exit()]);
  const task = (index: number): number =>
    returned(kernel, open, [
      loadMapFd(r1, map),
      mov(r2, index),
      call(helpers.BPF_FUNC_current_task_under_cgroup),
      exit(),
    ]);
  expect([packet(0), packet(4), task(3), task(4)]).toEqual([-11, -7, -11, -7]);
  const value = u32(bench.owner("cgroup"));
  expect(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd: map, key: u32(1), value })).toBe(0);
  // The running kernel's is the root, in which everything is.
  const answer = kernel.kind === "linux" ? 1 : 0;
  expect([packet(1), task(1), packet(2), task(2)]).toEqual([answer, answer, -11, -11]);
});
