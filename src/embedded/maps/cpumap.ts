// BPF_MAP_TYPE_CPUMAP: CPUs that XDP programs redirect to, each with a queue, and a program for what comes out of it.
// A value is struct bpf_cpumap_val { u32 qsize; s32 fd }, whose second word is shown as the program's id.
// Linux: kernel/bpf/cpumap.c

import { BPF_XDP_CPUMAP } from "../../uapi/attach-types.ts";
import { E2BIG, EEXIST, EINVAL, ENODEV, ENOENT, ENOMEM, EOVERFLOW } from "../../uapi/errno.ts";
import { BPF_EXIST, BPF_F_NUMA_NODE, BPF_NOEXIST } from "../../uapi/flags.ts";
import { BPF_PROG_TYPE_XDP } from "../../uapi/program-types.ts";
import { findProgram } from "../objects.ts";
import type { EmbeddedProgram } from "../program.ts";
import type { KernelState } from "../state.ts";
import { Beside } from "./beside.ts";
import { POINTER } from "./fd-array.ts";
import { walk } from "./machine-elements.ts";
import type { EmbeddedMap, MapFamily } from "./map.ts";
import { isCompatible } from "./program-owner.ts";

/** CPUs that the kernel was built for: CONFIG_NR_CPUS. */
const NR_CPUS = 256;
/** Most frames in a queue. */
const MAX_QUEUE = 16384;
/** Bytes of a value with a queue, and of one with a program too. */
const QUEUE = 4;
const QUEUE_AND_PROGRAM = 8;

/** A CPU that is redirected to. */
export interface CpuTarget {
  /** Most frames in its queue. */
  readonly queue: number;
  readonly program: EmbeddedProgram | undefined;
}

export const cpumap: MapFamily = {
  checkAllocation({ key_size, value_size, max_entries, map_flags }) {
    const valid =
      max_entries !== 0 &&
      key_size === 4 &&
      (value_size === QUEUE || value_size === QUEUE_AND_PROGRAM) &&
      (map_flags & ~BPF_F_NUMA_NODE) === 0;
    if (!valid) return -EINVAL;
    return max_entries > NR_CPUS ? -E2BIG : 0;
  },
  memoryNeeded: ({ max_entries }) => max_entries * POINTER,
  perCpu: false,
  hasDirectValue: false,
  operations: {
    ...walk,
    lookup({ memory }, map, key, room) {
      const target = cpuAt(map, memory.u32[key / 4] as number);
      if (target === undefined) return -ENOENT;
      memory.view.setUint32(room, target.queue, true);
      if (map.value_size === QUEUE_AND_PROGRAM) memory.view.setUint32(room + QUEUE, target.program?.id ?? 0, true);
      return room;
    },
    update(state, map, key, value, flags) {
      const { memory } = state;
      const cpu = memory.u32[key / 4] as number;
      const queue = memory.view.getUint32(value, true);
      if (flags > BPF_EXIST) return -EINVAL;
      if (cpu >= map.max_entries) return -E2BIG;
      if (flags === BPF_NOEXIST) return -EEXIST;
      if (queue > MAX_QUEUE) return -EOVERFLOW;
      if (cpu >= state.cpus) return -ENODEV;
      if (queue === 0) return put(map, cpu, undefined);
      const fd = map.value_size === QUEUE ? -1 : memory.view.getInt32(value + QUEUE, true);
      const program = fd > 0 ? takeProgram(state, map, fd) : undefined;
      return typeof program === "number" ? program : put(map, cpu, { queue, program });
    },
    remove({ memory }, map, key) {
      const cpu = memory.u32[key / 4] as number;
      return cpu >= map.max_entries ? -EINVAL : put(map, cpu, undefined);
    },
  },
  destroy(_state, map) {
    for (const { program } of targets.of(map).values()) program?.references.drop();
  },
};

/** The CPU at an index, undefined where there is none. bpf_redirect_map. */
export const cpuAt = (map: EmbeddedMap, cpu: number): CpuTarget | undefined => targets.of(map).get(cpu);

const targets = new Beside(() => new Map<number, CpuTarget>());

/** A program, with a reference. Whatever is wrong with it, Linux says that memory does not suffice. */
function takeProgram({ files }: KernelState, map: EmbeddedMap, fd: number): EmbeddedProgram | number {
  const program = findProgram(files, fd);
  if (typeof program === "number" || program.type !== BPF_PROG_TYPE_XDP) return -ENOMEM;
  if (program.expectedAttachType !== BPF_XDP_CPUMAP || !isCompatible(map, program)) return -ENOMEM;
  program.references.take();
  return program;
}

function put(map: EmbeddedMap, cpu: number, target: CpuTarget | undefined): 0 {
  const kept = targets.of(map);
  const old = kept.get(cpu);
  if (target === undefined) kept.delete(cpu);
  else kept.set(cpu, target);
  old?.program?.references.drop();
  return 0;
}
