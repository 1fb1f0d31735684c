// Per-CPU maps: a value is one for each possible CPU, each rounded up to 8 bytes.

import { expect } from "vitest";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, keys, nextKey, remove, u32 } from "./maps.ts";

const array = BPF_MAP_TYPE_PERCPU_ARRAY;
const hash = BPF_MAP_TYPE_PERCPU_HASH;

/** Bytes of all CPUs' values of `size` bytes: 1, 2, 3, … */
const counting = (kernel: Kernel, size: number): Uint8Array =>
  Uint8Array.from({ length: kernel.system.possibleCpus.length * size }, (_, index) => index + 1);

function write(kernel: Kernel, map_fd: number, key: number, value: Uint8Array, flags = 0): number | string {
  return outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(key), value, flags }));
}

function read(kernel: Kernel, map_fd: number, key: number, size: number): Uint8Array | string {
  const value = new Uint8Array(size);
  const result = kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(key), value });
  return result < 0 ? String(outcome(result)) : value;
}

for (const [name, map_type] of [
  ["a per-CPU array", array],
  ["a per-CPU hash", hash],
] as const) {
  contract(`${name} keeps a value for each possible CPU`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type }));
    const value = counting(kernel, 8);
    expect(write(kernel, map, 1, value)).toBe(0);
    expect(read(kernel, map, 1, value.length)).toEqual(value);
  });

  contract(`${name} strides values of 3 bytes by 8, and reads zeros between them`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type, value_size: 3 }));
    const value = counting(kernel, 8);
    expect(write(kernel, map, 1, value)).toBe(0);
    // Linux copies whole strides in and out, but for a new hash element, so only the 3 bytes of each CPU are compared.
    const found = read(kernel, map, 1, value.length);
    const meant = (bytes: Uint8Array | string): unknown =>
      typeof bytes === "string" ? bytes : [...bytes].filter((_, index) => index % 8 < 3);
    expect(meant(found)).toEqual(meant(value));
  });

  contract(`${name}: a buffer one byte shorter than all CPUs' values is EFAULT`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type }));
    const value = counting(kernel, 8);
    expect(write(kernel, map, 1, value)).toBe(0);
    expect(read(kernel, map, 1, value.length - 1)).toBe("EFAULT");
    expect(write(kernel, map, 1, value.subarray(1))).toBe("EFAULT");
    expect(read(kernel, map, 1, 8)).toBe("EFAULT");
  });
}

contract("a per-CPU array's elements are zero at first, and end with max_entries", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: array }));
  const value = counting(kernel, 8);
  expect(read(kernel, map, 3, value.length)).toEqual(new Uint8Array(value.length));
  expect(read(kernel, map, 4, value.length)).toBe("ENOENT");
  expect(write(kernel, map, 4, value)).toBe("E2BIG");
  expect(write(kernel, map, 0, value, BPF_NOEXIST)).toBe("EEXIST");
  expect(write(kernel, map, 0, value, BPF_EXIST)).toBe(0);
  expect(write(kernel, map, 0, value, BPF_EXIST | BPF_NOEXIST)).toBe("EINVAL");
  expect(remove(kernel, map, 0)).toBe("EINVAL");
  expect(keys(kernel, map)).toEqual([0, 1, 2, 3]);
});

contract("a per-CPU hash has the keys that it was given", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: hash }));
  const value = counting(kernel, 8);
  expect(read(kernel, map, 7, value.length)).toBe("ENOENT");
  expect(nextKey(kernel, map, undefined)).toBe("ENOENT");
  expect(write(kernel, map, 7, value, BPF_EXIST)).toBe("ENOENT");
  expect(write(kernel, map, 7, value, BPF_NOEXIST)).toBe(0);
  expect(write(kernel, map, 7, value, BPF_NOEXIST)).toBe("EEXIST");
  expect(keys(kernel, map)).toEqual([7]);
  expect(remove(kernel, map, 7)).toBe(0);
  expect(remove(kernel, map, 7)).toBe("ENOENT");
});

contract("a per-CPU hash at max_entries refuses a new key with E2BIG", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: hash }));
  const value = counting(kernel, 8);
  for (let key = 0; key < 4; key++) expect(write(kernel, map, key, value)).toBe(0);
  expect(write(kernel, map, 4, value)).toBe("E2BIG");
  expect(write(kernel, map, 3, value)).toBe(0);
});
