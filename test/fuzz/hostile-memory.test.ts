// Whoever maps a ring buffer or an array may write anything there between two runs of a program: the run still ends well.

import { expect, test } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import type { Mapping, MmapOptions } from "../../src/kernel/kernel.ts";
import { BPF_F_MMAPABLE } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import * as types from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_SCHED_CLS } from "../../src/uapi/program-types.ts";
import { outcome } from "../contract/contract.ts";
import { functionsOf } from "../contract/functions.ts";
import { create } from "../contract/maps.ts";
import { load, testRun } from "../contract/programs.ts";
import { type Random, randomNumbers } from "../differential/random-program.ts";

const { r0, r1, r2, r3, r4, r5, r6, r10, add, mov, store, exit, call, jump, label, loadMapFd, loadMapValue } = asm;

const PAGE = 4096;
const ROUNDS = 60;
const RUNS = 30;
const MEMORY_LIMIT = 1 << 26;

test("no bytes in mapped memory make a run fail or trap", () => {
  using kernel = new EmbeddedKernel({ memoryLimit: MEMORY_LIMIT });
  const random = randomNumbers(22);
  for (let round = 0; round < ROUNDS; round++) {
    const opened: number[] = [];
    const open = (fd: number): number => {
      expect(fd).toBeGreaterThan(0);
      opened.push(fd);
      return fd;
    };
    const map = (map_type: number, attr = {}): number => open(create(kernel, { map_type, ...attr }));
    const ring = { key_size: 0, value_size: 0, max_entries: PAGE };
    const maps: Maps = {
      ringbuf: map(types.BPF_MAP_TYPE_RINGBUF, ring),
      userRingbuf: map(types.BPF_MAP_TYPE_USER_RINGBUF, ring),
      array: map(types.BPF_MAP_TYPE_ARRAY, { value_size: 64, max_entries: 1, map_flags: BPF_F_MMAPABLE }),
      hash: map(types.BPF_MAP_TYPE_HASH),
      queue: map(types.BPF_MAP_TYPE_QUEUE, { key_size: 0 }),
    };
    const mmap = (fd: number, options: MmapOptions): Mapping => {
      const mapping = kernel.mmap(fd, options);
      if (typeof mapping === "number") throw new Error(`mmap: ${outcome(mapping)}`);
      return mapping;
    };
    const mappings = [
      mmap(maps.ringbuf, { offset: 0, length: PAGE, writable: true }),
      mmap(maps.ringbuf, { offset: PAGE, length: 3 * PAGE }),
      mmap(maps.userRingbuf, { offset: PAGE, length: 3 * PAGE, writable: true }),
      mmap(maps.array, { offset: 0, length: PAGE, writable: true }),
    ];
    const items = program(maps);
    const attr = { prog_type: BPF_PROG_TYPE_SCHED_CLS, ...functionsOf(kernel, open, items) };
    const prog = open(load(kernel, items, attr));
    for (let run = 0; run < RUNS; run++) {
      for (const { bytes } of mappings) scribble(random, bytes);
      expect(testRun(kernel, prog).outcome).toBe(0);
    }
    for (const mapping of mappings) mapping.unmap();
    for (const fd of opened.reverse()) kernel.close(fd);
  }
});

interface Maps {
  readonly ringbuf: number;
  readonly userRingbuf: number;
  readonly array: number;
  readonly hash: number;
  readonly queue: number;
}

/** Writes some numbers, most where positions and headers are. */
function scribble(random: Random, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let count = random(6); count > 0; count--) {
    const at = [0, PAGE, 8 * random(24), random(bytes.length)][random(4)]!;
    if (at + 8 > bytes.length) continue;
    const small = BigInt(random(3 * PAGE));
    const value = [small, small & ~7n, -small, BigInt(random(2 ** 31)) << BigInt(random(34)), 1n << 31n, 1n << 30n];
    view.setBigUint64(at, BigInt.asUintN(64, value[random(value.length)]!), true);
  }
}

/** Uses all of the maps, with keys, values and sizes from the mapped array. */
function program({ ringbuf, userRingbuf, array, hash, queue }: Maps): asm.Item[] {
  const stack = (register: Parameters<typeof mov>[0], at: number): asm.Item[] => [
    mov(register, r10),
    add(register, at),
  ];
  return [
    store("dw", r10, -8, 0),
    loadMapValue(r6, array, 0),
    loadMapFd(r1, hash),
    mov(r2, r6),
    mov(r3, r6),
    add(r3, 8),
    mov(r4, 0),
    call(helpers.BPF_FUNC_map_update_elem),
    loadMapFd(r1, queue),
    mov(r2, r6),
    mov(r3, 2),
    call(helpers.BPF_FUNC_map_push_elem),
    loadMapFd(r1, ringbuf),
    mov(r2, r6),
    asm.load("w", r3, r6, 16),
    asm.alu64("and", r3, 63),
    mov(r4, 0),
    call(helpers.BPF_FUNC_ringbuf_output),
    loadMapFd(r1, ringbuf),
    asm.load("w", r2, r6, 24),
    mov(r3, 0),
    ...stack(r4, -24),
    call(helpers.BPF_FUNC_ringbuf_reserve_dynptr),
    ...stack(r1, -24),
    asm.load("w", r2, r6, 32),
    mov(r3, r6),
    mov(r4, 64),
    mov(r5, 0),
    call(helpers.BPF_FUNC_dynptr_write),
    ...stack(r1, -24),
    mov(r2, 0),
    call(helpers.BPF_FUNC_ringbuf_submit_dynptr),
    loadMapFd(r1, ringbuf),
    mov(r2, 32),
    mov(r3, 0),
    call(helpers.BPF_FUNC_ringbuf_reserve),
    jump("jeq", r0, 0, "full"),
    store("dw", r0, 0, 1),
    mov(r1, r0),
    mov(r2, 0),
    call(helpers.BPF_FUNC_ringbuf_discard),
    label("full"),
    loadMapFd(r1, userRingbuf),
    asm.loadFunction(r2, "sample"),
    ...stack(r3, -8),
    mov(r4, 0),
    call(helpers.BPF_FUNC_user_ringbuf_drain),
    loadMapFd(r1, hash),
    mov(r2, r6),
    call(helpers.BPF_FUNC_map_delete_elem),
    mov(r0, 0),
    exit(),
    label("sample"),
    mov(r6, r1),
    mov(r2, 0),
    mov(r3, 8),
    call(helpers.BPF_FUNC_dynptr_data),
    jump("jeq", r0, 0, "short"),
    store("dw", r0, 0, -1),
    label("short"),
    loadMapValue(r1, array, 0),
    mov(r2, 64),
    mov(r3, r6),
    asm.load("w", r4, r1, 40),
    mov(r5, 0),
    call(helpers.BPF_FUNC_dynptr_read),
    mov(r0, 0),
    exit(),
  ];
}
