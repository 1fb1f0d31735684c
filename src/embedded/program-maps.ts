// The maps that a program names in its 64-bit immediate loads: found at load, turned into addresses for the machine and into ids for those who ask.
// Linux: resolve_pseudo_ldimm64 in kernel/bpf/verifier.c

import { PAGE_BYTES } from "../../machine/layout.ts";
import { encodeInstructions, type Instruction, LD_IMM64 } from "../asm/instruction.ts";
import { E2BIG, EACCES, EFAULT, EINVAL, ENOTSUPP, EPROTO, ERANGE } from "../uapi/errno.ts";
import { BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_IDX, BPF_PSEUDO_MAP_IDX_VALUE, BPF_PSEUDO_MAP_VALUE } from "../uapi/insn.ts";
import { BPF_MAP_TYPE_ARENA } from "../uapi/map-types.ts";
import { toBigInt } from "../uapi/struct.ts";
import type { Machine } from "./machine.ts";
import type { EmbeddedMap } from "./maps/map.ts";
import { bytesAt, type UserPointer } from "./memory.ts";
import { findMap } from "./objects.ts";
import { sha256 } from "./sha256.ts";
import type { KernelState } from "./state.ts";

/** What one load names: a map, or the address of a byte in its first value. */
export interface MapUse {
  readonly map: EmbeddedMap;
  readonly valueOffset?: number;
}

/** Why a load names no map: positive errno, and what the log says. */
export interface MapRefusal {
  readonly slot: number;
  readonly errno: number;
  readonly reason: string;
}

/** SHA-256 of a program as it was loaded, without what differs from one load to the next: the file descriptors of its maps. */
export function programDigest(instructions: readonly Instruction[]): Uint8Array {
  const nameless = [...instructions];
  for (const [slot, load] of instructions.entries()) {
    const second = instructions[slot + 1];
    if (load.opcode !== LD_IMM64 || second === undefined) continue;
    if (load.src !== BPF_PSEUDO_MAP_FD && load.src !== BPF_PSEUDO_MAP_VALUE) continue;
    nameless[slot] = { ...load, imm: 0 };
    nameless[slot + 1] = { ...second, imm: 0 };
  }
  return sha256(encodeInstructions(nameless));
}

/** Most maps of a program. */
const MAX_USED_MAPS = 64;
/** Offsets in a value stay below this. */
const MAX_VALUE_OFFSET = 2 ** 29;

const byIndex = (source: number): boolean => source === BPF_PSEUDO_MAP_IDX || source === BPF_PSEUDO_MAP_IDX_VALUE;
const ofValue = (source: number): boolean => source === BPF_PSEUDO_MAP_VALUE || source === BPF_PSEUDO_MAP_IDX_VALUE;
const namesMap = ({ opcode, src }: Instruction): boolean =>
  opcode === LD_IMM64 && (src === BPF_PSEUDO_MAP_FD || ofValue(src) || byIndex(src));

/** What each load names, by slot; or why the first that names nothing does not. */
export function resolveMaps(
  state: KernelState,
  instructions: readonly Instruction[],
  fdArray: UserPointer,
  digest: Uint8Array,
): ReadonlyMap<number, MapUse> | MapRefusal {
  const uses = new Map<number, MapUse>();
  const maps = new Set<EmbeddedMap>();
  for (let slot = 0; slot < instructions.length; slot++) {
    const load = instructions[slot] as Instruction;
    if (load.opcode !== LD_IMM64) continue;
    const second = instructions[++slot];
    if (second === undefined || !namesMap(load)) continue;
    const use = resolve(state, load, second, fdArray, digest);
    if ("reason" in use) return { ...use, slot: slot - 1 };
    uses.set(slot - 1, use);
    maps.add(use.map);
    if (maps.size > MAX_USED_MAPS) {
      const reason = `The total number of maps per program has reached the limit of ${MAX_USED_MAPS}`;
      return { slot: slot - 1, errno: E2BIG, reason };
    }
  }
  return uses;
}

/** The instructions with addresses instead of file descriptors, as the machine takes them. */
export function withAddresses(
  { machine }: KernelState,
  instructions: readonly Instruction[],
  uses: ReadonlyMap<number, MapUse>,
): Instruction[] {
  return replaceLoads(instructions, uses, ({ map, valueOffset }, load) => {
    if (valueOffset === undefined) return [{ ...load, src: 0, imm: map.handle }, 0];
    const address = startOf(machine, map) + BigInt(valueOffset);
    const half = (shift: bigint): number => Number(BigInt.asIntN(32, address >> shift));
    return [{ ...load, src: 0, imm: half(0n) }, half(32n)];
  });
}

/** Address of the first byte: of an arena, in user space. */
const startOf = (machine: Machine, map: EmbeddedMap): bigint =>
  (map.map_type === BPF_MAP_TYPE_ARENA && toBigInt(map.map_extra)) || BigInt(machine.mapData(map.handle));

/** The instructions with ids instead of file descriptors, as the kernel shows them. */
export function withIds(instructions: readonly Instruction[], uses: ReadonlyMap<number, MapUse>): Instruction[] {
  return replaceLoads(instructions, uses, ({ map, valueOffset }, load) => [
    { ...load, src: valueOffset === undefined ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_VALUE, imm: map.id },
    valueOffset ?? 0,
  ]);
}

function resolve(
  { files, machine }: KernelState,
  load: Instruction,
  second: Instruction,
  fdArray: UserPointer,
  digest: Uint8Array,
): MapUse | Omit<MapRefusal, "slot"> {
  if (!ofValue(load.src) && second.imm !== 0) return { errno: EINVAL, reason: "unrecognized bpf_ld_imm64 insn" };
  let fd = load.imm;
  if (byIndex(load.src)) {
    const fds = bytesAt(fdArray);
    if (fds === undefined) return { errno: EPROTO, reason: "fd_idx without fd_array is invalid" };
    if (load.imm < 0 || fds.length < 4 * load.imm + 4) return { errno: EFAULT, reason: "" };
    fd = new DataView(fds.buffer, fds.byteOffset).getInt32(4 * load.imm, true);
  }
  const map = findMap(files, fd);
  if (typeof map === "number") return { errno: -map, reason: `fd ${fd} is not pointing to valid bpf_map` };
  if (map.exclusiveHash?.some((byte, index) => byte !== digest[index])) {
    return { errno: EACCES, reason: "program's hash doesn't match map's excl_prog_hash" };
  }
  if (!ofValue(load.src)) return { map };
  const valueOffset = second.imm >>> 0;
  if (valueOffset >= MAX_VALUE_OFFSET) {
    return { errno: EINVAL, reason: `direct value offset of ${valueOffset} is not allowed` };
  }
  if (map.map_type === BPF_MAP_TYPE_ARENA) {
    const bytes = machine.arenaUserPages(map.handle) * PAGE_BYTES;
    // Without an address, the verifier refuses the map.
    if (bytes === 0 || valueOffset <= bytes) return { map, valueOffset };
    return { errno: ERANGE, reason: `invalid access to map value pointer, value_size=0 off=${valueOffset}` };
  }
  if (!map.family.hasDirectValue) {
    return { errno: EINVAL, reason: "no direct value access support for this map type" };
  }
  if (map.max_entries !== 1 || valueOffset >= map.value_size) {
    return {
      errno: map.max_entries !== 1 ? ENOTSUPP : EINVAL,
      reason: `invalid access to map value pointer, value_size=${map.value_size} off=${valueOffset}`,
    };
  }
  return { map, valueOffset };
}

function replaceLoads(
  instructions: readonly Instruction[],
  uses: ReadonlyMap<number, MapUse>,
  replace: (use: MapUse, load: Instruction) => [load: Instruction, secondImm: number],
): Instruction[] {
  const replaced = [...instructions];
  for (const [slot, use] of uses) {
    const [load, imm] = replace(use, instructions[slot] as Instruction);
    replaced[slot] = load;
    replaced[slot + 1] = { ...(instructions[slot + 1] as Instruction), imm };
  }
  return replaced;
}
