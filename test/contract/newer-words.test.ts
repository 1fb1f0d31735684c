// Map types and flags that are newer than Linux 6.18: its answers.

import { expect } from "vitest";
import { BPF_MAP_UPDATE_BATCH } from "../../src/uapi/commands.ts";
import { BPF_F_ALL_CPUS, BPF_F_CPU, BPF_F_NO_PREALLOC, BPF_F_RB_OVERWRITE } from "../../src/uapi/flags.ts";
import {
  BPF_MAP_TYPE_INSN_ARRAY,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_RHASH,
  BPF_MAP_TYPE_RINGBUF,
} from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, get, set, u32 } from "./maps.ts";

contract("a map type that came after Linux 6.18 is EINVAL", (kernel) => {
  expect(creation(kernel, { map_type: BPF_MAP_TYPE_INSN_ARRAY, value_size: 16 })).toBe("EINVAL");
  expect(creation(kernel, { map_type: BPF_MAP_TYPE_RHASH, map_flags: BPF_F_NO_PREALLOC })).toBe("EINVAL");
  expect(creation(kernel, { map_type: 0 })).toBe("EINVAL");
  expect(creation(kernel, { map_type: 0xffff_ffff })).toBe("EINVAL");
});

contract("a ring buffer that overwrites is EINVAL", (kernel) => {
  const ring = { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 };
  expect(creation(kernel, { ...ring, map_flags: BPF_F_RB_OVERWRITE })).toBe("EINVAL");
});

contract("a per-CPU value of one CPU alone, or one for all, is EINVAL", (kernel, { open }) => {
  for (const map_type of [BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH]) {
    const map_fd = open(create(kernel, { map_type }));
    for (const flags of [BPF_F_CPU, BPF_F_ALL_CPUS]) {
      expect(get(kernel, map_fd, 1, flags)).toBe("EINVAL");
      const values = new Uint8Array(8 * kernel.system.possibleCpus.length);
      const batch = { map_fd, count: 1, keys: u32(1), values, elem_flags: flags };
      expect(outcome(kernel.bpf(BPF_MAP_UPDATE_BATCH, batch))).toBe("EINVAL");
    }
  }
  const hash = open(create(kernel));
  expect(set(kernel, hash, 1, 1, BPF_F_CPU)).toBe("EINVAL");
});
