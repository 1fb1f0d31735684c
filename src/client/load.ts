// From a spec to live maps and programs: BTF, maps, their contents, then programs with the maps' file descriptors patched in.

import type { Instruction } from "../asm/instruction.ts";
import { BtfError } from "../btf/btf.ts";
import { codecOf } from "../btf/codec.ts";
import { bytes } from "../codec/bytes.ts";
import type { Codec } from "../codec/codec.ts";
import { u32 } from "../codec/scalars.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { MapSpec, ObjectSpec, ProgramSpec } from "../spec/spec.ts";
import { BPF_OBJ_NAME_LEN } from "../uapi/attr.ts";
import * as commands from "../uapi/commands.ts";
import { EINVAL, ENOENT } from "../uapi/errno.ts";
import { BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE } from "../uapi/insn.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_RINGBUF } from "../uapi/map-types.ts";
import { BpfError, failed, UnsupportedError } from "./errors.ts";
import { BpfMap, KeyedMap, mapTypeName } from "./map.ts";
import type { LoadOptions } from "./object.ts";
import { BpfProgram } from "./program.ts";

interface Loaded {
  readonly maps: Record<string, BpfMap>;
  readonly programs: Record<string, BpfProgram>;
}

const DEFAULT_PIN_ROOT = "/sys/fs/bpf";
/** The longest name the kernel keeps. */
const NAME_LENGTH = BPF_OBJ_NAME_LEN - 1;

/** Makes all maps and the chosen programs of a spec; closes and unpins what it made where something fails. */
export function load(kernel: Kernel, spec: ObjectSpec, options: LoadOptions): Loaded {
  const chosen = choosePrograms(spec, options.programs);
  // Without a prototype: C may call a map __proto__.
  const loaded: Loaded = { maps: Object.create(null), programs: Object.create(null) };
  const pinned: string[] = [];
  const btfFd = loadBtf(kernel, spec);
  try {
    for (const map of Object.values(spec.maps)) {
      loaded.maps[map.name] = makeMap(kernel, spec, map, btfFd, options.pinRoot ?? DEFAULT_PIN_ROOT, pinned);
    }
    for (const program of chosen) {
      loaded.programs[program.name] = loadProgram(kernel, spec, program, loaded.maps, btfFd);
    }
    return loaded;
  } catch (error) {
    for (const path of pinned) kernel.bpffs.unlink(path);
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

function makeMap(
  kernel: Kernel,
  object: ObjectSpec,
  spec: MapSpec,
  btfFd: number | undefined,
  pinRoot: string,
  pinned: string[],
): BpfMap {
  const path = `${pinRoot}/${spec.name}`;
  const reused = spec.pinByName ? openPinned(kernel, object, spec, path) : undefined;
  if (reused !== undefined) return reused;
  const map = createMap(kernel, object, spec, btfFd);
  try {
    if (spec.contents !== undefined) write(map, spec.contents);
    if (spec.freeze && map instanceof KeyedMap) map.freeze();
    if (spec.pinByName) {
      map.pin(path);
      pinned.push(path);
    }
    return map;
  } catch (error) {
    map.close();
    throw error;
  }
}

/** The map that is pinned under a spec's name, if it is the spec's own kind. */
function openPinned(kernel: Kernel, object: ObjectSpec, spec: MapSpec, path: string): BpfMap | undefined {
  let map: BpfMap;
  try {
    map = BpfMap.open(kernel, path, codecs(object, spec) as never);
  } catch (error) {
    if (error instanceof BpfError && error.errno === ENOENT) return undefined;
    throw error;
  }
  const { max_entries, map_flags } = map.info;
  if (max_entries === spec.maxEntries && map_flags === spec.flags) return map;
  map.close();
  throw new BpfError(EINVAL, {
    syscall: "bpf(BPF_OBJ_GET)",
    subject: path,
    hint: `the map pinned there has max_entries ${max_entries} and flags ${map_flags}; ${object.name} declares ${spec.maxEntries} and ${spec.flags}`,
  });
}

function createMap(kernel: Kernel, object: ObjectSpec, spec: MapSpec, btfFd: number | undefined): BpfMap {
  const { btfKeyTypeId = 0, btfValueTypeId = 0 } = spec;
  const options = {
    name: kernelName(object, spec),
    maxEntries: spec.maxEntries,
    flags: spec.flags,
    ...(spec.numaNode === undefined ? {} : { numaNode: spec.numaNode }),
    ...codecs(object, spec),
  };
  const create = (btf: object) => BpfMap.create(kernel, { ...options, ...btf } as never);
  if (btfFd === undefined || btfValueTypeId === 0) return create({});
  try {
    return create({ btf: { fd: btfFd, keyTypeId: btfKeyTypeId, valueTypeId: btfValueTypeId } });
  } catch (error) {
    // Some kernels and types take no BTF for keys and values.
    if (!(error instanceof BpfError && error.errno === EINVAL)) throw error;
    return create({});
  }
}

/** The type of a map with the codecs that its BTF gives, or bytes; the key of an array is always an index. */
function codecs({ btf }: ObjectSpec, spec: MapSpec): object {
  const codec = (typeId: number | undefined): Codec<unknown> | undefined => {
    if (btf === undefined || !typeId) return undefined;
    try {
      return codecOf(btf, typeId);
    } catch (error) {
      // A type without values of its own (void *, an array of millions) does not keep the object from being used.
      if (error instanceof BtfError) return undefined;
      throw error;
    }
  };
  const type = mapTypeName(spec.type);
  if (spec.type === BPF_MAP_TYPE_RINGBUF) return { type };
  const isArray = spec.type === BPF_MAP_TYPE_ARRAY || spec.type === BPF_MAP_TYPE_PERCPU_ARRAY;
  return {
    type,
    key: codec(spec.btfKeyTypeId) ?? (isArray ? u32 : bytes(spec.keySize)),
    value: codec(spec.btfValueTypeId) ?? bytes(spec.valueSize),
  };
}

/** As libbpf calls them: a data map after its object, `counter.rodata`, unless its section is one of several, `.rodata.str1.1`. */
function kernelName(object: ObjectSpec, spec: MapSpec): string {
  if (spec.name.lastIndexOf(".") !== 0) return spec.name.slice(0, NAME_LENGTH);
  const file = object.name.slice(object.name.lastIndexOf("/") + 1);
  const stem = file.replace(/\..*$/, "").replace(/\W/g, "_");
  return `${stem.slice(0, 8)}${spec.name}`.slice(0, NAME_LENGTH);
}

function write(map: BpfMap, contents: Uint8Array): void {
  const key = new Uint8Array(4);
  const result = map.kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd: map.fd, key, value: contents, flags: 0 });
  if (result < 0) throw failed(-result, commands.BPF_MAP_UPDATE_ELEM, { subject: map.name });
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
