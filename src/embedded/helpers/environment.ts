// What helpers work on, and how their arguments and contexts are read.

import { ARGUMENTS } from "../../../machine/layout.ts";
import type { EmbeddedMap } from "../maps/map.ts";
import type { MachineMemory } from "../memory.ts";
import type { Clock, KernelState } from "../state.ts";

export interface HelperEnvironment {
  readonly memory: MachineMemory;
  readonly clock: Clock;
  /** Hears what programs print. */
  readonly trace: (text: string) => void;
  /** By their address, which programs hold. */
  readonly mapsByAddress: ReadonlyMap<number, EmbeddedMap>;
  readonly state: KernelState;
  /** BPF_PROG_TYPE_… of the program that calls. */
  readonly programType: number;
}

/** A helper: r1 to r5 are addresses or 32-bit values; a u64 is read with `wide`. Its result is sign-extended, or a u64 where it is a bigint. */
export type Helper = (
  env: HelperEnvironment,
  r1: number,
  r2: number,
  r3: number,
  r4: number,
  r5: number,
) => number | bigint;

/** An argument as a u64; r1 is number 0. */
export const wide = ({ view }: MachineMemory, argument: number): bigint =>
  view.getBigUint64(ARGUMENTS + 8 * argument, true);

/** The u32 at an aligned address. */
export const get = ({ u32 }: MachineMemory, address: number): number => u32[address / 4] as number;
export const set = ({ u32 }: MachineMemory, address: number, value: number): void => {
  u32[address / 4] = value;
};
