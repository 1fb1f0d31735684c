// The verifier's log, in the kernel's format.
// Linux: kernel/bpf/log.c, kernel/bpf/verifier.c

import { disassemble } from "../../asm/disassembler.ts";
import type { Instruction } from "../../asm/instruction.ts";
import type { SourceLocation } from "../../diagnosis/diagnosis.ts";
import { BPF_COMPLEXITY_LIMIT_INSNS } from "../../uapi/insn.ts";
import { printSlot, printState, type State } from "./state.ts";
import { print } from "./values.ts";
import type { LineInfo, Statistics, VerifierInput } from "./verify.ts";

const LEVEL_PATH = 1;
const LEVEL_ALL = 2;
const LEVEL_STATISTICS = 4;

/** A line of text: `0: (b7) r0 = 0`. */
export function printInstruction(instructions: readonly Instruction[], at: number): string {
  const instruction = instructions[at]!;
  const opcode = instruction.opcode.toString(16).padStart(2, "0");
  return `(${opcode}) ${disassemble(instruction, instructions[at + 1])}`;
}

export class Log {
  private readonly input: VerifierInput;
  private readonly lines: string[] = [];
  private lastSource: LineInfo | undefined;
  /** Whether instructions are logged. */
  readonly walks: boolean;
  readonly everything: boolean;

  constructor(input: VerifierInput) {
    this.input = input;
    this.walks = (input.logLevel & (LEVEL_PATH | LEVEL_ALL)) !== 0;
    this.everything = (input.logLevel & LEVEL_ALL) !== 0;
  }

  /** Number of lines, to go back to. */
  get length(): number {
    return this.lines.length;
  }

  /** Level 1 shows one path only: forgets what a finished path logged. */
  rewind(length: number): void {
    if (!this.everything) this.lines.length = length;
  }

  message(text: string): void {
    if (this.input.logLevel !== 0) this.lines.push(...text.split("\n"));
  }

  /** The state at the begin of a path: `from 3 to 5: R0=…`. */
  state(prefix: string, state: State): void {
    if (this.walks) this.lines.push(`${prefix}: ${printState(state)}`);
  }

  instruction(at: number): void {
    if (!this.walks) return;
    const source = this.input.lines && lineAt(this.input.lines, at);
    if (source && source !== this.lastSource) {
      this.lastSource = source;
      this.lines.push(`; ${source.text.trim()} @ ${source.file.replace(/^.*\//, "")}:${source.line}`);
    }
    this.lines.push(`${at}: ${printInstruction(this.input.instructions, at)}`);
  }

  /** Registers that the last instruction used, beside it, and stack slots that it changed. */
  changes(before: State, after: State, touched: number): void {
    const frame = after.frames[after.frames.length - 1]!;
    const old = before.frames[after.frames.length - 1];
    if (!old || before.frames.length !== after.frames.length) return;
    const changed = frame.registers.flatMap((value, register) =>
      value && touched & (1 << register) ? [`R${register}=${print(value)}`] : [],
    );
    frame.stack.forEach((slot, index) => {
      if (slot && slot !== old.stack[index]) changed.push(`fp${-8 * (index + 1)}=${printSlot(slot)}`);
    });
    if (changed.length === 0) return;
    const line = this.lines[this.lines.length - 1]!;
    const column = Math.ceil(Math.max(line.length + 5, 40) / 8) * 8 - 2;
    this.lines[this.lines.length - 1] = `${line.padEnd(column)}; ${changed.join(" ")}`;
  }

  /** The whole log. */
  finish(statistics: Statistics): string {
    const { instructionsProcessed, maxStatesPerInstruction, totalStates, peakStates, stackDepths } = statistics;
    if ((this.input.logLevel & LEVEL_STATISTICS) !== 0) this.message(`stack depth ${stackDepths.join("+")}`);
    this.message(
      `processed ${instructionsProcessed} insns (limit ${BPF_COMPLEXITY_LIMIT_INSNS}) max_states_per_insn ${maxStatesPerInstruction} ` +
        `total_states ${totalStates} peak_states ${peakStates} mark_read 0`,
    );
    return this.lines.map((line) => `${line}\n`).join("");
  }
}

/** The source line that an instruction belongs to. */
export function lineAt(lines: readonly LineInfo[], at: number): LineInfo | undefined {
  let found: LineInfo | undefined;
  for (const line of lines)
    if (line.instruction <= at && (!found || line.instruction >= found.instruction)) found = line;
  return found;
}

/** Where an instruction comes from, for a diagnosis. */
export function sourceOf(lines: readonly LineInfo[] | undefined, at: number): SourceLocation | undefined {
  const line = lines && lineAt(lines, at);
  return line && { file: line.file, line: line.line, column: line.column, text: line.text };
}
