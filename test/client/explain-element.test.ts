// What a person is told where a command on an element fails: what was asked, and what could have been.

import { expect } from "vitest";
import { BpfMap } from "../../src/client/map.ts";
import type { MapOf } from "../../src/client/maps/options.ts";
import { u32 } from "../../src/codec/scalars.ts";
import { BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { contract } from "../contract/contract.ts";
import { errorOf } from "./error-of.ts";

const array = { type: "array", value: u32, maxEntries: 2 } as const;
const hash = { type: "hash", key: u32, value: u32, maxEntries: 2 } as const;
const devmap = { type: "devmap", maxEntries: 2 } as const;
const progArray = { type: "prog_array", maxEntries: 2 } as const;

type Keyed = MapOf<typeof hash> & MapOf<typeof devmap> & MapOf<typeof progArray>;

const cases: readonly (readonly [object, (map: Keyed) => unknown, string])[] = [
  [array, (map) => map.set(2, 0), "UPDATE_ELEM): E2BIG: an array's index is below its max_entries, 2; got 2"],
  [
    array,
    (map) => map.set(0, 0, BPF_NOEXIST),
    "UPDATE_ELEM): EEXIST: an array has all its elements from the beginning: BPF_NOEXIST never succeeds",
  ],
  [
    hash,
    (map) => map.set(0, 0, 8),
    "UPDATE_ELEM): EINVAL: a hash is written with flags BPF_ANY (0), BPF_NOEXIST (1), BPF_EXIST (2); got 8",
  ],
  [
    hash,
    (map) => map.set(0, 0, BPF_F_LOCK),
    "UPDATE_ELEM): EINVAL: BPF_F_LOCK needs a struct bpf_spin_lock in the value, told by the map's BTF",
  ],
  [
    hash,
    (map) => map.set(0, 0, BPF_EXIST),
    "UPDATE_ELEM): ENOENT: the key is not there, and BPF_EXIST writes only keys that are",
  ],
  [hash, (map) => map.set(0, 0).set(1, 0).set(2, 0), "UPDATE_ELEM): E2BIG: the map is full: it has its max_entries, 2"],
  [
    progArray,
    (map) => map.set(0, 0, BPF_EXIST),
    "UPDATE_ELEM): EINVAL: a prog_array is written with flags BPF_ANY (0); got 2",
  ],
  [progArray, (map) => map.delete(7), "DELETE_ELEM): E2BIG: a prog_array's index is below its max_entries, 2; got 7"],
  [devmap, (map) => map.delete(7), "DELETE_ELEM): EINVAL: a devmap's index is below its max_entries, 2; got 7"],
  [
    devmap,
    (map) => map.set(0, { ifindex: 1 }, BPF_NOEXIST),
    "UPDATE_ELEM): EEXIST: a devmap has all its elements from the beginning: BPF_NOEXIST never succeeds",
  ],
];

contract("a refused command on an element says what was asked and what could have been", (kernel) => {
  for (const [options, ask, message] of cases) {
    using map = BpfMap.create(kernel, options as never) as unknown as Keyed;
    expect(String(errorOf(() => ask(map)))).toBe(`BpfError: bpf(BPF_MAP_${message}`);
  }
});

contract("the owner of a value of storage is something with a file descriptor", (kernel) => {
  using map = BpfMap.create(kernel, { type: "task_storage", value: u32 });
  expect(String(errorOf(() => map.get("7" as never)))).toContain('"7" is no file descriptor, and has none');
});
