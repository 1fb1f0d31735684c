// BPF_BTF_LOAD, and maps that say what their keys and values are.

import { expect } from "vitest";
import type { Kernel } from "../../src/kernel/kernel.ts";
import type { Attr } from "../../src/uapi/attr.ts";
import * as commands from "../../src/uapi/commands.ts";
import { btfInfo, mapInfo } from "../../src/uapi/info.ts";
import { decode, sizeOf } from "../../src/uapi/struct.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation } from "./maps.ts";
import { textOf } from "./programs.ts";

/** BTF with type 1 `unsigned int` of 32 bits and type 2 `unsigned long` of 64. */
function integers(): Uint8Array {
  const strings = new TextEncoder().encode("\0unsigned int\0unsigned long\0");
  const kindInt = 1 << 24;
  const types = new Uint8Array(new Uint32Array([1, kindInt, 4, 32, 14, kindInt, 8, 64]).buffer);
  const header = new DataView(new ArrayBuffer(24));
  header.setUint16(0, 0xeb9f, true);
  header.setUint8(2, 1);
  header.setUint32(4, 24, true);
  header.setUint32(12, types.length, true);
  header.setUint32(16, types.length, true);
  header.setUint32(20, strings.length, true);
  return Uint8Array.from([...new Uint8Array(header.buffer), ...types, ...strings]);
}

const load = (kernel: Kernel, btf: Uint8Array, attr: Attr<typeof commands.BPF_BTF_LOAD> = {}): number =>
  kernel.bpf(commands.BPF_BTF_LOAD, { btf, btf_size: btf.length, ...attr });

/** Bytes with one of them changed. */
const broken = (at: number, value: number): Uint8Array => integers().with(at, value);

contract("BTF is loaded, and told as it was", (kernel, { open }) => {
  const btf = integers();
  const fd = open(load(kernel, btf));
  const bytes = new Uint8Array(sizeOf(btfInfo));
  const told = new Uint8Array(btf.length);
  new DataView(bytes.buffer).setUint32(btfInfo.btf_size[0], told.length, true);
  const info = { bytes, pointers: [{ offset: btfInfo.btf[0], direction: "out", bytes: told }] } as const;
  expect(kernel.bpf(commands.BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: fd, info_len: bytes.length, info })).toBe(0);
  expect(told).toEqual(btf);
  const { btf_size, id, kernel_btf } = decode(btfInfo, new DataView(bytes.buffer));
  expect([btf_size, kernel_btf]).toEqual([btf.length, 0]);
  const again = open(kernel.bpf(commands.BPF_BTF_GET_FD_BY_ID, { btf_id: id }));
  expect(again).not.toBe(fd);
});

for (const [fact, btf, expected] of [
  ["nothing", new Uint8Array(0), "EINVAL"],
  ["half a header", integers().subarray(0, 12), "EINVAL"],
  ["a wrong magic", broken(0, 0), "EINVAL"],
  ["an unknown version", broken(2, 9), "ENOTSUPP"],
  ["header flags", broken(3, 1), "ENOTSUPP"],
  ["fewer bytes than the header says", integers().subarray(0, 60), "EINVAL"],
  ["more bytes than the header says", Uint8Array.from([...integers(), 0]), "EINVAL"],
  ["strings that no NUL ends", integers().with(integers().length - 1, 65), "EINVAL"],
  ["a type of an unknown kind", broken(24 + 7, 31), "EINVAL"],
  ["an int of 200 bits", broken(24 + 12, 200), "EINVAL"],
  ["a name behind the strings", broken(24 + 1, 1), "EINVAL"],
] as const) {
  contract(`BTF of ${fact}: ${expected}`, (kernel) => {
    expect(outcome(load(kernel, btf))).toBe(expected);
  });
}

contract("the log tells why BTF is refused", (kernel) => {
  const btf_log_buf = new Uint8Array(1000);
  const attr = {
    btf: broken(0, 0),
    btf_size: 70,
    btf_log_buf,
    btf_log_size: 1000,
    btf_log_level: 1,
    btf_log_true_size: 0,
  };
  expect(outcome(kernel.bpf(commands.BPF_BTF_LOAD, { ...attr, btf_size: attr.btf.length }))).toBe("EINVAL");
  expect(textOf(btf_log_buf)).toContain("Invalid magic");
});

contract("BTF shorter than btf_size is EFAULT, flags are EINVAL", (kernel) => {
  expect(outcome(load(kernel, integers(), { btf_size: 5000 }))).toBe("EFAULT");
  expect(outcome(load(kernel, integers(), { btf_flags: 1 }))).toBe("EINVAL");
});

contract("a map's types must have the sizes of its keys and values", (kernel, { open }) => {
  const btf_fd = open(load(kernel, integers()));
  expect(creation(kernel, { btf_fd, btf_key_type_id: 1, btf_value_type_id: 2 })).toBe("ok");
  expect(creation(kernel, { btf_fd, btf_key_type_id: 2, btf_value_type_id: 2 })).toBe("EINVAL");
  expect(creation(kernel, { btf_fd, btf_key_type_id: 1, btf_value_type_id: 1 })).toBe("EINVAL");
  expect(creation(kernel, { btf_fd, btf_key_type_id: 1, btf_value_type_id: 9 })).toBe("EINVAL");
  expect(creation(kernel, { btf_fd, btf_key_type_id: 1 })).toBe("EINVAL");
});

contract("a map tells its BTF, which stays while the map does", (kernel, { open }) => {
  const btf_fd = load(kernel, integers());
  const map = open(create(kernel, { btf_fd, btf_key_type_id: 1, btf_value_type_id: 2 }));
  kernel.close(btf_fd);
  const info = new Uint8Array(sizeOf(mapInfo));
  kernel.bpf(commands.BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: map, info_len: info.length, info });
  const { btf_id, btf_key_type_id, btf_value_type_id } = decode(mapInfo, new DataView(info.buffer));
  expect([btf_key_type_id, btf_value_type_id]).toEqual([1, 2]);
  open(kernel.bpf(commands.BPF_BTF_GET_FD_BY_ID, { btf_id }));
});

contract("BTF ids that are not there are ENOENT", (kernel) => {
  expect(outcome(kernel.bpf(commands.BPF_BTF_GET_FD_BY_ID, { btf_id: 0 }))).toBe("ENOENT");
  expect(outcome(kernel.bpf(commands.BPF_BTF_GET_NEXT_ID, { start_id: 0x7fff_fffe }))).toBe("ENOENT");
});
