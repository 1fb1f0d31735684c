// What programs do with arena pointers: loads, stores and atomic operations by the lower half of an address, casts, and kfuncs.
// Where a page is not present, a load gives 0, and nothing else has an effect but that registers are cut to the width, as the verifier counts on.
// Linux: arch/x86/net/bpf_jit_comp.c, BPF_PROBE_MEM32; kernel/bpf/arena.c

import { EINVAL } from "../src/uapi/errno.ts";
import { BPF_CMPXCHG, BPF_FETCH, BPF_LOAD_ACQ } from "../src/uapi/insn.ts";
import { BPF_MAP_TYPE_ARENA } from "../src/uapi/map-types.ts";
import { arenaAllocate, arenaAt, arenaFree, arenaReserve, arenaUserStart } from "./arena.ts";
import { addressOfAtomic, isAtomic, run } from "./atomic.ts";
import { R0, R1, R2, R3, R4, R5 } from "./layout.ts";
import { MapHeader } from "./map.ts";
import * as op from "./operations.ts";
import { Operation } from "./operations.ts";

/** NUMA_NO_NODE. */
const ANY_NODE: i32 = -1;

/** Carries out an operation on the arena of the program; false where there is no such operation. */
export function useArena(arena: MapHeader, now: Operation): bool {
  switch (now.code) {
    case op.ARENA_LOAD8:
      return read<u8>(arena, now);
    case op.ARENA_LOAD16:
      return read<u16>(arena, now);
    case op.ARENA_LOAD32:
      return read<u32>(arena, now);
    case op.ARENA_LOAD64:
      return read<u64>(arena, now);
    case op.ARENA_LOAD_SIGNED8:
      return read<i8>(arena, now);
    case op.ARENA_LOAD_SIGNED16:
      return read<i16>(arena, now);
    case op.ARENA_LOAD_SIGNED32:
      return read<i32>(arena, now);
    case op.ARENA_STORE8:
      return write<u8>(arena, now);
    case op.ARENA_STORE16:
      return write<u16>(arena, now);
    case op.ARENA_STORE32:
      return write<u32>(arena, now);
    case op.ARENA_STORE64:
      return write<u64>(arena, now);
    case op.ARENA_ATOMIC8:
      return change<u8>(arena, now);
    case op.ARENA_ATOMIC16:
      return change<u16>(arena, now);
    case op.ARENA_ATOMIC32:
      return change<u32>(arena, now);
    case op.ARENA_ATOMIC64:
      return change<u64>(arena, now);
    case op.ARENA_CAST_USER:
      return castToUser(arena, now);
    default:
      return false;
  }
}

/** Carries out a kfunc; a map that is no arena has no pages. */
export function callArena(code: u32): void {
  const map = load<MapHeader>(R1);
  const isArena = map.type == BPF_MAP_TYPE_ARENA;
  switch (code) {
    case op.ARENA_ALLOCATE: {
      const node = load<i32>(R4);
      const valid = isArena && (node == 0 || node == ANY_NODE);
      store<u64>(R0, valid ? arenaAllocate(map, load<u64>(R2), load<u32>(R3), load<u64>(R5)) : 0);
      break;
    }
    case op.ARENA_FREE:
      if (isArena) arenaFree(map, load<u64>(R2), load<u32>(R3));
      break;
    default:
      store<u64>(R0, <u32>(isArena ? arenaReserve(map, load<u64>(R2), load<u32>(R3)) : -EINVAL));
  }
}

function read<T>(arena: MapHeader, now: Operation): bool {
  const address = addressOf(arena, load<u64>(now.source) + now.offset, sizeof<T>());
  store<i64>(now.destination, address ? <i64>load<T>(address) : 0);
  return true;
}

function write<T>(arena: MapHeader, now: Operation): bool {
  const address = addressOf(arena, load<u64>(now.destination) + now.offset, sizeof<T>());
  if (address) store<T>(address, load<T>(now.source));
  return true;
}

function change<T>(arena: MapHeader, now: Operation): bool {
  if (!isAtomic(now)) return false;
  const address = addressOf(arena, addressOfAtomic(now), sizeof<T>());
  if (address) run<T>(now, address);
  else if (now.immediate == BPF_LOAD_ACQ) store<u64>(now.destination, <u64>load<T>(now.destination));
  else if (now.immediate == BPF_CMPXCHG) store<u64>(R0, <u64>load<T>(R0));
  else if (now.immediate & BPF_FETCH) store<u64>(now.source, <u64>load<T>(now.source));
  return true;
}

/** Address in memory of what a pointer leads to; beyond 4 GiB there is nothing. */
function addressOf(arena: MapHeader, pointer: u64, bytes: u32): usize {
  return pointer >> 32 ? 0 : arenaAt(arena, <u32>pointer, bytes);
}

/** The pointer as user space has it; NULL stays NULL. */
function castToUser(arena: MapHeader, now: Operation): bool {
  const low = <u64>load<u32>(now.source);
  store<u64>(now.destination, low ? (arenaUserStart(arena) & ~(<u64>u32.MAX_VALUE)) | low : 0);
  return true;
}
