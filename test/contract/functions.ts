// Programs of contract cases that have functions: type information says what each is, as helpers that call them ask for.

import { add, call, type Item, loadFunction, mov, program, r2, r3, r4, r10, store } from "../../src/asm/builder.ts";
import { type Instruction, LD_IMM64 } from "../../src/asm/instruction.ts";
import { type BuildableType, buildBtf } from "../../src/btf/build.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import type { Attr } from "../../src/uapi/attr.ts";
import { BPF_BTF_LOAD, type BPF_PROG_LOAD } from "../../src/uapi/commands.ts";
import { BPF_CALL, BPF_JMP, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC } from "../../src/uapi/insn.ts";

/** Attributes of BPF_PROG_LOAD that describe the functions of a program; `linkage` is that of all but the first. */
export function functionsOf(
  kernel: Kernel,
  open: (result: number) => number,
  items: readonly Item[],
  linkage: "static" | "global" = "static",
): Attr<typeof BPF_PROG_LOAD> {
  const btf = buildBtf([
    INT,
    { kind: "func_proto", name: "", returnType: 1, params: [] },
    main,
    { ...callback, linkage },
  ]);
  const starts = startsOf(program(...items));
  return {
    prog_btf_fd: open(kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length })),
    func_info: new Uint8Array(new Uint32Array(starts.flatMap((start, index) => [start, index === 0 ? 3 : 4])).buffer),
    func_info_cnt: starts.length,
    func_info_rec_size: 8,
  };
}

/** r0 = helper(subject, callback, &fp-8, flags), where `subject` sets r1; fp-8 is 0 before. */
export const callWithCallback = (helper: number, subject: Item, flags: number): Item[] => [
  store("dw", r10, -8, 0),
  subject,
  loadFunction(r2, "callback"),
  mov(r3, r10),
  add(r3, -8),
  mov(r4, flags),
  call(helper),
];

const INT: BuildableType = {
  kind: "int",
  name: "int",
  size: 4,
  bits: 32,
  offset: 0,
  signed: true,
  char: false,
  bool: false,
};
const main = { kind: "func", name: "main", type: 2, linkage: "global" } as const;
const callback = { kind: "func", name: "callback", type: 2 } as const;

function startsOf(instructions: readonly Instruction[]): number[] {
  const starts = new Set([0]);
  instructions.forEach(({ opcode, src, imm }, slot) => {
    const isCall = opcode === (BPF_JMP | BPF_CALL) && src === BPF_PSEUDO_CALL;
    if (isCall || (opcode === LD_IMM64 && src === BPF_PSEUDO_FUNC)) starts.add(slot + 1 + imm);
  });
  return [...starts].sort((a, b) => a - b);
}
