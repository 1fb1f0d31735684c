// Where XDP programs redirect to: values of devmaps and cpumaps. A value is struct bpf_devmap_val { u32 ifindex; s32 fd } or
// struct bpf_cpumap_val { u32 qsize; s32 fd }; in place of the file descriptor, the kernel shows the program's id.

import { EINVAL, ENOMEM } from "../../uapi/errno.ts";
import { BPF_PROG_TYPE_XDP } from "../../uapi/program-types.ts";
import { findProgram } from "../objects.ts";
import type { EmbeddedProgram } from "../program.ts";
import { type KernelState, whenIdle } from "../state.ts";
import { Beside } from "./beside.ts";
import { POINTER, setAddress } from "./fd-array.ts";
import type { EmbeddedMap } from "./map.ts";
import { isCompatible } from "./program-owner.ts";

/** Bytes of a value's number, and of a value that has a program too. */
export const NUMBER = 4;
export const NUMBER_AND_PROGRAM = 8;

/** A value as the caller wrote it: the index of a device or the length of a queue, and a program's file descriptor, or -1. */
export function readTarget(
  { memory: { view } }: KernelState,
  { value_size }: EmbeddedMap,
  value: number,
): { readonly number: number; readonly fd: number } {
  return { number: view.getUint32(value, true), fd: value_size === NUMBER ? -1 : view.getInt32(value + NUMBER, true) };
}

/** The XDP program of an attach type behind a file descriptor, with a reference, where one is named; or `error`, whatever is wrong with it. */
export function takeProgram<E extends number>(
  { files }: KernelState,
  map: EmbeddedMap,
  fd: number,
  attachType: number,
  error: E,
): EmbeddedProgram | undefined | E {
  if (fd <= 0) return undefined;
  const program = findProgram(files, fd);
  if (typeof program === "number" || program.type !== BPF_PROG_TYPE_XDP) return error;
  if (program.expectedAttachType !== attachType || !isCompatible(map, program)) return error;
  program.references.take();
  return program;
}

/** Writes a value to where programs find it, and keeps its program in place of the key's last one. */
export function writeTarget(
  { memory }: KernelState,
  map: EmbeddedMap,
  key: number,
  address: number,
  number: number,
  program: EmbeddedProgram | undefined,
): void {
  memory.reach(address + NUMBER_AND_PROGRAM);
  memory.view.setUint32(address, number, true);
  memory.view.setUint32(address + NUMBER, program?.id ?? 0, true);
  keepProgram(map, key, program);
}

/** Sets an element of an array: 0, or -ENOMEM, which lets go of the program. */
export function putTarget(
  state: KernelState,
  map: EmbeddedMap,
  index: number,
  number: number,
  program: EmbeddedProgram | undefined,
): number {
  const address = state.machine.allocate(NUMBER_AND_PROGRAM);
  if (address === 0) {
    program?.references.drop();
    return -ENOMEM;
  }
  writeTarget(state, map, index, address, number, program);
  replace(state, map, index, address);
  return 0;
}

/** Empties an element of an array. */
export function removeTarget(state: KernelState, map: EmbeddedMap, index: number): 0 {
  keepProgram(map, index, undefined);
  replace(state, map, index, 0);
  return 0;
}

/** Empties the element of a key: 0, or -EINVAL behind the last one. */
export function removeAt(state: KernelState, map: EmbeddedMap, key: number): number {
  const index = state.memory.u32[key / 4] as number;
  return index >= map.max_entries ? -EINVAL : removeTarget(state, map, index);
}

/** Empties an array. */
export function removeTargets(state: KernelState, map: EmbeddedMap): void {
  for (let index = 0; index < map.max_entries; index++) removeTarget(state, map, index);
}

/** Sets the program of a key, and lets go of the one before. */
export function keepProgram(map: EmbeddedMap, key: number, program: EmbeddedProgram | undefined): void {
  const kept = programs.of(map);
  const old = kept.get(key);
  if (program === undefined) kept.delete(key);
  else kept.set(key, program);
  old?.references.drop();
}

/** Lets go of all programs of a map. */
export function dropPrograms(map: EmbeddedMap): void {
  for (const program of programs.of(map).values()) program.references.drop();
}

const programs = new Beside(() => new Map<number, EmbeddedProgram>());

function replace(state: KernelState, map: EmbeddedMap, index: number, address: number): void {
  const { machine, memory } = state;
  const old = memory.u32[(machine.mapData(map.handle) + POINTER * index) / 4] as number;
  setAddress(state, map, index, address);
  if (old !== 0) whenIdle(state, () => machine.free(old));
}
