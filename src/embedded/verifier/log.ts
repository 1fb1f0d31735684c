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

/** Characters that are kept; of a longer log, its end. */
const MAX_LENGTH = 1 << 26;

export class Log {
  private readonly input: VerifierInput;
  private readonly lines: string[] = [];
  /** Lines that were let go in front of these, and characters in these. */
  private dropped = 0;
  private characters = 0;
  private lastSource: LineInfo | undefined;
  private readonly sources = new Map<LineInfo, string>();
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
    return this.dropped + this.lines.length;
  }

  /** Level 1 shows one path only: forgets what a finished path logged. */
  rewind(length: number): void {
    if (this.everything) return;
    for (const line of this.lines.splice(Math.max(length - this.dropped, 0))) this.characters -= line.length;
  }

  message(text: string): void {
    if (this.input.logLevel !== 0) for (const line of text.split("\n")) this.add(line);
  }

  /** The state at the begin of a path: `from 3 to 5: R0=…`. */
  state(prefix: string, state: State): void {
    if (this.walks) this.add(`${prefix}: ${printState(state)}`);
  }

  instruction(at: number): void {
    if (!this.walks) return;
    const source = this.input.lines && lineAt(this.input.lines, at);
    if (source && source !== this.lastSource) {
      this.lastSource = source;
      this.add(this.sourceLine(source));
    }
    this.add(`${at}: ${printInstruction(this.input.instructions, at)}`);
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
    const line = this.lines.pop()!;
    this.characters -= line.length;
    const column = Math.ceil(Math.max(line.length + 5, 40) / 8) * 8 - 2;
    this.add(`${line.padEnd(column)}; ${changed.join(" ")}`);
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

  private add(line: string): void {
    this.lines.push(line);
    this.characters += line.length;
    while (this.characters > MAX_LENGTH && this.lines.length > 1) {
      const first = this.lines.splice(0, Math.ceil(this.lines.length / 2));
      this.dropped += first.length;
      for (const { length } of first) this.characters -= length;
    }
  }

  private sourceLine(source: LineInfo): string {
    const known = this.sources.get(source);
    if (known !== undefined) return known;
    const line = `; ${source.text.trim()} @ ${source.file.slice(source.file.lastIndexOf("/") + 1)}:${source.line}`;
    this.sources.set(source, line);
    return line;
  }
}

/** The source line that an instruction belongs to; `lines` are in the order of instructions. */
export function lineAt(lines: readonly LineInfo[], at: number): LineInfo | undefined {
  let [first, end] = [0, lines.length];
  while (first < end) {
    const middle = (first + end) >> 1;
    if (lines[middle]!.instruction <= at) first = middle + 1;
    else end = middle;
  }
  return lines[first - 1];
}

/** Where an instruction comes from, for a diagnosis. */
export function sourceOf(lines: readonly LineInfo[] | undefined, at: number): SourceLocation | undefined {
  const line = lines && lineAt(lines, at);
  return line && { file: line.file, line: line.line, column: line.column, text: line.text };
}
