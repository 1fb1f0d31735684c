// Function and line information that comes with a program: records that name types and lines of its BTF.
// Linux: check_btf_func and check_btf_line in kernel/bpf/verifier.c

import { type Instruction, LD_IMM64 } from "../asm/instruction.ts";
import { type Btf, BtfError } from "../btf/btf.ts";
import type { BPF_PROG_LOAD } from "../uapi/commands.ts";
import { E2BIG, EFAULT, EINVAL } from "../uapi/errno.ts";
import { funcInfo, lineInfo } from "../uapi/info.ts";
import { BPF_CALL, BPF_JMP, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC } from "../uapi/insn.ts";
import { sizeOf } from "../uapi/struct.ts";
import type { EmbeddedBtf } from "./btf.ts";
import { type UserPointer, userBytes } from "./memory.ts";
import { findBtf } from "./objects.ts";
import type { KernelState } from "./state.ts";
import type { CommandAttr } from "./syscall.ts";
import type { FunctionInfo, LineInfo } from "./verifier/verify.ts";

export interface DebugInfo {
  readonly btf: EmbeddedBtf | undefined;
  /** struct bpf_func_info, one a function; and struct bpf_line_info. */
  readonly functionInfo: Uint8Array;
  readonly lineInfo: Uint8Array;
  /** What that says of the functions, absent without; and of the source lines. */
  readonly functions?: readonly FunctionInfo[];
  readonly lines: readonly LineInfo[];
}

export interface DebugInfoRefusal {
  /** Positive. */
  readonly errno: number;
  readonly reason: string;
}

/** Bytes of struct bpf_func_info and struct bpf_line_info. */
export const FUNC_INFO_SIZE = sizeOf(funcInfo);
export const LINE_INFO_SIZE = sizeOf(lineInfo);
const MAX_RECORD_SIZE = 252;

export function readDebugInfo(
  { files }: KernelState,
  attr: CommandAttr<typeof BPF_PROG_LOAD>,
  instructions: readonly Instruction[],
): DebugInfo | DebugInfoRefusal {
  const none = new Uint8Array(0);
  if (attr.func_info_cnt === 0 && attr.line_info_cnt === 0) {
    return { btf: undefined, functionInfo: none, lineInfo: none, lines: [] };
  }
  const btf = findBtf(files, attr.prog_btf_fd);
  if (typeof btf === "number") return { errno: -btf, reason: "" };
  const functionInfo = records("func", attr.func_info, attr.func_info_cnt, attr.func_info_rec_size, FUNC_INFO_SIZE);
  if ("reason" in functionInfo) return functionInfo;
  const functionProblem = attr.func_info_cnt === 0 ? undefined : checkFunctions(btf, functionInfo, instructions);
  if (functionProblem !== undefined) return { errno: EINVAL, reason: functionProblem };
  const lineInfo = records("line", attr.line_info, attr.line_info_cnt, attr.line_info_rec_size, LINE_INFO_SIZE);
  if ("reason" in lineInfo) return lineInfo;
  const lines = readLines(btf, lineInfo, instructions);
  if (typeof lines === "string") return { errno: EINVAL, reason: lines };
  if (attr.func_info_cnt === 0) return { btf, functionInfo, lineInfo, lines };
  return { btf, functionInfo, functions: readFunctions(btf.types, functionInfo), lineInfo, lines };
}

/** Records of the size we know, cut from the caller's, which may be longer where the rest of each is zero. */
function records(
  what: string,
  pointer: UserPointer,
  count: number,
  size: number,
  knownSize: number,
): Uint8Array | DebugInfoRefusal {
  const known = new Uint8Array(count * knownSize);
  if (count === 0) return known;
  if (size < knownSize || size > MAX_RECORD_SIZE || size % 4 !== 0) {
    return { errno: EINVAL, reason: what === "func" ? `invalid func info rec size ${size}` : "" };
  }
  const bytes = userBytes(pointer, count * size);
  if (bytes === undefined) return { errno: EFAULT, reason: "" };
  for (let i = 0; i < count; i++) {
    if (bytes.subarray(i * size + knownSize, (i + 1) * size).some((byte) => byte !== 0)) {
      return { errno: E2BIG, reason: `nonzero tailing record in ${what === "func" ? "func info" : "line_info"}` };
    }
    known.set(bytes.subarray(i * size, i * size + knownSize), i * knownSize);
  }
  return known;
}

/** What is wrong with the functions, in the words of the log. */
function checkFunctions({ types }: EmbeddedBtf, info: Uint8Array, instructions: readonly Instruction[]) {
  const view = new DataView(info.buffer);
  const starts: number[] = [];
  for (let at = 0; at < info.length; at += FUNC_INFO_SIZE) {
    const start = view.getUint32(at, true);
    const typeId = view.getUint32(at + 4, true);
    const previous = starts.at(-1);
    if (previous === undefined && start !== 0) return `nonzero insn_off ${start} for the first func info record`;
    if (previous !== undefined && start <= previous) {
      return `same or smaller insn offset (${start}) than previous func info record (${previous})`;
    }
    if (typeId >= types.length || types.type(typeId).kind !== "func") return `invalid type id ${typeId} in func info`;
    starts.push(start);
  }
  const subprograms = subprogramStarts(instructions);
  if (starts.length !== subprograms.length) return "number of funcs in func_info doesn't match number of subprogs";
  if (starts.some((start, i) => start !== subprograms[i])) {
    return "func_info BTF section doesn't match subprog layout in BPF program";
  }
  return undefined;
}

/** What struct bpf_func_info, one a function, say of them. */
export function readFunctions(types: Btf, info: Uint8Array): FunctionInfo[] {
  const view = new DataView(info.buffer, info.byteOffset, info.length);
  return Array.from({ length: info.length / FUNC_INFO_SIZE }, (_, index) => {
    const func = types.type(view.getUint32(index * FUNC_INFO_SIZE + 4, true));
    const isFunction = func.kind === "func";
    return {
      returnsNumber: isFunction && returnsNumber(types, func.type),
      isStatic: isFunction && func.linkage === "static",
    };
  });
}

function returnsNumber(types: Btf, id: number): boolean {
  const prototype = types.type(id);
  if (prototype.kind !== "func_proto" || prototype.returnType === 0) return false;
  return ["int", "enum", "enum64"].includes(types.type(types.resolve(prototype.returnType)).kind);
}

/** First slots of the program's functions, in their order. */
function subprogramStarts(instructions: readonly Instruction[]): number[] {
  const starts = new Set([0]);
  instructions.forEach(({ opcode, src, imm }, slot) => {
    const isCall = opcode === (BPF_JMP | BPF_CALL) && src === BPF_PSEUDO_CALL;
    const isAddress = opcode === LD_IMM64 && src === BPF_PSEUDO_FUNC;
    if (isCall || isAddress) starts.add(slot + 1 + imm);
  });
  return [...starts].sort((a, b) => a - b);
}

function readLines(
  { types }: EmbeddedBtf,
  info: Uint8Array,
  instructions: readonly Instruction[],
): readonly LineInfo[] | string {
  const view = new DataView(info.buffer);
  const lines: LineInfo[] = [];
  for (let at = 0; at < info.length; at += LINE_INFO_SIZE) {
    const index = at / LINE_INFO_SIZE;
    const instruction = view.getUint32(at, true);
    const previous = lines.at(-1)?.instruction ?? 0;
    if ((index > 0 && instruction <= previous) || instruction >= instructions.length) {
      return `Invalid line_info[${index}].insn_off:${instruction} (prev_offset:${previous} prog->len:${instructions.length})`;
    }
    if (instructions[instruction]?.opcode === 0) return `Invalid insn code at line_info[${index}].insn_off`;
    try {
      const position = view.getUint32(at + 12, true);
      lines.push({
        instruction,
        file: types.string(view.getUint32(at + 4, true)),
        text: types.string(view.getUint32(at + 8, true)),
        line: position >>> 10,
        column: position & 0x3ff,
      });
    } catch (error) {
      if (error instanceof BtfError) return `Invalid line_info[${index}].line_off or .file_name_off`;
      throw error;
    }
  }
  return lines;
}
