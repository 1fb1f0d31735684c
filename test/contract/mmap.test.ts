// Arrays that are mapped: one memory for user space and the kernel.

import { expect } from "vitest";
import { exit, loadMapValue, mov, r0, r1, store } from "../../src/asm/builder.ts";
import type { Kernel, Mapping, MmapOptions } from "../../src/kernel/kernel.ts";
import { BPF_MAP_FREEZE } from "../../src/uapi/commands.ts";
import { BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, BPF_F_WRONLY } from "../../src/uapi/flags.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, set, toU64 } from "./maps.ts";
import { load, testRun } from "./programs.ts";

const mmapable = (kernel: Kernel, map_flags = 0, max_entries = 4): number =>
  create(kernel, { map_flags: BPF_F_MMAPABLE | map_flags, max_entries });

function mapped(kernel: Kernel, fd: number, options: Partial<MmapOptions> = {}): Mapping {
  const mapping = kernel.mmap(fd, { length: kernel.system.pageSize, ...options });
  if (typeof mapping === "number") throw new Error(`mmap: ${outcome(mapping)}`);
  return mapping;
}

/** The outcome of mmap; what is mapped is let go again. */
function mmap(kernel: Kernel, fd: number, options: Partial<MmapOptions> = {}): number | string {
  const mapping = kernel.mmap(fd, { length: kernel.system.pageSize, ...options });
  if (typeof mapping === "number") return outcome(mapping);
  mapping.unmap();
  return "ok";
}

contract("a mapped array shows what is written by a command, and takes what is written to it", (kernel, { open }) => {
  const map = open(mmapable(kernel));
  const mapping = mapped(kernel, map, { writable: true });
  set(kernel, map, 1, 11);
  expect(toU64(mapping.bytes, 8)).toBe(11n);
  mapping.bytes[16] = 22;
  expect(get(kernel, map, 2)).toBe(22n);
  mapping.unmap();
});

contract("a mapped array shows what a program writes", (kernel, { open }) => {
  const map = open(mmapable(kernel, 0, 1));
  const mapping = mapped(kernel, map);
  testRun(kernel, open(load(kernel, [loadMapValue(r1, map, 0), store("dw", r1, 0, 77), mov(r0, 0), exit()])));
  expect(toU64(mapping.bytes)).toBe(77n);
  mapping.unmap();
});

contract("a mapping outlives the file descriptor", (kernel) => {
  const map = mmapable(kernel);
  set(kernel, map, 0, 5);
  const mapping = mapped(kernel, map);
  kernel.close(map);
  expect(toU64(mapping.bytes)).toBe(5n);
  mapping.unmap();
});

contract("a view that is read after unmap is safe, and unmap may come twice", (kernel, { open }) => {
  const map = open(mmapable(kernel));
  const mapping = mapped(kernel, map, { writable: true });
  mapping.unmap();
  mapping.unmap();
  expect(mapping.bytes.length).toBe(kernel.system.pageSize);
  expect(() => mapping.bytes.reduce((sum, byte) => sum + byte, 0)).not.toThrow();
  mapping.bytes[0] = 1;
});

contract("only an array with MMAPABLE can be mapped", (kernel, { open }) => {
  expect(mmap(kernel, open(create(kernel)))).toBe("EINVAL");
  expect(mmap(kernel, open(create(kernel, { map_type: 1 })))).toBe("ENOTSUPP");
  expect(mmap(kernel, open(mmapable(kernel)))).toBe("ok");
});

contract("a mapping does not begin before its object: EOVERFLOW", (kernel, { open }) => {
  const { pageSize } = kernel.system;
  for (const length of [pageSize, 2 * pageSize])
    expect(mmap(kernel, open(mmapable(kernel)), { offset: -pageSize, length })).toBe("EOVERFLOW");
});

contract("a mapping ends with the array's last page", (kernel, { open }) => {
  const map = open(mmapable(kernel, 0, 1000));
  const { pageSize } = kernel.system;
  expect(mmap(kernel, map, { length: 2 * pageSize })).toBe("ok");
  expect(mmap(kernel, map, { length: 8000 })).toBe("ok");
  expect(mmap(kernel, map, { offset: pageSize })).toBe("ok");
  expect(mmap(kernel, map, { offset: pageSize, length: 2 * pageSize })).toBe("EINVAL");
  expect(mmap(kernel, map, { length: 3 * pageSize })).toBe("EINVAL");
  expect(mmap(kernel, map, { offset: 8 })).toBe("EINVAL");
  expect(mmap(kernel, map, { length: 0 })).toBe("EINVAL");
});

contract("values of a mapped array are 8 bytes apart, whatever their size", (kernel, { open }) => {
  const map = open(create(kernel, { map_flags: BPF_F_MMAPABLE, value_size: 3 }));
  const mapping = mapped(kernel, map, { writable: true });
  mapping.bytes[8] = 9;
  const value = new Uint8Array(3);
  expect(kernel.bpf(1, { map_fd: map, key: Uint8Array.of(1, 0, 0, 0), value })).toBe(0);
  expect([...value]).toEqual([9, 0, 0]);
  mapping.unmap();
});

contract(
  "an array that is mapped writable cannot be frozen: EBUSY; a frozen one is mapped to read only",
  (kernel, { open }) => {
    const map_fd = open(mmapable(kernel));
    const writable = mapped(kernel, map_fd, { writable: true });
    expect(outcome(kernel.bpf(BPF_MAP_FREEZE, { map_fd }))).toBe("EBUSY");
    writable.unmap();
    const readable = mapped(kernel, map_fd);
    expect(kernel.bpf(BPF_MAP_FREEZE, { map_fd })).toBe(0);
    readable.unmap();
    expect(mmap(kernel, map_fd, { writable: true })).toBe("EPERM");
    expect(mmap(kernel, map_fd)).toBe("ok");
  },
);

contract("with RDONLY_PROG an array is not mapped writable, with WRONLY not at all: EACCES", (kernel, { open }) => {
  expect(mmap(kernel, open(mmapable(kernel, BPF_F_RDONLY_PROG)), { writable: true })).toBe("EACCES");
  expect(mmap(kernel, open(mmapable(kernel, BPF_F_WRONLY)))).toBe("EACCES");
});

contract("what is not open cannot be mapped: EBADF", (kernel) => {
  expect(mmap(kernel, 12345)).toBe("EBADF");
});
