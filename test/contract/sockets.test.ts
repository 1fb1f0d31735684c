// Maps of sockets: sockmap, sockhash and reuseport_sockarray.

import { expect } from "vitest";
import { buildBtf } from "../../src/btf/build.ts";
import type { SocketAttributes } from "../../src/embedded/owners.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_BTF_LOAD, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import { int } from "./btf-types.ts";
import { contract, outcome } from "./contract.ts";
import { cookieOf } from "./linux-owners.ts";
import { create, creation, get, keys, remove, set, u32 } from "./maps.ts";

const sockmap = types.BPF_MAP_TYPE_SOCKMAP;
const sockhash = types.BPF_MAP_TYPE_SOCKHASH;
const reuseport = types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY;

const established: SocketAttributes = { protocol: "tcp", state: "established" };
const sharing: SocketAttributes = { protocol: "udp", state: "bound", reusePort: true };

/** What sockmaps and arrays of sockets that share a port say to a socket. */
const sockets: readonly (readonly [socket: SocketAttributes, inSockmap: string, inArray: string])[] = [
  [{}, "EOPNOTSUPP", "EINVAL"],
  [{ reusePort: true }, "EOPNOTSUPP", "EINVAL"],
  [{ state: "bound", reusePort: true }, "EOPNOTSUPP", "EINVAL"],
  [{ state: "listening" }, "ok", "EINVAL"],
  [{ state: "listening", reusePort: true }, "ok", "ok"],
  [established, "ok", "EINVAL"],
  [{ protocol: "udp" }, "EOPNOTSUPP", "EINVAL"],
  [{ protocol: "udp", reusePort: true }, "EOPNOTSUPP", "EINVAL"],
  [{ protocol: "udp", state: "bound" }, "ok", "EINVAL"],
  [sharing, "ok", "ok"],
  [{ protocol: "unix" }, "EOPNOTSUPP", "ENOTSUPP"],
  [{ protocol: "unix", state: "established" }, "ok", "ENOTSUPP"],
];

for (const [socket, inSockmap, inArray] of sockets) {
  const { protocol = "tcp", state = "closed", reusePort = false } = socket;
  const name = `a ${protocol} socket that is ${state}${reusePort ? " and shares its port" : ""}`;
  contract(`${name}: ${inSockmap} in sockmaps, ${inArray} in reuseport arrays`, (kernel, { open, owner }) => {
    const fd = owner("socket", socket);
    for (const [map_type, expected] of [
      [sockmap, inSockmap],
      [sockhash, inSockmap],
      [reuseport, inArray],
    ] as const) {
      const map = open(create(kernel, { map_type }));
      expect(set(kernel, map, 1, fd)).toBe(expected === "ok" ? 0 : expected);
      expect(get(kernel, map, 1)).toEqual(expected === "ok" ? expect.any(BigInt) : "ENOENT");
      if (expected === "ok") expect(remove(kernel, map, 1)).toBe(0);
      expect(get(kernel, map, 1)).toBe("ENOENT");
    }
  });
}

contract.on("linux")("a socket is read as its cookie", (kernel, { open, owner }) => {
  const fd = owner("socket", established);
  const map = open(create(kernel, { map_type: sockmap }));
  set(kernel, map, 0, fd);
  expect(get(kernel, map, 0)).toBe(cookieOf(fd));
});

for (const [name, map_type] of [
  ["sockmap", sockmap],
  ["sockhash", sockhash],
] as const) {
  contract(`a ${name} knows EXIST and NOEXIST, and takes a socket more than once`, (kernel, { open, owner }) => {
    const map = open(create(kernel, { map_type }));
    const [first, second] = [owner("socket", established), owner("socket", established)];
    expect(set(kernel, map, 0, first, BPF_EXIST)).toBe("ENOENT");
    expect(set(kernel, map, 0, first, BPF_NOEXIST)).toBe(0);
    expect(set(kernel, map, 0, second, BPF_NOEXIST)).toBe("EEXIST");
    const cookie = get(kernel, map, 0);
    expect(set(kernel, map, 0, second, BPF_EXIST)).toBe(0);
    expect(get(kernel, map, 0)).not.toBe(cookie);
    expect([1, 2, 3].map((key) => set(kernel, map, key, second))).toEqual([0, 0, 0]);
    expect(get(kernel, map, 3)).toBe(get(kernel, map, 0));
    expect(set(kernel, map, 4, first)).toBe("E2BIG");
    expect(set(kernel, map, 4, 9999)).toBe("EBADF");
    expect(set(kernel, map, 0, first, 3)).toBe("EINVAL");
    expect(set(kernel, map, 0, map)).toBe("ENOTSOCK");
    expect(set(kernel, map, 0, 2n ** 31n)).toBe("EINVAL");
    expect(set(kernel, map, 0, 2n ** 32n + BigInt(first))).toBe("EINVAL");
  });

  contract(`a socket that is closed is in no ${name} any more`, (kernel, { open, close, owner }) => {
    const map = open(create(kernel, { map_type }));
    const stays = owner("socket", established);
    const goes = owner("socket", { protocol: "udp", state: "bound" });
    for (const key of [0, 1, 3]) set(kernel, map, key, goes);
    set(kernel, map, 2, stays);
    close(goes);
    expect([0, 1, 3].map((key) => get(kernel, map, key))).toEqual(["ENOENT", "ENOENT", "ENOENT"]);
    expect(get(kernel, map, 2)).toBeTypeOf("bigint");
  });

  contract(`a ${name} has no types: ENOTSUPP`, (kernel, { open }) => {
    expect(creation(kernel, { map_type, ...typed(kernel, open) })).toBe("ENOTSUPP");
  });
}

contract(
  "deleting what is not there is EINVAL in a sockmap, ENOENT in a sockhash, and ENOENT or E2BIG in an array",
  (kernel, { open }) => {
    const answers = [sockmap, sockhash, reuseport].map((map_type) => {
      const map = open(create(kernel, { map_type }));
      return [remove(kernel, map, 1), remove(kernel, map, 4), get(kernel, map, 4)];
    });
    expect(answers).toEqual([
      ["EINVAL", "EINVAL", "ENOENT"],
      ["ENOENT", "ENOENT", "ENOENT"],
      ["ENOENT", "E2BIG", "ENOENT"],
    ]);
  },
);

contract("sockets written as 4 bytes cannot be read: ENOSPC", (kernel, { open, owner }) => {
  const socket = owner("socket", sharing);
  for (const map_type of [reuseport, sockmap, sockhash]) {
    const map_fd = open(create(kernel, { map_type, value_size: 4 }));
    const key = u32(0);
    expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key, value: u32(socket) }))).toBe(0);
    expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key, value: new Uint8Array(8) }))).toBe("ENOSPC");
    expect(remove(kernel, map_fd, 0)).toBe(0);
  }
});

contract("keys of a sockhash come in the order of a hash without a seed", (kernel, { open, owner }) => {
  const map = open(create(kernel, { map_type: sockhash, max_entries: 13 }));
  const socket = owner("socket", established);
  for (let number = 0; number < 13; number++) expect(set(kernel, map, number * 7, socket)).toBe(0);
  expect(set(kernel, map, 0, socket)).toBe(0);
  expect(keys(kernel, map)).toEqual([35, 77, 21, 70, 49, 42, 0, 28, 14, 7, 84, 63, 56]);
});

contract(
  "a socket is in one element of one reuseport array, and then in no sockmap: EBUSY",
  (kernel, { open, owner }) => {
    const [array, other, map] = [reuseport, reuseport, sockmap].map((map_type) =>
      open(create(kernel, { map_type })),
    ) as [number, number, number];
    const socket = owner("socket", sharing);
    expect(set(kernel, array, 0, socket, BPF_EXIST)).toBe("ENOENT");
    expect(set(kernel, array, 0, socket)).toBe(0);
    expect(set(kernel, array, 0, socket, BPF_NOEXIST)).toBe("EEXIST");
    for (const [map_fd, key] of [
      [array, 0],
      [array, 1],
      [other, 0],
      [map, 0],
    ] as const)
      expect(set(kernel, map_fd, key, socket)).toBe("EBUSY");
    expect(set(kernel, array, 4, 9999)).toBe("E2BIG");
    expect(set(kernel, array, 0, owner("socket", sharing))).toBe(0);
    expect(set(kernel, map, 0, socket)).toBe(0);
    expect(set(kernel, other, 0, socket)).toBe("EBUSY");
    expect(remove(kernel, map, 0)).toBe(0);
    expect(set(kernel, other, 0, socket)).toBe(0);
  },
);

contract("a sockhash of more than 2^27 elements is EINVAL", (kernel) => {
  expect(creation(kernel, { map_type: sockhash, max_entries: 2 ** 27 + 1 })).toBe("EINVAL");
});

/** Attributes with types: u32 to u64. */
function typed(kernel: Kernel, open: (fd: number) => number) {
  const btf = buildBtf([int("u32", 4), int("u64", 8)]);
  const btf_fd = open(kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length }));
  return { btf_fd, btf_key_type_id: 1, btf_value_type_id: 2 };
}
