// BPF_MAP_TYPE_DEVMAP and BPF_MAP_TYPE_DEVMAP_HASH: network devices that XDP programs redirect to, with a program for what is sent.
// A value is struct bpf_devmap_val { u32 ifindex; s32 fd }, whose second word is shown as the program's id.
// Linux: kernel/bpf/devmap.c

import { BPF_XDP_DEVMAP } from "../../uapi/attach-types.ts";
import { E2BIG, EEXIST, EINVAL, ENOENT, ENOMEM } from "../../uapi/errno.ts";
import {
  BPF_EXIST,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_NOEXIST,
} from "../../uapi/flags.ts";
import { BPF_PROG_TYPE_XDP } from "../../uapi/program-types.ts";
import { findProgram } from "../objects.ts";
import type { EmbeddedProgram } from "../program.ts";
import { type KernelState, whenIdle } from "../state.ts";
import { Beside } from "./beside.ts";
import { POINTER, setAddress } from "./fd-array.ts";
import { walk } from "./machine-elements.ts";
import type { EmbeddedMap, MapAttributes, MapFamily } from "./map.ts";
import { isCompatible } from "./program-owner.ts";

/** The one network device: lo. */
const LOOPBACK = 1;
const FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
/** Bytes of a value with a device, and of one with a program too. */
const DEVICE = 4;
const DEVICE_AND_PROGRAM = 8;

const common: Omit<MapFamily, "operations"> = {
  capability: "CAP_NET_ADMIN",
  checkAllocation,
  memoryNeeded: ({ max_entries }) => max_entries * POINTER,
  // A lookup gives a program the value itself.
  impliedFlags: BPF_F_RDONLY_PROG,
  perCpu: false,
  hasDirectValue: false,
  destroy(_state, map) {
    for (const program of programs.of(map).values()) program.references.drop();
  },
};

export const devmap: MapFamily = {
  ...common,
  operations: {
    ...walk,
    update(state, map, key, value, flags) {
      const { machine, memory } = state;
      const index = memory.u32[key / 4] as number;
      if (flags > BPF_EXIST) return -EINVAL;
      if (index >= map.max_entries) return -E2BIG;
      if (flags === BPF_NOEXIST) return -EEXIST;
      const { device, fd } = read(state, map, value);
      if (device === 0) return fd > 0 ? -EINVAL : put(state, map, index, 0, undefined);
      const program = checkTarget(state, map, device, fd);
      if (typeof program === "number") return program;
      const address = machine.allocate(DEVICE_AND_PROGRAM);
      if (address === 0) return -ENOMEM;
      memory.reach(address + DEVICE_AND_PROGRAM);
      write(state, address, device, program);
      return put(state, map, index, address, program);
    },
    remove(state, map, key) {
      const index = state.memory.u32[key / 4] as number;
      return index >= map.max_entries ? -EINVAL : put(state, map, index, 0, undefined);
    },
  },
  destroy(state, map) {
    for (let index = 0; index < map.max_entries; index++) put(state, map, index, 0, undefined);
  },
};

export const devmapHash: MapFamily = {
  ...common,
  operations: {
    ...walk,
    update(state, map, key, value, flags) {
      const { machine, memory } = state;
      const { device, fd } = read(state, map, value);
      if (flags > BPF_EXIST || device === 0) return -EINVAL;
      const isThere = machine.mapLookup(map.handle, key) !== 0;
      // BPF_EXIST asks for nothing here.
      if (isThere && flags === BPF_NOEXIST) return -EEXIST;
      const program = checkTarget(state, map, device, fd);
      if (typeof program === "number") return program;
      if (!isThere && counts.of(map).entries >= map.max_entries) {
        program?.references.drop();
        return -E2BIG;
      }
      const index = memory.u32[key / 4] as number;
      take(state, map, index);
      const address = machine.devmapHashAdd(map.handle, index);
      if (address === 0) {
        program?.references.drop();
        return -ENOMEM;
      }
      memory.reach(address + DEVICE_AND_PROGRAM);
      write(state, address, device, program);
      keep(map, index, program);
      counts.of(map).entries++;
      return 0;
    },
    remove: (state, map, key) => (take(state, map, state.memory.u32[key / 4] as number) ? 0 : -ENOENT),
  },
};

/** What a redirect leads to. bpf_redirect_map. */
export interface RedirectTarget {
  /** Index of the network device. */
  readonly device: number;
  /** What it runs on what is sent. */
  readonly program: EmbeddedProgram | undefined;
}

/** The device under a key, undefined where there is none. */
export function deviceAt({ machine, memory }: KernelState, map: EmbeddedMap, key: number): RedirectTarget | undefined {
  const address = machine.mapLookup(map.handle, key);
  if (address === 0) return undefined;
  return { device: memory.u32[address / 4] as number, program: programs.of(map).get(memory.u32[key / 4] as number) };
}

/** The programs of a map's devices, by key. */
const programs = new Beside(() => new Map<number, EmbeddedProgram>());
const counts = new Beside(() => ({ entries: 0 }));

function checkAllocation({ key_size, value_size, max_entries, map_flags }: MapAttributes): number {
  const valid =
    max_entries !== 0 &&
    key_size === 4 &&
    (value_size === DEVICE || value_size === DEVICE_AND_PROGRAM) &&
    (map_flags & ~FLAGS) === 0;
  return valid ? 0 : -EINVAL;
}

/** A value as the caller wrote it; without a program, its file descriptor is -1. */
function read({ memory }: KernelState, map: EmbeddedMap, value: number): { device: number; fd: number } {
  const device = memory.view.getUint32(value, true);
  return { device, fd: map.value_size === DEVICE ? -1 : memory.view.getInt32(value + DEVICE, true) };
}

/** The program for a device, with a reference, where one was named; -EINVAL for everything that is wrong. */
function checkTarget(
  { files }: KernelState,
  map: EmbeddedMap,
  device: number,
  fd: number,
): EmbeddedProgram | undefined | number {
  if (device !== LOOPBACK) return -EINVAL;
  if (fd <= 0) return undefined;
  const program = findProgram(files, fd);
  if (typeof program === "number" || program.type !== BPF_PROG_TYPE_XDP) return -EINVAL;
  if (program.expectedAttachType !== BPF_XDP_DEVMAP || !isCompatible(map, program)) return -EINVAL;
  program.references.take();
  return program;
}

function write({ memory }: KernelState, address: number, device: number, program: EmbeddedProgram | undefined): void {
  memory.view.setUint32(address, device, true);
  memory.view.setUint32(address + DEVICE, program?.id ?? 0, true);
}

/** Replaces an element of an array. */
function put(state: KernelState, map: EmbeddedMap, index: number, address: number, program?: EmbeddedProgram): 0 {
  const old = state.memory.u32[(state.machine.mapData(map.handle) + POINTER * index) / 4] as number;
  setAddress(state, map, index, address);
  keep(map, index, program);
  if (old !== 0) whenIdle(state, () => state.machine.free(old));
  return 0;
}

/** Takes an element out of a hash; whether it was there. */
function take(state: KernelState, map: EmbeddedMap, key: number): boolean {
  const freed = state.machine.devmapHashTake(map.handle, key);
  if (freed === 0) return false;
  counts.of(map).entries--;
  keep(map, key, undefined);
  whenIdle(state, () => state.machine.free(freed));
  return true;
}

/** Sets the program of a key, and lets go of the one before. */
function keep(map: EmbeddedMap, key: number, program: EmbeddedProgram | undefined): void {
  const kept = programs.of(map);
  const old = kept.get(key);
  if (program === undefined) kept.delete(key);
  else kept.set(key, program);
  old?.references.drop();
}
