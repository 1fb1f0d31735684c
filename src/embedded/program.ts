// BPF_PROG_LOAD and BPF_PROG_BIND_MAP: a program's checks, in the order of Linux, its verification, and its translation for the machine.
// Linux: bpf_prog_load in kernel/bpf/syscall.c, bpf_check in kernel/bpf/verifier.c

import { decodeInstructions, encodeInstructions, INSTRUCTION_SIZE, type Instruction } from "../asm/instruction.ts";
import type { Diagnosis } from "../diagnosis/diagnosis.ts";
import type { BPF_PROG_BIND_MAP, BPF_PROG_LOAD } from "../uapi/commands.ts";
import { E2BIG, EFAULT, EINVAL, ENOMEM, EPERM } from "../uapi/errno.ts";
import * as flags from "../uapi/flags.ts";
import { BPF_FUNC_tail_call } from "../uapi/helper-ids.ts";
import { BPF_CALL, BPF_COMPLEXITY_LIMIT_INSNS, BPF_JMP } from "../uapi/insn.ts";
import {
  BPF_MAP_TYPE_ARENA,
  BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
} from "../uapi/map-types.ts";
import { withArenaAccesses } from "./arena-code.ts";
import type { EmbeddedBtf } from "./btf.ts";
import { kernelFunctions, withFunctionNumbers } from "./kernel-functions.ts";
import { checkLogRequest, writeLog } from "./log.ts";
import { isObjectName } from "./maps/create.ts";
import type { EmbeddedMap, InnerTemplate } from "./maps/map.ts";
import { type Likeness, mayUse } from "./maps/program-owner.ts";
import { bytesAt, type UserPointer, userBytes } from "./memory.ts";
import { findMap, findProgram, References } from "./objects.ts";
import { type DebugInfo, readDebugInfo } from "./program-debug-info.ts";
import { type MapUse, programDigest, resolveMaps, withAddresses, withIds } from "./program-maps.ts";
import { programTypes } from "./program-types.ts";
import { capable, type KernelState, whenIdle } from "./state.ts";
import type { CommandAttr } from "./syscall.ts";
import { type VerifierMap, verify } from "./verifier/verify.ts";

export interface EmbeddedProgram {
  readonly kind: "program";
  readonly id: number;
  readonly name: string;
  /** BPF_PROG_TYPE_… */
  readonly type: number;
  readonly expectedAttachType: number;
  /** BPF_F_XDP_HAS_FRAGS */
  readonly xdpHasFrags: boolean;
  /** Ids of its maps of cgroup storage and of per-CPU cgroup storage; 0 where there is none. */
  readonly cgroupStorage: readonly [number, number];
  /** Whether it calls bpf_tail_call. */
  readonly tailCalls: boolean;
  readonly gplCompatible: boolean;
  /** 8 bytes. */
  readonly tag: Uint8Array;
  /** Its address in the machine. */
  readonly handle: number;
  /** As BPF_OBJ_GET_INFO_BY_FD shows it: maps by id. */
  readonly translated: readonly Instruction[];
  /** The maps that it holds; BPF_PROG_BIND_MAP adds to them. */
  readonly maps: EmbeddedMap[];
  readonly btf: EmbeddedBtf | undefined;
  /** struct bpf_func_info and bpf_line_info. */
  readonly functionInfo: Uint8Array;
  readonly lineInfo: Uint8Array;
  /** Nanoseconds since boot. */
  readonly loadTime: bigint;
  readonly verifiedInstructions: number;
  /** Bytes of its context that it may access. */
  readonly contextBytes: number;
  readonly references: References;
}

type ProgLoad = CommandAttr<typeof BPF_PROG_LOAD>;

const KNOWN_FLAGS =
  flags.BPF_F_STRICT_ALIGNMENT |
  flags.BPF_F_ANY_ALIGNMENT |
  flags.BPF_F_TEST_RND_HI32 |
  flags.BPF_F_TEST_STATE_FREQ |
  flags.BPF_F_SLEEPABLE |
  flags.BPF_F_XDP_HAS_FRAGS |
  flags.BPF_F_TEST_REG_INVARIANTS;

const CALL = BPF_JMP | BPF_CALL;
const TAG_SIZE = 8;
/** Last line of the log of a program that was refused before it was verified. */
const NOTHING_PROCESSED =
  "processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";

export function loadProgram(state: KernelState, attr: ProgLoad): number {
  state.diagnosis = undefined;
  if ((attr.prog_flags & ~KNOWN_FLAGS) !== 0) return -EINVAL;
  if (!capable(state, "CAP_BPF")) return -EPERM;
  if (attr.insn_cnt === 0 || attr.insn_cnt > BPF_COMPLEXITY_LIMIT_INSNS) return -E2BIG;
  const missing = programTypes.get(attr.prog_type)?.capabilities.some((capability) => !capable(state, capability));
  if (missing) return -EPERM;
  if (attr.attach_btf_id !== 0 || attr.attach_prog_fd !== 0) return -EINVAL;
  const attachTypes = programTypes.get(attr.prog_type)?.expectedAttachTypes;
  if (attachTypes !== undefined && !attachTypes.includes(attr.expected_attach_type)) return -EINVAL;
  const bytecode = userBytes(attr.insns, attr.insn_cnt * INSTRUCTION_SIZE);
  const license = readLicense(attr.license);
  if (bytecode === undefined || license === undefined) return -EFAULT;
  if (attr.signature !== null || attr.prog_ifindex !== 0) return -EINVAL;
  if (!programTypes.has(attr.prog_type) || !isObjectName(attr.prog_name)) return -EINVAL;
  const log = { level: attr.log_level, size: attr.log_size, buffer: attr.log_buf };
  const logError = checkLogRequest(log);
  if (logError !== 0) return logError;

  const checked = check(state, attr, decodeInstructions(bytecode), isGplCompatible(license));
  const { trueSize, error } = writeLog(log, checked.log);
  attr.log_true_size = trueSize;
  if (!checked.ok) state.diagnosis = checked.diagnosis;
  if (error !== 0) return error;
  return checked.ok ? install(state, attr, checked, isGplCompatible(license)) : -checked.errno;
}

/** BPF_PROG_BIND_MAP: the map lives as long as the program. */
export function bindMap({ files }: KernelState, attr: CommandAttr<typeof BPF_PROG_BIND_MAP>): number {
  if (attr.flags !== 0) return -EINVAL;
  const program = findProgram(files, attr.prog_fd);
  if (typeof program === "number") return program;
  const map = findMap(files, attr.map_fd);
  if (typeof map === "number") return map;
  if (!program.maps.includes(map)) {
    map.references.take();
    program.maps.push(map);
  }
  return 0;
}

/** The text that says why; it ends with the NUL or after 127 bytes. */
function readLicense(pointer: UserPointer): string | undefined {
  const bytes = bytesAt(pointer);
  const end = bytes?.indexOf(0) ?? -1;
  if (bytes === undefined || (end < 0 && bytes.length < MAX_LICENSE)) return undefined;
  return new TextDecoder().decode(bytes.slice(0, Math.min(end < 0 ? MAX_LICENSE : end, MAX_LICENSE)));
}

const MAX_LICENSE = 127;

/** Whether a program of this licence may call helpers that are for GPL-compatible ones only. */
export const isGplCompatible = (license: string): boolean => GPL_COMPATIBLE.includes(license);
const GPL_COMPATIBLE = ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/** A program that may run, and what was found out about it; or why it may not. */
type Checked =
  | {
      readonly ok: true;
      readonly log: string;
      readonly instructions: readonly Instruction[];
      readonly uses: ReadonlyMap<number, MapUse>;
      readonly digest: Uint8Array;
      readonly debugInfo: DebugInfo;
      readonly verifiedInstructions: number;
      readonly contextBytes: number;
      /** Slots of the instructions that work on arena pointers. */
      readonly inArena: ReadonlySet<number>;
    }
  | { readonly ok: false; readonly errno: number; readonly log: string; readonly diagnosis: Diagnosis | undefined };

function check(
  state: KernelState,
  attr: ProgLoad,
  instructions: readonly Instruction[],
  gplCompatible: boolean,
): Checked {
  const refuse = (errno: number, reason: string, slot?: number): Checked => ({
    ok: false,
    errno,
    log: attr.log_level === 0 ? "" : `${reason === "" ? "" : `${reason}\n`}${NOTHING_PROCESSED}`,
    diagnosis: reason === "" ? undefined : diagnosisOf(reason, slot, instructions),
  });
  const debugInfo = readDebugInfo(state, attr, instructions);
  if ("reason" in debugInfo) return refuse(debugInfo.errno, debugInfo.reason);
  const digest = programDigest(instructions);
  const uses = resolveMaps(state, instructions, attr.fd_array, digest);
  if ("reason" in uses) return refuse(uses.errno, uses.reason, uses.slot);
  const verdict = verify({
    type: attr.prog_type,
    expectedAttachType: attr.expected_attach_type,
    flags: attr.prog_flags,
    name: attr.prog_name,
    gplCompatible,
    instructions,
    maps: verifierMaps(state, uses),
    kernelFunctions: kernelFunctions(),
    logLevel: attr.log_level & ~flags.BPF_LOG_FIXED,
    capabilities: { bpf: true, perfmon: capable(state, "CAP_PERFMON") },
    lines: debugInfo.lines,
    ...(debugInfo.functions ? { functions: debugInfo.functions } : {}),
  });
  if (!verdict.ok) return verdict;
  const { log, statistics, contextBytes, inArena } = verdict;
  const verifiedInstructions = statistics.instructionsProcessed;
  return { ok: true, log, instructions, uses, digest, debugInfo, verifiedInstructions, contextBytes, inArena };
}

/** The map of each load; the same object for the same map. */
function verifierMaps(state: KernelState, uses: ReadonlyMap<number, MapUse>): Map<number, VerifierMap> {
  const known = new Map<EmbeddedMap, VerifierMap>();
  const bySlot = new Map<number, VerifierMap>();
  for (const [slot, { map }] of uses) {
    const seen = known.get(map) ?? verifierMap(state, map);
    known.set(map, seen);
    bySlot.set(slot, seen);
  }
  return bySlot;
}

function verifierMap({ machine, memory }: KernelState, map: EmbeddedMap): VerifierMap {
  const isConstant = map.frozen && (map.map_flags & flags.BPF_F_RDONLY_PROG) !== 0 && map.family.hasDirectValue;
  return {
    id: map.id,
    name: map.name,
    type: map.map_type,
    keySize: map.key_size,
    valueSize: map.value_size,
    maxEntries: map.max_entries,
    flags: map.map_flags,
    frozen: map.frozen,
    hasAddress: map.map_type === BPF_MAP_TYPE_ARENA && machine.arenaUserPages(map.handle) !== 0,
    typed: map.btf !== undefined,
    fields: map.fields,
    ...(map.innerTemplate ? { inner: innerMap(map.innerTemplate) } : {}),
    contents(offset, size) {
      if (!isConstant || offset < 0 || offset + size > map.value_size) return undefined;
      const address = machine.mapData(map.handle) + offset;
      let value = 0n;
      for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(memory.u8[address + i] as number);
      return value;
    },
  };
}

/** What the verifier knows of the maps in a map, whichever they are. */
const innerMap = ({ map_type, key_size, value_size, max_entries, map_flags, fields }: InnerTemplate): VerifierMap => ({
  id: 0,
  name: "",
  type: map_type,
  keySize: key_size,
  valueSize: value_size,
  maxEntries: max_entries,
  flags: map_flags,
  frozen: false,
  typed: fields.length > 0,
  fields,
});

function diagnosisOf(reason: string, slot: number | undefined, instructions: readonly Instruction[]): Diagnosis {
  if (slot === undefined) {
    const suggestion = "Rebuild the object: its function and line information must describe these instructions.";
    return { category: "structure", title: "debug information does not fit", reason, path: [], suggestion };
  }
  const text = `load of map ${instructions[slot]?.imm}`;
  return {
    category: "structure",
    title: "map cannot be used",
    reason,
    at: { instruction: slot, text, registers: "" },
    path: [],
    suggestion:
      "Name a map by a file descriptor that is open, or an offset inside of the value of an array with one entry; an exclusive map by the one program whose hash it has.",
  };
}

/** Makes the program and a file descriptor for it. */
function install(
  state: KernelState,
  attr: ProgLoad,
  { instructions, uses, digest, debugInfo, verifiedInstructions, contextBytes, inArena }: Checked & { ok: true },
  gplCompatible: boolean,
): number {
  const maps = [...new Set([...uses.values()].map(({ map }) => map))];
  const storageOf = (type: number): number => maps.find(({ map_type }) => map_type === type)?.id ?? 0;
  const likeness: Likeness = {
    type: attr.prog_type,
    expectedAttachType: attr.expected_attach_type,
    xdpHasFrags: (attr.prog_flags & flags.BPF_F_XDP_HAS_FRAGS) !== 0,
    cgroupStorage: [storageOf(BPF_MAP_TYPE_CGROUP_STORAGE), storageOf(BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE)],
    tailCalls: instructions.some(({ opcode, src, imm }) => opcode === CALL && src === 0 && imm === BPF_FUNC_tail_call),
  };
  if (!maps.every((map) => mayUse(map, likeness))) return -EINVAL;
  const arena = maps.find(({ map_type }) => map_type === BPF_MAP_TYPE_ARENA);
  const linked = withFunctionNumbers(withAddresses(state, instructions, uses));
  const handle = loadIntoMachine(state, arena ? withArenaAccesses(linked, inArena, arena.map_flags) : linked);
  if (handle < 0) return handle;
  if (arena) state.machine.programSetArena(handle, arena.handle);
  const { btf, functionInfo, lineInfo } = debugInfo;
  for (const held of [...maps, ...(btf ? [btf] : [])]) held.references.take();
  const program = state.programs.add(
    (id): EmbeddedProgram => ({
      kind: "program",
      id,
      name: attr.prog_name,
      ...likeness,
      gplCompatible,
      tag: digest.slice(0, TAG_SIZE),
      handle,
      translated: withIds(instructions, uses),
      maps,
      btf,
      functionInfo,
      lineInfo,
      loadTime: state.clock.monotonic(),
      verifiedInstructions,
      contextBytes,
      references: new References(() => {
        state.programs.remove(id);
        whenIdle(state, () => state.machine.programFree(handle));
        for (const held of [...maps, ...(btf ? [btf] : [])]) held.references.drop();
      }),
    }),
  );
  return state.files.open(program);
}

/** The program's address in the machine, or -ENOMEM. */
function loadIntoMachine({ machine, memory }: KernelState, instructions: readonly Instruction[]): number {
  const bytes = encodeInstructions(instructions);
  const address = machine.allocate(bytes.length);
  if (address === 0) return -ENOMEM;
  memory.copyIn(bytes, address, bytes.length);
  const handle = machine.programLoad(address, instructions.length);
  machine.free(address);
  return handle;
}
