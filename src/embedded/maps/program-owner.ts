// Which programs belong together in a map, or with it: those that are like the first that was put into it or that used it.
// Linux: __bpf_prog_map_compatible in kernel/bpf/core.c

import { BPF_MAP_TYPE_CPUMAP, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_PROG_ARRAY } from "../../uapi/map-types.ts";
import type { EmbeddedProgram } from "../program.ts";
import { Beside } from "./beside.ts";
import type { EmbeddedMap } from "./map.ts";

/** What is compared. */
export type Likeness = Pick<EmbeddedProgram, "type" | "expectedAttachType" | "xdpHasFrags">;

/** Whether a program may be put into a map; the first one settles what those behind it must be like. */
export function isCompatible(map: EmbeddedMap, { type, expectedAttachType, xdpHasFrags }: Likeness): boolean {
  const settled = owners.of(map);
  settled.owner ??= { type, expectedAttachType, xdpHasFrags };
  const { owner } = settled;
  const isSameAttachType = map.map_type !== BPF_MAP_TYPE_PROG_ARRAY || owner.expectedAttachType === expectedAttachType;
  return owner.type === type && owner.xdpHasFrags === xdpHasFrags && isSameAttachType;
}

/** Whether a program may use a map; it counts as one that is in it. */
export const mayUse = (map: EmbeddedMap, program: Likeness): boolean =>
  !HOLD_PROGRAMS.has(map.map_type) || isCompatible(map, program);

const HOLD_PROGRAMS = new Set<number>([BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_CPUMAP]);

const owners = new Beside<{ owner?: Likeness }>(() => ({}));
