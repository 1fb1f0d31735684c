// The raw bytes of union bpf_attr: what is unknown must be zero.

import { expect } from "vitest";
import { attrs, BPF_ATTR_SIZE, type BpfCommand } from "../../src/uapi/attr.ts";
import * as commands from "../../src/uapi/commands.ts";
import { encode, type Pointer, sizeOf } from "../../src/uapi/struct.ts";
import { contract, outcome } from "./contract.ts";
import { create, u32, u64 } from "./maps.ts";

const mapCreate = attrs[commands.BPF_MAP_CREATE];

/** `length` bytes of the attributes that create an array. */
function createBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(length, BPF_ATTR_SIZE));
  encode(mapCreate, { map_type: 2, key_size: 4, value_size: 8, max_entries: 4 }, new DataView(bytes.buffer));
  return bytes.slice(0, length);
}

contract("a shorter union is filled up with zeros", (kernel, { open }) => {
  for (const length of [16, 17, sizeOf(mapCreate), BPF_ATTR_SIZE])
    open(kernel.bpfRaw(commands.BPF_MAP_CREATE, createBytes(length)));
  expect(outcome(kernel.bpfRaw(commands.BPF_MAP_CREATE, createBytes(12)))).toBe("EINVAL");
  expect(outcome(kernel.bpfRaw(commands.BPF_MAP_CREATE, createBytes(0)))).toBe("EINVAL");
});

contract("a nonzero byte behind the last field of the command is EINVAL", (kernel) => {
  for (const at of [sizeOf(mapCreate), BPF_ATTR_SIZE - 1]) {
    const bytes = createBytes(BPF_ATTR_SIZE);
    bytes[at] = 1;
    expect(outcome(kernel.bpfRaw(commands.BPF_MAP_CREATE, bytes)), `byte ${at}`).toBe("EINVAL");
  }
});

contract("a nonzero byte behind the union that the kernel knows is E2BIG, a zero one is fine", (kernel, { open }) => {
  const bytes = createBytes(BPF_ATTR_SIZE + 8);
  open(kernel.bpfRaw(commands.BPF_MAP_CREATE, bytes));
  bytes[BPF_ATTR_SIZE] = 1;
  expect(outcome(kernel.bpfRaw(commands.BPF_MAP_CREATE, bytes))).toBe("E2BIG");
});

contract("a union larger than a page is E2BIG", (kernel, { open }) => {
  open(kernel.bpfRaw(commands.BPF_MAP_CREATE, createBytes(kernel.system.pageSize)));
  expect(outcome(kernel.bpfRaw(commands.BPF_MAP_CREATE, createBytes(kernel.system.pageSize + 1)))).toBe("E2BIG");
});

contract("what is no command or no number is answered, not thrown", (kernel, { open }) => {
  expect(outcome(kernel.bpf(999 as BpfCommand, {}))).toBe("EINVAL");
  const map_fd = open(create(kernel, { max_entries: 1 }));
  const update = { map_fd, key: u32(0), value: u64(1n), flags: Number.NaN };
  expect(outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, update))).toBe(0);
});

contract(
  "an address behind the end of the union is none, and one behind the last field is unknown bytes",
  (kernel, { open }) => {
    const map_fd = open(create(kernel, { max_entries: 1 }));
    const update = (length: number, extra: Pointer[] = []): unknown => {
      const bytes = new Uint8Array(length);
      new DataView(bytes.buffer).setUint32(0, map_fd, true);
      const pointers: Pointer[] = [
        { offset: 8, direction: "in", bytes: u32(0) },
        { offset: 16, direction: "in", bytes: u64(1n) },
        ...extra,
      ];
      return outcome(kernel.bpfRaw(commands.BPF_MAP_UPDATE_ELEM, bytes, pointers));
    };
    expect([32, 24, 23, 16, 15, 4].map((length) => update(length))).toEqual([
      0,
      0,
      "EFAULT",
      "EFAULT",
      "EFAULT",
      "EFAULT",
    ]);
    const there: Pointer = { offset: 32, direction: "in", bytes: u32(0) };
    expect([update(40, [there]), update(39, [there]), update(200, [{ ...there, offset: 176 }])]).toEqual([
      "EINVAL",
      0,
      "E2BIG",
    ]);
  },
);

contract("E2BIG is told before an unknown command, which is EINVAL", (kernel) => {
  expect(outcome(kernel.bpfRaw(1000, new Uint8Array(BPF_ATTR_SIZE)))).toBe("EINVAL");
  expect(outcome(kernel.bpfRaw(1000, new Uint8Array(BPF_ATTR_SIZE + 1).fill(1)))).toBe("E2BIG");
  expect(outcome(kernel.bpfRaw(-1, new Uint8Array(BPF_ATTR_SIZE)))).toBe("EINVAL");
});

for (const [name, command] of Object.entries({
  BPF_MAP_LOOKUP_ELEM: commands.BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM: commands.BPF_MAP_UPDATE_ELEM,
  BPF_MAP_DELETE_ELEM: commands.BPF_MAP_DELETE_ELEM,
  BPF_MAP_GET_NEXT_KEY: commands.BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_FREEZE: commands.BPF_MAP_FREEZE,
  BPF_PROG_LOAD: commands.BPF_PROG_LOAD,
  BPF_PROG_TEST_RUN: commands.BPF_PROG_TEST_RUN,
  BPF_OBJ_PIN: commands.BPF_OBJ_PIN,
  BPF_OBJ_GET: commands.BPF_OBJ_GET,
  BPF_OBJ_GET_INFO_BY_FD: commands.BPF_OBJ_GET_INFO_BY_FD,
  BPF_MAP_GET_NEXT_ID: commands.BPF_MAP_GET_NEXT_ID,
  BPF_PROG_GET_NEXT_ID: commands.BPF_PROG_GET_NEXT_ID,
  BPF_BTF_GET_NEXT_ID: commands.BPF_BTF_GET_NEXT_ID,
  BPF_MAP_GET_FD_BY_ID: commands.BPF_MAP_GET_FD_BY_ID,
  BPF_PROG_GET_FD_BY_ID: commands.BPF_PROG_GET_FD_BY_ID,
  BPF_BTF_GET_FD_BY_ID: commands.BPF_BTF_GET_FD_BY_ID,
  BPF_BTF_LOAD: commands.BPF_BTF_LOAD,
})) {
  const end = sizeOf(attrs[command as BpfCommand]);
  // The union ends with BPF_PROG_LOAD's last field.
  if (end === BPF_ATTR_SIZE) continue;
  contract(`${name}: byte ${end}, behind its last field, must be zero`, (kernel) => {
    const bytes = new Uint8Array(BPF_ATTR_SIZE);
    bytes[end] = 1;
    expect(outcome(kernel.bpfRaw(command, bytes))).toBe("EINVAL");
  });
}

contract("pointers are put into the raw bytes, results written into them and into the buffers", (kernel, { open }) => {
  const map_fd = open(create(kernel));
  const value = new Uint8Array(8);
  const element = (command: number, buffer: Uint8Array, direction: "in" | "out"): number => {
    const bytes = new Uint8Array(32);
    new DataView(bytes.buffer).setUint32(0, map_fd, true);
    const pointers = [
      { offset: 8, direction: "in", bytes: u32(2) },
      { offset: 16, direction, bytes: buffer },
    ] as const;
    const result = kernel.bpfRaw(command, bytes, pointers);
    // No address comes back to the caller.
    expect(bytes.subarray(8, 24)).toEqual(new Uint8Array(16));
    return result;
  };
  expect(element(commands.BPF_MAP_UPDATE_ELEM, u64(99), "in")).toBe(0);
  expect(element(commands.BPF_MAP_LOOKUP_ELEM, value, "out")).toBe(0);
  expect(value).toEqual(u64(99));

  const nextId = new Uint8Array(12);
  expect(kernel.bpfRaw(commands.BPF_MAP_GET_NEXT_ID, nextId)).toBe(0);
  expect(new DataView(nextId.buffer).getUint32(4, true)).toBeGreaterThan(0);
});

contract("a number at a pointer's place is no address of ours: EFAULT", (kernel, { open }) => {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, open(create(kernel)), true);
  view.setBigUint64(8, 1n, true);
  view.setBigUint64(16, 1n, true);
  expect(outcome(kernel.bpfRaw(commands.BPF_MAP_LOOKUP_ELEM, bytes))).toBe("EFAULT");
});
