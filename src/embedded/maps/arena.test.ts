// An arena's pages as the kfuncs of programs allocate and free them in the machine.

import { expect, test } from "vitest";
import { RESULT } from "../../../machine/layout.ts";
import { EBUSY, EINVAL } from "../../uapi/errno.ts";
import { BPF_F_MMAPABLE } from "../../uapi/flags.ts";
import { BPF_MAP_TYPE_ARENA } from "../../uapi/map-types.ts";
import { createMachine } from "../machine.ts";

const PAGE = 4096;
const HIGH = 0x1000;
const START = 0x8000_0000;

function createArena(pages: number, high = HIGH) {
  const machine = createMachine({ cpus: 1, memoryLimit: 2 ** 30, seed: 1, helper: () => {}, wake: () => {} });
  const map = machine.mapCreate(BPF_MAP_TYPE_ARENA, 0, 0, pages, BPF_F_MMAPABLE, high === 0 ? 0 : START, high);
  const view = (): DataView => new DataView(machine.memory.buffer);
  return {
    machine,
    /** Number of the first page that was allocated; undefined for a null pointer. */
    allocate(count: number, page?: number, flags = 0): number | undefined {
      const pointer = page === undefined ? [0, 0] : [START + page * PAGE, high];
      machine.arenaAllocate(map, pointer[0]!, pointer[1]!, count, flags);
      const result = view().getBigUint64(RESULT, true);
      return result === 0n ? undefined : Number(result - (BigInt(high) << 32n) - BigInt(START)) / PAGE;
    },
    reserve: (page: number, count: number) => machine.arenaReserve(map, START + page * PAGE, high, count),
    free: (page: number, count: number) => machine.arenaFree(map, START + page * PAGE, high, count),
    at: (offset: number, bytes = 1) => machine.arenaAt(map, START + offset, bytes),
    map: (bytes: number) => machine.arenaMap(map, bytes),
    destroy: () => machine.mapDestroy(map),
    store: (address: number, byte: number) => view().setUint8(address, byte),
    load: (address: number) => view().getUint8(address),
  };
}

test("pages are allocated one behind the other, or where they are asked for", () => {
  const arena = createArena(10);
  expect([arena.allocate(2), arena.allocate(1), arena.allocate(1, 5), arena.allocate(1, 5)]).toEqual([
    0,
    2,
    5,
    undefined,
  ]);
  // The smallest run of free pages that suffices: 3 and 4, then 6 to 9.
  expect([arena.allocate(2), arena.allocate(4), arena.allocate(1)]).toEqual([3, 6, undefined]);
  expect([arena.allocate(0), arena.allocate(11), arena.allocate(1, undefined, 1)]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});

test("a freed page is zero when it is allocated again, and no program reaches it before", () => {
  const arena = createArena(4);
  expect(arena.at(0)).toBe(0);
  arena.allocate(2);
  const address = arena.at(PAGE + 8, 8);
  expect(address).toBeGreaterThan(0);
  arena.store(address, 5);
  arena.free(1, 1);
  expect([arena.at(PAGE), arena.at(PAGE - 4, 8), arena.at(PAGE - 4, 4) > 0]).toEqual([0, 0, true]);
  expect(arena.allocate(1)).toBe(1);
  expect(arena.load(address)).toBe(0);
  arena.free(0, 1000);
  expect(arena.allocate(4)).toBe(0);
});

test("reserved pages are not allocated", () => {
  const arena = createArena(4);
  expect([arena.reserve(1, 2), arena.reserve(2, 1), arena.reserve(3, 2)]).toEqual([0, -EBUSY, -EINVAL]);
  expect([arena.allocate(2), arena.allocate(1), arena.allocate(1), arena.at(PAGE)]).toEqual([undefined, 0, 3, 0]);
  arena.free(1, 2);
  expect(arena.allocate(2)).toBe(1);
});

test("a page that user space has written is taken, and programs reach it", () => {
  const arena = createArena(4);
  const pages = arena.map(4 * PAGE);
  arena.store(pages + PAGE, 1);
  expect([arena.allocate(2), arena.allocate(1, 1), arena.at(PAGE) - pages]).toEqual([2, undefined, PAGE]);
});

test("an arena that has neither map_extra nor a mapping has no pages to give", () => {
  expect(createArena(4, 0).allocate(1)).toBe(undefined);
});

test("a large arena gives its first pages, and takes no memory before; what it took, it gives back", () => {
  const arena = createArena(2 ** 19);
  const before = arena.machine.bytesInUse();
  expect(before).toBeLessThan(2 ** 20);
  expect([arena.allocate(1), arena.allocate(2 ** 18), arena.map(2 ** 31)]).toEqual([0, undefined, 0]);
  expect(arena.machine.bytesInUse() - before).toBe(2 ** 28);
  arena.destroy();
  expect(arena.machine.bytesInUse()).toBe(0);
});

test("more pages than an arena can have are not mapped, and take no memory", () => {
  for (const [pages, high] of [
    [2 ** 16 + 1, HIGH],
    [2 ** 16 + 1, 0],
    [2 ** 20, HIGH],
  ] as const) {
    const arena = createArena(pages, high);
    const before = arena.machine.bytesInUse();
    expect([arena.map(pages * PAGE), arena.machine.bytesInUse() - before]).toEqual([0, 0]);
  }
});
