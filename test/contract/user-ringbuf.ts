// A program that drains a user ring buffer.

import * as asm from "../../src/asm/builder.ts";
import { LD_IMM64 } from "../../src/asm/instruction.ts";
import { type BuildableType, buildBtf } from "../../src/btf/build.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_BTF_LOAD } from "../../src/uapi/commands.ts";
import { BPF_FUNC_dynptr_read, BPF_FUNC_user_ringbuf_drain } from "../../src/uapi/helper-ids.ts";
import { BPF_PSEUDO_FUNC } from "../../src/uapi/insn.ts";
import type { Bench } from "./contract.ts";
import { load } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r10, add, alu64, call, exit, load: ldx, loadMapFd, mov, store } = asm;

/**
 * A program that takes all samples: it returns their number << 16 | the sum of their first 8 bytes.
 * Where the kernel cannot load it yet, the case is skipped.
 */
export function drainer(kernel: Kernel, { open, skip }: Bench, ring: number): number {
  const main = [
    store("dw", r10, -8, 0),
    ...loadMapFd(r1, ring),
    { opcode: LD_IMM64, dst: 2, src: BPF_PSEUDO_FUNC, off: 0, imm: 9 },
    { opcode: 0, dst: 0, src: 0, off: 0, imm: 0 },
    mov(r3, r10),
    add(r3, -8),
    mov(r4, 0),
    call(BPF_FUNC_user_ringbuf_drain),
    ldx("dw", r1, r10, -8),
    alu64("lsh", r0, 16),
    alu64("or", r0, r1),
    exit(),
  ];
  const callback = [
    mov(r6, r2),
    mov(r3, r1),
    store("dw", r10, -8, 0),
    mov(r1, r10),
    add(r1, -8),
    mov(r2, 8),
    mov(r4, 0),
    mov(r5, 0),
    call(BPF_FUNC_dynptr_read),
    ldx("dw", r1, r10, -8),
    ldx("dw", r2, r6, 0),
    alu64("add", r2, r1),
    store("dw", r6, 0, r2),
    mov(r0, 0),
    exit(),
  ];
  const btf = buildBtf(TYPES);
  const fd = load(kernel, [...main, ...callback], {
    prog_btf_fd: open(kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length })),
    func_info: new Uint8Array(Uint32Array.of(0, 3, main.length, 4).buffer),
    func_info_cnt: 2,
    func_info_rec_size: 8,
  });
  if (fd < 0 && kernel.kind === "embedded") skip("the embedded kernel does not drain user ring buffers");
  return open(fd);
}

const TYPES: readonly BuildableType[] = [
  { kind: "int", name: "int", size: 4, bits: 32, offset: 0, signed: true, char: false, bool: false },
  { kind: "func_proto", name: "", returnType: 1, params: [] },
  { kind: "func", name: "main", type: 2, linkage: "global" },
  { kind: "func", name: "callback", type: 2, linkage: "static" },
];
