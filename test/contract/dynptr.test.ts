// Dynptrs: pointers with a length on the stack of a program, to a map's value or to a record of a ring buffer.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_RB_AVAIL_DATA } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_RINGBUF } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, set } from "./maps.ts";
import { load, refusal, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r7, r10 } = asm;
const { add, mov, load: ldx, store, exit, call, jump, label, loadMapFd, loadMapValue } = asm;

type Open = (result: number) => number;
type Reg = Parameters<typeof mov>[0];

const returned = (kernel: Kernel, open: Open, items: asm.Item[]): number =>
  (testRun(kernel, open(load(kernel, items))).retval ?? 0) | 0;

const ringBuffer = (kernel: Kernel, open: Open): number =>
  open(create(kernel, { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 }));

/** register = r10 + at. */
const stackAt = (register: Reg, at: number): asm.Item[] => [mov(register, r10), add(register, at)];

/** Makes the 16 bytes at fp-16, or `at`, a dynptr to the first bytes of a map's only value; r0 is the result. */
const fromMap = (map: number, size: number, { flags = 0, at = -16 } = {}): asm.Item[] => [
  loadMapValue(r1, map, 0),
  mov(r2, size),
  mov(r3, flags),
  ...stackAt(r4, at),
  call(helpers.BPF_FUNC_dynptr_from_mem),
];

/** Reserves a record; the dynptr lies at fp-16, or `at`. */
const reserve = (ring: number, size: number, { flags = 0, at = -16 } = {}): asm.Item[] => [
  loadMapFd(r1, ring),
  mov(r2, size),
  mov(r3, flags),
  ...stackAt(r4, at),
  call(helpers.BPF_FUNC_ringbuf_reserve_dynptr),
];

/** r0 = what a helper does with `length` bytes at fp-32 and the dynptr at fp-16. */
const read = (length: number, offset: number, flags = 0): asm.Item[] => [
  ...stackAt(r1, -32),
  mov(r2, length),
  ...stackAt(r3, -16),
  mov(r4, offset),
  mov(r5, flags),
  call(helpers.BPF_FUNC_dynptr_read),
];
const write = (length: number, offset: number, flags = 0): asm.Item[] => [
  ...stackAt(r1, -16),
  mov(r2, offset),
  ...stackAt(r3, -32),
  mov(r4, length),
  mov(r5, flags),
  call(helpers.BPF_FUNC_dynptr_write),
];
const data = (offset: number, length: number): asm.Item[] => [
  ...stackAt(r1, -16),
  mov(r2, offset),
  mov(r3, length),
  call(helpers.BPF_FUNC_dynptr_data),
];
const finish = (helper: number, at = -16): asm.Item[] => [...stackAt(r1, at), mov(r2, 0), call(helper)];
const submit = finish(helpers.BPF_FUNC_ringbuf_submit_dynptr);
const discard = finish(helpers.BPF_FUNC_ringbuf_discard_dynptr);

/** A map with one value of 16 bytes. */
const bytes16 = (kernel: Kernel, open: Open): number => open(create(kernel, { max_entries: 1, value_size: 16 }));

contract("bpf_dynptr_from_mem points to a map's value: sizes below 16 MiB, no flags", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 1, value_size: 1 << 24 }));
  expect(returned(kernel, open, [...fromMap(map, 16), exit()])).toBe(0);
  expect(returned(kernel, open, [...fromMap(map, 0), exit()])).toBe(0);
  expect(returned(kernel, open, [...fromMap(map, (1 << 24) - 1), exit()])).toBe(0);
  expect(returned(kernel, open, [...fromMap(map, 1 << 24), exit()])).toBe(-7);
  expect(returned(kernel, open, [...fromMap(map, 1 << 24, { flags: 1 }), exit()])).toBe(-7);
  expect(returned(kernel, open, [...fromMap(map, 8, { flags: 1 }), exit()])).toBe(-22);
});

contract("bpf_dynptr_write and bpf_dynptr_read copy within the dynptr's bounds", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 1 }));
  const prepare = [store("dw", r10, -32, 0x1234), store("dw", r10, -24, 0), ...fromMap(map, 8)];
  expect(returned(kernel, open, [...prepare, ...write(8, 0), exit()])).toBe(0);
  expect(get(kernel, map, 0)).toBe(0x1234n);
  expect(returned(kernel, open, [...prepare, ...read(8, 0), ldx("dw", r0, r10, -32), exit()])).toBe(0x1234);
  expect(returned(kernel, open, [...prepare, ...read(1, 1), ldx("b", r0, r10, -32), exit()])).toBe(0x12);
  for (const [length, offset] of [
    [9, 0],
    [8, 1],
    [1, 8],
    [0, 9],
    [1, -1],
  ] as const) {
    expect(returned(kernel, open, [...prepare, ...read(length, offset), exit()])).toBe(-7);
    expect(returned(kernel, open, [...prepare, ...write(length, offset), exit()])).toBe(-7);
  }
  expect(returned(kernel, open, [...prepare, ...read(0, 8), exit()])).toBe(0);
  expect(returned(kernel, open, [...prepare, ...read(1, 9, 1), exit()])).toBe(-22);
  expect(returned(kernel, open, [...prepare, ...write(1, 9, 1), exit()])).toBe(-7);
  expect(returned(kernel, open, [...prepare, ...write(1, 0, 1), exit()])).toBe(-22);
});

contract("a dynptr that was not made points to nothing", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 1 }));
  const prepare = [store("dw", r10, -32, 0), store("dw", r10, -24, 0), ...fromMap(map, 8, { flags: 1 })];
  expect(returned(kernel, open, [...prepare, ...read(0, 0), exit()])).toBe(-22);
  expect(returned(kernel, open, [...prepare, ...write(0, 0), exit()])).toBe(-22);
  expect(
    returned(kernel, open, [...prepare, ...data(0, 0), jump("jeq", r0, 0, "out"), mov(r0, 1), label("out"), exit()]),
  ).toBe(0);
});

contract("bpf_dynptr_data gives memory of the size asked for, or NULL where it lies outside", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 1 }));
  set(kernel, map, 0, 0x55667788n);
  const first = (offset: number, length: number, at: number) => [
    ...fromMap(map, 8),
    ...data(offset, length),
    jump("jne", r0, 0, "there"),
    mov(r0, -1),
    exit(),
    label("there"),
    ldx("b", r0, r0, at),
    exit(),
  ];
  expect(returned(kernel, open, first(0, 8, 0))).toBe(0x88);
  expect(returned(kernel, open, first(1, 2, 1))).toBe(0x66);
  expect(returned(kernel, open, first(1, 8, 1))).toBe(-1);
  expect(refusal(kernel, first(0, 4, 4))).toEqual(["EACCES", "R0 min value is outside of the allowed memory range"]);
  expect(refusal(kernel, [...fromMap(map, 8), ...data(0, 8), ldx("b", r0, r0, 0), exit()])).toEqual([
    "EACCES",
    "R0 invalid mem access 'mem_or_null'",
  ]);
  const unknown = [...fromMap(map, 8), mov(r3, r0), ...stackAt(r1, -16), mov(r2, 0)];
  expect(refusal(kernel, [...unknown, call(helpers.BPF_FUNC_dynptr_data), mov(r0, 0), exit()])).toEqual([
    "EACCES",
    "R3 is not a known constant'",
  ]);
});

contract("a record of a ring buffer is reserved, written and submitted through a dynptr", (kernel, { open }) => {
  const ring = ringBuffer(kernel, open);
  const available = [loadMapFd(r1, ring), mov(r2, BPF_RB_AVAIL_DATA), call(helpers.BPF_FUNC_ringbuf_query), exit()];
  const items = [
    store("dw", r10, -32, 42),
    store("dw", r10, -24, 43),
    ...reserve(ring, 16),
    mov(r6, r0),
    ...write(16, 0),
    mov(r7, r0),
    ...submit,
    mov(r0, r6),
    asm.alu64("or", r0, r7),
    exit(),
  ];
  expect(returned(kernel, open, items)).toBe(0);
  expect(returned(kernel, open, available)).toBe(24);
  const { pageSize } = kernel.system;
  const mapping = kernel.mmap(ring, { offset: pageSize, length: 2 * pageSize });
  if (typeof mapping === "number") throw new Error(`mmap: ${outcome(mapping)}`);
  const words = new DataView(mapping.bytes.buffer, mapping.bytes.byteOffset + pageSize);
  expect([words.getUint32(0, true), words.getUint32(8, true), words.getUint32(16, true)]).toEqual([16, 42, 43]);
  mapping.unmap();
});

contract("what cannot be reserved is a dynptr to nothing, which still must be released", (kernel, { open }) => {
  const ring = ringBuffer(kernel, open);
  const result = (size: number, flags = 0) => [
    ...reserve(ring, size, { flags }),
    mov(r6, r0),
    ...discard,
    mov(r0, r6),
    exit(),
  ];
  expect(returned(kernel, open, result(8))).toBe(0);
  expect(returned(kernel, open, result(8, 1))).toBe(-22);
  expect(returned(kernel, open, result(8192))).toBe(-22);
  expect(returned(kernel, open, result(1 << 24))).toBe(-7);
  expect(returned(kernel, open, result(1 << 24, 1))).toBe(-22);
  expect(refusal(kernel, [...reserve(ring, 8), mov(r0, 0), exit()])).toEqual([
    "EINVAL",
    "BPF_EXIT instruction in main prog would lead to reference leak",
  ]);
  expect(refusal(kernel, [...reserve(ring, 8), ...submit, ...submit, mov(r0, 0), exit()])).toEqual([
    "EINVAL",
    "arg 1 is an unacquired reference",
  ]);
});

contract("a dynptr to a map's value need not and cannot be released", (kernel, { open }) => {
  const map = bytes16(kernel, open);
  expect(refusal(kernel, [...fromMap(map, 8), ...submit, mov(r0, 0), exit()])).toEqual([
    "EINVAL",
    "arg 1 is an unacquired reference",
  ]);
});

contract("memory of a dynptr ends with it", (kernel, { open }) => {
  const ring = ringBuffer(kernel, open);
  const map = bytes16(kernel, open);
  const items = (end: asm.Item[]) => [
    mov(r6, 0),
    ...data(0, 8),
    mov(r6, r0),
    ...end,
    jump("jeq", r6, 0, "out"),
    ldx("b", r0, r6, 0),
    label("out"),
    mov(r0, 0),
    exit(),
  ];
  const checked = (end: asm.Item[]) => [
    ...data(0, 8),
    jump("jeq", r0, 0, "none"),
    mov(r6, r0),
    ...end,
    ldx("b", r0, r6, 0),
    mov(r0, 0),
    exit(),
    label("none"),
    ...end,
    mov(r0, 0),
    exit(),
  ];
  const use = ["EACCES", "R6 invalid mem access 'scalar'"];
  expect(refusal(kernel, [...reserve(ring, 8), ...items(submit)])).toEqual(use);
  expect(refusal(kernel, [...reserve(ring, 8), ...checked(submit)])).toEqual(use);
  expect(refusal(kernel, [...fromMap(map, 8), ...checked([store("b", r10, -16, 0)])])).toEqual(use);
  expect(refusal(kernel, [...fromMap(map, 8), ...checked([store("dw", r10, -8, 0)])])).toEqual(use);
  expect(refusal(kernel, [...fromMap(map, 8), ...checked(fromMap(map, 8))])).toEqual(use);
  expect(returned(kernel, open, [...fromMap(map, 8), ...checked([])])).toBe(0);
});

contract("the check for NULL of a dynptr's memory releases nothing", (kernel, { open }) => {
  const ring = ringBuffer(kernel, open);
  const items = [...reserve(ring, 8), ...data(0, 8), jump("jne", r0, 0, "there"), mov(r0, 0), exit(), label("there")];
  expect(refusal(kernel, [...items, ...submit, mov(r0, 0), exit()])).toEqual([
    "EINVAL",
    "BPF_EXIT instruction in main prog would lead to reference leak",
  ]);
});

contract("of the length that bpf_dynptr_data is asked for, 32 bits count: 2^32 + 8 bytes are 8", (kernel, { open }) => {
  const map = bytes16(kernel, open);
  const readAt = (offset: number): asm.Item[] => [
    ...fromMap(map, 16),
    ...stackAt(r1, -16),
    mov(r2, 0),
    asm.loadImm64(r3, (1n << 32n) + 8n),
    call(helpers.BPF_FUNC_dynptr_data),
    jump("jeq", r0, 0, "out"),
    ldx("b", r0, r0, offset),
    mov(r0, 1),
    label("out"),
    exit(),
  ];
  expect(returned(kernel, open, readAt(7))).toBe(1);
  expect(refusal(kernel, readAt(8))).toEqual(["EACCES", "R0 min value is outside of the allowed memory range"]);
});

contract("a dynptr lies at a constant offset that is a multiple of 8, with 16 bytes behind it", (kernel, { open }) => {
  const map = bytes16(kernel, open);
  const at = (offset: number) => refusal(kernel, [...fromMap(map, 8, { at: offset }), mov(r0, 0), exit()]);
  expect(at(-8)).toEqual(["EINVAL", "Dynptr has to be an uninitialized dynptr"]);
  expect(at(-17)).toEqual(["EINVAL", "Dynptr has to be an uninitialized dynptr"]);
  expect(at(-20)).toEqual(["EINVAL", "Dynptr has to be an uninitialized dynptr"]);
  expect(returned(kernel, open, [...fromMap(map, 8, { at: -512 }), exit()])).toBe(0);
  expect(at(-520)).toEqual(["EACCES", "invalid write to stack R4 off=-520 size=8"]);
});

contract("what is no dynptr is refused where one is needed", (kernel, { open }) => {
  const map = bytes16(kernel, open);
  expect(refusal(kernel, [...data(0, 8), mov(r0, 0), exit()])).toEqual([
    "EINVAL",
    "Expected an initialized dynptr as arg #0",
  ]);
  const other = [...fromMap(map, 8), ...stackAt(r1, -8), mov(r2, 0), mov(r3, 8), call(helpers.BPF_FUNC_dynptr_data)];
  expect(refusal(kernel, [...other, mov(r0, 0), exit()])).toEqual([
    "EINVAL",
    "Expected an initialized dynptr as arg #0",
  ]);
  const value = [loadMapValue(r1, map, 0), mov(r2, 0), mov(r3, 8), call(helpers.BPF_FUNC_dynptr_data)];
  expect(refusal(kernel, [...value, mov(r0, 0), exit()])).toEqual([
    "EACCES",
    "R1 type=map_value expected=fp, dynptr_ptr",
  ]);
  const stack = [store("dw", r10, -24, 0), ...stackAt(r1, -24), mov(r2, 8), mov(r3, 0), ...stackAt(r4, -16)];
  expect(refusal(kernel, [...stack, call(helpers.BPF_FUNC_dynptr_from_mem), mov(r0, 0), exit()])).toEqual([
    "EACCES",
    "Unsupported reg type fp for bpf_dynptr_from_mem data",
  ]);
});

contract("a dynptr's own bytes are not for programs", (kernel, { open }) => {
  const map = bytes16(kernel, open);
  const ring = ringBuffer(kernel, open);
  expect(refusal(kernel, [...fromMap(map, 8), ldx("dw", r0, r10, -16), exit()])).toEqual([
    "EACCES",
    "invalid read from stack off -16+0 size 8",
  ]);
  expect(refusal(kernel, [...fromMap(map, 8), ldx("b", r0, r10, -1), exit()])).toEqual([
    "EACCES",
    "invalid read from stack off -1+0 size 1",
  ]);
  expect(refusal(kernel, [...reserve(ring, 8), store("b", r10, -9, 0), mov(r0, 0), exit()])).toEqual([
    "EINVAL",
    "cannot overwrite referenced dynptr",
  ]);
  expect(refusal(kernel, [...reserve(ring, 8), ...reserve(ring, 8), mov(r0, 0), exit()])).toEqual([
    "EINVAL",
    "cannot overwrite referenced dynptr",
  ]);
  const over = [...fromMap(map, 8), ...stackAt(r1, -24), mov(r2, 16), ...stackAt(r3, -16), mov(r4, 0), mov(r5, 0)];
  expect(refusal(kernel, [...over, call(helpers.BPF_FUNC_dynptr_read), mov(r0, 0), exit()])).toEqual([
    "EACCES",
    "potential write to dynptr at off=-16 disallowed",
  ]);
  const from = [...fromMap(map, 8), ...stackAt(r1, -16), mov(r2, 0), ...stackAt(r3, -16), mov(r4, 8), mov(r5, 0)];
  expect(refusal(kernel, [...from, call(helpers.BPF_FUNC_dynptr_write), mov(r0, 0), exit()])).toEqual([
    "EACCES",
    "invalid read from stack R3 off -16+0 size 8",
  ]);
});

contract("a helper takes one argument that belongs to a record", (kernel, { open }) => {
  const hash = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH }));
  const update = (key: Reg, value: Reg): asm.Item[] => [
    loadMapFd(r1, hash),
    mov(r2, key),
    mov(r3, value),
    mov(r4, 0),
    call(helpers.BPF_FUNC_map_update_elem),
  ];
  const record = (use: readonly asm.Item[]): asm.Item[] => [
    store("dw", r10, -8, 0),
    loadMapFd(r1, ringBuffer(kernel, open)),
    mov(r2, 8),
    mov(r3, 0),
    call(helpers.BPF_FUNC_ringbuf_reserve),
    jump("jeq", r0, 0, "none"),
    mov(r6, r0),
    store("dw", r6, 0, 1),
    mov(r7, r10),
    add(r7, -8),
    ...use,
    mov(r1, r6),
    mov(r2, 0),
    call(helpers.BPF_FUNC_ringbuf_discard),
    label("none"),
    mov(r0, 0),
    exit(),
  ];
  const [error, line] = refusal(kernel, record(update(r6, r6)));
  expect([error, line.split("R3")[0]]).toEqual(["EACCES", "more than one arg with ref_obj_id "]);
  for (const use of [update(r6, r7), update(r7, r6)]) expect(returned(kernel, open, record(use))).toBe(0);
});
