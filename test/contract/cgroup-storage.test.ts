// cgroup_storage and percpu_cgroup_storage: elements exist where a program is attached; here none is.

import { expect } from "vitest";
import { type BuildableType, buildBtf } from "../../src/btf/build.ts";
import {
  BPF_BTF_LOAD,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
} from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_CGROUP_STORAGE, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation } from "./maps.ts";

const int = (bits: number, signed = false): BuildableType => ({
  kind: "int",
  name: `${signed ? "s" : "u"}${bits}`,
  size: bits / 8,
  bits,
  offset: 0,
  signed,
  char: false,
  bool: false,
});

const struct = (name: string, members: readonly (readonly [type: number, bitOffset: number])[]): BuildableType => ({
  kind: "struct",
  name,
  size: 16,
  members: members.map(([type, bitOffset], index) => ({ name: `m${index}`, type, bitOffset, bitSize: 0 })),
});

/** Types by id, and whether each is a key of 16 bytes. */
const keyTypes: readonly (readonly [type: BuildableType, expected: string])[] = [
  [int(32), "EINVAL"],
  [int(64), "EINVAL"],
  [
    struct("bpf_cgroup_storage_key", [
      [2, 0],
      [1, 64],
    ]),
    "ok",
  ],
  [{ kind: "typedef", name: "key", type: 3 }, "ok"],
  [
    struct("two_ids", [
      [2, 0],
      [2, 64],
    ]),
    "EINVAL",
  ],
  [
    struct("three_members", [
      [2, 0],
      [1, 64],
      [1, 96],
    ]),
    "EINVAL",
  ],
  [
    struct("elsewhere", [
      [2, 0],
      [1, 96],
    ]),
    "EINVAL",
  ],
  [int(64, true), "EINVAL"],
];

for (const [name, map_type, valueMax] of [
  ["cgroup storage", BPF_MAP_TYPE_CGROUP_STORAGE, 65407],
  ["per-CPU cgroup storage", BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, 32768],
] as const) {
  const attr = { map_type, key_size: 16, value_size: 8, max_entries: 0 };

  contract(`${name} where no program is attached has no elements`, (kernel, { open }) => {
    const map_fd = open(create(kernel, attr));
    const key = new Uint8Array(16);
    const value = new Uint8Array(8 * kernel.system.possibleCpus.length);
    const update = (flags: number): number | string =>
      outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key, value, flags }));
    expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key, value }))).toBe("ENOENT");
    expect([0, BPF_NOEXIST, BPF_EXIST, 3].map(update)).toEqual(["ENOENT", "EINVAL", "ENOENT", "EINVAL"]);
    expect(outcome(kernel.bpf(BPF_MAP_GET_NEXT_KEY, { map_fd, key: null, next_key: key }))).toBe("ENOENT");
  });

  contract(`a value of ${name} has at most ${valueMax} bytes, which is looked at before flags`, (kernel) => {
    expect(creation(kernel, { ...attr, value_size: valueMax })).toBe("ok");
    expect(creation(kernel, { ...attr, value_size: valueMax + 1, map_flags: 1, max_entries: 1 })).toBe("E2BIG");
    expect(creation(kernel, { ...attr, value_size: valueMax + 1, key_size: 4 })).toBe("EINVAL");
  });

  contract(`a key of ${name} is a struct of an id and an attach type, or an id of 64 bits`, (kernel, { open }) => {
    const btf = buildBtf(keyTypes.map(([type]) => type));
    const btf_fd = open(kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length }));
    const typed = { ...attr, btf_fd, btf_value_type_id: 2 };
    const answers = keyTypes.map((_, index) => creation(kernel, { ...typed, btf_key_type_id: index + 1 }));
    expect(answers).toEqual(keyTypes.map(([, expected]) => expected));
    expect(creation(kernel, typed)).toBe("EINVAL");
    for (const [id, expected] of [
      [2, "ok"],
      [8, "ok"],
      [1, "EINVAL"],
    ] as const)
      expect(creation(kernel, { ...typed, key_size: 8, btf_key_type_id: id })).toBe(expected);
  });
}
