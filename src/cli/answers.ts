// The program types that answer packets, and what their return values are called.
// Linux: include/uapi/linux/bpf.h (enum xdp_action), include/uapi/linux/pkt_cls.h (TC_ACT_…)

import { programTypeName } from "../client/program.ts";
import type { ProgramSpec } from "../spec/spec.ts";
import { BPF_XDP_CPUMAP, BPF_XDP_DEVMAP } from "../uapi/attach-types.ts";
import * as flags from "../uapi/flags.ts";
import { namesByNumber } from "../uapi/names.ts";
import * as programTypes from "../uapi/program-types.ts";

const trafficControl: ReadonlyMap<number, string> = new Map([
  [-1, "TC_ACT_UNSPEC"],
  [0, "TC_ACT_OK"],
  [1, "TC_ACT_RECLASSIFY"],
  [2, "TC_ACT_SHOT"],
  [3, "TC_ACT_PIPE"],
  [4, "TC_ACT_STOLEN"],
  [5, "TC_ACT_QUEUED"],
  [6, "TC_ACT_REPEAT"],
  [7, "TC_ACT_REDIRECT"],
  [8, "TC_ACT_TRAP"],
]);

const xdp = namesByNumber(flags, "XDP_");

interface Answers {
  /** Whether return values are ints: TC_ACT_UNSPEC is -1. */
  readonly signed: boolean;
  readonly name: (value: number) => string | undefined;
}

const byType: ReadonlyMap<number, Answers> = new Map([
  [programTypes.BPF_PROG_TYPE_XDP, { signed: false, name: (value) => xdp.get(value) }],
  [programTypes.BPF_PROG_TYPE_SCHED_CLS, { signed: true, name: (value) => trafficControl.get(value) }],
  [programTypes.BPF_PROG_TYPE_SCHED_ACT, { signed: true, name: (value) => trafficControl.get(value) }],
  [programTypes.BPF_PROG_TYPE_SOCKET_FILTER, { signed: false, name: (value) => (value === 0 ? "drop" : "keep") }],
  [programTypes.BPF_PROG_TYPE_CGROUP_SKB, { signed: false, name: (value) => ["drop", "pass"][value] }],
]);

/** The names of the types whose programs can be run on packets. */
export const packetTypes: readonly string[] = [...byType.keys()].map(programTypeName);

/** XDP programs that run behind a redirect, not on packets that come in. */
const behindRedirects: readonly number[] = [BPF_XDP_DEVMAP, BPF_XDP_CPUMAP];

/** Whether a program can be run on packets. */
export const takesPackets = ({ type, expectedAttachType }: ProgramSpec): boolean =>
  byType.has(type) && !(type === programTypes.BPF_PROG_TYPE_XDP && behindRedirects.includes(expectedAttachType));

/** A return value as programs of a type mean it, with its name where it has one: `{ value: 1, name: "XDP_DROP" }`. */
export function readAnswer(type: number, returnValue: number): { value: number; name?: string } {
  const { signed, name } = byType.get(type)!;
  const value = signed ? returnValue | 0 : returnValue;
  const called = name(value);
  return called === undefined ? { value } : { value, name: called };
}
