import { describe, expect, test } from "vitest";
import * as insn from "../uapi/insn.ts";
import * as asm from "./builder.ts";
import { disassemble } from "./disassembler.ts";

const { r0, r1, r2, r10 } = asm;

const cases: readonly [instruction: asm.Slot, text: string][] = [
  [asm.mov(r1, -5), "r1 = -5"],
  [asm.alu32("mov", r1, r2), "w1 = w2"],
  [{ ...asm.mov(r1, r2), off: 16 }, "r1 = (s16)r2"],
  [asm.castToArena(r1, r2), "r1 = addr_space_cast(r2, 0, 1)"],
  [asm.castToUser(r1, r2), "r1 = addr_space_cast(r2, 1, 0)"],
  [asm.alu64("arsh", r1, 3), "r1 s>>= 3"],
  [{ ...asm.alu32("div", r1, r2), off: 1 }, "w1 s/= w2"],
  [{ opcode: 0x87, dst: 3, src: 0, off: 0, imm: 0 }, "r3 = -r3"],
  [{ opcode: 0xdc, dst: 3, src: 0, off: 0, imm: 16 }, "r3 = be16 r3"],
  [{ opcode: 0xd7, dst: 3, src: 0, off: 0, imm: 64 }, "r3 = bswap64 r3"],
  [asm.load("h", r0, r1, 12), "r0 = *(u16 *)(r1 +12)"],
  [asm.loadSigned("b", r0, r10, -8), "r0 = *(s8 *)(r10 -8)"],
  [asm.store("w", r10, -8, 7), "*(u32 *)(r10 -8) = 7"],
  [asm.store("dw", r10, -8, r1), "*(u64 *)(r10 -8) = r1"],
  [asm.atomic("dw", insn.BPF_ADD, r1, 8, r2), "lock *(u64 *)(r1 +8) += r2"],
  [asm.atomic("w", insn.BPF_XOR | insn.BPF_FETCH, r1, 0, r2), "w2 = atomic_fetch_xor((u32 *)(r1 +0), w2)"],
  [asm.atomic("dw", insn.BPF_CMPXCHG, r1, 0, r2), "r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)"],
  [asm.atomic("w", insn.BPF_STORE_REL, r1, 4, r2), "store_release((u32 *)(r1 +4), w2)"],
  [{ ...asm.jump("jsgt", r1, -1, ""), off: 3 }, "if r1 s> 0xffffffff goto pc+3"],
  [{ ...asm.jump32("jset", r1, r2, ""), off: -3 }, "if w1 & w2 goto pc-3"],
  [{ opcode: 0x06, dst: 0, src: 0, off: 0, imm: -70000 }, "gotol pc-70000"],
  [asm.call(1), "call bpf_map_lookup_elem#1"],
  [{ ...asm.callLocal(""), imm: 4 }, "call pc+4"],
  [asm.exit(), "exit"],
];

describe("an instruction is written as the kernel's log writes it:", () => {
  for (const [instruction, text] of cases) test(text, () => expect(disassemble(instruction)).toBe(text));

  test("a 64-bit immediate", () => {
    const [first, second] = asm.loadImm64(r1, 0x1_0000_0002n);
    expect(disassemble(first!, second)).toBe("r1 = 0x100000002");
  });
});
