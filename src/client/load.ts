// From a spec to live maps and programs: BTF, maps, their contents, then programs with the maps' file descriptors patched in.

import type { Instruction } from "../asm/instruction.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { MapSpec, ObjectSpec, ProgramSpec } from "../spec/spec.ts";
import * as commands from "../uapi/commands.ts";
import { EINVAL } from "../uapi/errno.ts";
import { BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE } from "../uapi/insn.ts";
import { failed, UnsupportedError } from "./errors.ts";
import { makeMap } from "./load-maps.ts";
import type { BpfMap } from "./map.ts";
import { MapOfMaps } from "./maps/map-of-maps.ts";
import type { PinnedMap } from "./maps/pinned.ts";
import { ProgramArrayMap } from "./maps/references.ts";
import type { LoadOptions } from "./object.ts";
import { BpfProgram } from "./program.ts";

interface Loaded {
  readonly maps: Record<string, BpfMap>;
  readonly programs: Record<string, BpfProgram>;
}

/** Makes all maps and the chosen programs of a spec, and pins last; closes and unpins what it made where something fails. */
export function load(kernel: Kernel, spec: ObjectSpec, options: LoadOptions): Loaded {
  const chosen = choosePrograms(spec, options.programs);
  // Without a prototype: C may call a map __proto__.
  const loaded: Loaded = { maps: Object.create(null), programs: Object.create(null) };
  const prepared: PinnedMap[] = [];
  const pinned: BpfMap[] = [];
  const btfFd = loadBtf(kernel, spec);
  try {
    for (const map of Object.values(spec.maps)) {
      const made = makeMap(kernel, spec, map, btfFd, options);
      loaded.maps[map.name] = made.map;
      prepared.push(made);
    }
    for (const program of chosen) {
      loaded.programs[program.name] = loadProgram(kernel, spec, program, loaded.maps, btfFd);
    }
    for (const map of Object.values(spec.maps)) fill(map, loaded);
    for (const { map, pin } of prepared) {
      if (map.pinPath !== undefined) continue;
      pin();
      pinned.push(map);
    }
    return loaded;
  } catch (error) {
    for (const map of pinned) map.unpin();
    for (const object of [...Object.values(loaded.programs), ...Object.values(loaded.maps)]) object.close();
    throw error;
  } finally {
    // Maps and programs hold the BTF from now on.
    if (btfFd !== undefined) kernel.close(btfFd);
  }
}

function choosePrograms(spec: ObjectSpec, names: readonly string[] | undefined): readonly ProgramSpec[] {
  if (names === undefined) return Object.values(spec.programs).filter((program) => program.autoload);
  return names.map((name) => {
    const program = Object.hasOwn(spec.programs, name) ? spec.programs[name] : undefined;
    if (program === undefined) {
      const there = Object.keys(spec.programs).join(", ") || "none";
      throw new UnsupportedError(`${spec.name}: no program "${name}"; its programs: ${there}`);
    }
    return program;
  });
}

/** A kernel that refuses the BTF (an older one, say) still runs the programs: then nothing carries types. */
function loadBtf(kernel: Kernel, spec: ObjectSpec): number | undefined {
  if (spec.btf === undefined) return undefined;
  const { bytes } = spec.btf;
  const fd = kernel.bpf(commands.BPF_BTF_LOAD, { btf: bytes, btf_size: bytes.length });
  if (fd >= 0) return fd;
  if (fd === -EINVAL) return undefined;
  throw failed(-fd, commands.BPF_BTF_LOAD, { subject: spec.name });
}

/**
 * Puts maps and programs into the slots where the object wants them. A program that is not loaded leaves its slot empty; a map of
 * maps that was pinned before keeps what is in it.
 */
function fill({ name, values = [] }: MapSpec, { maps, programs }: Loaded): void {
  const map = maps[name];
  for (const { index, name: wanted } of values) {
    if (map instanceof MapOfMaps && map.pinPath === undefined) map.set(index, maps[wanted]!);
    const program = programs[wanted];
    if (map instanceof ProgramArrayMap && program !== undefined) map.set(index, program);
  }
}

function loadProgram(
  kernel: Kernel,
  object: ObjectSpec,
  spec: ProgramSpec,
  maps: Record<string, BpfMap>,
  btfFd: number | undefined,
): BpfProgram {
  return BpfProgram.load(kernel, {
    type: spec.type,
    name: spec.name,
    instructions: patch(spec, maps),
    license: object.license,
    expectedAttachType: spec.expectedAttachType,
    flags: spec.flags,
    kernelVersion: object.kernelVersion,
    ...(btfFd === undefined ? {} : { btf: { fd: btfFd, functions: functionRecords(spec), lines: lineRecords(spec) } }),
  });
}

/** The instructions with each map reference turned into the map's file descriptor. */
function patch(spec: ProgramSpec, maps: Record<string, BpfMap>): Instruction[] {
  const instructions = [...spec.instructions];
  for (const { instruction: at, map, valueOffset } of spec.references) {
    const fd = maps[map]!.fd;
    const src = valueOffset === undefined ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE;
    instructions[at] = { ...instructions[at]!, src, imm: fd };
    instructions[at + 1] = { ...instructions[at + 1]!, imm: valueOffset ?? 0 };
  }
  return instructions;
}

/** struct bpf_func_info records. */
function functionRecords({ functions }: ProgramSpec): Uint8Array {
  const words = functions.flatMap(({ instruction, typeId }) => [instruction, typeId]);
  return new Uint8Array(Uint32Array.from(words).buffer);
}

/** struct bpf_line_info records: the column takes the low 10 bits of the last word. */
function lineRecords({ lines }: ProgramSpec): Uint8Array {
  const words = lines.flatMap(({ instruction, fileNameOffset, lineOffset, line, column }) => [
    instruction,
    fileNameOffset,
    lineOffset,
    (line << 10) | (column & 0x3ff),
  ]);
  return new Uint8Array(Uint32Array.from(words).buffer);
}
