// Maps that XDP programs redirect by: devices, CPUs, sockets. And the two whose elements only tracing programs and cgroups bring.

import { expect } from "vitest";
import { loadMapFd, r1 } from "../../src/asm/builder.ts";
import { readMapInfo } from "../../src/client/info.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_XDP_CPUMAP, BPF_XDP_DEVMAP } from "../../src/uapi/attach-types.ts";
import * as commands from "../../src/uapi/commands.ts";
import * as flags from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_XDP } from "../../src/uapi/program-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, keys, type MapCreate, nextKey, remove, u32 } from "./maps.ts";
import { eventually, hasProgram, programId, put, shown, smallProgram, take } from "./references.ts";

/** lo */
const LOOPBACK = 1;
const NO_DEVICE = 0x7fff_0000;

const createMap = (kernel: Kernel, map_type: number, attr: MapCreate = {}): number =>
  create(kernel, { map_type, value_size: 4, ...attr });

const xdp = (kernel: Kernel, expected_attach_type: number, prog_flags = 0): number =>
  smallProgram(kernel, { prog_type: BPF_PROG_TYPE_XDP, expected_attach_type, prog_flags });

for (const [name, type] of [
  ["a devmap", types.BPF_MAP_TYPE_DEVMAP],
  ["a devmap_hash", types.BPF_MAP_TYPE_DEVMAP_HASH],
] as const) {
  contract(`${name} holds indices of devices, and no index that no device has`, (kernel, { open }) => {
    const map = open(createMap(kernel, type));
    expect(shown(kernel, map, 1)).toBe("ENOENT");
    expect(put(kernel, map, 1, LOOPBACK)).toBe(0);
    expect(put(kernel, map, 1, LOOPBACK, flags.BPF_EXIST)).toBe(0);
    expect(put(kernel, map, 1, LOOPBACK, flags.BPF_NOEXIST)).toBe("EEXIST");
    expect(put(kernel, map, 1, NO_DEVICE)).toBe("EINVAL");
    expect(put(kernel, map, 1, LOOPBACK, 3)).toBe("EINVAL");
    expect(shown(kernel, map, 1)).toBe(LOOPBACK);
    expect(take(kernel, map, 1)).toBe("ENOTSUPP");
    expect(remove(kernel, map, 1)).toBe(0);
    expect(shown(kernel, map, 1)).toBe("ENOENT");
  });

  contract(`${name} shows the id of the program that a device has`, async (kernel, { open }) => {
    const map = createMap(kernel, type, { value_size: 8 });
    const program = xdp(kernel, BPF_XDP_DEVMAP);
    const id = programId(kernel, program);
    expect(put(kernel, map, 1, [LOOPBACK, 0])).toBe(0);
    expect(shown(kernel, map, 1, 8)).toEqual([LOOPBACK, 0]);
    expect(put(kernel, map, 1, [LOOPBACK, program])).toBe(0);
    kernel.close(program);
    expect(shown(kernel, map, 1, 8)).toEqual([LOOPBACK, id]);
    expect(put(kernel, map, 1, [LOOPBACK, 0xffff_ffff])).toBe(0);
    expect(shown(kernel, map, 1, 8)).toEqual([LOOPBACK, 0]);
    expect(await eventually(() => !hasProgram(kernel, id))).toBe(true);
    const last = xdp(kernel, BPF_XDP_DEVMAP);
    const lastId = programId(kernel, last);
    expect(put(kernel, map, 2, [LOOPBACK, last])).toBe(0);
    kernel.close(last);
    kernel.close(map);
    expect(await eventually(() => !hasProgram(kernel, lastId))).toBe(true);
    open(xdp(kernel, BPF_XDP_DEVMAP));
  });

  contract(`${name} wants programs of its attach type, all alike`, (kernel, { open }) => {
    const map = open(createMap(kernel, type, { value_size: 8 }));
    const given = (program: number): number | string => put(kernel, map, 1, [LOOPBACK, program]);
    expect(given(9999)).toBe("EINVAL");
    expect(given(map)).toBe("EINVAL");
    expect(given(open(smallProgram(kernel)))).toBe("EINVAL");
    expect(given(open(xdp(kernel, 0)))).toBe("EINVAL");
    expect(given(open(xdp(kernel, BPF_XDP_CPUMAP)))).toBe("EINVAL");
    expect(shown(kernel, map, 1, 8)).toBe("ENOENT");
    expect(given(open(xdp(kernel, BPF_XDP_DEVMAP, flags.BPF_F_XDP_HAS_FRAGS)))).toBe(0);
    expect(given(open(xdp(kernel, BPF_XDP_DEVMAP)))).toBe("EINVAL");
  });

  contract(`${name} is read only for programs, whatever its flags`, (kernel, { open }) => {
    const map = open(createMap(kernel, type));
    expect(readMapInfo(kernel, map).map_flags).toBe(flags.BPF_F_RDONLY_PROG);
    for (const value_size of [0, 2, 12]) expect(creation(kernel, { map_type: type, value_size })).toBe("EINVAL");
    for (const map_flags of [flags.BPF_F_RDONLY_PROG, flags.BPF_F_NO_PREALLOC, flags.BPF_F_MMAPABLE])
      expect(creation(kernel, { map_type: type, value_size: 4, map_flags })).toBe("EINVAL");
  });
}

contract("a devmap takes a device out where 0 is written, and never a program without a device", (kernel, { open }) => {
  const map = open(createMap(kernel, types.BPF_MAP_TYPE_DEVMAP, { value_size: 8 }));
  expect(put(kernel, map, 0, [LOOPBACK, 0])).toBe(0);
  expect(put(kernel, map, 0, [0, 9999])).toBe("EINVAL");
  expect(put(kernel, map, 0, [0, 0])).toBe(0);
  expect(shown(kernel, map, 0, 8)).toBe("ENOENT");
  expect(put(kernel, map, 0, [LOOPBACK, 0], flags.BPF_NOEXIST)).toBe("EEXIST");
  expect(put(kernel, map, 4, [LOOPBACK, 0])).toBe("E2BIG");
  expect(remove(kernel, map, 0)).toBe(0);
  expect(remove(kernel, map, 4)).toBe("EINVAL");
  expect(keys(kernel, map)).toEqual([0, 1, 2, 3]);
});

contract("a devmap_hash has any keys, in the order of its buckets, and is full at max_entries", (kernel, { open }) => {
  const map = open(createMap(kernel, types.BPF_MAP_TYPE_DEVMAP_HASH, { max_entries: 5 }));
  expect(nextKey(kernel, map, undefined)).toBe("ENOENT");
  for (const key of [1000, 9, 17, 8, 0xffff_ffff]) expect(put(kernel, map, key, LOOPBACK)).toBe(0);
  expect(put(kernel, map, 1, LOOPBACK)).toBe("E2BIG");
  expect(put(kernel, map, 9, LOOPBACK)).toBe(0);
  expect(keys(kernel, map)).toEqual([8, 1000, 9, 17, 0xffff_ffff]);
  expect(put(kernel, map, 9, 0)).toBe("EINVAL");
  expect(remove(kernel, map, 17)).toBe(0);
  expect(remove(kernel, map, 17)).toBe("ENOENT");
  // EXIST asks for nothing.
  expect(put(kernel, map, 2, LOOPBACK, flags.BPF_EXIST)).toBe(0);
  expect(keys(kernel, map)).toEqual([8, 1000, 9, 2, 0xffff_ffff]);
});

contract("a cpumap holds lengths of queues for CPUs that there are", (kernel, { open }) => {
  const map = open(createMap(kernel, types.BPF_MAP_TYPE_CPUMAP, { max_entries: 128 }));
  expect(shown(kernel, map, 0)).toBe("ENOENT");
  expect(put(kernel, map, 0, 192)).toBe(0);
  expect(shown(kernel, map, 0)).toBe(192);
  expect(put(kernel, map, 0, 16384)).toBe(0);
  expect(put(kernel, map, 0, 16385)).toBe("EOVERFLOW");
  expect(put(kernel, map, 127, 16385)).toBe("EOVERFLOW");
  expect(put(kernel, map, 127, 192)).toBe("ENODEV");
  expect(put(kernel, map, 127, 0)).toBe("ENODEV");
  expect(put(kernel, map, 128, 192)).toBe("E2BIG");
  expect(put(kernel, map, 0, 192, flags.BPF_NOEXIST)).toBe("EEXIST");
  expect(put(kernel, map, 0, 192, flags.BPF_EXIST)).toBe(0);
  expect(put(kernel, map, 0, 192, 3)).toBe("EINVAL");
  expect(take(kernel, map, 0)).toBe("ENOTSUPP");
  expect(put(kernel, map, 0, 0)).toBe(0);
  expect(shown(kernel, map, 0)).toBe("ENOENT");
  expect(remove(kernel, map, 0)).toBe(0);
  expect(remove(kernel, map, 128)).toBe("EINVAL");
});

contract(
  "a cpumap shows the id of a CPU's program, and says ENOMEM to one that it does not take",
  async (kernel, { open }) => {
    const map = open(createMap(kernel, types.BPF_MAP_TYPE_CPUMAP, { value_size: 8 }));
    const program = xdp(kernel, BPF_XDP_CPUMAP);
    const id = programId(kernel, program);
    expect(put(kernel, map, 0, [64, program])).toBe(0);
    kernel.close(program);
    expect(shown(kernel, map, 0, 8)).toEqual([64, id]);
    expect(put(kernel, map, 0, [64, 9999])).toBe("ENOMEM");
    expect(put(kernel, map, 0, [64, map])).toBe("ENOMEM");
    expect(put(kernel, map, 0, [64, open(smallProgram(kernel))])).toBe("ENOMEM");
    expect(put(kernel, map, 0, [64, open(xdp(kernel, BPF_XDP_DEVMAP))])).toBe("ENOMEM");
    expect(shown(kernel, map, 0, 8)).toEqual([64, id]);
    expect(remove(kernel, map, 0)).toBe(0);
    expect(await eventually(() => !hasProgram(kernel, id))).toBe(true);
  },
);

contract("a cpumap has at most as many entries as the kernel may have CPUs, and one flag", (kernel) => {
  const made = (attr: MapCreate): number | string =>
    creation(kernel, { map_type: types.BPF_MAP_TYPE_CPUMAP, value_size: 4, ...attr });
  expect(made({ max_entries: 1 })).toBe("ok");
  expect(made({ max_entries: 1 << 20 })).toBe("E2BIG");
  expect(made({ max_entries: 0 })).toBe("EINVAL");
  expect(made({ value_size: 12 })).toBe("EINVAL");
  expect(made({ map_flags: flags.BPF_F_NUMA_NODE, numa_node: 0 })).toBe("ok");
  expect(made({ map_flags: flags.BPF_F_RDONLY })).toBe("EINVAL");
});

for (const [name, type, attachType] of [
  ["a devmap", types.BPF_MAP_TYPE_DEVMAP, BPF_XDP_DEVMAP],
  ["a cpumap", types.BPF_MAP_TYPE_CPUMAP, BPF_XDP_CPUMAP],
] as const) {
  contract(`${name} in use by a program takes only programs that are like it`, (kernel, { open }) => {
    const map = open(createMap(kernel, type, { value_size: 8 }));
    open(
      smallProgram(kernel, { prog_type: BPF_PROG_TYPE_XDP, prog_flags: flags.BPF_F_XDP_HAS_FRAGS }, loadMapFd(r1, map)),
    );
    expect(put(kernel, map, 0, [1, open(xdp(kernel, attachType))])).toBe(
      type === types.BPF_MAP_TYPE_DEVMAP ? "EINVAL" : "ENOMEM",
    );
    expect(put(kernel, map, 0, [1, open(xdp(kernel, attachType, flags.BPF_F_XDP_HAS_FRAGS))])).toBe(0);
    expect(outcome(smallProgram(kernel, { prog_type: BPF_PROG_TYPE_XDP }, loadMapFd(r1, map)))).toBe("EINVAL");
  });
}

contract("an xskmap takes sockets only, and shows none", (kernel, { open }) => {
  const map = open(createMap(kernel, types.BPF_MAP_TYPE_XSKMAP));
  expect(put(kernel, map, 0, 9999)).toBe("EBADF");
  expect(put(kernel, map, 0, map)).toBe("ENOTSOCK");
  expect(put(kernel, map, 4, 9999)).toBe("E2BIG");
  expect(put(kernel, map, 4, 9999, 3)).toBe("EINVAL");
  expect(shown(kernel, map, 0)).toBe("EOPNOTSUPP");
  expect(shown(kernel, map, 4)).toBe("EOPNOTSUPP");
  expect(remove(kernel, map, 0)).toBe(0);
  expect(remove(kernel, map, 4)).toBe("EINVAL");
  expect(keys(kernel, map)).toEqual([0, 1, 2, 3]);
});

contract("a cgroup_array takes cgroups only, and shows none", (kernel, bench) => {
  const map = bench.open(createMap(kernel, types.BPF_MAP_TYPE_CGROUP_ARRAY));
  for (const kind of ["socket", "task", "inode"] as const) expect(put(kernel, map, 0, bench.owner(kind))).toBe("EBADF");
  expect(put(kernel, map, 1, bench.owner("cgroup"))).toBe(0);
  expect([shown(kernel, map, 1), remove(kernel, map, 1), remove(kernel, map, 1)]).toEqual(["ENOTSUPP", 0, "ENOENT"]);
  for (const fd of [9999, map]) expect(put(kernel, map, 0, fd)).toBe("EBADF");
  expect(put(kernel, map, 4, map)).toBe("E2BIG");
  expect(put(kernel, map, 0, map, flags.BPF_EXIST)).toBe("EINVAL");
  expect(shown(kernel, map, 0)).toBe("ENOTSUPP");
  expect(remove(kernel, map, 0)).toBe("ENOENT");
  expect(remove(kernel, map, 4)).toBe("E2BIG");
});

contract("a standard stream is no cgroup, no program and no event", (kernel, { open }) => {
  for (const [map_type, expected] of [
    [types.BPF_MAP_TYPE_CGROUP_ARRAY, "EBADF"],
    [types.BPF_MAP_TYPE_PERF_EVENT_ARRAY, "EBADF"],
    [types.BPF_MAP_TYPE_PROG_ARRAY, "EINVAL"],
  ] as const) {
    const map = open(createMap(kernel, map_type));
    expect([map_type, ...[0, 1, 2].map((fd) => put(kernel, map, 0, fd))]).toEqual([
      map_type,
      ...Array(3).fill(expected),
    ]);
  }
});

contract("an xskmap takes no other sockets: EOPNOTSUPP", (kernel, bench) => {
  const map = bench.open(createMap(kernel, types.BPF_MAP_TYPE_XSKMAP));
  expect(put(kernel, map, 0, bench.owner("socket"))).toBe("EOPNOTSUPP");
  expect(put(kernel, map, 0, bench.owner("task"))).toBe("ENOTSOCK");
});

contract("a stack_trace holds whole frames, at most 127", (kernel) => {
  const made = (value_size: number, map_flags = 0): number | string =>
    creation(kernel, { map_type: types.BPF_MAP_TYPE_STACK_TRACE, value_size, map_flags });
  expect([8, 16, 127 * 8].map((size) => made(size))).toEqual(["ok", "ok", "ok"]);
  expect([0, 4, 12, 128 * 8].map((size) => made(size))).toEqual(Array(4).fill("EINVAL"));
  const buildId = [8, 32, 48, 127 * 32, 128 * 32].map((size) => made(size, flags.BPF_F_STACK_BUILD_ID));
  expect(buildId).toEqual(["EINVAL", "ok", "EINVAL", "ok", "EINVAL"]);
});

contract("commands cannot write a stack_trace, whose ids are below a power of two", (kernel, { open }) => {
  const map_fd = open(createMap(kernel, types.BPF_MAP_TYPE_STACK_TRACE, { value_size: 16, max_entries: 5 }));
  const value = new Uint8Array(16);
  expect(outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(0), value }))).toBe("EINVAL");
  expect(outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(0), value }))).toBe("ENOENT");
  expect(outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, key: u32(9), value }))).toBe("ENOENT");
  expect([remove(kernel, map_fd, 5), remove(kernel, map_fd, 7), remove(kernel, map_fd, 8)]).toEqual([
    "ENOENT",
    "ENOENT",
    "E2BIG",
  ]);
  expect(keys(kernel, map_fd)).toEqual([]);
});
