// Why a program was refused, as data and as text in the shape that newer kernels print.

/** What kind of rule a program broke. */
export type Category =
  | "structure"
  | "initialisation"
  | "memory"
  | "packet"
  | "context"
  | "arithmetic"
  | "helper"
  | "resource"
  | "return value"
  | "privilege"
  | "limit"
  | "not supported";

/** A line of the C source, from line information. */
export interface SourceLocation {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly text: string;
}

/** Something that happened on the way to the refused instruction. */
export interface PathStep {
  /** Slot. */
  readonly instruction: number;
  readonly text: string;
  readonly source?: SourceLocation;
}

/** Why a program was refused. */
export interface Diagnosis {
  readonly category: Category;
  /** The rule, in a few words. */
  readonly title: string;
  /** The verifier's own words: the last line of its log. */
  readonly reason: string;
  /** The refused instruction; absent where the refusal concerns the program as a whole. */
  readonly at?: {
    /** Slot. */
    readonly instruction: number;
    readonly text: string;
    readonly source?: SourceLocation;
    /** State of the registers before the instruction, as the log prints it. */
    readonly registers: string;
  };
  /** From the making of the bad value to the instruction that used it, with the branches between. */
  readonly path: readonly PathStep[];
  readonly suggestion: string;
}

/** The diagnosis as text of several lines, without a final newline. */
export function printDiagnosis(diagnosis: Diagnosis): string {
  const { category, title, reason, at, path, suggestion } = diagnosis;
  const lines = [`Verification failed: ${category}: ${title}`, `Reason: ${reason}`];
  if (at) {
    lines.push(`At: ${at.instruction}: ${at.text}${sourceSuffix(at.source)}`);
    if (at.registers) lines.push(`  ${at.registers}`);
  }
  if (path.length > 0) lines.push("Causal path:");
  for (const step of path) lines.push(`  ${step.instruction}: ${step.text}${sourceSuffix(step.source)}`);
  lines.push(`Suggestion: ${suggestion}`);
  return lines.join("\n");
}

const sourceSuffix = (source: SourceLocation | undefined) =>
  source ? ` (${source.file}:${source.line}: ${source.text.trim()})` : "";
