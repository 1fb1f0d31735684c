// Which programs belong together in a map, or with it: those that are like the first that was put into it or that used it.
// Linux: __bpf_prog_map_compatible in kernel/bpf/core.c

import { BPF_MAP_TYPE_CPUMAP, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_PROG_ARRAY } from "../../uapi/map-types.ts";
import type { EmbeddedProgram } from "../program.ts";
import { Beside } from "./beside.ts";
import type { EmbeddedMap } from "./map.ts";

/** What is compared. */
export type Likeness = Pick<
  EmbeddedProgram,
  "type" | "expectedAttachType" | "xdpHasFrags" | "cgroupStorage" | "tailCalls"
>;

/** Whether a program may be put into a map; the first one settles what those behind it must be like. */
export function isCompatible(map: EmbeddedMap, program: Likeness): boolean {
  const { type, expectedAttachType, xdpHasFrags } = program;
  const settled = owners.of(map);
  settled.owner ??= likenessOf(program);
  const { owner } = settled;
  const isSameAttachType = map.map_type !== BPF_MAP_TYPE_PROG_ARRAY || owner.expectedAttachType === expectedAttachType;
  return owner.type === type && owner.xdpHasFrags === xdpHasFrags && isSameAttachType && sharesStorage(owner, program);
}

/** Whether a program may use a map; it counts as one that is in it. */
export const mayUse = (map: EmbeddedMap, program: Likeness): boolean =>
  !HOLD_PROGRAMS.has(map.map_type) || isCompatible(map, program);

/** What is to be compared, without the rest of a program. */
const likenessOf = ({ type, expectedAttachType, xdpHasFrags, cgroupStorage, tailCalls }: Likeness): Likeness => ({
  type,
  expectedAttachType,
  xdpHasFrags,
  cgroupStorage,
  tailCalls,
});

/** A program runs with the storage of the one that called it: it has the same maps, or none where it calls no other. */
const sharesStorage = (owner: Likeness, { cgroupStorage, tailCalls }: Likeness): boolean =>
  cgroupStorage.every((id, index) => id === owner.cgroupStorage[index] || (id === 0 && !tailCalls));

const HOLD_PROGRAMS = new Set<number>([BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_CPUMAP]);

const owners = new Beside<{ owner?: Likeness }>(() => ({}));
