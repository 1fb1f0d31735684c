// BPF_LD with BPF_ABS and BPF_IND: loads from the packet as classic BPF has them.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import * as insn from "../../src/uapi/insn.ts";
import { BPF_MAP_TYPE_RINGBUF } from "../../src/uapi/map-types.ts";
import {
  BPF_PROG_TYPE_CGROUP_SKB,
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_PROG_TYPE_XDP,
} from "../../src/uapi/program-types.ts";
import { type Bench, contract } from "./contract.ts";
import { create } from "./maps.ts";
import { load, refusal, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r6, r7, add, mov, call, exit } = asm;

/** The packet 0, 1, 2, … of 64 bytes. */
const numbered = Uint8Array.from({ length: 64 }, (_, index) => index);

const widths = { b: insn.BPF_B, h: insn.BPF_H, w: insn.BPF_W } as const;
type Width = keyof typeof widths;

/** r0 = the packet's bytes at an offset, which wants the context in r6. */
const packet = (width: Width, imm: number, fields: Partial<asm.Slot> = {}): asm.Slot => ({
  opcode: insn.BPF_LD | insn.BPF_ABS | widths[width],
  dst: 0,
  src: 0,
  off: 0,
  imm,
  ...fields,
});

/** r0 = the packet's bytes at r7 + an offset. */
const packetAtR7 = (width: Width, imm: number): asm.Slot =>
  packet(width, imm, { opcode: insn.BPF_LD | insn.BPF_IND | widths[width], src: 7 });

function run(kernel: Kernel, open: Bench["open"], prog_type: number, items: readonly asm.Item[]): number | undefined {
  const prog = open(load(kernel, [mov(r6, r1), mov(r0, 99), ...items, exit()], { prog_type }));
  const result = testRun(kernel, prog, { data_in: numbered });
  expect(result.outcome).toBe(0);
  return result.retval;
}

const SKF_NET_OFF = -0x100000;
const SKF_LL_OFF = -0x200000;

for (const [name, type, start] of [
  ["a socket filter", BPF_PROG_TYPE_SOCKET_FILTER, 14],
  ["a tc program", BPF_PROG_TYPE_SCHED_CLS, 0],
] as const) {
  contract(`${name} loads from the packet in network order, from byte ${start} on`, (kernel, { open }) => {
    const at = (width: Width, offset: number) => run(kernel, open, type, [packet(width, offset)]);
    const number = (from: number, bytes: number): number =>
      numbered.subarray(from, from + bytes).reduce((sum, byte) => sum * 256 + byte, 0);
    expect([at("b", 0), at("h", 0), at("w", 0)]).toEqual([1, 2, 4].map((bytes) => number(start, bytes)));
    const last = 64 - start;
    expect([at("b", last - 1), at("h", last - 2), at("w", last - 4)]).toEqual([63, number(62, 2), number(60, 4)]);
  });

  contract(`${name} ends with 0 at a load from outside of the packet`, (kernel, { open }) => {
    const at = (width: Width, offset: number) => run(kernel, open, type, [packet(width, offset), mov(r0, 7)]);
    const last = 64 - start;
    expect([at("b", last - 1), at("b", last), at("h", last - 1), at("w", last - 3)]).toEqual([7, 0, 0, 0]);
    expect([at("b", -1), at("w", 0x7fff_ffff), at("b", -0x8000_0000)]).toEqual([0, 0, 0]);
  });

  contract(`${name} loads from the network header and the Ethernet header`, (kernel, { open }) => {
    const at = (offset: number) => run(kernel, open, type, [packet("b", offset)]);
    expect([at(SKF_NET_OFF), at(SKF_NET_OFF + 49), at(SKF_NET_OFF + 50)]).toEqual([14, 63, 0]);
    expect([at(SKF_LL_OFF + 1), at(SKF_LL_OFF + 63), at(SKF_LL_OFF + 64), at(SKF_LL_OFF - 1)]).toEqual([1, 63, 0, 0]);
    expect(at(SKF_NET_OFF - 1)).toBe(0);
  });

  contract(`${name} loads at the low 32 bits of a register and an offset`, (kernel, { open }) => {
    const at = (index: bigint, imm: number) =>
      run(kernel, open, type, [asm.loadImm64(r7, index), packetAtR7("b", imm), asm.add(r0, 100)]);
    const found = start + 8 + 100;
    expect([at(5n, 3), at(11n, -3), at((1n << 32n) + 5n, 3), at(-3n, 11)]).toEqual([found, found, found, found]);
    expect([at(-4n, 3), at(64n, 0)]).toEqual([0, 0]);
  });
}

const refusals: readonly [fact: string, items: readonly asm.Item[], error: string, line: string][] = [
  ["has no context in r6", [packet("w", 0)], "EACCES", "R6 !read_ok"],
  ["has a number in r6", [mov(r6, 1), packet("w", 0)], "EINVAL", "at the time of BPF_LD_ABS|IND R6 != pointer to skb"],
  [
    "has a context in r6 that was moved",
    [mov(r6, r1), add(r6, 4), packet("w", 0)],
    "EACCES",
    "dereference of modified ctx ptr R6 off=4 disallowed",
  ],
  ["names a destination", [mov(r6, r1), packet("w", 0, { dst: 1 })], "EINVAL", "BPF_LD_[ABS|IND] uses reserved fields"],
  [
    "names an index that it has not",
    [mov(r6, r1), packet("w", 0, { src: 1 })],
    "EINVAL",
    "BPF_LD_[ABS|IND] uses reserved fields",
  ],
  ["has a jump offset", [mov(r6, r1), packet("w", 0, { off: 1 })], "EINVAL", "BPF_LD_[ABS|IND] uses reserved fields"],
  ["is of 64 bits", [mov(r6, r1), packet("w", 0, { opcode: 0x38 })], "EINVAL", "unknown opcode 38"],
  ["has an index that was never written", [mov(r6, r1), packetAtR7("w", 0)], "EACCES", "R7 !read_ok"],
  ["comes before a read of r1", [mov(r6, r1), packet("w", 0), mov(r0, r1)], "EACCES", "R1 !read_ok"],
];

for (const [fact, items, error, line] of refusals) {
  contract(`refused: a packet load that ${fact}`, (kernel) => {
    expect(refusal(kernel, [...items, exit()])).toEqual([error, line]);
  });
}

for (const [name, prog_type] of [
  ["an XDP", BPF_PROG_TYPE_XDP],
  ["a cgroup_skb", BPF_PROG_TYPE_CGROUP_SKB],
] as const) {
  contract(`refused: a packet load in ${name} program`, (kernel) => {
    const line = "BPF_LD_[ABS|IND] instructions not allowed for this program type";
    expect(refusal(kernel, [mov(r6, r1), packet("w", 0), exit()], { prog_type })).toEqual(["EINVAL", line]);
  });
}

contract("refused: a packet load, which may end the program, while a record is held", (kernel, { open }) => {
  const ring = { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 };
  const items = [
    mov(r6, r1),
    asm.loadMapFd(r1, open(create(kernel, ring))),
    mov(r2, 16),
    mov(r3, 0),
    call(helpers.BPF_FUNC_ringbuf_reserve),
    asm.jump("jeq", r0, 0, "out"),
    mov(r7, r0),
    packet("w", 0),
    mov(r1, r7),
    mov(r2, 0),
    call(helpers.BPF_FUNC_ringbuf_submit),
    asm.label("out"),
    mov(r0, 0),
    exit(),
  ];
  expect(refusal(kernel, items)).toEqual(["EINVAL", "BPF_LD_[ABS|IND] would lead to reference leak"]);
});

contract.on("embedded")("refused: a packet load in a program with several functions", (kernel) => {
  const items = [mov(r6, r1), asm.callLocal("f"), packet("w", 0), exit(), asm.label("f"), mov(r0, 0), exit()];
  const line = "BPF_LD_[ABS|IND] in a program with several functions is not in the embedded kernel";
  expect(refusal(kernel, items)).toEqual(["EINVAL", line]);
});
