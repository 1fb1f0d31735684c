// BPF_MAP_CREATE: what is accepted, what is refused, and which error comes first.

import { expect } from "vitest";
import * as flags from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import { contract } from "./contract.ts";
import { create, creation, type MapCreate } from "./maps.ts";

const percpuArray = types.BPF_MAP_TYPE_PERCPU_ARRAY;
const hash = types.BPF_MAP_TYPE_HASH;
const percpuHash = types.BPF_MAP_TYPE_PERCPU_HASH;
const ringbuf = types.BPF_MAP_TYPE_RINGBUF;
const ring = { map_type: ringbuf, key_size: 0, value_size: 0, max_entries: 4096 };

const creations: readonly (readonly [fact: string, attr: MapCreate, outcome: string])[] = [
  ["an array", {}, "ok"],
  ["a per-CPU array", { map_type: percpuArray }, "ok"],
  ["a hash", { map_type: hash }, "ok"],
  ["a per-CPU hash", { map_type: percpuHash }, "ok"],
  ["a ring buffer", ring, "ok"],
  ["a map type that no kernel has", { map_type: 1000 }, "EINVAL"],
  ["map type 0", { map_type: 0 }, "EINVAL"],

  ["an array with keys of 8 bytes", { key_size: 8 }, "EINVAL"],
  ["an array with keys of 0 bytes", { key_size: 0 }, "EINVAL"],
  ["an array with values of 0 bytes", { value_size: 0 }, "EINVAL"],
  ["an array with values of 3 bytes", { value_size: 3 }, "ok"],
  ["an array without elements", { max_entries: 0 }, "EINVAL"],
  ["an array with values of 2 GiB", { value_size: 0x8000_0000, max_entries: 1 }, "E2BIG"],
  ["an array with NO_PREALLOC", { map_flags: flags.BPF_F_NO_PREALLOC }, "EINVAL"],
  ["an array with ZERO_SEED", { map_flags: flags.BPF_F_ZERO_SEED }, "EINVAL"],
  ["an array with MMAPABLE", { map_flags: flags.BPF_F_MMAPABLE }, "ok"],
  ["an array with PRESERVE_ELEMS", { map_flags: flags.BPF_F_PRESERVE_ELEMS }, "EINVAL"],
  ["an array with RDONLY", { map_flags: flags.BPF_F_RDONLY }, "ok"],
  ["an array with WRONLY", { map_flags: flags.BPF_F_WRONLY }, "ok"],
  ["an array with RDONLY and WRONLY", { map_flags: flags.BPF_F_RDONLY | flags.BPF_F_WRONLY }, "EINVAL"],
  ["an array with RDONLY_PROG", { map_flags: flags.BPF_F_RDONLY_PROG }, "ok"],
  ["an array with WRONLY_PROG", { map_flags: flags.BPF_F_WRONLY_PROG }, "ok"],
  [
    "an array with RDONLY_PROG and WRONLY_PROG",
    { map_flags: flags.BPF_F_RDONLY_PROG | flags.BPF_F_WRONLY_PROG },
    "EINVAL",
  ],
  ["an array with a flag that no kernel has", { map_flags: 0x8000_0000 }, "EINVAL"],
  ["an array with inner_map_fd, which only a map of maps reads", { inner_map_fd: 1 }, "ok"],
  ["an array with map_extra", { map_extra: 1 }, "EINVAL"],
  ["an array with an interface that is not there", { map_ifindex: 999_999 }, "EINVAL"],
  ["an array on NUMA node 0", { map_flags: flags.BPF_F_NUMA_NODE, numa_node: 0 }, "ok"],
  ["an array on a NUMA node that is not there", { map_flags: flags.BPF_F_NUMA_NODE, numa_node: 1000 }, "EINVAL"],
  ["an array with numa_node but no flag for it", { numa_node: 1000 }, "ok"],

  ["a per-CPU array with MMAPABLE", { map_type: percpuArray, map_flags: flags.BPF_F_MMAPABLE }, "EINVAL"],
  ["a per-CPU array with a NUMA node", { map_type: percpuArray, map_flags: flags.BPF_F_NUMA_NODE }, "EINVAL"],
  ["a per-CPU array with values of 32768 bytes", { map_type: percpuArray, value_size: 32768 }, "ok"],
  ["a per-CPU array with values of 32769 bytes", { map_type: percpuArray, value_size: 32769 }, "E2BIG"],

  ["a hash with keys of 0 bytes", { map_type: hash, key_size: 0 }, "EINVAL"],
  ["a hash with keys of 3 bytes", { map_type: hash, key_size: 3 }, "ok"],
  ["a hash with keys of 512 bytes", { map_type: hash, key_size: 512 }, "ok"],
  ["a hash with keys of 1 MiB", { map_type: hash, key_size: 1 << 20, max_entries: 1 }, "ok"],
  ["a hash with values of 0 bytes", { map_type: hash, value_size: 0 }, "EINVAL"],
  ["a hash without elements", { map_type: hash, max_entries: 0 }, "EINVAL"],
  ["a hash with keys and values of 4 GiB together", { map_type: hash, value_size: 0xffff_ffff }, "E2BIG"],
  ["a hash with NO_PREALLOC", { map_type: hash, map_flags: flags.BPF_F_NO_PREALLOC }, "ok"],
  ["a hash with ZERO_SEED", { map_type: hash, map_flags: flags.BPF_F_ZERO_SEED }, "ok"],
  ["a hash with MMAPABLE", { map_type: hash, map_flags: flags.BPF_F_MMAPABLE }, "EINVAL"],
  ["a hash with NO_COMMON_LRU", { map_type: hash, map_flags: flags.BPF_F_NO_COMMON_LRU }, "EINVAL"],
  ["a hash on NUMA node 0", { map_type: hash, map_flags: flags.BPF_F_NUMA_NODE }, "ok"],
  ["a per-CPU hash with values of 32768 bytes", { map_type: percpuHash, value_size: 32768 }, "ok"],
  ["a per-CPU hash with values of 32769 bytes", { map_type: percpuHash, value_size: 32769 }, "E2BIG"],
  ["a per-CPU hash with a NUMA node", { map_type: percpuHash, map_flags: flags.BPF_F_NUMA_NODE }, "EINVAL"],

  ["a ring buffer with keys", { ...ring, key_size: 4 }, "EINVAL"],
  ["a ring buffer with values", { ...ring, value_size: 4 }, "EINVAL"],
  ["a ring buffer of 0 bytes", { ...ring, max_entries: 0 }, "EINVAL"],
  ["a ring buffer of 1000 bytes", { ...ring, max_entries: 1000 }, "EINVAL"],
  ["a ring buffer of 2048 bytes", { ...ring, max_entries: 2048 }, "EINVAL"],
  ["a ring buffer of 12288 bytes, no power of two", { ...ring, max_entries: 12288 }, "EINVAL"],
  ["a ring buffer with MMAPABLE", { ...ring, map_flags: flags.BPF_F_MMAPABLE }, "EINVAL"],
  ["a ring buffer with RDONLY", { ...ring, map_flags: flags.BPF_F_RDONLY }, "EINVAL"],
  ["a ring buffer on NUMA node 0", { ...ring, map_flags: flags.BPF_F_NUMA_NODE }, "ok"],

  ["a name of 15 bytes", { map_name: "a_name.of_15byt" }, "ok"],
  ["a name with a hyphen", { map_name: "a-name" }, "EINVAL"],
  ["a name with a space", { map_name: "a name" }, "EINVAL"],
  ["a name of 16 bytes, which no NUL ends", { map_name: "a_name_of_16byte" }, "EINVAL"],
  ["a BTF key type without BTF", { btf_key_type_id: 1 }, "EINVAL"],
  ["a BTF value type on an fd that is not open", { btf_fd: 12345, btf_value_type_id: 1 }, "EBADF"],
  ["a BTF fd without types", { btf_fd: 12345 }, "ok"],
];

for (const [fact, attr, expected] of creations) {
  contract(`${fact}: ${expected}`, (kernel) => {
    expect(creation(kernel, attr)).toBe(expected);
  });
}

contract("an array of 1 MiB × 2^31 is ENOMEM", (kernel) => {
  expect(creation(kernel, { value_size: 1 << 20, max_entries: 2 ** 31 })).toBe("ENOMEM");
});

contract("a hash of 2^32 - 1 elements is refused", (kernel) => {
  expect(creation(kernel, { map_type: hash, max_entries: 0xffff_ffff })).toBe("E2BIG");
});

contract("a wrong key size is told before missing memory, and so is a wrong flag", (kernel) => {
  expect(creation(kernel, { key_size: 8, value_size: 1 << 20, max_entries: 2 ** 31 })).toBe("EINVAL");
  expect(creation(kernel, { value_size: 1 << 20, max_entries: 2 ** 31, map_flags: flags.BPF_F_ZERO_SEED })).toBe(
    "EINVAL",
  );
});

contract("each new map has a file descriptor of its own", (kernel, { open }) => {
  const first = open(create(kernel));
  const second = open(create(kernel));
  expect(second).not.toBe(first);
});

// On Linux another thread of this process may take it first.
contract.on("embedded")("the lowest free file descriptor is taken", (kernel) => {
  const first = create(kernel);
  kernel.close(first);
  const second = create(kernel);
  kernel.close(second);
  expect(second).toBe(first);
});

contract("a closed file descriptor is EBADF", (kernel) => {
  const fd = create(kernel);
  expect(kernel.close(fd)).toBe(0);
  expect(kernel.close(fd)).toBe(-9);
});
