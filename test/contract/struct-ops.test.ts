// struct_ops: the functions of a kernel's struct as programs. The minimal use is a TCP congestion control that is never registered.

import { expect } from "vitest";
import { exit, mov, r0 } from "../../src/asm/builder.ts";
import { parseBtf } from "../../src/btf/btf.ts";
import { buildBtf } from "../../src/btf/build.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import {
  BPF_BTF_LOAD,
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
} from "../../src/uapi/commands.ts";
import { BPF_F_LINK, BPF_F_VTYPE_BTF_OBJ_FD } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_STRUCT_OPS } from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_STRUCT_OPS } from "../../src/uapi/program-types.ts";
import { int } from "./btf-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, type MapCreate, toU32, u32 } from "./maps.ts";
import { load } from "./programs.ts";

/** BTF of one int. */
function loadTypes(kernel: Kernel): number {
  const btf = buildBtf([int("u32", 4)]);
  return kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length });
}

contract(
  "a struct_ops map needs a type of the kernel that is registered: EINVAL without, ENOTSUPP for another",
  (kernel, { open }) => {
    const btf_fd = open(loadTypes(kernel));
    const array = open(create(kernel));
    const attr = { map_type: BPF_MAP_TYPE_STRUCT_OPS, value_size: 256, max_entries: 1, btf_fd };
    const ofKernel = { ...attr, btf_vmlinux_value_type_id: 1 };
    const tries: readonly (readonly [attr: MapCreate, expected: string])[] = [
      [attr, "EINVAL"],
      [ofKernel, "ENOTSUPP"],
      [{ ...ofKernel, map_flags: BPF_F_LINK }, "ENOTSUPP"],
      [{ ...ofKernel, btf_fd: 9999 }, "ENOTSUPP"],
      [{ ...ofKernel, map_name: "a-b" }, "ENOTSUPP"],
      [{ ...ofKernel, max_entries: 2 }, "EINVAL"],
      [{ ...ofKernel, key_size: 8 }, "EINVAL"],
      [{ ...ofKernel, map_flags: 1 }, "EINVAL"],
      [{ ...ofKernel, btf_key_type_id: 1 }, "EINVAL"],
      [{ ...ofKernel, btf_value_type_id: 1 }, "EINVAL"],
      [{ ...ofKernel, map_flags: BPF_F_VTYPE_BTF_OBJ_FD, value_type_btf_obj_fd: 9999 }, "EBADF"],
      [{ ...ofKernel, map_flags: BPF_F_VTYPE_BTF_OBJ_FD, value_type_btf_obj_fd: btf_fd }, "EINVAL"],
      [{ ...ofKernel, map_flags: BPF_F_VTYPE_BTF_OBJ_FD, value_type_btf_obj_fd: array }, "EINVAL"],
      [{ ...ofKernel, map_type: BPF_MAP_TYPE_ARRAY }, "EINVAL"],
    ];
    for (const [each, expected] of tries) expect(creation(kernel, each), JSON.stringify(each)).toBe(expected);
  },
);

contract.on("linux")(
  "a TCP congestion control is written as program fds, and read as a state",
  (kernel, { open, skip }) => {
    const bytes = kernel.system.btf();
    if (bytes === undefined) skip("the kernel has no BTF of its own");
    const btf = parseBtf(bytes!);
    const functions = btf.find("tcp_congestion_ops", "struct");
    const value = btf.find("bpf_struct_ops_tcp_congestion_ops", "struct");
    if (functions === undefined || value === undefined) skip("the kernel takes no TCP congestion control");
    const members = structOf(btf, functions!).members;
    const data = structOf(btf, value!).members.find(({ name }) => name === "data")!.bitOffset / 8;
    const value_size = btf.sizeOf(value!)!;
    const map_fd = open(
      create(kernel, {
        map_type: BPF_MAP_TYPE_STRUCT_OPS,
        value_size,
        max_entries: 1,
        map_flags: BPF_F_LINK,
        btf_fd: open(loadTypes(kernel)),
        btf_vmlinux_value_type_id: value!,
      }),
    );
    const ops = new Uint8Array(value_size);
    const view = new DataView(ops.buffer);
    for (const name of ["ssthresh", "undo_cwnd", "cong_avoid"]) {
      const index = members.findIndex((member) => member.name === name);
      const program = { prog_type: BPF_PROG_TYPE_STRUCT_OPS, attach_btf_id: functions!, expected_attach_type: index };
      const fd = open(load(kernel, [mov(r0, 2), exit()], program));
      view.setBigUint64(data + members[index]!.bitOffset / 8, BigInt(fd), true);
    }
    const name = members.find((member) => member.name === "name")!.bitOffset / 8;
    ops.set(new TextEncoder().encode("skep_test"), data + name);
    const key = u32(0);
    expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value: ops }))).toBe("E2BIG");
    expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key, value: ops }))).toBe(0);
    expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key, value: ops }))).toBe("EBUSY");
    const read = new Uint8Array(value_size);
    expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key, value: read }))).toBe(0);
    expect(toU32(read.subarray(4))).toBe(BPF_STRUCT_OPS_STATE_READY);
    expect(new TextDecoder().decode(read.subarray(data + name, data + name + 9))).toBe("skep_test");
    expect(outcome(kernel.bpf(BPF_MAP_DELETE_ELEM, { map_fd, key }))).toBe("EOPNOTSUPP");
  },
);

/** Ready to be linked, and not in use. */
const BPF_STRUCT_OPS_STATE_READY = 3;

function structOf(btf: ReturnType<typeof parseBtf>, id: number) {
  const type = btf.type(id);
  if (type.kind !== "struct") throw new Error(`type ${id} is a ${type.kind}`);
  return type;
}
