// Arenas: creation, and how they are mapped.

import { expect } from "vitest";
import type { Kernel, Mapping, MmapOptions } from "../../src/kernel/kernel.ts";
import { BPF_F_MMAPABLE, BPF_F_NO_USER_CONV, BPF_F_NUMA_NODE, BPF_F_SEGV_ON_FAULT } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_ARENA } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, type MapCreate } from "./maps.ts";

const arena: MapCreate = {
  map_type: BPF_MAP_TYPE_ARENA,
  key_size: 0,
  value_size: 0,
  max_entries: 4,
  map_flags: BPF_F_MMAPABLE,
};
const PAGE = 4096;
const GIB = 1 << 30;
/** An address that nothing is mapped at. */
const START = 0x1000_0000_0000;

function mapped(kernel: Kernel, fd: number, options: MmapOptions): Mapping {
  const mapping = kernel.mmap(fd, options);
  if (typeof mapping === "number") throw new Error(`mmap: ${outcome(mapping)}`);
  return mapping;
}

function mmap(kernel: Kernel, fd: number, options: MmapOptions): number | string {
  const mapping = kernel.mmap(fd, options);
  if (typeof mapping === "number") return outcome(mapping);
  mapping.unmap();
  return "ok";
}

for (const [fact, attr, expected] of [
  ["an arena", {}, "ok"],
  ["an arena without MMAPABLE", { map_flags: 0 }, "EINVAL"],
  ["an arena with keys", { key_size: 4 }, "EINVAL"],
  ["an arena with values", { value_size: 4 }, "EINVAL"],
  ["an arena without pages", { max_entries: 0 }, "EINVAL"],
  ["an arena on a NUMA node", { map_flags: BPF_F_MMAPABLE | BPF_F_NUMA_NODE }, "EINVAL"],
  ["an arena whose faults kill", { map_flags: BPF_F_MMAPABLE | BPF_F_SEGV_ON_FAULT }, "ok"],
  ["an arena without user addresses", { map_flags: BPF_F_MMAPABLE | BPF_F_NO_USER_CONV }, "ok"],
  ["an arena of 4 GiB", { max_entries: 4 * (GIB / PAGE) }, "ok"],
  ["an arena of more", { max_entries: 4 * (GIB / PAGE) + 1 }, "E2BIG"],
  ["an arena at an address", { map_extra: START }, "ok"],
  ["an arena at an address inside a page", { map_extra: START + 8 }, "EINVAL"],
  ["an arena across a boundary of 4 GiB", { map_extra: START - PAGE }, "ERANGE"],
] as const) {
  contract(`${fact}: ${expected}`, (kernel) => expect(creation(kernel, { ...arena, ...attr })).toBe(expected));
}

contract(
  "an arena's pages are zero, and its first mapping says where and how long any other is",
  (kernel, { open }) => {
    const fd = open(create(kernel, arena));
    const first = mapped(kernel, fd, { length: 4 * PAGE, writable: true });
    const { address } = first;
    expect([address % PAGE, first.bytes[PAGE]]).toEqual([0, 0]);
    first.bytes[PAGE + 1] = 7;
    first.unmap();
    expect(mmap(kernel, fd, { length: 4 * PAGE })).toBe("EINVAL");
    expect(mmap(kernel, fd, { length: 2 * PAGE, address })).toBe("EINVAL");
    expect(mmap(kernel, fd, { length: 5 * PAGE, address })).toBe("E2BIG");
  },
);

contract("an arena with map_extra is mapped there, and whole, or not at all", (kernel, { open }) => {
  const fd = open(create(kernel, { ...arena, map_extra: START }));
  expect(mmap(kernel, fd, { length: 4 * PAGE })).toBe("EINVAL");
  expect(mmap(kernel, fd, { length: PAGE, address: START })).toBe("EINVAL");
  expect(mmap(kernel, fd, { length: 5 * PAGE, address: START })).toBe("E2BIG");
  expect(mmap(kernel, fd, { length: 4 * PAGE, offset: PAGE, address: START })).toBe("EINVAL");
  const mapping = mapped(kernel, fd, { length: 4 * PAGE, address: START, writable: true });
  expect(mapping.address).toBe(START);
  mapping.bytes[3 * PAGE] = 9;
  mapping.unmap();
});
