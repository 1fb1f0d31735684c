// Local storage: values that belong to sockets, inodes, tasks and cgroups.

import { expect } from "vitest";
import { buildBtf } from "../../src/btf/build.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import type { OwnerKind } from "../../src/embedded/owners.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_BTF_LOAD, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET_INFO_BY_FD, BPF_OBJ_PIN } from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_F_CLONE, BPF_F_LOCK, BPF_F_NO_PREALLOC, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import { cString } from "../../src/uapi/struct.ts";
import { array, int } from "./btf-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, get, type MapCreate, nextKey, remove, set, u32 } from "./maps.ts";

type Storage = readonly [kind: OwnerKind, map_type: number, other: string];

/** With what another kind's file descriptor is refused. */
const storages: readonly Storage[] = [
  ["socket", types.BPF_MAP_TYPE_SK_STORAGE, "ENOTSOCK"],
  ["inode", types.BPF_MAP_TYPE_INODE_STORAGE, "ok"],
  ["task", types.BPF_MAP_TYPE_TASK_STORAGE, "EBADF"],
  ["cgroup", types.BPF_MAP_TYPE_CGRP_STORAGE, "EBADF"],
];

/** BTF with u32 (1), u64 (2), u8 (3) and an array of `length` bytes (4). */
function loadTypes(kernel: Kernel, length = 16): number {
  const btf = buildBtf([int("u32", 4), int("u64", 8), int("u8", 1), array(3, length)]);
  return kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length });
}

/** Attributes of storage of u64. */
const attributes = (map_type: number, btf_fd: number): MapCreate => ({
  map_type,
  max_entries: 0,
  map_flags: BPF_F_NO_PREALLOC,
  btf_fd,
  btf_key_type_id: 1,
  btf_value_type_id: 2,
});

for (const [kind, map_type, other] of storages) {
  const make = (kernel: Kernel, open: (fd: number) => number): number =>
    open(create(kernel, attributes(map_type, open(loadTypes(kernel)))));

  contract(`${kind} storage is written, read and deleted by the owner's file descriptor`, (kernel, bench) => {
    const map = make(kernel, bench.open);
    const owner = bench.owner(kind);
    expect(get(kernel, map, owner)).toBe("ENOENT");
    expect(set(kernel, map, owner, 5, BPF_EXIST)).toBe("ENOENT");
    expect(set(kernel, map, owner, 5, BPF_NOEXIST)).toBe(0);
    expect(set(kernel, map, owner, 6, BPF_NOEXIST)).toBe("EEXIST");
    expect(set(kernel, map, owner, 7, BPF_EXIST)).toBe(0);
    expect(set(kernel, map, owner, 8, 3)).toBe("EINVAL");
    expect(set(kernel, map, owner, 8, BPF_F_LOCK)).toBe("EINVAL");
    expect(get(kernel, map, owner)).toBe(7n);
    expect(nextKey(kernel, map, owner)).toBe("ENOTSUPP");
    expect(remove(kernel, map, owner)).toBe(0);
    expect(remove(kernel, map, owner)).toBe("ENOENT");
    expect(get(kernel, map, owner)).toBe("ENOENT");
  });

  contract(`${kind} storage answers ${other} to file descriptors of something else`, (kernel, bench) => {
    const map = make(kernel, bench.open);
    const fds = storages.flatMap(([each]) => (each === kind ? [] : [bench.owner(each)]));
    for (const fd of [...fds, map]) {
      expect(get(kernel, map, fd)).toBe(other === "ok" ? "ENOENT" : other);
      // The flags are looked at behind the owner.
      expect(set(kernel, map, fd, 1, 3)).toBe(other === "ok" ? "EINVAL" : other);
      expect(set(kernel, map, fd, 1)).toBe(other === "ok" ? 0 : other);
      expect(remove(kernel, map, fd)).toBe(other === "ok" ? 0 : other);
    }
    for (const fd of [9999, 0xffff_ffff]) {
      expect(get(kernel, map, fd)).toBe("EBADF");
      expect(set(kernel, map, fd, 1)).toBe("EBADF");
      expect(remove(kernel, map, fd)).toBe("EBADF");
    }
  });

  contract(`two maps of ${kind} storage keep a value each`, (kernel, bench) => {
    const [first, second] = [make(kernel, bench.open), make(kernel, bench.open)];
    const owner = bench.owner(kind);
    set(kernel, first, owner, 1);
    set(kernel, second, owner, 2);
    expect([get(kernel, first, owner), get(kernel, second, owner)]).toEqual([1n, 2n]);
    remove(kernel, first, owner);
    expect([get(kernel, first, owner), get(kernel, second, owner)]).toEqual(["ENOENT", 2n]);
  });

  contract(
    `${kind} storage needs NO_PREALLOC, no entries, and an int of 32 bits as its key's type`,
    (kernel, { open }) => {
      const valid = attributes(map_type, open(loadTypes(kernel)));
      const tries: readonly (readonly [change: MapCreate, expected: string])[] = [
        [{}, "ok"],
        [{ map_flags: BPF_F_NO_PREALLOC | BPF_F_CLONE }, "ok"],
        [{ map_flags: BPF_F_CLONE }, "EINVAL"],
        [{ max_entries: 1 }, "EINVAL"],
        [{ key_size: 8 }, "EINVAL"],
        [{ btf_key_type_id: 0 }, "EINVAL"],
        [{ btf_key_type_id: 2 }, "EINVAL"],
        [{ btf_key_type_id: 3 }, "EINVAL"],
        [{ btf_key_type_id: 0, btf_value_type_id: 0 }, "EINVAL"],
        [{ value_size: 4 }, "EINVAL"],
        [{ value_size: 70000, btf_fd: 9999 }, "E2BIG"],
        [{ value_size: 70000, map_flags: 0 }, "EINVAL"],
        [{ btf_fd: 9999 }, "EBADF"],
      ];
      for (const [change, expected] of tries)
        expect(creation(kernel, { ...valid, ...change }), JSON.stringify(change)).toBe(expected);
    },
  );

  contract(`a value of ${kind} storage has at most 65407 bytes`, (kernel, { open }) => {
    for (const [value_size, expected] of [
      [65407, "ok"],
      [65408, "E2BIG"],
    ] as const) {
      const valid = attributes(map_type, open(loadTypes(kernel, value_size)));
      expect(creation(kernel, { ...valid, value_size, btf_value_type_id: 4 })).toBe(expected);
    }
  });

  contract(`a ${kind} is nothing that can be pinned or told about`, (kernel, bench) => {
    const owner = bench.owner(kind);
    const info = new Uint8Array(80);
    expect(outcome(kernel.bpf(BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: owner, info_len: info.length, info }))).toBe("EINVAL");
    const pathname = cString(`${bench.pins}/owner`);
    expect(outcome(kernel.bpf(BPF_OBJ_PIN, { bpf_fd: owner, pathname }))).toBe("EINVAL");
    expect(get(kernel, owner, 0)).toBe("EINVAL");
  });

  contract.on("embedded")(`${kind} storage is freed with its owner, and with its map`, () => {
    using kernel = new EmbeddedKernel();
    const btf = loadTypes(kernel);
    const map = create(kernel, attributes(map_type, btf));
    get(kernel, map, 0);
    const memory = kernel.memoryInUse;
    const owner = kernel.openOwner(kind);
    const copy = kernel.dup(owner);
    set(kernel, map, owner, 1);
    expect(kernel.memoryInUse).toBeGreaterThan(memory);
    kernel.close(owner);
    expect(get(kernel, map, copy)).toBe(1n);
    kernel.close(copy);
    expect(kernel.memoryInUse).toBe(memory);
    const second = kernel.openOwner(kind);
    set(kernel, map, second, 2);
    kernel.close(map);
    expect(kernel.memoryInUse).toBeLessThan(memory);
    expect(kernel.dup(9999)).toBe(-9);
  });
}

contract("maps, programs and BTF share one inode", (kernel, { open }) => {
  const btf = open(loadTypes(kernel));
  const map = open(create(kernel, attributes(types.BPF_MAP_TYPE_INODE_STORAGE, btf)));
  set(kernel, map, map, 3);
  expect(get(kernel, map, btf)).toBe(3n);
});

contract(
  "a socket takes less than 128 KiB of storage, and both values while one replaces the other: ENOMEM",
  (kernel, bench) => {
    const value_size = 43000;
    const btf_fd = bench.open(loadTypes(kernel, value_size));
    const maps = Array.from({ length: 4 }, () =>
      bench.open(
        create(kernel, { ...attributes(types.BPF_MAP_TYPE_SK_STORAGE, btf_fd), value_size, btf_value_type_id: 4 }),
      ),
    );
    const owner = bench.owner("socket");
    const value = new Uint8Array(value_size);
    const write = (map_fd: number): number | string =>
      outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(owner), value }));
    expect(maps.map(write)).toEqual([0, 0, 0, "ENOMEM"]);
    expect(write(maps[0]!)).toBe("ENOMEM");
    expect(remove(kernel, maps[2]!, owner)).toBe(0);
    expect(write(maps[0]!)).toBe(0);
    expect(write(maps[3]!)).toBe(0);
  },
);

for (const [kind, map_type] of storages) {
  contract(`a lock in ${kind} storage is read as 0, and BPF_F_LOCK writes around it`, (kernel, bench) => {
    const member = (name: string, type: number, bitOffset: number) => ({ name, type, bitOffset, bitSize: 0 });
    const btf = buildBtf([
      int("u32", 4),
      { kind: "struct", name: "bpf_spin_lock", size: 4, members: [member("val", 1, 0)] },
      { kind: "struct", name: "locked", size: 8, members: [member("lock", 2, 0), member("count", 1, 32)] },
    ]);
    const btf_fd = bench.open(kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length }));
    const map = bench.open(create(kernel, { ...attributes(map_type, btf_fd), btf_value_type_id: 3 }));
    const owner = bench.owner(kind);
    const count = (number: bigint): bigint => number << 32n;
    expect(set(kernel, map, owner, count(5n) | 1n, BPF_F_LOCK)).toBe(0);
    expect([get(kernel, map, owner), get(kernel, map, owner, BPF_F_LOCK)]).toEqual([count(5n), count(5n)]);
    expect(set(kernel, map, owner, count(6n) | 1n, BPF_F_LOCK | BPF_EXIST)).toBe(0);
    expect(set(kernel, map, owner, count(7n), BPF_F_LOCK | BPF_NOEXIST)).toBe("EEXIST");
    expect(get(kernel, map, owner)).toBe(count(6n));
    expect(remove(kernel, map, owner)).toBe(0);
    expect(set(kernel, map, owner, 1, BPF_F_LOCK | BPF_EXIST)).toBe("ENOENT");
  });
}
