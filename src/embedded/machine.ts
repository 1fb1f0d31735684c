// The machine: maps, allocator and interpreter, compiled from machine/ to WebAssembly, working on one shared memory.
// Addresses are offsets in that memory. Only i32 crosses the border; 64-bit values lie in memory, at the places of machine/layout.ts.

import { INITIAL_PAGES, MAX_PAGES } from "../../machine/layout.ts";
import { machineBase64 } from "./machine.generated.ts";

const PAGE = 65536;

export interface MachineOptions {
  /** Number of possible CPUs. */
  readonly cpus: number;
  /** Most bytes that memory may grow to; at most 2 GiB. */
  readonly memoryLimit: number;
  /** Of the random numbers, and of the hash functions of maps. */
  readonly seed: number;
  /**
   * Answers a helper that the machine does not know: arguments at ARGUMENTS, the result goes to RESULT, u64 each.
   * It may run programs; it must not throw.
   */
  helper(id: number): void;
  /** A ring buffer has something for its readers. Called in the middle of a run. */
  wake(map: number): void;
}

export interface Machine {
  /** Shared, so that its views survive growth; views are only as long as memory was when they were made. */
  readonly memory: WebAssembly.Memory;

  /** 8-aligned bytes with any content; 0 where memory does not suffice. */
  allocate(bytes: number): number;
  allocateZeroed(bytes: number): number;
  free(address: number): void;
  /** Zeroed whole pages of 4096 bytes; 0 where memory does not suffice. */
  allocatePages(bytes: number): number;
  freePages(address: number, bytes: number): void;
  bytesInUse(): number;

  /**
   * Makes a map of a type that the machine knows; its attributes have been checked. map_extra comes in two halves.
   *
   * @returns the map's address, which programs hold as a map pointer; or -ENOMEM, or -EINVAL for another type
   */
  mapCreate(
    type: number,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    flags: number,
    extra?: number,
    extraHigh?: number,
  ): number;
  mapDestroy(map: number): void;
  /** Gives a new map a block of memory, which goes with it, that tells the special fields of its values. See machine/values.ts. */
  mapSetFields(map: number, fields: number, hasLock: boolean): void;
  /** Bytes that the map takes. */
  mapMemory(map: number): number;
  /** Address of an array's values (of addresses, u64 each, where it holds maps, programs or devices), or of a ring buffer's consumer page, which the producer page and the data follow. */
  mapData(map: number): number;
  /**
   * Address of a key's value, 0 where there is none.
   * In a per-CPU map the value of CPU c lies at + c * round8(value size).
   */
  mapLookup(map: number, key: number): number;
  /**
   * In a per-CPU map it sets the value of the running CPU, as a program does.
   *
   * @returns 0 or -EINVAL, -E2BIG, -EEXIST, -ENOENT, -ENOMEM
   */
  mapUpdate(map: number, key: number, value: number, flags: number): number;
  /** `values` holds a value for each CPU, round8(value size) apart. */
  mapUpdatePerCpu(map: number, key: number, values: number, flags: number): number;
  /** @returns 0 or -ENOENT, -EINVAL on arrays */
  mapDelete(map: number, key: number): number;
  /**
   * Copies the key that follows `key` to `next`; the first one where `key` is 0 or missing.
   *
   * @returns 0, or -ENOENT behind the last key
   */
  mapNextKey(map: number, key: number, next: number): number;

  /**
   * Adds a value to a queue, a stack or a Bloom filter.
   *
   * @returns 0 or -EINVAL for flags, -E2BIG where it is full
   */
  mapPush(map: number, value: number, flags: number): number;
  /** Takes a value out of a queue or a stack to `value`. @returns 0 or -ENOENT */
  mapPop(map: number, value: number): number;
  /** As `mapPop`, but the value stays; a Bloom filter reads `value` and looks for it. @returns 0 or -ENOENT */
  mapPeek(map: number, value: number): number;

  /** Number of buckets of a hash. */
  hashBuckets(map: number): number;
  /**
   * Copies the keys and values of whole buckets, from `bucket` on, as long as they fit: at most `room` of each, side by side.
   * The next bucket is left at RESULT.
   *
   * @returns how many
   */
  hashCopyBuckets(map: number, bucket: number, room: number, keys: number, values: number, valueBytes: number): number;
  /** Address of the first key of a hash's bucket; 0 where it is empty. */
  hashFirstKey(map: number, bucket: number): number;
  /** Address of the key behind one in the same bucket; 0 where that was the last. */
  hashKeyBehind(map: number, key: number): number;

  /** Puts a key into a devmap_hash. Address of its struct bpf_devmap_val, which a new key has yet to be given; or -E2BIG, -ENOMEM. */
  devmapHashSet(map: number, key: number): number;
  /** Takes a key out of a devmap_hash. What is to be freed when no program uses it, 0 where the key is not there. */
  devmapHashTake(map: number, key: number): number;

  /** Address of a new record, 0 where it does not fit. bpf_ringbuf_reserve. */
  ringbufReserve(map: number, bytes: number): number;
  ringbufSubmit(record: number, flags: number): void;
  ringbufDiscard(record: number, flags: number): void;
  /** @returns 0, -EAGAIN where the record does not fit, -EINVAL for unknown flags */
  ringbufOutput(map: number, data: number, bytes: number, flags: number): number;

  /** The steps of bpf_user_ringbuf_drain. @returns 0, -EINVAL or -EBUSY */
  userRingbufBegin(map: number, flags: number): number;
  /** @returns address of the next sample, or -errno: of those, -EAGAIN alone lets the drain go on */
  userRingbufPeek(map: number): number;
  /** Bytes of the peeked sample. */
  userRingbufSampleLength(map: number): number;
  userRingbufRelease(map: number): void;
  userRingbufEnd(map: number, samples: number, flags: number): void;

  /**
   * Address of `bytes` bytes of an arena by the lower half of a pointer; 0 where a page of them is not present.
   * Memory may have grown when the pages were allocated.
   */
  arenaAt(map: number, pointer: number, bytes: number): number;
  /** bpf_arena_alloc_pages, pointers in two halves: leaves the pointer, or 0, at RESULT. */
  arenaAllocate(map: number, pointer: number, pointerHigh: number, count: number, flags: number): void;
  /** bpf_arena_reserve_pages. @returns 0, -EINVAL outside the arena, -EBUSY where a page is taken */
  arenaReserve(map: number, pointer: number, pointerHigh: number, count: number): number;
  /** bpf_arena_free_pages */
  arenaFree(map: number, pointer: number, pointerHigh: number, count: number): void;
  /** Pages that an arena's mappings have, 0 while the first mapping is still to tell. */
  arenaUserPages(map: number): number;
  /** Address of an arena's pages, for a mapping of `bytes` of them; 0 where memory does not suffice. */
  arenaMap(map: number, bytes: number): number;

  /**
   * Decodes a program; 64-bit immediate loads hold addresses already.
   *
   * @returns the program's address, or -ENOMEM
   */
  programLoad(instructions: number, slots: number): number;
  /** Gives a program the arena that its arena pointers point into. */
  programSetArena(program: number, map: number): void;
  programFree(program: number): void;
  /**
   * Runs a program on a CPU; r0 is left at RESULT.
   *
   * @returns FAULT_NONE, or which fault ended it, with FAULT_SLOT and FAULT_ADDRESS
   */
  programRun(program: number, context: number, cpu: number): number;
}

/**
 * A machine with a memory of its own.
 *
 * @throws RangeError where the host has no room for the memory
 */
export function createMachine(options: MachineOptions): Machine {
  const maximum = Math.min(Math.max(Math.floor(options.memoryLimit / PAGE), INITIAL_PAGES), MAX_PAGES);
  const memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum, shared: true });
  const { helper, wake } = options;
  const instance = new WebAssembly.Instance(compiled(), { env: { memory }, imports: { helper, wake } });
  const exports = instance.exports as unknown as Omit<Machine, "memory"> & Initialize;
  exports.initialize(options.cpus, maximum, options.seed);
  return { ...exports, memory };
}

interface Initialize {
  initialize(cpus: number, pageLimit: number, seed: number): void;
}

let module: WebAssembly.Module | undefined;

function compiled(): WebAssembly.Module {
  module ??= new WebAssembly.Module(Uint8Array.from(atob(machineBase64), (char) => char.charCodeAt(0)));
  return module;
}
