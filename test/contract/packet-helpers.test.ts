// Helpers that read, write and reshape packets, and those that compute on memory.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import {
  BPF_PROG_TYPE_CGROUP_SKB,
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_PROG_TYPE_XDP,
} from "../../src/uapi/program-types.ts";
import { type Bench, contract } from "./contract.ts";
import { load, refusal, testRun } from "./programs.ts";

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

/** The checksum at `offset` of the packet replaced for a field of it that changes, as flags say. */
const replace = (helper: number, offset: number, from: bigint, to: bigint, flags: bigint): asm.Item[] => [
  mov(r2, offset),
  asm.loadImm64(r3, from),
  asm.loadImm64(r4, to),
  asm.loadImm64(r5, flags),
  call(helper),
  exit(),
];

for (const [layer, helper] of [
  ["l3", helpers.BPF_FUNC_l3_csum_replace],
  ["l4", helpers.BPF_FUNC_l4_csum_replace],
] as const) {
  contract(`${layer}_csum_replace replaces a checksum for a word, two words, or a difference`, (kernel, { open }) => {
    const sum = (from: bigint, to: bigint, flags: bigint): number => {
      const { value, packet } = run(kernel, open, tc, replace(helper, 10, from, to, flags));
      expect(value).toBe(0);
      expect([...packet.slice(0, 10), ...packet.slice(12)]).toEqual([...numbered.slice(0, 10), ...numbered.slice(12)]);
      return (packet[11] as number) * 256 + (packet[10] as number);
    };
    expect([sum(1n, 2n, 2n), sum(2n, 1n, 2n), sum(0n, 0xffffn, 2n)]).toEqual([0x0b09, 0x0b0b, 0x0b0a]);
    expect([sum(0x10001n, 0x20002n, 4n), sum(0xffff_ffffn, 1n, 4n)]).toEqual([0x0b08, 0x0b09]);
    expect([sum(0n, 0x1234n, 0n), sum(0n, 0xffff_0001n, 0n)]).toEqual([0xf8d5, 0x0b09]);
  });

  contract(`${layer}_csum_replace refuses sizes, flags and places that are none`, (kernel, { open }) => {
    const value = (offset: number, from: bigint, flags: bigint): number =>
      run(kernel, open, tc, replace(helper, offset, from, 5n, flags)).value;
    expect([value(10, 1n, 0n), value(10, 0n, 3n), value(10, 0n, 8n), value(10, 0n, 1n << 40n)]).toEqual([
      -22, -22, -22, -22,
    ]);
    expect([value(62, 0n, 2n), value(63, 0n, 2n), value(64, 0n, 2n), value(0x10000, 0n, 2n)]).toEqual([
      0, -14, -14, -14,
    ]);
  });
}

contract("l3_csum_replace refuses the flags of l4_csum_replace", (kernel, { open }) => {
  const value = (helper: number): number => run(kernel, open, tc, replace(helper, 10, 0n, 5n, 0x12n)).value;
  expect([value(helpers.BPF_FUNC_l3_csum_replace), value(helpers.BPF_FUNC_l4_csum_replace)]).toEqual([-22, 0]);
});

contract(
  "l4_csum_replace leaves a UDP checksum of 0 alone, and writes 0xffff for one that becomes 0",
  (kernel, { open }) => {
    const after = (sum: number, flags: bigint): number => {
      const items = [
        mov(r6, r1),
        store("w", r10, -4, sum),
        mov(r2, 10),
        mov(r3, r10),
        add(r3, -4),
        mov(r4, 2),
        mov(r5, 0),
        call(helpers.BPF_FUNC_skb_store_bytes),
        mov(r1, r6),
        ...replace(helpers.BPF_FUNC_l4_csum_replace, 10, 0n, 5n, flags),
      ];
      const { packet } = run(kernel, open, tc, items);
      return (packet[11] as number) * 256 + (packet[10] as number);
    };
    expect([after(0, 2n), after(0, 0x22n), after(0, 0x62n)]).toEqual([0xfffa, 0, 0xfffa]);
    expect([after(5, 2n), after(5, 0x22n)]).toEqual([0, 0xffff]);
  },
);

contract("bpf_redirect answers for the program's type, and refuses unknown flags by its answer", (kernel, { open }) => {
  const answer = (type: number, flags: bigint): number =>
    run(kernel, open, type, [mov(r1, 1), asm.loadImm64(r2, flags), call(helpers.BPF_FUNC_redirect), exit()]).value;
  expect([0n, 1n, 2n, 1n << 40n].map((flags) => answer(xdp, flags))).toEqual([4, 0, 0, 0]);
  expect([0n, 1n, 2n, 1n << 40n].map((flags) => answer(tc, flags))).toEqual([7, 7, 2, 2]);
});

/** r0 = what a helper says that reads 8 bytes to the stack, or fewer; the stack's 8 bytes stand in the packet. */
const probe = (helper: number, size: number, address: readonly asm.Item[]): asm.Item[] => [
  mov(r6, r1),
  store("dw", r10, -8, -1),
  asm.loadImm64(r2, 0x6665_6400_6362_6100n),
  store("dw", r10, -16, r2),
  mov(r1, r10),
  add(r1, -8),
  mov(r2, size),
  ...address,
  call(helper),
  mov(asm.r7, r0),
  mov(r1, r6),
  mov(r2, 0),
  mov(r3, r10),
  add(r3, -8),
  mov(r4, 8),
  mov(r5, 0),
  call(helpers.BPF_FUNC_skb_store_bytes),
  mov(r0, asm.r7),
  exit(),
];

for (const [name, helper] of [
  ["probe_read_kernel", helpers.BPF_FUNC_probe_read_kernel],
  ["probe_read_kernel_str", helpers.BPF_FUNC_probe_read_kernel_str],
] as const) {
  const read = (kernel: Kernel, open: Bench["open"], size: number, address: readonly asm.Item[]) => {
    const { value, packet } = run(kernel, open, tc, probe(helper, size, address));
    return [value, ...packet.slice(0, 8)];
  };
  const untouched = Array.from({ length: 8 }, () => 255);

  contract(`${name} fills with zeros where there is nothing to read`, (kernel, { open }) => {
    const at = (address: bigint, size = 4) => read(kernel, open, size, [asm.loadImm64(r3, address)]);
    const zeros = [0, 0, 0, 0, 255, 255, 255, 255];
    expect([at(0n), at(8n), at(1n << 47n), at(1n << 63n)]).toEqual(Array.from({ length: 4 }, () => [-34, ...zeros]));
    expect(at(0xffff_ffff_ffff_f000n)).toEqual([-14, ...zeros]);
  });

  contract(`${name} of no bytes touches nothing`, (kernel, { open }) => {
    expect(read(kernel, open, 0, [mov(r3, r10), add(r3, -16)])).toEqual([0, ...untouched]);
  });
}

contract("probe_read_kernel copies from the address of anything", (kernel, { open }) => {
  const items = probe(helpers.BPF_FUNC_probe_read_kernel, 7, [mov(r3, r10), add(r3, -16)]);
  expect(run(kernel, open, tc, items)).toMatchObject({ value: 0 });
  expect(run(kernel, open, tc, items).packet.slice(0, 8)).toEqual([0, 0x61, 0x62, 0x63, 0, 0x64, 0x65, 255]);
});

contract("probe_read_kernel_str copies up to the NUL, and ends what is longer with one", (kernel, { open }) => {
  const read = (size: number, from: number): number[] => {
    const address = [mov(r3, r10), add(r3, from)];
    const { value, packet } = run(kernel, open, tc, probe(helpers.BPF_FUNC_probe_read_kernel_str, size, address));
    return [value, ...packet.slice(0, 6)];
  };
  expect(read(8, -15)).toEqual([4, 0x61, 0x62, 0x63, 0, 255, 255]);
  expect(read(3, -15)).toEqual([3, 0x61, 0x62, 0, 255, 255, 255]);
  expect(read(1, -15)).toEqual([1, 0, 255, 255, 255, 255, 255]);
  expect(read(8, -16)).toEqual([1, 0, 255, 255, 255, 255, 255]);
});

/** r0 = what trace_vprintk says to a format of one word, and the arguments 1, 2, … of the given size. */
const vprintk = (text: string, size: number): asm.Item[] => [
  ...Array.from({ length: 13 }, (_, index) => store("dw", r10, -104 + 8 * index, index + 1)),
  ...Array.from({ length: 32 }, (_, index) => store("b", r10, -136 + index, text.charCodeAt(index) || 0)),
  mov(r1, r10),
  add(r1, -136),
  mov(r2, 32),
  mov(r3, r10),
  add(r3, -104),
  mov(r4, size),
  call(helpers.BPF_FUNC_trace_vprintk),
  exit(),
];

contract("trace_vprintk prints up to 12 arguments from memory", (kernel, { open }) => {
  const value = (text: string, size: number): number => run(kernel, open, tc, vprintk(text, size)).value;
  expect([value("%d %d %d %d", 32), value("no arguments", 0), value("%d", 96)]).toEqual([7, 12, 1]);
  expect([value("%d %d", 8), value("%d", 4), value("%d", 104), value("%f", 8)]).toEqual([-22, -22, -22, -22]);
});

for (const [name, helper] of [
  ["probe_read_kernel", helpers.BPF_FUNC_probe_read_kernel],
  ["probe_read_kernel_str", helpers.BPF_FUNC_probe_read_kernel_str],
  ["trace_vprintk", helpers.BPF_FUNC_trace_vprintk],
] as const) {
  contract(`${name} is for programs under the GPL`, (kernel) => {
    const line = "cannot call GPL-restricted function from non-GPL compatible program";
    const license = Uint8Array.of(77, 73, 84, 0);
    expect(refusal(kernel, [call(helper), exit()], { license })).toEqual(["EINVAL", line]);
  });
}

for (const [name, prog_type] of [
  ["a socket filter", BPF_PROG_TYPE_SOCKET_FILTER],
  ["a cgroup_skb program", BPF_PROG_TYPE_CGROUP_SKB],
] as const) {
  contract(`${name} may not redirect, nor replace checksums`, (kernel) => {
    const refused = (helper: number) => refusal(kernel, [call(helper), exit()], { prog_type })[1];
    expect([refused(helpers.BPF_FUNC_redirect), refused(helpers.BPF_FUNC_l3_csum_replace)]).toEqual([
      "program of this type cannot use helper bpf_redirect#23",
      "program of this type cannot use helper bpf_l3_csum_replace#10",
    ]);
  });
}
