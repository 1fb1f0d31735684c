// Helpers that read, write and reshape packets, and those that compute on memory.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import { BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP } from "../../src/uapi/program-types.ts";
import { type Bench, contract } from "./contract.ts";
import { load, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r10, add, mov, load: ldx, store, exit, call } = asm;

const xdp = BPF_PROG_TYPE_XDP;
const tc = BPF_PROG_TYPE_SCHED_CLS;

/** The packet 0, 1, 2, … of 64 bytes. */
const numbered = Uint8Array.from({ length: 64 }, (_, index) => index);

interface Answer {
  /** r0 as a signed number. */
  readonly value: number;
  readonly packet: readonly number[];
}

function run(kernel: Kernel, open: Bench["open"], prog_type: number, items: readonly asm.Item[]): Answer {
  const data_out = new Uint8Array(512);
  const prog = open(load(kernel, items, { prog_type }));
  const result = testRun(kernel, prog, { data_in: numbered, data_out, data_size_out: data_out.length });
  expect(result.outcome).toBe(0);
  return { value: (result.retval ?? 0) | 0, packet: [...data_out.subarray(0, result.data_size_out)] };
}

/** Copies 4 bytes of the packet to the stack; returns them, or what the helper says where it is not 0. */
const loadBytes = (helper: number, offset: number): asm.Item[] => [
  store("w", r10, -4, 0),
  mov(r2, offset),
  mov(r3, r10),
  add(r3, -4),
  mov(r4, 4),
  call(helper),
  asm.jump("jne", r0, 0, "out"),
  ldx("w", r0, r10, -4),
  asm.label("out"),
  exit(),
];

/** Writes 4 bytes of 0xff into the packet; returns what the helper says. */
const storeBytes = (helper: number, offset: number, flags = 0): asm.Item[] => [
  store("w", r10, -4, -1),
  mov(r2, offset),
  mov(r3, r10),
  add(r3, -4),
  mov(r4, 4),
  mov(r5, flags),
  call(helper),
  exit(),
];

const written = (at: number): number[] => [...numbered.slice(0, at), 255, 255, 255, 255, ...numbered.slice(at + 4)];

for (const [name, type, from, to, outside] of [
  ["xdp", xdp, helpers.BPF_FUNC_xdp_load_bytes, helpers.BPF_FUNC_xdp_store_bytes, -22],
  ["skb", tc, helpers.BPF_FUNC_skb_load_bytes, helpers.BPF_FUNC_skb_store_bytes, -14],
] as const) {
  contract(`${name}_load_bytes copies from the packet, and not from behind its end`, (kernel, { open }) => {
    const value = (offset: number): number => run(kernel, open, type, loadBytes(from, offset)).value;
    expect([0, 20, 60].map(value)).toEqual([0x03020100, 0x17161514, 0x3f3e3d3c]);
    expect([61, 64, 0xffff, -1].map(value)).toEqual([outside, outside, outside, -14]);
  });

  contract(`${name}_store_bytes writes into the packet, and not behind its end`, (kernel, { open }) => {
    expect(run(kernel, open, type, storeBytes(to, 60))).toEqual({ value: 0, packet: written(60) });
    expect(run(kernel, open, type, storeBytes(to, 61))).toEqual({ value: outside, packet: [...numbered] });
  });
}

contract("skb_store_bytes refuses unknown flags: EINVAL", (kernel, { open }) => {
  expect(run(kernel, open, tc, storeBytes(helpers.BPF_FUNC_skb_store_bytes, 0, 8)).value).toBe(-22);
});

contract("skb_pull_data finds what is in the packet, and ENOMEM for more", (kernel, { open }) => {
  const pull = (size: number): number =>
    run(kernel, open, tc, [mov(r2, size), call(helpers.BPF_FUNC_skb_pull_data), exit()]).value;
  expect([0, 14, 64, 65].map(pull)).toEqual([0, 0, 0, -12]);
});

contract("xdp_get_buff_len is the packet's length", (kernel, { open }) => {
  expect(run(kernel, open, xdp, [call(helpers.BPF_FUNC_xdp_get_buff_len), exit()]).value).toBe(64);
});

contract(
  "xdp_adjust_meta makes room for metadata in front of the packet, in words, up to 216 bytes",
  (kernel, { open }) => {
    const adjust = (delta: number): number =>
      run(kernel, open, xdp, [mov(r2, delta), call(helpers.BPF_FUNC_xdp_adjust_meta), exit()]).value;
    expect([0, -4, -216, -2, -220, 4].map(adjust)).toEqual([0, 0, 0, -13, -22, -22]);
  },
);

/** csum_diff of two words on the stack, each given or not. */
const difference = (from: number | undefined, to: number | undefined, seed: number): asm.Item[] => [
  store("w", r10, -8, from ?? 0),
  store("w", r10, -4, to ?? 0),
  ...(from === undefined ? [mov(r1, 0), mov(r2, 0)] : [mov(r1, r10), add(r1, -8), mov(r2, 4)]),
  ...(to === undefined ? [mov(r3, 0), mov(r4, 0)] : [mov(r3, r10), add(r3, -4), mov(r4, 4)]),
  mov(r5, seed),
  call(helpers.BPF_FUNC_csum_diff),
  exit(),
];

contract("csum_diff is the folded ones' complement difference", (kernel, { open }) => {
  const value = (from: number | undefined, to: number | undefined, seed = 0): number =>
    run(kernel, open, tc, difference(from, to, seed)).value;
  expect([value(undefined, 0x12345678), value(0x12345678, undefined), value(1, 2), value(2, 1)]).toEqual([
    0x68ac, 0x9753, 1, 0xfffe,
  ]);
  expect([value(5, 5, 7), value(undefined, undefined, 7), value(1, 2, 0xffff)]).toEqual([7, 7, 1]);
});

contract("a coarse clock is behind the fine one, and less than a tenth of a second", (kernel, { open }) => {
  const items = (fine: number, coarse: number): asm.Item[] => [
    call(coarse),
    mov(r6, r0),
    call(fine),
    asm.alu64("sub", r0, r6),
    exit(),
  ];
  const behind = run(kernel, open, tc, items(helpers.BPF_FUNC_ktime_get_ns, helpers.BPF_FUNC_ktime_get_coarse_ns));
  expect(behind.value).toBeGreaterThanOrEqual(0);
  expect(behind.value).toBeLessThan(100_000_000);
});

contract("the running CPU's memory node is 0 on a machine with one", (kernel, { open }) => {
  expect(run(kernel, open, tc, [call(helpers.BPF_FUNC_get_numa_node_id), exit()]).value).toBe(0);
});
