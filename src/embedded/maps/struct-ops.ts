// BPF_MAP_TYPE_STRUCT_OPS: the functions of a kernel's struct. The embedded kernel has no subsystem that takes any:
// no type of its own BTF is one, as on Linux where the id names another struct.
// Linux: kernel/bpf/bpf_struct_ops.c

import { EINVAL, ENOTSUPP } from "../../uapi/errno.ts";
import { BPF_F_VTYPE_BTF_OBJ_FD } from "../../uapi/flags.ts";
import { findBtf } from "../objects.ts";
import type { MapFamily } from "./map.ts";
import { checkShape } from "./shape.ts";

export const structOps: MapFamily = {
  check: (attributes) => (checkShape(attributes) !== 0 || attributes.btf_vmlinux_value_type_id === 0 ? -EINVAL : 0),
  checkAllocation({ map_flags, value_type_btf_obj_fd }, { files }) {
    if ((map_flags & BPF_F_VTYPE_BTF_OBJ_FD) === 0) return -ENOTSUPP;
    // The BTF of a module: what user space loaded is none.
    const btf = findBtf(files, value_type_btf_obj_fd);
    return typeof btf === "number" ? btf : -EINVAL;
  },
  memoryNeeded: () => 0,
  perCpu: false,
  operations: {},
  hasDirectValue: false,
};
