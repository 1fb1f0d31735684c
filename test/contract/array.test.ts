// Elements of an array, and what is common to the elements of all maps.

import { expect } from "vitest";
import {
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_FREEZE,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_LOOKUP_AND_DELETE_ELEM,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
} from "../../src/uapi/commands.ts";
import {
  BPF_ANY,
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_NOEXIST,
} from "../../src/uapi/flags.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, keys, nextKey, remove, set, u32, u64 } from "./maps.ts";

contract("an array's elements are zero at first and keep what is written", (kernel, { open }) => {
  const map = open(create(kernel));
  expect(get(kernel, map, 0)).toBe(0n);
  expect(set(kernel, map, 3, 0x1122_3344_5566_7788n)).toBe(0);
  expect(get(kernel, map, 3)).toBe(0x1122_3344_5566_7788n);
  expect(get(kernel, map, 2)).toBe(0n);
});

contract("an index behind an array's end is ENOENT to read and E2BIG to write", (kernel, { open }) => {
  const map = open(create(kernel));
  expect(get(kernel, map, 4)).toBe("ENOENT");
  expect(get(kernel, map, 0xffff_ffff)).toBe("ENOENT");
  expect(set(kernel, map, 4, 1)).toBe("E2BIG");
});

contract("an array's element is there already: EXIST writes, NOEXIST is EEXIST", (kernel, { open }) => {
  const map = open(create(kernel));
  expect(set(kernel, map, 0, 1, BPF_ANY)).toBe(0);
  expect(set(kernel, map, 0, 2, BPF_EXIST)).toBe(0);
  expect(set(kernel, map, 0, 3, BPF_NOEXIST)).toBe("EEXIST");
  expect(get(kernel, map, 0)).toBe(2n);
});

contract(
  "update flags of an array: unknown ones are EINVAL, and the index is looked at before NOEXIST",
  (kernel, { open }) => {
    const map = open(create(kernel));
    expect(set(kernel, map, 0, 1, BPF_NOEXIST | BPF_EXIST)).toBe("EINVAL");
    expect(set(kernel, map, 0, 1, 8)).toBe("EINVAL");
    expect(set(kernel, map, 4, 1, 8)).toBe("EINVAL");
    expect(set(kernel, map, 4, 1, BPF_NOEXIST)).toBe("E2BIG");
  },
);

contract("BPF_F_LOCK on a map without a lock is EINVAL", (kernel, { open }) => {
  const map = open(create(kernel));
  expect(set(kernel, map, 0, 1, BPF_F_LOCK)).toBe("EINVAL");
  expect(get(kernel, map, 0, BPF_F_LOCK)).toBe("EINVAL");
});

contract("lookup flags other than BPF_F_LOCK are EINVAL", (kernel, { open }) => {
  const map = open(create(kernel));
  for (const flags of [1, 2, 8]) expect(get(kernel, map, 0, flags)).toBe("EINVAL");
});

contract("flags above 32 bits are not cut off", (kernel, { open }) => {
  const map_fd = open(create(kernel));
  const attr = { map_fd, key: u32(0), value: u64(1), flags: 1n << 32n };
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, attr))).toBe("EINVAL");
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, attr))).toBe("EINVAL");
});

contract("an array's element cannot be deleted: EINVAL", (kernel, { open }) => {
  const map = open(create(kernel));
  expect(remove(kernel, map, 0)).toBe("EINVAL");
  expect(remove(kernel, map, 4)).toBe("EINVAL");
});

contract("lookup and delete is not known to an array: ENOTSUPP", (kernel, { open }) => {
  const attr = { map_fd: open(create(kernel)), key: u32(0), value: new Uint8Array(8) };
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attr))).toBe("ENOTSUPP");
});

contract("an array's keys are its indices in order", (kernel, { open }) => {
  expect(keys(kernel, open(create(kernel)))).toEqual([0, 1, 2, 3]);
});

contract(
  "behind an array's last key is ENOENT, behind no key and behind an index too large is 0",
  (kernel, { open }) => {
    const map = open(create(kernel));
    expect(nextKey(kernel, map, 3)).toBe("ENOENT");
    expect(nextKey(kernel, map, undefined)).toBe(0);
    expect(nextKey(kernel, map, 4)).toBe(0);
    expect(nextKey(kernel, map, 0xffff_ffff)).toBe(0);
  },
);

contract("values of 3 bytes are 3 bytes", (kernel, { open }) => {
  const map_fd = open(create(kernel, { value_size: 3 }));
  kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value: Uint8Array.of(1, 2, 3) });
  const value = new Uint8Array(5).fill(9);
  expect(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(1), value })).toBe(0);
  expect([...value]).toEqual([1, 2, 3, 9, 9]);
});

contract("a large value comes back as it was written", (kernel, { open }) => {
  const size = 100_000;
  const map_fd = open(create(kernel, { value_size: size, max_entries: 2 }));
  const value = Uint8Array.from({ length: size }, (_, index) => index % 251);
  expect(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value })).toBe(0);
  const read = new Uint8Array(size);
  expect(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(1), value: read })).toBe(0);
  expect(read).toEqual(value);
});

contract("a buffer shorter than the kernel's is EFAULT", (kernel, { open }) => {
  const map_fd = open(create(kernel));
  const key = u32(0);
  const short = new Uint8Array(7);
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key, value: short }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key, value: short }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: new Uint8Array(3), value: u64(0) }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: new Uint8Array(3), value: u64(0) }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_DELETE_ELEM, { map_fd, key: new Uint8Array(3) }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_GET_NEXT_KEY, { map_fd, key: new Uint8Array(3), next_key: u32(0) }))).toBe(
    "EFAULT",
  );
  expect(outcome(kernel.bpf(BPF_MAP_GET_NEXT_KEY, { map_fd, key, next_key: new Uint8Array(3) }))).toBe("EFAULT");
});

contract("no buffer at all is EFAULT", (kernel, { open }) => {
  const map_fd = open(create(kernel));
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(0) }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, value: u64(0) }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(0) }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_GET_NEXT_KEY, { map_fd }))).toBe("EFAULT");
});

contract("a missing key is told before a short value", (kernel, { open }) => {
  const map_fd = open(create(kernel));
  const value = new Uint8Array(7);
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(4), value }))).toBe("ENOENT");
});

contract("a file descriptor that is not open is EBADF, one that is no map EINVAL", (kernel) => {
  for (const map_fd of [12345, -1]) {
    expect(get(kernel, map_fd, 0)).toBe("EBADF");
    expect(set(kernel, map_fd, 0, 0)).toBe("EBADF");
    expect(remove(kernel, map_fd, 0)).toBe("EBADF");
    expect(nextKey(kernel, map_fd, 0)).toBe("EBADF");
    expect(outcome(kernel.bpf(BPF_MAP_FREEZE, { map_fd }))).toBe("EBADF");
  }
});

contract("a map made with RDONLY can be read and not written by user space", (kernel, { open }) => {
  const map = open(create(kernel, { map_flags: BPF_F_RDONLY }));
  expect(get(kernel, map, 0)).toBe(0n);
  expect(nextKey(kernel, map, undefined)).toBe(0);
  expect(set(kernel, map, 0, 1)).toBe("EPERM");
  expect(remove(kernel, map, 0)).toBe("EPERM");
  expect(outcome(kernel.bpf(BPF_MAP_FREEZE, { map_fd: map }))).toBe("EPERM");
});

contract("a map made with WRONLY can be written and not read by user space", (kernel, { open }) => {
  const map = open(create(kernel, { map_flags: BPF_F_WRONLY }));
  expect(set(kernel, map, 0, 1)).toBe(0);
  expect(get(kernel, map, 0)).toBe("EPERM");
  expect(nextKey(kernel, map, undefined)).toBe("EPERM");
});

contract("RDONLY_PROG binds programs, not user space", (kernel, { open }) => {
  const map = open(create(kernel, { map_flags: BPF_F_RDONLY_PROG }));
  expect(set(kernel, map, 0, 1)).toBe(0);
});

contract("a frozen map can be read and not written, and is frozen once", (kernel, { open }) => {
  const map_fd = open(create(kernel));
  expect(set(kernel, map_fd, 0, 1)).toBe(0);
  expect(kernel.bpf(BPF_MAP_FREEZE, { map_fd })).toBe(0);
  expect(get(kernel, map_fd, 0)).toBe(1n);
  expect(set(kernel, map_fd, 0, 2)).toBe("EPERM");
  expect(remove(kernel, map_fd, 0)).toBe("EPERM");
  expect(outcome(kernel.bpf(BPF_MAP_FREEZE, { map_fd }))).toBe("EPERM");
});
