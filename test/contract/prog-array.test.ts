// Program arrays: which programs may be together, and when they are let go of.

import { expect } from "vitest";
import { loadMapFd, r1 } from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_CGROUP_INET_EGRESS, BPF_CGROUP_INET_INGRESS } from "../../src/uapi/attach-types.ts";
import * as commands from "../../src/uapi/commands.ts";
import * as flags from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_PROG_ARRAY } from "../../src/uapi/map-types.ts";
import * as types from "../../src/uapi/program-types.ts";
import { cString } from "../../src/uapi/struct.ts";
import { contract, outcome } from "./contract.ts";
import { create, keys, type MapCreate, remove } from "./maps.ts";
import { eventually, hasProgram, mapId, programId, put, shown, smallProgram, take } from "./references.ts";

const createPrograms = (kernel: Kernel, attr: MapCreate = {}): number =>
  create(kernel, { map_type: BPF_MAP_TYPE_PROG_ARRAY, value_size: 4, ...attr });

contract("a program array is written with a file descriptor and shows an id", (kernel, { open }) => {
  const map = open(createPrograms(kernel));
  const program = open(smallProgram(kernel));
  expect(shown(kernel, map, 1)).toBe("ENOENT");
  expect(put(kernel, map, 1, program)).toBe(0);
  expect(shown(kernel, map, 1)).toBe(programId(kernel, program));
  expect(shown(kernel, map, 4)).toBe("ENOENT");
  expect(take(kernel, map, 1)).toBe("ENOTSUPP");
  expect(keys(kernel, map)).toEqual([0, 1, 2, 3]);
  expect(remove(kernel, map, 1)).toBe(0);
  expect(remove(kernel, map, 1)).toBe("ENOENT");
  expect(remove(kernel, map, 4)).toBe("E2BIG");
});

contract("a program array refuses what is no program, any flag, and an index behind its end", (kernel, { open }) => {
  const map = open(createPrograms(kernel));
  const program = open(smallProgram(kernel));
  expect(put(kernel, map, 0, 9999)).toBe("EBADF");
  expect(put(kernel, map, 0, map)).toBe("EINVAL");
  expect(put(kernel, map, 0, program, flags.BPF_NOEXIST)).toBe("EINVAL");
  expect(put(kernel, map, 0, program, flags.BPF_EXIST)).toBe("EINVAL");
  expect(put(kernel, map, 4, program)).toBe("E2BIG");
  expect(put(kernel, map, 4, 9999)).toBe("E2BIG");
});

contract("the first program settles the type of the others", (kernel, { open }) => {
  const map = open(createPrograms(kernel));
  const [filter, another] = [open(smallProgram(kernel)), open(smallProgram(kernel))];
  const xdp = open(smallProgram(kernel, { prog_type: types.BPF_PROG_TYPE_XDP }));
  expect(put(kernel, map, 0, filter)).toBe(0);
  expect(put(kernel, map, 1, xdp)).toBe("EINVAL");
  expect(put(kernel, map, 1, another)).toBe(0);
  remove(kernel, map, 0);
  remove(kernel, map, 1);
  // Also when it is gone.
  expect(put(kernel, map, 1, xdp)).toBe("EINVAL");
});

contract("programs of an array agree on fragments and on the attach type", (kernel, { open }) => {
  const xdp = (prog_flags: number): number =>
    open(smallProgram(kernel, { prog_type: types.BPF_PROG_TYPE_XDP, prog_flags }));
  const fragments = open(createPrograms(kernel));
  expect(put(kernel, fragments, 0, xdp(flags.BPF_F_XDP_HAS_FRAGS))).toBe(0);
  expect(put(kernel, fragments, 1, xdp(0))).toBe("EINVAL");
  expect(put(kernel, fragments, 1, xdp(flags.BPF_F_XDP_HAS_FRAGS))).toBe(0);
  const cgroup = (expected_attach_type: number): number =>
    open(smallProgram(kernel, { prog_type: types.BPF_PROG_TYPE_CGROUP_SKB, expected_attach_type }));
  const directions = open(createPrograms(kernel));
  expect(put(kernel, directions, 0, cgroup(BPF_CGROUP_INET_INGRESS))).toBe(0);
  expect(put(kernel, directions, 1, cgroup(BPF_CGROUP_INET_EGRESS))).toBe("EINVAL");
  expect(put(kernel, directions, 1, cgroup(BPF_CGROUP_INET_INGRESS))).toBe(0);
});

contract("a program that uses an empty array settles its type too", (kernel, { open }) => {
  const map = open(createPrograms(kernel));
  const uses = loadMapFd(r1, map);
  open(smallProgram(kernel, {}, uses));
  expect(outcome(smallProgram(kernel, { prog_type: types.BPF_PROG_TYPE_XDP }, uses))).toBe("EINVAL");
  expect(put(kernel, map, 0, open(smallProgram(kernel, { prog_type: types.BPF_PROG_TYPE_XDP })))).toBe("EINVAL");
  expect(put(kernel, map, 0, open(smallProgram(kernel)))).toBe(0);
});

contract("a program lives in an array until it is replaced or deleted", async (kernel, { open }) => {
  const map = open(createPrograms(kernel));
  const programs = [0, 1].map((index) => {
    const program = smallProgram(kernel);
    put(kernel, map, index, program);
    const id = programId(kernel, program);
    kernel.close(program);
    return id;
  });
  const has = (index: number): boolean => hasProgram(kernel, programs[index] as number);
  expect([has(0), has(1)]).toEqual([true, true]);
  put(kernel, map, 0, open(smallProgram(kernel)));
  remove(kernel, map, 1);
  expect(await eventually(() => !has(0) && !has(1))).toBe(true);
});

contract(
  "a program array is emptied when its last file descriptor is closed, even if a program uses it",
  async (kernel, { open }) => {
    const map = createPrograms(kernel);
    const user = open(smallProgram(kernel, {}, loadMapFd(r1, map)));
    const target = smallProgram(kernel);
    const id = programId(kernel, target);
    put(kernel, map, 0, target);
    kernel.close(target);
    const other = open(kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: mapId(kernel, map) }));
    kernel.close(map);
    expect(hasProgram(kernel, id)).toBe(true);
    kernel.close(other);
    expect(await eventually(() => !hasProgram(kernel, id))).toBe(true);
    expect(programId(kernel, user)).toBeGreaterThan(0);
  },
);

contract("a pin keeps what is in a program array", async (kernel, { open, pins }) => {
  const map = createPrograms(kernel);
  const target = smallProgram(kernel);
  const id = programId(kernel, target);
  put(kernel, map, 0, target);
  kernel.close(target);
  const pathname = cString(`${pins}/programs`);
  expect(kernel.bpf(commands.BPF_OBJ_PIN, { pathname, bpf_fd: map })).toBe(0);
  kernel.close(map);
  const again = open(kernel.bpf(commands.BPF_OBJ_GET, { pathname }));
  expect(shown(kernel, again, 0)).toBe(id);
  kernel.bpffs.unlink(`${pins}/programs`);
  expect(hasProgram(kernel, id)).toBe(true);
  kernel.close(again);
  expect(await eventually(() => !hasProgram(kernel, id))).toBe(true);
});

contract("an array that holds a program which uses it goes with its last file descriptor", async (kernel) => {
  const map = createPrograms(kernel);
  const user = smallProgram(kernel, {}, loadMapFd(r1, map));
  const id = programId(kernel, user);
  put(kernel, map, 0, user);
  kernel.close(user);
  kernel.close(map);
  expect(await eventually(() => !hasProgram(kernel, id))).toBe(true);
});
