// Atomic instructions.
// Linux: kernel/bpf/verifier.c, check_atomic

import type { Instruction } from "../../asm/instruction.ts";
import * as insn from "../../uapi/insn.ts";
import { type Access, load, store } from "./memory.ts";
import { deny, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { isPointer, type Pointer } from "./values.ts";
import type { Walk } from "./walk.ts";

const arithmetic: readonly number[] = [insn.BPF_ADD, insn.BPF_OR, insn.BPF_AND, insn.BPF_XOR];
const modifies = (operation: number) =>
  arithmetic.includes(operation & ~insn.BPF_FETCH) || operation === insn.BPF_XCHG || operation === insn.BPF_CMPXCHG;

export function atomic(walk: Walk, { dst, src, off, imm }: Instruction, { size }: Access): void {
  if (imm === insn.BPF_LOAD_ACQ) {
    walk.checkWritable(dst);
    checkTarget(walk, src, imm, "loads from");
    walk.write(dst, load(walk, { register: src, offset: off, size, atomic: true }));
    return;
  }
  const access = { register: dst, offset: off, size, atomic: true };
  if (imm === insn.BPF_STORE_REL) {
    walk.read(src);
    checkTarget(walk, dst, imm, "stores into");
    store(walk, access, walk.read(src), src);
    return;
  }
  if (!modifies(imm)) {
    reject("opcode", `BPF_ATOMIC uses invalid atomic opcode ${(imm >>> 0).toString(16).padStart(2, "0")}`);
  }
  if (size < 4) reject("opcode", "invalid atomic operand size");
  for (const register of imm === insn.BPF_CMPXCHG ? [src, 0] : [src]) {
    if (isPointer(walk.read(register)) && walk.mayNotLeak) deny("leak", `R${register} leaks addr into mem`, register);
  }
  checkTarget(walk, dst, imm, "stores into");
  const before = load(walk, access);
  store(walk, access, scalars.UNKNOWN, undefined);
  if (imm === insn.BPF_CMPXCHG) walk.write(0, before);
  else if ((imm & insn.BPF_FETCH) !== 0) walk.write(src, before);
}

const withoutAtomics: readonly Pointer["kind"][] = ["ctx", "pkt", "pkt_meta", "sock", "sock_common", "xdp_sock"];

/** Those that Linux has no instruction of the processor for. */
const notInArena: readonly number[] = [insn.BPF_AND, insn.BPF_OR, insn.BPF_XOR].map((code) => code | insn.BPF_FETCH);

function checkTarget(walk: Walk, register: number, operation: number, verb: string): void {
  const base = walk.read(register);
  if (!isPointer(base)) return;
  const isAllowed = base.kind === "arena" ? !notInArena.includes(operation) : !withoutAtomics.includes(base.kind);
  if (isAllowed) return;
  deny("invalid-access", `BPF_ATOMIC ${verb} R${register} ${base.kind} is not allowed`, register);
}
