// The verifier: whether a program may run, with Linux's verdict words and an explanation.
// Linux: kernel/bpf/verifier.c

import type { Instruction } from "../../asm/instruction.ts";
import type { Diagnosis, SourceLocation } from "../../diagnosis/diagnosis.ts";
import type { SpecialField } from "../btf-fields.ts";
import type { KernelFunction } from "../kernel-functions.ts";
import { explore } from "./explore.ts";

/** A program as BPF_PROG_LOAD was given it, with the maps that it names. */
export interface VerifierInput {
  /** BPF_PROG_TYPE_… */
  readonly type: number;
  readonly expectedAttachType: number;
  /** BPF_F_STRICT_ALIGNMENT, … */
  readonly flags: number;
  readonly name: string;
  readonly gplCompatible: boolean;
  readonly instructions: readonly Instruction[];
  /** The map that each 64-bit immediate load names, by its slot; a load that is missing here named none. */
  readonly maps: ReadonlyMap<number, VerifierMap>;
  /** The functions of the kernel that programs may call, by BTF id. */
  readonly kernelFunctions?: ReadonlyMap<number, KernelFunction>;
  /** 0 none, 1 the refused path, 2 every path with full states; 4 statistics. */
  readonly logLevel: number;
  readonly capabilities: { readonly bpf: boolean; readonly perfmon: boolean };
  /** The subprograms, in the order of their first slots; absent where the program came without. */
  readonly functions?: readonly FunctionInfo[];
  /** In the order of instructions. */
  readonly lines?: readonly LineInfo[];
}

/** What BTF says of a subprogram. */
export interface FunctionInfo {
  /** Whether it returns an integer. */
  readonly returnsNumber: boolean;
  /** Whether only this program calls it. */
  readonly isStatic: boolean;
}

/** What the verifier knows of a map. */
export interface VerifierMap {
  readonly id: number;
  readonly name: string;
  readonly type: number;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_… */
  readonly flags: number;
  readonly frozen: boolean;
  /** Of an arena: whether it has an address in user space. */
  readonly hasAddress?: boolean;
  /** Whether its value has a BTF type. */
  readonly typed?: boolean;
  /** Parts of a value that the kernel keeps for itself. */
  readonly fields?: readonly SpecialField[];
  /** Of a map of maps: what the maps in it are like. */
  readonly inner?: VerifierMap;
  /** Little-endian content of a frozen array that programs cannot write, `size` 1, 2, 4 or 8 bytes. */
  contents?(offset: number, size: number): bigint | undefined;
}

/** Source line that begins at a slot. */
export interface LineInfo extends SourceLocation {
  /** Slot. */
  readonly instruction: number;
}

/** What the search cost, as the last line of the log says. */
export interface Statistics {
  readonly instructionsProcessed: number;
  readonly maxStatesPerInstruction: number;
  readonly totalStates: number;
  readonly peakStates: number;
  /** Bytes of stack of each subprogram, in the order of their first slots. */
  readonly stackDepths: readonly number[];
}

export type Verdict =
  | {
      readonly ok: true;
      readonly log: string;
      readonly statistics: Statistics;
      /** Bytes of the context that the program may access. */
      readonly contextBytes: number;
      /** Slots of the instructions that work on arena pointers. */
      readonly inArena: ReadonlySet<number>;
    }
  | {
      readonly ok: false;
      /** Positive: EACCES, EINVAL, … */
      readonly errno: number;
      /** What log levels asked for; at level 0 empty. */
      readonly log: string;
      readonly diagnosis: Diagnosis;
    };

/** Decides whether a program may run. Never throws. */
export function verify(input: VerifierInput): Verdict {
  return explore(input);
}
