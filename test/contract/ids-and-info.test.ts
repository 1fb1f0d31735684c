// Ids of objects, and what the kernel tells of an object.

import { expect } from "vitest";
import { exit, loadMapFd, mov, r0, r1 } from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { BPF_F_NO_PREALLOC } from "../../src/uapi/flags.ts";
import { type MapInfo, mapInfo, type ProgInfo, progInfo } from "../../src/uapi/info.ts";
import { BPF_MAP_TYPE_HASH } from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_XDP } from "../../src/uapi/program-types.ts";
import { cString, decode, type Pointer, sizeOf } from "../../src/uapi/struct.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, set } from "./maps.ts";
import { load } from "./programs.ts";

/** BPF_OBJ_GET_INFO_BY_FD into `bytes`; the length that the kernel wrote, or the error's name. */
function info(
  kernel: Kernel,
  bpf_fd: number,
  bytes: Uint8Array,
  pointers: readonly Pointer[] = [],
  info_len = bytes.length,
): number | string {
  const attr = { bpf_fd, info_len, info: { bytes, pointers } };
  const result = kernel.bpf(commands.BPF_OBJ_GET_INFO_BY_FD, attr);
  return result < 0 ? outcome(result) : attr.info_len;
}

function mapInfoOf(kernel: Kernel, fd: number): MapInfo {
  const bytes = new Uint8Array(sizeOf(mapInfo));
  expect(typeof info(kernel, fd, bytes)).toBe("number");
  return decode(mapInfo, new DataView(bytes.buffer));
}

function progInfoOf(kernel: Kernel, fd: number): ProgInfo {
  const bytes = new Uint8Array(sizeOf(progInfo));
  expect(typeof info(kernel, fd, bytes)).toBe("number");
  return decode(progInfo, new DataView(bytes.buffer));
}

contract("a map tells what it was made with", (kernel, { open }) => {
  const map = open(
    create(kernel, {
      map_type: BPF_MAP_TYPE_HASH,
      key_size: 5,
      value_size: 9,
      max_entries: 77,
      map_name: "a_map",
      map_flags: BPF_F_NO_PREALLOC,
    }),
  );
  expect(mapInfoOf(kernel, map)).toMatchObject({
    type: BPF_MAP_TYPE_HASH,
    key_size: 5,
    value_size: 9,
    max_entries: 77,
    map_flags: BPF_F_NO_PREALLOC,
    name: "a_map",
    ifindex: 0,
    btf_id: 0,
    btf_key_type_id: 0,
    btf_value_type_id: 0,
    map_extra: 0n,
  });
});

contract("a program tells its type, name, licence, instructions and maps", (kernel, { open }) => {
  const map = open(create(kernel));
  const items = [loadMapFd(r1, map), mov(r0, 2), exit()];
  const prog = open(load(kernel, items, { prog_type: BPF_PROG_TYPE_XDP, prog_name: "a_program" }));
  const told = progInfoOf(kernel, prog);
  expect(told).toMatchObject({
    type: BPF_PROG_TYPE_XDP,
    name: "a_program",
    gpl_compatible: 1,
    xlated_prog_len: 32,
    nr_map_ids: 1,
    ifindex: 0,
    btf_id: 0,
  });
  expect(told.verified_insns).toBe(3);
  expect(told.load_time).toBeGreaterThan(0n);
  const secret = open(load(kernel, [mov(r0, 2), exit()], { license: cString("secret") }));
  expect(progInfoOf(kernel, secret).gpl_compatible).toBe(0);
});

contract("a program's tag is of its instructions: equal for equal ones, whatever the map", (kernel, { open }) => {
  const tagOf = (value: number, map: number): string => {
    const prog = open(load(kernel, [loadMapFd(r1, map), mov(r0, value), exit()]));
    return Buffer.from(progInfoOf(kernel, prog).tag).toString("hex");
  };
  const first = open(create(kernel));
  const second = open(create(kernel));
  expect(tagOf(1, first)).toBe(tagOf(1, second));
  expect(tagOf(1, first)).not.toBe(tagOf(2, first));
  expect(Buffer.from(progInfoOf(kernel, open(load(kernel, [mov(r0, 0), exit()]))).tag).toString("hex")).toBe(
    "59f4a931744dcdc6",
  );
});

contract("a program's maps are told by id where the caller gives room", (kernel, { open }) => {
  const map = open(create(kernel));
  const prog = open(load(kernel, [loadMapFd(r1, map), mov(r0, 0), exit()]));
  const ids = new Uint32Array(1);
  const bytes = new Uint8Array(sizeOf(progInfo));
  new DataView(bytes.buffer).setUint32(progInfo.nr_map_ids[0], 1, true);
  const pointers = [{ offset: progInfo.map_ids[0], direction: "out", bytes: new Uint8Array(ids.buffer) }] as const;
  expect(typeof info(kernel, prog, bytes, pointers)).toBe("number");
  expect(ids[0]).toBe(mapInfoOf(kernel, map).id);
});

contract("info_len shorter than the struct cuts it; longer is fine while the rest is zero", (kernel, { open }) => {
  const map = open(create(kernel));
  const short = new Uint8Array(12).fill(9);
  expect(info(kernel, map, short, [], 8)).toBe(8);
  expect([...short.subarray(8)]).toEqual([9, 9, 9, 9]);
  const long = new Uint8Array(500);
  const told = info(kernel, map, long);
  expect(told).toBeLessThan(500);
  long.fill(0);
  long[400] = 1;
  expect(info(kernel, map, long)).toBe("E2BIG");
});

contract(
  "info_len 0 tells nothing, a buffer shorter than info_len is EFAULT, a page and more E2BIG",
  (kernel, { open }) => {
    const map = open(create(kernel));
    expect(info(kernel, map, new Uint8Array(0))).toBe(0);
    expect(info(kernel, map, new Uint8Array(4), [], 88)).toBe("EFAULT");
    expect(info(kernel, map, new Uint8Array(8192))).toBe("E2BIG");
  },
);

contract("what is not open tells nothing: EBADFD", (kernel) => {
  expect(info(kernel, 12345, new Uint8Array(88))).toBe("EBADFD");
});

for (const [kind, byId, nextId, make, idOf] of [
  [
    "map",
    (id: number) => ({ map_id: id }),
    commands.BPF_MAP_GET_NEXT_ID,
    (kernel: Kernel) => create(kernel),
    (kernel: Kernel, fd: number) => mapInfoOf(kernel, fd).id,
  ],
  [
    "program",
    (id: number) => ({ prog_id: id }),
    commands.BPF_PROG_GET_NEXT_ID,
    (kernel: Kernel) => load(kernel, [mov(r0, 0), exit()]),
    (kernel: Kernel, fd: number) => progInfoOf(kernel, fd).id,
  ],
] as const) {
  const getFd = kind === "map" ? commands.BPF_MAP_GET_FD_BY_ID : commands.BPF_PROG_GET_FD_BY_ID;

  contract(`a ${kind} is opened by its id, and its id ends with it`, (kernel, { open }) => {
    const first = make(kernel);
    const id = idOf(kernel, first);
    const second = open(kernel.bpf(getFd, byId(id)));
    expect(idOf(kernel, second)).toBe(id);
    kernel.close(first);
    expect(idOf(kernel, second)).toBe(id);
  });

  contract(`${kind} ids grow, and the next id is found behind a smaller one`, (kernel, { open }) => {
    const first = idOf(kernel, open(make(kernel)));
    const second = idOf(kernel, open(make(kernel)));
    expect(second).toBeGreaterThan(first);
    const attr = { start_id: second - 1, next_id: 0 };
    expect(kernel.bpf(nextId, attr)).toBe(0);
    expect(attr.next_id).toBe(second);
  });

  contract(`${kind} ids that are not there are ENOENT`, (kernel) => {
    expect(outcome(kernel.bpf(getFd, byId(0)))).toBe("ENOENT");
    expect(outcome(kernel.bpf(getFd, byId(0x7fff_fffe)))).toBe("ENOENT");
    expect(outcome(kernel.bpf(nextId, { start_id: 0x7fff_fffe }))).toBe("ENOENT");
    expect(outcome(kernel.bpf(nextId, { start_id: 0x7fff_ffff }))).toBe("EINVAL");
  });
}

contract("a map that only a program holds is found by its id", (kernel, { open }) => {
  const map = create(kernel);
  const { id } = mapInfoOf(kernel, map);
  const prog = load(kernel, [loadMapFd(r1, map), mov(r0, 0), exit()]);
  set(kernel, map, 0, 7);
  kernel.close(map);
  const again = kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: id });
  expect(get(kernel, open(again), 0)).toBe(7n);
  kernel.close(prog);
});

contract("a map that is bound to a program is told among its maps, and lives as long as it", (kernel, { open }) => {
  const map_fd = create(kernel);
  const { id } = mapInfoOf(kernel, map_fd);
  const prog_fd = load(kernel, [mov(r0, 0), exit()]);
  const bind = (attr: { prog_fd: number; map_fd: number; flags?: number }): number | string =>
    outcome(kernel.bpf(commands.BPF_PROG_BIND_MAP, attr));
  expect(bind({ prog_fd, map_fd, flags: 1 })).toBe("EINVAL");
  expect([bind({ prog_fd: 9999, map_fd }), bind({ prog_fd, map_fd: 9999 })]).toEqual(["EBADF", "EBADF"]);
  expect([bind({ prog_fd: map_fd, map_fd }), bind({ prog_fd, map_fd: prog_fd })]).toEqual(["EINVAL", "EINVAL"]);
  expect([bind({ prog_fd, map_fd }), bind({ prog_fd, map_fd })]).toEqual([0, 0]);
  expect(progInfoOf(kernel, prog_fd).nr_map_ids).toBe(1);
  kernel.close(map_fd);
  open(kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: id }));
  kernel.close(prog_fd);
});
