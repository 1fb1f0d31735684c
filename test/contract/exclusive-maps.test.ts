// Maps that one program alone may name, by its hash; the hash of a frozen map; and what creation says of tokens and foreign types.

import { createHash } from "node:crypto";
import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import { encodeInstructions } from "../../src/asm/instruction.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import * as flags from "../../src/uapi/flags.ts";
import { mapInfo, progInfo } from "../../src/uapi/info.ts";
import * as types from "../../src/uapi/map-types.ts";
import { decode, sizeOf } from "../../src/uapi/struct.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, type MapCreate, set, u32 } from "./maps.ts";
import { load, refusal } from "./programs.ts";

const { r0, r1, exit, loadMapFd, loadMapValue, mov } = asm;

const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash("sha256").update(bytes).digest());
const returning = (map: number, result: number): asm.Item[] => [loadMapFd(r1, map), mov(r0, result), exit()];
/** Of a program that names its map by file descriptor 0, as every program does for its hash. */
const hashOf = (items: readonly asm.Item[]): Uint8Array => sha256(encodeInstructions(asm.program(...items)));

const exclusive = (items: readonly asm.Item[]): MapCreate => ({
  excl_prog_hash: hashOf(items),
  excl_prog_hash_size: 32,
});

contract("an exclusive map is for the program of its hash: EACCES to others", (kernel, { open }) => {
  const map = open(create(kernel, exclusive(returning(0, 1))));
  open(load(kernel, returning(map, 1)));
  const words = "program's hash doesn't match map's excl_prog_hash";
  expect(refusal(kernel, returning(map, 2))).toEqual(["EACCES", words]);
  expect(refusal(kernel, [loadMapValue(r1, map, 0), mov(r0, 1), exit()])).toEqual(["EACCES", words]);
});

contract("an exclusive map is read and written by commands, and bound to any program", (kernel, { open }) => {
  const map_fd = open(create(kernel, exclusive(returning(0, 1))));
  expect(set(kernel, map_fd, 0, 5)).toBe(0);
  const prog_fd = open(load(kernel, [mov(r0, 0), exit()]));
  expect(outcome(kernel.bpf(commands.BPF_PROG_BIND_MAP, { prog_fd, map_fd }))).toBe(0);
});

contract("an exclusive map is in no other map: ENOTSUPP", (kernel, { open }) => {
  const inner = open(create(kernel, exclusive(returning(0, 1))));
  const plain = open(create(kernel));
  for (const map_type of [types.BPF_MAP_TYPE_ARRAY_OF_MAPS, types.BPF_MAP_TYPE_HASH_OF_MAPS]) {
    const shape = { map_type, value_size: 4, max_entries: 1 };
    expect(creation(kernel, { ...shape, inner_map_fd: inner })).toBe("ENOTSUPP");
    const map_fd = open(create(kernel, { ...shape, inner_map_fd: plain }));
    const update = (fd: number): number | string =>
      outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(0), value: u32(fd) }));
    expect([update(inner), update(plain)]).toEqual(["ENOTSUPP", 0]);
  }
});

for (const [fact, attr, expected] of [
  ["a hash of 31 bytes", { excl_prog_hash: new Uint8Array(32), excl_prog_hash_size: 31 }, "EINVAL"],
  ["a hash of no size", { excl_prog_hash: new Uint8Array(32) }, "EINVAL"],
  ["fewer bytes than the hash has", { excl_prog_hash: new Uint8Array(8), excl_prog_hash_size: 32 }, "EFAULT"],
  [
    "a hash, behind a wrong name",
    { excl_prog_hash: new Uint8Array(8), excl_prog_hash_size: 32, map_name: "a b" },
    "EINVAL",
  ],
  [
    "a hash, behind BTF that is not open",
    { excl_prog_hash: new Uint8Array(8), excl_prog_hash_size: 31, btf_fd: 9999, btf_value_type_id: 1 },
    "EBADF",
  ],
  ["a token without the flag", { map_token_fd: 5 }, "ok"],
  ["a token that is not open", { map_flags: flags.BPF_F_TOKEN_FD, map_token_fd: 9999 }, "EBADF"],
  ["token -1", { map_flags: flags.BPF_F_TOKEN_FD, map_token_fd: -1 }, "EBADF"],
  ["a standard stream for a token", { map_flags: flags.BPF_F_TOKEN_FD, map_token_fd: 0 }, "EINVAL"],
  ["a wrong key, before a token", { map_flags: flags.BPF_F_TOKEN_FD, map_token_fd: 9999, key_size: 8 }, "EINVAL"],
  ["map_extra, before a token", { map_flags: flags.BPF_F_TOKEN_FD, map_token_fd: 9999, map_extra: 1 }, "EINVAL"],
  [
    "a token, before memory",
    { map_flags: flags.BPF_F_TOKEN_FD, map_token_fd: 9999, value_size: 1 << 20, max_entries: 2 ** 31 },
    "EBADF",
  ],
  ["a token, before a wrong name", { map_flags: flags.BPF_F_TOKEN_FD, map_token_fd: 9999, map_name: "a b" }, "EBADF"],
  [
    "the BTF of a value in an array",
    { map_flags: flags.BPF_F_VTYPE_BTF_OBJ_FD, value_type_btf_obj_fd: 9999 },
    "EINVAL",
  ],
  ["that without its flag", { value_type_btf_obj_fd: 9999 }, "ok"],
  ["a type of the kernel in an array", { btf_vmlinux_value_type_id: 1 }, "EINVAL"],
  ["a type of the kernel in a hash", { map_type: types.BPF_MAP_TYPE_HASH, btf_vmlinux_value_type_id: 1 }, "EINVAL"],
  ["struct_ops without a type of the kernel", { map_type: types.BPF_MAP_TYPE_STRUCT_OPS, max_entries: 1 }, "EINVAL"],
] as const satisfies readonly (readonly [string, MapCreate, string])[]) {
  contract(`creation with ${fact}: ${expected}`, (kernel) => {
    expect(creation(kernel, attr)).toBe(expected);
  });
}

contract("a map is no token: EINVAL", (kernel, { open }) => {
  const map_token_fd = open(create(kernel));
  expect(creation(kernel, { map_flags: flags.BPF_F_TOKEN_FD, map_token_fd })).toBe("EINVAL");
});

/** Asks for the hash of a map's contents. */
function hashOfMap(
  kernel: Kernel,
  bpf_fd: number,
  hash_size: number,
  room = 32,
): [number | string, number, Uint8Array] {
  const bytes = new Uint8Array(Math.ceil(sizeOf(mapInfo) / 8) * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(mapInfo.hash_size[0], hash_size, true);
  const hash = new Uint8Array(room);
  const pointers = [{ offset: mapInfo.hash[0], direction: "out", bytes: hash }] as const;
  const info = room === 0 ? bytes : { bytes, pointers };
  const result = kernel.bpf(commands.BPF_OBJ_GET_INFO_BY_FD, { bpf_fd, info_len: bytes.length, info });
  return [outcome(result), view.getUint32(mapInfo.hash_size[0], true), hash];
}

contract("a frozen array tells the SHA-256 of its values, each padded to 8 bytes", (kernel, { open }) => {
  for (const map_flags of [0, flags.BPF_F_MMAPABLE]) {
    const map_fd = open(create(kernel, { value_size: 3, max_entries: 2, map_flags }));
    const value = Uint8Array.of(1, 2, 3);
    expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value })).toBe(0);
    expect(hashOfMap(kernel, map_fd, 32)[0]).toBe("EPERM");
    expect(kernel.bpf(commands.BPF_MAP_FREEZE, { map_fd })).toBe(0);
    expect(hashOfMap(kernel, map_fd, 32)).toEqual([
      0,
      32,
      sha256(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0)),
    ]);
    expect(hashOfMap(kernel, map_fd, 31)[0]).toBe("EINVAL");
    expect(hashOfMap(kernel, map_fd, 64, 64)[0]).toBe("EINVAL");
    expect(hashOfMap(kernel, map_fd, 32, 0)[0]).toBe("EINVAL");
    expect(hashOfMap(kernel, map_fd, 32, 8)[0]).toBe("EFAULT");
    expect(hashOfMap(kernel, map_fd, 0, 0).slice(0, 2)).toEqual([0, 0]);
  }
});

contract("other maps than arrays have no hash: EINVAL", (kernel, { open }) => {
  for (const map_type of [types.BPF_MAP_TYPE_HASH, types.BPF_MAP_TYPE_PERCPU_ARRAY]) {
    const map_fd = open(create(kernel, { map_type }));
    expect(kernel.bpf(commands.BPF_MAP_FREEZE, { map_fd })).toBe(0);
    expect(hashOfMap(kernel, map_fd, 32)[0]).toBe("EINVAL");
    expect(hashOfMap(kernel, map_fd, 32, 0)[0]).toBe("EINVAL");
  }
});

contract(
  "a program's tag begins its hash; maps count as file descriptor 0, by index as their index",
  (kernel, { open }) => {
    const map = open(create(kernel));
    const tagOf = (bpf_fd: number): Uint8Array => {
      const info = new Uint8Array(sizeOf(progInfo));
      expect(kernel.bpf(commands.BPF_OBJ_GET_INFO_BY_FD, { bpf_fd, info_len: info.length, info })).toBe(0);
      return decode(progInfo, new DataView(info.buffer)).tag;
    };
    expect(tagOf(open(load(kernel, returning(map, 7))))).toEqual(hashOf(returning(0, 7)).subarray(0, 8));
    const byIndex = returning(1, 7);
    const [first, second] = byIndex[0] as readonly asm.Slot[];
    const items = [[{ ...(first as asm.Slot), src: 5 }, second as asm.Slot], ...byIndex.slice(1)];
    const program = open(load(kernel, items, { fd_array: Uint8Array.of(...u32(9999), ...u32(map)) }));
    expect(tagOf(program)).toEqual(hashOf(items).subarray(0, 8));
  },
);
