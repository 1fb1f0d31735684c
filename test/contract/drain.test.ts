// bpf_user_ringbuf_drain: what user space wrote into a ring buffer, read by a function of the program through a dynptr.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel, Readiness } from "../../src/kernel/kernel.ts";
import { BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import { BPF_MAP_TYPE_USER_RINGBUF } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { callWithCallback, functionsOf } from "./functions.ts";
import { create, get } from "./maps.ts";
import { load, refusal, testRun } from "./programs.ts";
import { settled } from "./waiting.ts";

const { r0, r1, r2, r3, r4, r5, r6, r7, r10 } = asm;
const { add, mov, load: ldx, store, exit, call, jump, label, loadFunction, loadMapFd, loadMapValue } = asm;

type Open = (result: number) => number;

const SIZE = 4096;
const ring = (kernel: Kernel, open: Open): number =>
  open(create(kernel, { map_type: BPF_MAP_TYPE_USER_RINGBUF, key_size: 0, value_size: 0, max_entries: SIZE }));

/** Writes samples of 8 bytes, a number each, with bits beside their length; then the producer's position is behind them. */
function produce(kernel: Kernel, map: number, samples: readonly (readonly [value: number, bits: number])[]): void {
  const { pageSize } = kernel.system;
  const mapping = kernel.mmap(map, { offset: pageSize, length: pageSize + 2 * SIZE, writable: true });
  if (typeof mapping === "number") throw new Error(`mmap: ${outcome(mapping)}`);
  const view = new DataView(mapping.bytes.buffer, mapping.bytes.byteOffset);
  const position = Number(view.getBigUint64(0, true));
  samples.forEach(([value, bits], index) => {
    const at = pageSize + ((position + 16 * index) % SIZE);
    view.setUint32(at, (8 | bits) >>> 0, true);
    view.setBigUint64(at + 8, BigInt(value), true);
  });
  view.setBigUint64(0, BigInt(position + 16 * samples.length), true);
  mapping.unmap();
}

/** r0 = bpf_user_ringbuf_drain(map, callback, &fp-8, flags); fp-8 is 0 before. */
const drain = (map: number, flags = 0): asm.Item[] =>
  callWithCallback(helpers.BPF_FUNC_user_ringbuf_drain, loadMapFd(r1, map), flags);

/** The callback: sum of samples, into the context. */
const sum = (result: number): asm.Item[] => [
  label("callback"),
  mov(r6, r1),
  mov(r7, r2),
  mov(r1, r10),
  add(r1, -8),
  mov(r2, 8),
  mov(r3, r6),
  mov(r4, 0),
  mov(r5, 0),
  call(helpers.BPF_FUNC_dynptr_read),
  jump("jne", r0, 0, "out"),
  ldx("dw", r1, r10, -8),
  ldx("dw", r2, r7, 0),
  asm.alu64("add", r2, r1),
  store("dw", r7, 0, r2),
  label("out"),
  mov(r0, result),
  exit(),
];

/** What a drain returns, and the sum of what its callback read. */
function drained(
  kernel: Kernel,
  open: Open,
  items: (result: number) => asm.Item[],
): [result: number, sum: bigint | string] {
  const results = open(create(kernel, { max_entries: 1 }));
  const program = items(results);
  const prog_fd = open(load(kernel, program, functionsOf(kernel, open, program)));
  const result = (testRun(kernel, prog_fd).retval ?? 0) | 0;
  return [result, get(kernel, results, 0)];
}

const all =
  (map: number, flags = 0, result = 0) =>
  (results: number) => [
    ...drain(map, flags),
    loadMapValue(r1, results, 0),
    ldx("dw", r2, r10, -8),
    store("dw", r1, 0, r2),
    exit(),
    ...sum(result),
  ];

contract("bpf_user_ringbuf_drain gives each sample to its function, and returns how many", (kernel, { open }) => {
  const map = ring(kernel, open);
  expect(drained(kernel, open, all(map))).toEqual([0, 0n]);
  produce(kernel, map, [
    [1, 0],
    [20, 0],
    [300, 0],
  ]);
  expect(drained(kernel, open, all(map))).toEqual([3, 321n]);
  expect(drained(kernel, open, all(map))).toEqual([0, 0n]);
});

contract("a drain ends when its function returns 1, and goes on from there", (kernel, { open }) => {
  const map = ring(kernel, open);
  produce(kernel, map, [
    [1, 0],
    [20, 0],
  ]);
  expect(drained(kernel, open, all(map, 0, 1))).toEqual([1, 1n]);
  expect(drained(kernel, open, all(map, 0, 1))).toEqual([1, 20n]);
});

contract("a drain skips discarded samples and ends at busy ones", (kernel, { open }) => {
  const map = ring(kernel, open);
  produce(kernel, map, [
    [1, 0],
    [20, BPF_RINGBUF_DISCARD_BIT],
    [300, 0],
    [4000, BPF_RINGBUF_BUSY_BIT],
    [50000, 0],
  ]);
  expect(drained(kernel, open, all(map))).toEqual([2, 301n]);
});

contract("a drain goes round the ring", (kernel, { open }) => {
  const map = ring(kernel, open);
  for (let round = 0; round < 3; round++) {
    produce(
      kernel,
      map,
      Array.from({ length: 150 }, (_, index) => [index, 0] as const),
    );
    expect(drained(kernel, open, all(map))).toEqual([150, 11175n]);
  }
});

contract("a drain refuses unknown flags and samples that contradict their positions", (kernel, { open }) => {
  const map = ring(kernel, open);
  expect(drained(kernel, open, all(map, 4))).toEqual([-22, 0n]);
  produce(kernel, map, [[1, 16]]);
  expect(drained(kernel, open, all(map))).toEqual([-22, 0n]);
});

contract("a function of a drain cannot drain the same ring buffer: EBUSY", (kernel, { open }) => {
  const map = ring(kernel, open);
  produce(kernel, map, [[1, 0]]);
  const nested = (results: number) => [
    ...drain(map),
    exit(),
    label("callback"),
    loadMapFd(r1, map),
    loadFunction(r2, "inner"),
    mov(r3, 0),
    mov(r4, 0),
    call(helpers.BPF_FUNC_user_ringbuf_drain),
    loadMapValue(r1, results, 0),
    store("dw", r1, 0, r0),
    mov(r0, 0),
    exit(),
    label("inner"),
    mov(r0, 0),
    exit(),
  ];
  expect(drained(kernel, open, nested)).toEqual([1, 0xffff_ffff_ffff_fff0n]);
});

contract("the dynptr of a sample belongs to the kernel", (kernel, { open }) => {
  const map = ring(kernel, open);
  const refused = (...body: asm.Item[]) => {
    const items = [...drain(map), exit(), label("callback"), ...body, mov(r0, 0), exit()];
    return refusal(kernel, items, functionsOf(kernel, open, items));
  };
  expect(refused(ldx("dw", r0, r1, 0))).toEqual(["EACCES", "R1 invalid mem access 'dynptr_ptr'"]);
  expect(refused(store("dw", r1, 0, 0))).toEqual(["EACCES", "R1 invalid mem access 'dynptr_ptr'"]);
  expect(refused(mov(r2, 0), call(helpers.BPF_FUNC_ringbuf_submit_dynptr))).toEqual([
    "EINVAL",
    "cannot release unowned const bpf_dynptr",
  ]);
  expect(refused(add(r1, 8), mov(r2, 0), mov(r3, 8), call(helpers.BPF_FUNC_dynptr_data))).toEqual([
    "EACCES",
    "dereference of modified dynptr_ptr ptr R1 off=8 disallowed",
  ]);
});

contract("memory of a sample is read and written through bpf_dynptr_data", (kernel, { open }) => {
  const map = ring(kernel, open);
  produce(kernel, map, [[77, 0]]);
  const items = (results: number) => [
    ...drain(map),
    exit(),
    label("callback"),
    mov(r2, 0),
    mov(r3, 8),
    call(helpers.BPF_FUNC_dynptr_data),
    jump("jeq", r0, 0, "out"),
    ldx("dw", r1, r0, 0),
    add(r1, 1),
    store("dw", r0, 0, r1),
    loadMapValue(r2, results, 0),
    store("dw", r2, 0, r1),
    label("out"),
    mov(r0, 0),
    exit(),
  ];
  expect(drained(kernel, open, items)).toEqual([1, 78n]);
});

contract("a pointer to a sample's dynptr that is kept on the stack is a number", (kernel, { open }) => {
  const kept = (use: readonly asm.Item[]): asm.Item[] => [
    ...drain(ring(kernel, open)),
    ldx("dw", r1, r10, -8),
    ...use,
    mov(r0, 0),
    exit(),
    label("callback"),
    store("dw", r2, 0, r1),
    mov(r0, 0),
    exit(),
  ];
  const load = [mov(r2, 0), mov(r3, 8), call(helpers.BPF_FUNC_dynptr_data)];
  const refused = (items: asm.Item[]) => refusal(kernel, items, functionsOf(kernel, open, items));
  expect(refused(kept(load))).toEqual(["EACCES", "R1 type=scalar expected=fp, dynptr_ptr"]);
  expect(refused(kept([]))[0]).toBeGreaterThan(0);
});

/** How often a new watch of the ring calls back at once. */
async function callsOfWatch(kernel: Kernel, map: number, readiness: Readiness): Promise<number> {
  let calls = 0;
  const watch = kernel.watch(map, () => calls++, readiness);
  if (typeof watch === "number") throw new Error(`watch: ${outcome(watch)}`);
  using _ = watch;
  await settled();
  return calls;
}

contract("a ring can be written while it has room, and is never to be read", async (kernel, { open }) => {
  const map = ring(kernel, open);
  expect(await callsOfWatch(kernel, map, "writable")).toBe(1);
  const halves = Array.from({ length: SIZE / 32 }, (_, index) => [index, 0] as const);
  produce(kernel, map, halves);
  expect(await callsOfWatch(kernel, map, "writable")).toBe(1);
  expect(await callsOfWatch(kernel, map, "readable")).toBe(0);
  produce(kernel, map, halves);
  expect(await callsOfWatch(kernel, map, "writable")).toBe(0);
  drained(kernel, open, all(map));
  expect(await callsOfWatch(kernel, map, "writable")).toBe(1);
});
