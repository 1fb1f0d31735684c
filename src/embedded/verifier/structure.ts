// What can be checked without executing: opcodes, jump targets, subprograms, reachable code; and which registers are live where.
// Linux: kernel/bpf/verifier.c, add_subprog, check_subprogs, resolve_pseudo_ldimm64, check_cfg, compute_live_registers

import { type Instruction, LD_IMM64 } from "../../asm/instruction.ts";
import { EBADF, EOPNOTSUPP } from "../../uapi/errno.ts";
import { BPF_FUNC_tail_call } from "../../uapi/helper-ids.ts";
import * as insn from "../../uapi/insn.ts";
import { BPF_MAP_TYPE_ARENA, BPF_MAP_TYPE_ARRAY } from "../../uapi/map-types.ts";
import { prototypes } from "../helpers/prototypes.ts";
import { findKernelFunction, isMissing } from "./kernel-functions.ts";
import { checkMapOfProgram } from "./map-rules.ts";
import { Refusal, reject } from "./refusal.ts";
import type { VerifierInput, VerifierMap } from "./verify.ts";

export interface Structure {
  /** First slots of the subprograms; the main program is first. */
  readonly starts: readonly number[];
  /** Index of the subprogram that each slot belongs to. */
  readonly subprogramOf: Uint16Array;
  /** 1 where paths may meet. */
  readonly meets: Uint8Array;
  /** 1 where a helper is called that calls back into the program. */
  readonly callsBack: Uint8Array;
  /** Registers that are read after the begin of an instruction, as bits. */
  readonly live: Uint16Array;
}

export const CALL = insn.BPF_JMP | insn.BPF_CALL;
export const EXIT = insn.BPF_JMP | insn.BPF_EXIT;
const JA = insn.BPF_JMP | insn.BPF_JA;
const JA32 = insn.BPF_JMP32 | insn.BPF_JA;
export const MAX_DIRECT_VALUE_OFFSET = 1 << 29;
const MAX_SUBPROGRAMS = 256;

export function checkStructure(input: VerifierInput): Structure {
  const { instructions } = input;
  const starts = findSubprograms(input);
  checkJumps(instructions, starts);
  checkTailCalls(input, starts);
  checkOpcodes(input);
  const meets = checkFlow(instructions);
  const callsBack = Uint8Array.from(instructions, (instruction) => (isCallingBack(instruction) ? 1 : 0));
  const subprogramOf = new Uint16Array(instructions.length);
  starts.forEach((start, index) => {
    subprogramOf.fill(index, start);
  });
  return { starts, subprogramOf, meets, callsBack, live: liveRegisters(instructions) };
}

export const isTailCall = ({ opcode, src, imm }: Instruction): boolean =>
  opcode === CALL && src === 0 && imm === BPF_FUNC_tail_call;

export const isLocalCall = ({ opcode, src }: Instruction): boolean => opcode === CALL && src === insn.BPF_PSEUDO_CALL;

export const isKernelFunctionCall = ({ opcode, src }: Instruction): boolean =>
  opcode === CALL && src === insn.BPF_PSEUDO_KFUNC_CALL;

/** Whether it loads the address of a subprogram, which lies as far from the next slot as its immediate says. */
export const namesFunction = ({ opcode, src }: Instruction): boolean =>
  opcode === LD_IMM64 && src === insn.BPF_PSEUDO_FUNC;

/** Slot that a jump at `at` leads to. */
export const jumpTarget = ({ opcode, off, imm }: Instruction, at: number): number =>
  at + 1 + (opcode === JA32 ? imm : off);

const classOf = (opcode: number) => opcode & 7;
const isJump = (opcode: number) =>
  (classOf(opcode) === insn.BPF_JMP || classOf(opcode) === insn.BPF_JMP32) && opcode !== CALL && opcode !== EXIT;
const isCallingBack = ({ opcode, src, imm }: Instruction) =>
  opcode === CALL && src === 0 && prototypes.get(imm)?.callsBack !== undefined;
const isGoto = (opcode: number) => opcode === JA || opcode === JA32;

function findSubprograms(input: VerifierInput): number[] {
  const { instructions } = input;
  if (instructions.length === 0) reject("fall-through", "last insn is not an exit or jmp");
  const starts = new Set([0]);
  instructions.forEach((instruction, at) => {
    if (isKernelFunctionCall(instruction) && !isMissing(instruction)) findKernelFunction(input, instruction, at);
    if (!isLocalCall(instruction) && !namesFunction(instruction)) return;
    const target = at + 1 + instruction.imm;
    if (target < 0 || target >= instructions.length) reject("jump", "call to invalid destination", undefined, at);
    starts.add(target);
  });
  if (starts.size > MAX_SUBPROGRAMS) reject("complexity", "too many subprograms");
  return [...starts].sort((a, b) => a - b);
}

function checkJumps(instructions: readonly Instruction[], starts: readonly number[]): void {
  starts.forEach((start, index) => {
    const end = starts[index + 1] ?? instructions.length;
    for (let at = start; at < end; at++) {
      const instruction = instructions[at]!;
      if (!isJump(instruction.opcode)) continue;
      const target = jumpTarget(instruction, at);
      if (target < start || target >= end) {
        reject("jump", `jump out of range from insn ${at} to ${target}`, undefined, at);
      }
    }
    const last = instructions[end - 1]!.opcode;
    if (last !== EXIT && !isGoto(last)) {
      reject("fall-through", "last insn is not an exit or jmp", undefined, end - 1);
    }
  });
}

/** A tail call in a subprogram gives the caller what the other program returns: a number. */
function checkTailCalls({ instructions, functions }: VerifierInput, starts: readonly number[]): void {
  for (let index = 1; index < starts.length; index++) {
    if (functions?.[index]?.returnsNumber) continue;
    const at = instructions
      .slice(0, starts[index + 1])
      .findIndex((each, at) => at >= starts[index]! && isTailCall(each));
    if (at < 0) continue;
    const words = functions ? "only allowed in functions that return 'int'." : "not allowed in subprogs without BTF";
    reject("jump", `tail_call is ${words}`, undefined, at);
  }
}

function checkOpcodes(input: VerifierInput): void {
  const { instructions, maps } = input;
  for (let at = 0; at < instructions.length; at++) {
    const instruction = instructions[at]!;
    const { opcode, imm } = instruction;
    const mode = opcode & 0xe0;
    if (classOf(opcode) === insn.BPF_LDX && ((mode !== insn.BPF_MEM && mode !== insn.BPF_MEMSX) || imm !== 0)) {
      reject("opcode", "BPF_LDX uses reserved fields", undefined, at);
    }
    if (opcode !== LD_IMM64) {
      if (!knownOpcodes.has(opcode)) reject("opcode", `unknown opcode ${hex(opcode)}`, undefined, at);
      continue;
    }
    const next = instructions[at + 1];
    if (next?.opcode !== 0 || next.dst !== 0 || next.src !== 0 || next.off !== 0) {
      reject("opcode", "invalid bpf_ld_imm64 insn", undefined, at);
    }
    if (instruction.src !== 0 && !namesFunction(instruction)) {
      const map = maps.get(at);
      checkMapReference(instruction, next, at, map);
      if (map) checkMapOfProgram(input, map, at);
    }
    at++;
  }
}

function checkMapReference(
  { src, imm }: Instruction,
  next: Instruction,
  at: number,
  map: VerifierMap | undefined,
): void {
  if (src === insn.BPF_PSEUDO_BTF_ID) {
    reject("unsupported", "kernel variables are not in the embedded kernel", undefined, at);
  }
  const value = src === insn.BPF_PSEUDO_MAP_VALUE || src === insn.BPF_PSEUDO_MAP_IDX_VALUE;
  const plain = src === insn.BPF_PSEUDO_MAP_FD || src === insn.BPF_PSEUDO_MAP_IDX;
  if (!value && !(plain && next.imm === 0)) reject("opcode", "unrecognized bpf_ld_imm64 insn", undefined, at);
  if (!map) throw new Refusal(EBADF, "map-reference", `fd ${imm} is not pointing to valid bpf_map`, undefined, at);
  if (!value || map.type === BPF_MAP_TYPE_ARENA) return;
  const offset = next.imm >>> 0;
  if (map.type !== BPF_MAP_TYPE_ARRAY) {
    reject("map-reference", "no direct value access support for this map type", undefined, at);
  }
  if (offset >= MAX_DIRECT_VALUE_OFFSET) {
    reject("map-reference", `direct value offset of ${offset} is not allowed`, undefined, at);
  }
  if (map.maxEntries !== 1 || offset >= map.valueSize) {
    const errno = map.maxEntries !== 1 ? EOPNOTSUPP : undefined;
    const message = `invalid access to map value pointer, value_size=${map.valueSize} off=${offset}`;
    if (errno) throw new Refusal(errno, "map-reference", message, undefined, at);
    reject("map-value-bounds", message, undefined, at);
  }
}

/** Finds unreachable code and jumps into 64-bit immediates; gives the slots where paths may meet. */
function checkFlow(instructions: readonly Instruction[]): Uint8Array {
  const reached = new Uint8Array(instructions.length);
  const meets = new Uint8Array(instructions.length);
  const pending = [0];
  for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
    if (reached[at]) continue;
    reached[at] = 1;
    const instruction = instructions[at]!;
    for (const next of successors(instruction, at)) {
      if (next >= instructions.length) reject("jump", `jump out of range from insn ${at} to ${next}`, undefined, at);
      pending.push(next);
    }
    if (namesFunction(instruction)) pending.push(at + 1 + instruction.imm);
    if (isCallingBack(instruction)) meets[at] = 1;
    if (isLocalCall(instruction)) {
      pending.push(at + 1 + instruction.imm);
      meets[at + 1] = 1;
    } else if (isJump(instruction.opcode)) {
      meets[jumpTarget(instruction, at)] = 1;
      if (!isGoto(instruction.opcode)) meets[at] = 1;
    }
  }
  for (let at = 0; at < instructions.length; at++) {
    if (!reached[at]) reject("unreachable", `unreachable insn ${at}`, undefined, at);
    if (instructions[at]!.opcode !== LD_IMM64) continue;
    at++;
    if (reached[at]) reject("jump", `jump into the middle of ldimm64 insn ${at - 1}`, undefined, at - 1);
  }
  return meets;
}

function successors(instruction: Instruction, at: number): number[] {
  const { opcode } = instruction;
  if (opcode === EXIT) return [];
  if (opcode === LD_IMM64) return [at + 2];
  if (isGoto(opcode)) return [jumpTarget(instruction, at)];
  return isJump(opcode) ? [at + 1, jumpTarget(instruction, at)] : [at + 1];
}

function liveRegisters(instructions: readonly Instruction[]): Uint16Array {
  const live = new Uint16Array(instructions.length);
  for (let changed = true; changed; ) {
    changed = false;
    for (let at = instructions.length - 1; at >= 0; at--) {
      const instruction = instructions[at]!;
      const [uses, defines] = usesAndDefines(instruction);
      let after = 0;
      for (const next of successors(instruction, at)) after |= live[next]!;
      const before = (after & ~defines) | uses;
      if (before !== live[at]) {
        live[at] = before;
        changed = true;
      }
    }
  }
  return live;
}

const R0 = 1;
const ARGUMENTS = 0b111110;

/** Registers that an instruction reads, and those that it gives a new value. */
function usesAndDefines({ opcode, dst, src, imm }: Instruction): readonly [uses: number, defines: number] {
  const d = 1 << dst;
  const s = 1 << src;
  const fromRegister = (opcode & insn.BPF_X) !== 0;
  const mode = opcode & 0xe0;
  switch (classOf(opcode)) {
    case insn.BPF_LD:
      if (mode === insn.BPF_IMM) return [0, d];
      return [(1 << 6) | (mode === insn.BPF_IND ? s : 0), R0 | ARGUMENTS];
    case insn.BPF_LDX:
      return [s, d];
    case insn.BPF_ST:
      return [d, 0];
    case insn.BPF_STX:
      if (mode !== insn.BPF_ATOMIC) return [d | s, 0];
      if (imm === insn.BPF_LOAD_ACQ) return [s, d];
      if (imm === insn.BPF_CMPXCHG) return [d | s | R0, R0];
      return [d | s, (imm & insn.BPF_FETCH) !== 0 ? s : 0];
    case insn.BPF_JMP:
    case insn.BPF_JMP32:
      if (opcode === EXIT) return [R0, 0];
      if (opcode === CALL) return [ARGUMENTS, R0 | ARGUMENTS];
      if (isGoto(opcode)) return [0, 0];
      return [d | (fromRegister ? s : 0), 0];
    default: {
      const operation = opcode & 0xf0;
      if (operation === insn.BPF_MOV) return [fromRegister ? s : 0, d];
      return [d | (fromRegister && operation !== insn.BPF_END ? s : 0), d];
    }
  }
}

const hex = (opcode: number) => opcode.toString(16).padStart(2, "0");

const knownOpcodes: ReadonlySet<number> = new Set(listOpcodes());

function* listOpcodes(): Generator<number> {
  for (const kind of [insn.BPF_ALU, insn.BPF_ALU64]) {
    for (let operation = insn.BPF_ADD; operation <= insn.BPF_ARSH; operation += 0x10) {
      yield kind | operation;
      if (operation !== insn.BPF_NEG) yield kind | operation | insn.BPF_X;
    }
  }
  yield insn.BPF_ALU | insn.BPF_END | insn.BPF_TO_LE;
  yield insn.BPF_ALU | insn.BPF_END | insn.BPF_TO_BE;
  yield insn.BPF_ALU64 | insn.BPF_END | insn.BPF_TO_LE;
  const conditions = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0];
  for (const kind of [insn.BPF_JMP, insn.BPF_JMP32]) {
    for (const condition of conditions) yield* [kind | condition, kind | condition | insn.BPF_X];
  }
  yield* [JA, JA32, CALL, EXIT, insn.BPF_JMP | insn.BPF_JCOND];
  for (const width of [insn.BPF_B, insn.BPF_H, insn.BPF_W, insn.BPF_DW]) {
    for (const kind of [insn.BPF_LDX, insn.BPF_ST, insn.BPF_STX]) yield kind | insn.BPF_MEM | width;
    yield insn.BPF_STX | insn.BPF_ATOMIC | width;
    if (width === insn.BPF_DW) continue;
    yield* [
      insn.BPF_LDX | insn.BPF_MEMSX | width,
      insn.BPF_LD | insn.BPF_ABS | width,
      insn.BPF_LD | insn.BPF_IND | width,
    ];
  }
}
