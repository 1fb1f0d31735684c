// Tries: the longest prefix is found, and the longer prefixes are walked first.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_F_NO_PREALLOC, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { BPF_FUNC_map_lookup_elem } from "../../src/uapi/helper-ids.ts";
import { BPF_ADD } from "../../src/uapi/insn.ts";
import { BPF_MAP_TYPE_LPM_TRIE } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, type MapCreate, toU32, u32 } from "./maps.ts";
import { load as loadProgram, testRun } from "./programs.ts";

const { r0, r1, r2, r10, add, atomic, call, exit, jump, label, load, loadMapFd, mov, store } = asm;

const trie: MapCreate = {
  map_type: BPF_MAP_TYPE_LPM_TRIE,
  key_size: 8,
  value_size: 4,
  max_entries: 16,
  map_flags: BPF_F_NO_PREALLOC,
};

/** `10.1.0.0/16` as a key of the trie: the length, then the bytes of the address. */
function prefix(text: string): Uint8Array {
  const [address = "", length] = text.split("/");
  const isIpv6 = address.includes(":");
  const data = isIpv6 ? ipv6(address) : address.split(".").map(Number);
  return Uint8Array.from([...u32(Number(length)), ...data]);
}

/** With eight groups, or `::` at the end. */
const ipv6 = (address: string): number[] => {
  const groups = address.split(":").filter((group) => group !== "");
  const words = [...groups.map((group) => Number.parseInt(group, 16)), ...new Array(8).fill(0)].slice(0, 8);
  return words.flatMap((word) => [word >> 8, word & 0xff]);
};

const text = (key: Uint8Array): string => `${key.subarray(4).join(".")}/${toU32(key)}`;

function trieOf(kernel: Kernel, map_fd: number) {
  return {
    set: (key: string, value: number, flags = 0) =>
      outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: prefix(key), value: u32(value), flags })),
    get(key: string): number | string {
      const value = new Uint8Array(4);
      const result = kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: prefix(key), value });
      return result < 0 ? outcome(result) : toU32(value);
    },
    remove: (key: string) => outcome(kernel.bpf(commands.BPF_MAP_DELETE_ELEM, { map_fd, key: prefix(key) })),
    next(key: string): string {
      const next_key = new Uint8Array(8);
      const result = kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { map_fd, key: prefix(key), next_key });
      return result < 0 ? String(outcome(result)) : text(next_key);
    },
    get keys(): string[] {
      const found: string[] = [];
      const next_key = new Uint8Array(8);
      for (let key: Uint8Array | null = null; ; key = next_key.slice()) {
        if (kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { map_fd, key, next_key }) !== 0) return found;
        found.push(text(next_key));
      }
    },
  };
}

contract("the longest prefix of an IPv4 address is found", (kernel, { open }) => {
  const { set, get } = trieOf(kernel, open(create(kernel, trie)));
  for (const [index, key] of ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32"].entries()) set(key, index);
  expect(["10.1.2.3/32", "10.1.2.4/32", "10.1.3.1/32", "10.9.9.9/32", "11.0.0.1/32"].map(get)).toEqual([
    3,
    2,
    1,
    0,
    "ENOENT",
  ]);
  // A shorter key finds no longer prefix.
  expect([get("10.1.2.0/20"), get("10.1.2.0/7")]).toEqual([1, "ENOENT"]);
  expect(set("0.0.0.0/0", 9)).toBe(0);
  expect(get("11.0.0.1/32")).toBe(9);
});

contract("the longest prefix of an IPv6 address is found", (kernel, { open }) => {
  const { set, get } = trieOf(kernel, open(create(kernel, { ...trie, key_size: 20 })));
  set("2001:db8::/32", 1);
  set("2001:db8:0:1::/64", 2);
  set("2001:db8:0:1:8000::/65", 3);
  expect(["2001:db8:0:1:8000::/128", "2001:db8:0:1::/128", "2001:db8:ffff::/128", "2001:db9::/128"].map(get)).toEqual([
    3,
    2,
    1,
    "ENOENT",
  ]);
});

contract("a prefix longer than the key's bytes is EINVAL, and is not found", (kernel, { open }) => {
  const { set, get, remove, next } = trieOf(kernel, open(create(kernel, trie)));
  set("10.0.0.0/8", 1);
  expect([set("10.0.0.0/33", 1), remove("10.0.0.0/33"), get("10.0.0.0/33")]).toEqual(["EINVAL", "EINVAL", "ENOENT"]);
  expect(next("10.0.0.0/33")).toBe("10.0.0.0/8");
});

contract("keys come with the longer prefixes first, and keep the bits that do not count", (kernel, { open }) => {
  const map = trieOf(kernel, open(create(kernel, trie)));
  for (const key of ["192.168.0.0/16", "192.168.0.0/24", "192.168.128.0/24", "192.168.1.0/24"]) map.set(key, 0);
  expect(map.keys).toEqual(["192.168.0.0/24", "192.168.1.0/24", "192.168.128.0/24", "192.168.0.0/16"]);
  expect(map.next("192.168.0.0/16")).toBe("ENOENT");
  expect(map.next("192.168.0.0/17")).toBe("192.168.0.0/24");
  map.set("192.168.1.77/24", 0);
  expect(map.keys[1]).toBe("192.168.1.77/24");
});

contract(
  "a trie without keys has no next one, and one that is not there is followed by the first",
  (kernel, { open }) => {
    const { set, keys, next } = trieOf(kernel, open(create(kernel, trie)));
    expect([keys, next("9.9.9.9/32")]).toEqual([[], "ENOENT"]);
    set("1.2.3.4/0", 0);
    expect(next("9.9.9.9/32")).toBe("1.2.3.4/0");
  },
);

contract("a full trie refuses a new prefix with ENOSPC, and takes an old one", (kernel, { open }) => {
  const { set, remove, get } = trieOf(kernel, open(create(kernel, { ...trie, max_entries: 2 })));
  expect([set("10.0.0.0/8", 1), set("11.0.0.0/8", 2), set("12.0.0.0/8", 3)]).toEqual([0, 0, "ENOSPC"]);
  expect([set("11.0.0.0/8", 4), get("11.0.0.0/8")]).toEqual([0, 4]);
  expect([set("12.0.0.0/8", 3, BPF_EXIST), set("11.0.0.0/8", 3, BPF_NOEXIST)]).toEqual(["ENOENT", "EEXIST"]);
  // 10/8 and 11/8 part at /7, which is no element.
  expect([get("10.0.0.0/7"), remove("10.0.0.0/7"), set("10.0.0.0/7", 5)]).toEqual(["ENOENT", "ENOENT", "ENOSPC"]);
  expect([remove("10.0.0.0/8"), remove("10.0.0.0/8"), set("10.0.0.0/7", 5)]).toEqual([0, "ENOENT", 0]);
  expect([get("10.0.0.0/8"), get("11.1.1.1/32")]).toEqual([5, 4]);
});

contract("a prefix that others go on from can be deleted and set again", (kernel, { open }) => {
  const map = trieOf(kernel, open(create(kernel, trie)));
  for (const key of ["10.0.0.0/8", "10.0.0.0/16", "10.128.0.0/16"]) map.set(key, 1);
  expect([map.remove("10.0.0.0/8"), map.get("10.9.0.0/32"), map.keys]).toEqual([
    0,
    "ENOENT",
    ["10.0.0.0/16", "10.128.0.0/16"],
  ]);
  expect([map.set("10.0.0.0/8", 2, BPF_NOEXIST), map.get("10.9.0.0/32")]).toEqual([0, 2]);
});

const VALUE_MAX = 4 * 1024 * 1024 - 256 - 24;
for (const [fact, attr, expected] of [
  ["a trie without NO_PREALLOC", { map_flags: 0 }, "EINVAL"],
  ["a trie with keys of 4 bytes", { key_size: 4 }, "EINVAL"],
  ["a trie with keys of 5 bytes", { key_size: 5 }, "ok"],
  ["a trie with keys of 260 bytes", { key_size: 260 }, "ok"],
  ["a trie with keys of 261 bytes", { key_size: 261 }, "EINVAL"],
  ["a trie with the largest values", { value_size: VALUE_MAX }, "ok"],
  ["a trie with larger values", { value_size: VALUE_MAX + 1 }, "EINVAL"],
  ["a trie of 2^32 - 1 elements", { max_entries: 0xffff_ffff }, "ok"],
] as const) {
  contract(`${fact}: ${expected}`, (kernel) => expect(creation(kernel, { ...trie, ...attr })).toBe(expected));
}

contract("a program may add to a value atomically", (kernel, { open }) => {
  for (const key_size of [8, 13, 20]) {
    const map = open(create(kernel, { ...trie, key_size, value_size: 8 }));
    const [key, value] = [new Uint8Array(key_size), new Uint8Array(8)];
    kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd: map, key, value, flags: 0 });
    const items = [
      ...[-8, -16, -24].map((at) => store("dw", r10, at, 0)),
      loadMapFd(r1, map),
      mov(r2, r10),
      add(r2, -24),
      call(BPF_FUNC_map_lookup_elem),
      jump("jeq", r0, 0, "none"),
      mov(r1, 7),
      atomic("dw", BPF_ADD, r0, 0, r1),
      load("w", r0, r0, 0),
      label("none"),
      exit(),
    ];
    const run = testRun(kernel, open(loadProgram(kernel, items)));
    expect([run.outcome, run.retval]).toEqual([0, 7]);
  }
});
