// Memory: taken when an object is made, given back when its last holder lets go.

import { expect } from "vitest";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import { BPF_MAP_UPDATE_BATCH } from "../../src/uapi/commands.ts";
import { BPF_F_NO_PREALLOC } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_RINGBUF } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, get, remove, set } from "./maps.ts";

contract("a map's memory is given back with it: 300 times 8 MiB", (kernel) => {
  for (let turn = 0; turn < 300; turn++) expect(creation(kernel, { value_size: 1 << 20, max_entries: 8 })).toBe("ok");
});

contract("a ring buffer's memory is given back with it: 300 times 8 MiB", (kernel) => {
  const ring = { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 8 << 20 };
  for (let turn = 0; turn < 300; turn++) expect(creation(kernel, ring)).toBe("ok");
});

for (const [name, map_flags] of [
  ["a hash", 0],
  ["a hash without preallocation", BPF_F_NO_PREALLOC],
] as const) {
  contract(`${name} takes new elements in the place of deleted ones, for as long as one likes`, (kernel, { open }) => {
    const map = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH, map_flags, max_entries: 16 }));
    for (let key = 0; key < 5000; key++) {
      expect(set(kernel, map, key, key)).toBe(0);
      if (key >= 16) expect(get(kernel, map, key - 15)).toBe(BigInt(key - 15));
      if (key >= 15) expect(remove(kernel, map, key - 15)).toBe(0);
    }
  });
}

contract("a new map is zero, whatever lay there before", (kernel, { open }) => {
  const size = { value_size: 8, max_entries: 1000 };
  const first = create(kernel, size);
  for (let key = 0; key < 1000; key++) set(kernel, first, key, -1n);
  kernel.close(first);
  const second = open(create(kernel, size));
  for (let key = 0; key < 1000; key++) expect(get(kernel, second, key)).toBe(0n);
});

contract.on("embedded")(
  "memoryLimit is what all maps have together: ENOMEM behind it, and room again when one is closed",
  () => {
    using kernel = new EmbeddedKernel({ memoryLimit: 16 << 20 });
    const large = { value_size: 1 << 20, max_entries: 10 };
    const first = create(kernel, large);
    expect(first).toBeGreaterThan(0);
    expect(creation(kernel, large)).toBe("ENOMEM");
    kernel.close(first);
    expect(creation(kernel, large)).toBe("ok");
  },
);

contract.on("embedded")(
  "a hash without preallocation that finds no memory for an element is ENOMEM, and keeps the others",
  () => {
    using kernel = new EmbeddedKernel({ memoryLimit: 4 << 20 });
    const map_fd = create(kernel, {
      map_type: BPF_MAP_TYPE_HASH,
      map_flags: BPF_F_NO_PREALLOC,
      value_size: 1 << 16,
      max_entries: 1000,
    });
    const value = new Uint8Array(1 << 16).fill(1);
    const write = (key: number): number => kernel.bpf(2, { map_fd, key: Uint8Array.of(key, key >> 8, 0, 0), value });
    let written = 0;
    while (write(written) === 0) written++;
    expect(written).toBeGreaterThan(10);
    expect(write(written)).toBe(-12);
    expect(remove(kernel, map_fd, 0)).toBe(0);
    expect(write(written)).toBe(0);
  },
);

contract.on("embedded")("a batch that hits memoryLimit is ENOMEM, and its count tells how many entries took", () => {
  using kernel = new EmbeddedKernel({ memoryLimit: 8 << 20 });
  const before = kernel.memoryInUse;
  const entries = 500_000;
  const map_fd = create(kernel, { map_type: BPF_MAP_TYPE_HASH, map_flags: BPF_F_NO_PREALLOC, max_entries: entries });
  const keys = new Uint8Array(Uint32Array.from({ length: entries }, (_, key) => key).buffer);
  const attr = { map_fd, keys, values: new Uint8Array(entries * 8), count: entries };
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_BATCH, attr))).toBe("ENOMEM");
  expect(attr.count).toBeGreaterThan(100_000);
  expect(get(kernel, map_fd, attr.count - 1)).toBe(0n);
  expect(get(kernel, map_fd, attr.count)).toBe("ENOENT");
  expect(set(kernel, map_fd, attr.count, 1)).toBe("ENOMEM");
  expect(set(kernel, map_fd, 0, 7)).toBe(0);
  expect(remove(kernel, map_fd, 1)).toBe(0);
  expect(set(kernel, map_fd, attr.count, 1)).toBe(0);
  kernel.close(map_fd);
  // What commands copy through stays.
  expect(kernel.memoryInUse - before).toBeLessThan(1 << 16);
});
