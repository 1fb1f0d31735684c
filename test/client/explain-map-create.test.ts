// What a person is told where a map cannot be created: the attribute, the number it had, and the number it should have had.

import { expect } from "vitest";
import { BpfMap } from "../../src/client/map.ts";
import type { MapOptions } from "../../src/client/maps/options.ts";
import { bytes } from "../../src/codec/bytes.ts";
import { u16, u32, u64 } from "../../src/codec/scalars.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import {
  BPF_F_MMAPABLE,
  BPF_F_NO_COMMON_LRU,
  BPF_F_NO_PREALLOC,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
} from "../../src/uapi/flags.ts";
import { contract } from "../contract/contract.ts";
import { errorOf } from "./error-of.ts";

const refusal = (kernel: Kernel, options: MapOptions): string =>
  String(errorOf(() => BpfMap.create(kernel, options as never))).replace("BpfError: bpf(BPF_MAP_CREATE)", "");

const hash = { type: "hash", key: u32, value: u64, maxEntries: 4 } as const;

const cases: readonly (readonly [MapOptions, string])[] = [
  [{ type: "array", key: u64, value: u64, maxEntries: 1 }, ": EINVAL: an array's key_size is 4; got 8"],
  [{ ...hash, maxEntries: 0 }, ": EINVAL: a hash's max_entries is 1 to 134217728; got 0"],
  [{ ...hash, value: bytes(0) }, ": EINVAL: a hash's value_size is 1 to 4194254; got 0"],
  [{ ...hash, name: "a-b" }, ' "a-b": EINVAL: a map\'s name has letters, digits, "_" and "."; got "a-b"'],
  [
    { ...hash, name: "abcdefghijklmnop" },
    ' "abcdefghijklmnop": EINVAL: a map\'s name has at most 15 characters; got 16',
  ],
  [
    { ...hash, flags: BPF_F_MMAPABLE },
    ": EINVAL: a hash does not take BPF_F_MMAPABLE; it takes BPF_F_NO_PREALLOC, BPF_F_NUMA_NODE, BPF_F_RDONLY, BPF_F_WRONLY, BPF_F_ZERO_SEED, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG",
  ],
  [
    { type: "array", value: u32, maxEntries: 1, flags: BPF_F_NO_PREALLOC },
    ": EINVAL: an array is always preallocated: it does not take BPF_F_NO_PREALLOC",
  ],
  [{ ...hash, flags: BPF_F_RDONLY | BPF_F_WRONLY }, ": EINVAL: BPF_F_RDONLY and BPF_F_WRONLY exclude each other"],
  [
    { ...hash, flags: BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG },
    ": EINVAL: BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other",
  ],
  [
    { type: "percpu_array", value: bytes(32769), maxEntries: 1 },
    ": E2BIG: a percpu_array's value_size is 1 to 32768; got 32769",
  ],
  [
    { ...hash, type: "lru_hash", flags: BPF_F_NO_PREALLOC },
    ": ENOTSUPP: an LRU map is always preallocated: it does not take BPF_F_NO_PREALLOC",
  ],
  [
    { type: "prog_array", maxEntries: 1, flags: BPF_F_NO_COMMON_LRU },
    ": EINVAL: a prog_array does not take BPF_F_NO_COMMON_LRU; it takes BPF_F_NUMA_NODE, BPF_F_RDONLY, BPF_F_WRONLY",
  ],
];

/** Types that need more of a kernel than those above. */
const more: readonly (readonly [MapOptions, string])[] = [
  [{ type: "queue", value: u32, maxEntries: 0 }, ": EINVAL: a queue's max_entries is at least 1; got 0"],
  [{ type: "lpm_trie", key: u32, value: u64, maxEntries: 1 }, ": EINVAL: an lpm_trie's key_size is 5 to 260; got 4"],
  [
    { type: "cgroup_storage", key: u16, value: u64 },
    ": EINVAL: a cgroup_storage's key_size is 8 to 16, in steps of 8; got 2",
  ],
  [{ type: "sk_storage", value: bytes(0) }, ": EINVAL: a sk_storage's value_size is 1 to 65407; got 0"],
  [
    { type: "stack_trace", maxEntries: 1, depth: 128 },
    ": EINVAL: a stack_trace's value_size is 8 to 1016, in steps of 8; got 1024",
  ],
  [
    { type: "stack_trace", maxEntries: 1, depth: 128, buildId: true },
    ": EINVAL: a stack_trace's value_size is 32 to 4064, in steps of 32; got 4096",
  ],
  [
    { ...hash, key: bytes(64), value: bytes(4194254) },
    ": E2BIG: a hash's key_size + value_size is 1 to 4194255; got 4194318",
  ],
  [
    { type: "queue", value: bytes(4194305), maxEntries: 1 },
    ": E2BIG: a queue's value_size is 1 to 4194304; got 4194305",
  ],
  [
    { type: "sockhash", key: u32, maxEntries: 2 ** 28 },
    ": EINVAL: a sockhash's max_entries is 1 to 134217728; got 268435456",
  ],
];

contract("a refused map names the attribute that its type does not allow", (kernel) => {
  for (const [options, message] of cases) expect(refusal(kernel, options)).toBe(message);
});

contract("so does one of a rarer type", (kernel) => {
  for (const [options, message] of more) expect(refusal(kernel, options)).toBe(message);
});
