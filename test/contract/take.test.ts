// BPF_MAP_LOOKUP_AND_DELETE_ELEM where the caller's value has no room: Linux would take the element out and lose it; both kernels here do not.

import { expect } from "vitest";
import {
  BPF_MAP_FREEZE,
  BPF_MAP_LOOKUP_AND_DELETE_ELEM,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
} from "../../src/uapi/commands.ts";
import { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_QUEUE } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, set, u32, u64 } from "./maps.ts";

contract("an element whose value has no room is EFAULT and stays", (kernel, { open }) => {
  const map_fd = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH }));
  set(kernel, map_fd, 1, 11n);
  const take = (key: number, value: Uint8Array | null, flags: number | bigint = 0) =>
    outcome(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, key: u32(key), value, flags }));
  for (const value of [new Uint8Array(7), new Uint8Array(0), null]) {
    expect([take(1, value), get(kernel, map_fd, 1)]).toEqual(["EFAULT", 11n]);
    expect(take(2, value)).toBe("ENOENT");
    expect([take(1, value, 1), take(1, value, 4), take(1, value, 1n)]).toEqual(["EINVAL", "EINVAL", "EINVAL"]);
  }
  expect(kernel.bpf(BPF_MAP_FREEZE, { map_fd })).toBe(0);
  expect(take(1, new Uint8Array(7))).toBe("EPERM");
});

contract("a per-CPU element stays unless there is room for the values of all CPUs", (kernel, { open }) => {
  const map_fd = open(create(kernel, { map_type: BPF_MAP_TYPE_PERCPU_HASH }));
  const whole = new Uint8Array(8 * kernel.system.possibleCpus.length);
  const attr = { map_fd, key: u32(1), value: whole.fill(5) };
  expect(kernel.bpf(BPF_MAP_UPDATE_ELEM, attr)).toBe(0);
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, { ...attr, value: whole.slice(1) }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, attr))).toBe(0);
});

contract("a queue's value that has no room stays", (kernel, { open }) => {
  const map_fd = open(create(kernel, { map_type: BPF_MAP_TYPE_QUEUE, key_size: 0 }));
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: null, value: u64(7) }))).toBe(0);
  const pop = { map_fd, key: null, value: new Uint8Array(7) };
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, pop))).toBe("EFAULT");
  const value = new Uint8Array(8);
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: null, value }))).toBe(0);
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, key: null, value }))).toBe(0);
  expect(value).toEqual(u64(7));
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, key: null, value }))).toBe("ENOENT");
});
