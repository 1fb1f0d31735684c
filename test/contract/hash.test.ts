// Elements of a hash, and their order.

import { expect } from "vitest";
import type { Kernel } from "../../src/kernel/kernel.ts";
import {
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_LOOKUP_AND_DELETE_ELEM,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
} from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_HASH } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, keys, type MapCreate, nextKey, remove, set, toU64, u32, u64 } from "./maps.ts";

const createHash = (kernel: Kernel, attr: MapCreate = {}): number =>
  create(kernel, { map_type: BPF_MAP_TYPE_HASH, ...attr });

for (const [name, map_flags] of [
  ["a hash", 0],
  ["a hash without preallocation", BPF_F_NO_PREALLOC],
] as const) {
  contract(`${name} has the keys that it was given and no other`, (kernel, { open }) => {
    const map = open(createHash(kernel, { map_flags }));
    expect(get(kernel, map, 1)).toBe("ENOENT");
    expect(set(kernel, map, 1, 10)).toBe(0);
    expect(set(kernel, map, 0xffff_ffff, 20)).toBe(0);
    expect(get(kernel, map, 1)).toBe(10n);
    expect(get(kernel, map, 0xffff_ffff)).toBe(20n);
    expect(get(kernel, map, 2)).toBe("ENOENT");
    expect(keys(kernel, map).sort()).toEqual([1, 0xffff_ffff]);
  });

  contract(`${name} at max_entries refuses a new key with E2BIG and keeps the old ones`, (kernel, { open }) => {
    const map = open(createHash(kernel, { map_flags }));
    for (let key = 0; key < 4; key++) expect(set(kernel, map, key, key)).toBe(0);
    expect(set(kernel, map, 4, 4)).toBe("E2BIG");
    expect(set(kernel, map, 3, 33)).toBe(0);
    expect(keys(kernel, map).sort()).toEqual([0, 1, 2, 3]);
    expect(remove(kernel, map, 0)).toBe(0);
    expect(set(kernel, map, 4, 4)).toBe(0);
    expect(get(kernel, map, 3)).toBe(33n);
  });

  contract(`${name}: the key that is deleted is gone, and deleting it again is ENOENT`, (kernel, { open }) => {
    const map = open(createHash(kernel, { map_flags }));
    set(kernel, map, 1, 1);
    expect(remove(kernel, map, 1)).toBe(0);
    expect(remove(kernel, map, 1)).toBe("ENOENT");
    expect(get(kernel, map, 1)).toBe("ENOENT");
  });
}

contract("NOEXIST writes only a new key of a hash, EXIST only an old one", (kernel, { open }) => {
  const map = open(createHash(kernel));
  expect(set(kernel, map, 1, 1, BPF_EXIST)).toBe("ENOENT");
  expect(set(kernel, map, 1, 1, BPF_NOEXIST)).toBe(0);
  expect(set(kernel, map, 1, 2, BPF_NOEXIST)).toBe("EEXIST");
  expect(set(kernel, map, 1, 3, BPF_EXIST)).toBe(0);
  expect(get(kernel, map, 1)).toBe(3n);
  expect(set(kernel, map, 1, 4, BPF_EXIST | BPF_NOEXIST)).toBe("EINVAL");
  expect(set(kernel, map, 1, 4, 8)).toBe("EINVAL");
});

contract(
  "a full hash tells a missing key with EXIST as ENOENT, and an old one with NOEXIST as EEXIST",
  (kernel, { open }) => {
    const map = open(createHash(kernel, { max_entries: 1 }));
    set(kernel, map, 1, 1);
    expect(set(kernel, map, 2, 2, BPF_EXIST)).toBe("ENOENT");
    expect(set(kernel, map, 1, 2, BPF_NOEXIST)).toBe("EEXIST");
    expect(set(kernel, map, 2, 2, BPF_NOEXIST)).toBe("E2BIG");
  },
);

contract("a walk over a hash meets every key once; behind a missing key it begins again", (kernel, { open }) => {
  const map = open(createHash(kernel, { max_entries: 100 }));
  const written = Array.from({ length: 100 }, (_, index) => index * 7);
  for (const key of written) set(kernel, map, key, key);
  const found = keys(kernel, map);
  expect(found.toSorted((a, b) => a - b)).toEqual(written);
  expect(nextKey(kernel, map, 1)).toBe(found[0]);
  expect(nextKey(kernel, map, undefined)).toBe(found[0]);
  expect(nextKey(kernel, map, found.at(-1))).toBe("ENOENT");
});

contract("an empty hash has no first key: ENOENT", (kernel, { open }) => {
  expect(nextKey(kernel, open(createHash(kernel)), undefined)).toBe("ENOENT");
});

contract("lookup and delete takes an element out", (kernel, { open }) => {
  const map_fd = open(createHash(kernel));
  set(kernel, map_fd, 1, 11);
  const value = new Uint8Array(8);
  expect(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, key: u32(1), value })).toBe(0);
  expect(toU64(value)).toBe(11n);
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, key: u32(1), value }))).toBe("ENOENT");
});

contract("keys of 13 bytes are compared whole", (kernel, { open }) => {
  const map_fd = open(createHash(kernel, { key_size: 13 }));
  const key = Uint8Array.from({ length: 13 }, (_, index) => index);
  const other = key.with(12, 99);
  expect(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key, value: u64(1) })).toBe(0);
  expect(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: other, value: u64(2) })).toBe(0);
  const value = new Uint8Array(8);
  expect(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key, value })).toBe(0);
  expect(toU64(value)).toBe(1n);
  expect(kernel.bpf(BPF_MAP_DELETE_ELEM, { map_fd, key })).toBe(0);
  expect(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: other, value })).toBe(0);
  expect(toU64(value)).toBe(2n);
});

/** Keys of a hash with ZERO_SEED, in its order, after `count` keys of `key_size` bytes were written: each key's number stands in its first 2 bytes. */
function orderOf(
  kernel: Kernel,
  open: (fd: number) => number,
  key_size: number,
  count: number,
  map_flags: number,
): number[] {
  const map_fd = open(createHash(kernel, { key_size, max_entries: 13, map_flags: map_flags | BPF_F_ZERO_SEED }));
  const keyOf = (number: number): Uint8Array => {
    const key = Uint8Array.from({ length: key_size }, (_, index) => (number * (index + 3)) & 0xff);
    new DataView(key.buffer).setUint16(0, number, true);
    return key;
  };
  for (let number = 0; number < count; number++)
    kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: keyOf(number), value: u64(number) });
  // A key that is written again moves to the front of its bucket.
  kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: keyOf(0), value: u64(0) });
  const order: number[] = [];
  const next_key = new Uint8Array(key_size);
  let key: Uint8Array | null = null;
  while (kernel.bpf(BPF_MAP_GET_NEXT_KEY, { map_fd, key, next_key }) === 0) {
    key = next_key.slice();
    order.push(new DataView(key.buffer).getUint16(0, true));
  }
  return order;
}

const orders: readonly (readonly [keySize: number, order: readonly number[]])[] = [
  [2, [7, 0, 1, 11, 6, 3, 10, 9, 4, 2, 5, 8]],
  [3, [4, 9, 3, 2, 5, 6, 7, 8, 11, 10, 0, 1]],
  [4, [5, 9, 6, 8, 1, 7, 4, 0, 3, 2, 10, 11]],
  [6, [10, 7, 0, 5, 9, 4, 2, 3, 11, 1, 8, 6]],
  [8, [4, 3, 2, 6, 5, 11, 10, 1, 8, 0, 9, 7]],
  [12, [10, 8, 5, 4, 3, 0, 1, 6, 11, 9, 2, 7]],
  [13, [4, 10, 2, 9, 11, 6, 8, 5, 7, 1, 0, 3]],
  [16, [1, 9, 10, 5, 7, 4, 8, 11, 2, 6, 0, 3]],
  [24, [4, 5, 0, 11, 9, 7, 2, 1, 10, 6, 8, 3]],
  [25, [9, 5, 3, 4, 1, 11, 2, 6, 8, 0, 7, 10]],
];

for (const [keySize, order] of orders) {
  contract(`with ZERO_SEED the order of a hash with keys of ${keySize} bytes is fixed`, (kernel, { open }) => {
    expect(orderOf(kernel, open, keySize, 12, 0)).toEqual(order);
    expect(orderOf(kernel, open, keySize, 12, BPF_F_NO_PREALLOC)).toEqual(order);
  });
}
