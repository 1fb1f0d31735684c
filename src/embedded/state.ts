// What the commands of one embedded kernel work on.

import type { Diagnosis } from "../diagnosis/diagnosis.ts";
import type { BpffsTree } from "./bpffs.ts";
import type { EmbeddedBtf } from "./btf.ts";
import type { Machine } from "./machine.ts";
import type { EmbeddedMap } from "./maps/map.ts";
import type { MachineMemory } from "./memory.ts";
import type { FileTable, Ids } from "./objects.ts";
import type { EmbeddedOwner, EmbeddedSocket } from "./owners.ts";
import type { EmbeddedProgram } from "./program.ts";

/** A capability that bpf(2) asks for. CAP_SYS_ADMIN includes the others. */
export type Capability = "CAP_BPF" | "CAP_NET_ADMIN" | "CAP_PERFMON" | "CAP_SYS_ADMIN";

/** Where an embedded kernel takes its time from. */
export interface Clock {
  /** Nanoseconds since boot. */
  monotonic(): bigint;
  /** Nanoseconds since 1970. */
  realtime(): bigint;
}

export interface KernelState {
  readonly machine: Machine;
  readonly memory: MachineMemory;
  /** Bytes. */
  readonly memoryLimit: number;
  readonly cpus: number;
  readonly clock: Clock;
  readonly capabilities: ReadonlySet<Capability>;
  readonly files: FileTable;
  readonly maps: Ids<EmbeddedMap>;
  /** By their address in the machine, which programs hold as a map pointer. */
  readonly mapsByAddress: Map<number, EmbeddedMap>;
  readonly programs: Ids<EmbeddedProgram>;
  readonly btfs: Ids<EmbeddedBtf>;
  /** All that live. */
  readonly owners: Set<EmbeddedOwner>;
  readonly anonymousInode: EmbeddedOwner;
  /** The cookie of the youngest socket. */
  lastCookie: number;
  /** The id of the youngest performance event. */
  lastPerfEventId: number;
  readonly bpffs: BpffsTree;
  /** The program that runs, the innermost where they nest. */
  running: EmbeddedProgram | undefined;
  /** Addresses of the values that this test run has of its maps of cgroup storage. */
  runStorage: ReadonlyMap<EmbeddedMap, number>;
  /** The sockets of test runs, by their address, which programs find in their packet. */
  readonly socketsByAddress: Map<number, EmbeddedSocket>;
  /** What waits until no program runs. */
  readonly waiting: (() => void)[];
  /** Why the last BPF_PROG_LOAD was refused, where it was. */
  diagnosis: Diagnosis | undefined;
}

export const capable = ({ capabilities }: KernelState, capability: Capability): boolean =>
  capabilities.has(capability) || capabilities.has("CAP_SYS_ADMIN");

/** Frees memory that running programs may still use: at once where none runs, else when the outermost has ended. */
export function whenIdle({ running, waiting }: KernelState, free: () => void): void {
  if (running === undefined) free();
  else waiting.push(free);
}
