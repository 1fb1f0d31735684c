// What BPF_OBJ_GET_INFO_BY_FD writes for each kind of object: struct bpf_map_info, bpf_prog_info, bpf_btf_info, bpf_link_info of Linux 6.18;
// and the records of debug information that programs are loaded with: struct bpf_func_info, bpf_line_info.
// Linux: include/uapi/linux/bpf.h

import type { Struct, ValuesOf } from "./struct.ts";

export const mapInfo = {
  type: [0, "u32"],
  id: [4, "u32"],
  key_size: [8, "u32"],
  value_size: [12, "u32"],
  max_entries: [16, "u32"],
  map_flags: [20, "u32"],
  name: [24, "char[16]"],
  ifindex: [40, "u32"],
  btf_vmlinux_value_type_id: [44, "u32"],
  netns_dev: [48, "u64"],
  netns_ino: [56, "u64"],
  btf_id: [64, "u32"],
  btf_key_type_id: [68, "u32"],
  btf_value_type_id: [72, "u32"],
  btf_vmlinux_id: [76, "u32"],
  map_extra: [80, "u64"],
  hash: [88, "pointer", "out"],
  hash_size: [96, "u32"],
} as const satisfies Struct;
export type MapInfo = ValuesOf<typeof mapInfo>;

export const progInfo = {
  type: [0, "u32"],
  id: [4, "u32"],
  tag: [8, "u8[8]"],
  jited_prog_len: [16, "u32"],
  xlated_prog_len: [20, "u32"],
  jited_prog_insns: [24, "pointer", "out"],
  xlated_prog_insns: [32, "pointer", "out"],
  load_time: [40, "u64"],
  created_by_uid: [48, "u32"],
  nr_map_ids: [52, "u32"],
  map_ids: [56, "pointer", "out"],
  name: [64, "char[16]"],
  ifindex: [80, "u32"],
  gpl_compatible: [84, "u32"],
  netns_dev: [88, "u64"],
  netns_ino: [96, "u64"],
  nr_jited_ksyms: [104, "u32"],
  nr_jited_func_lens: [108, "u32"],
  jited_ksyms: [112, "pointer", "out"],
  jited_func_lens: [120, "pointer", "out"],
  btf_id: [128, "u32"],
  func_info_rec_size: [132, "u32"],
  func_info: [136, "pointer", "out"],
  nr_func_info: [144, "u32"],
  nr_line_info: [148, "u32"],
  line_info: [152, "pointer", "out"],
  jited_line_info: [160, "pointer", "out"],
  nr_jited_line_info: [168, "u32"],
  line_info_rec_size: [172, "u32"],
  jited_line_info_rec_size: [176, "u32"],
  nr_prog_tags: [180, "u32"],
  prog_tags: [184, "pointer", "out"],
  run_time_ns: [192, "u64"],
  run_cnt: [200, "u64"],
  recursion_misses: [208, "u64"],
  verified_insns: [216, "u32"],
  attach_btf_obj_id: [220, "u32"],
  attach_btf_id: [224, "u32"],
} as const satisfies Struct;
export type ProgInfo = ValuesOf<typeof progInfo>;

export const btfInfo = {
  btf: [0, "pointer", "out"],
  btf_size: [8, "u32"],
  id: [12, "u32"],
  name: [16, "pointer", "out"],
  name_len: [24, "u32"],
  kernel_btf: [28, "u32"],
} as const satisfies Struct;
export type BtfInfo = ValuesOf<typeof btfInfo>;

export const linkInfo = {
  type: [0, "u32"],
  id: [4, "u32"],
  prog_id: [8, "u32"],
  raw_tracepoint: {
    tp_name: [16, "pointer", "out"],
    tp_name_len: [24, "u32"],
    cookie: [32, "u64"],
  },
  tracing: {
    attach_type: [16, "u32"],
    target_obj_id: [20, "u32"],
    target_btf_id: [24, "u32"],
    cookie: [32, "u64"],
  },
  cgroup: {
    cgroup_id: [16, "u64"],
    attach_type: [24, "u32"],
  },
  iter: {
    target_name: [16, "pointer", "out"],
    target_name_len: [24, "u32"],
    map: {
      map_id: [28, "u32"],
    },
    cgroup: {
      cgroup_id: [32, "u64"],
      order: [40, "u32"],
    },
    task: {
      tid: [32, "u32"],
      pid: [36, "u32"],
    },
  },
  netns: {
    netns_ino: [16, "u32"],
    attach_type: [20, "u32"],
  },
  xdp: {
    ifindex: [16, "u32"],
  },
  struct_ops: {
    map_id: [16, "u32"],
  },
  netfilter: {
    pf: [16, "u32"],
    hooknum: [20, "u32"],
    priority: [24, "s32"],
    flags: [28, "u32"],
  },
  kprobe_multi: {
    addrs: [16, "pointer", "out"],
    count: [24, "u32"],
    flags: [28, "u32"],
    missed: [32, "u64"],
    cookies: [40, "pointer", "out"],
  },
  uprobe_multi: {
    path: [16, "pointer", "out"],
    offsets: [24, "pointer", "out"],
    ref_ctr_offsets: [32, "pointer", "out"],
    cookies: [40, "pointer", "out"],
    path_size: [48, "u32"],
    count: [52, "u32"],
    flags: [56, "u32"],
    pid: [60, "u32"],
  },
  perf_event: {
    type: [16, "u32"],
    uprobe: {
      file_name: [24, "pointer", "out"],
      name_len: [32, "u32"],
      offset: [36, "u32"],
      cookie: [40, "u64"],
      ref_ctr_offset: [48, "u64"],
    },
    kprobe: {
      func_name: [24, "pointer", "out"],
      name_len: [32, "u32"],
      offset: [36, "u32"],
      addr: [40, "u64"],
      missed: [48, "u64"],
      cookie: [56, "u64"],
    },
    tracepoint: {
      tp_name: [24, "pointer", "out"],
      name_len: [32, "u32"],
      cookie: [40, "u64"],
    },
    event: {
      config: [24, "u64"],
      type: [32, "u32"],
      cookie: [40, "u64"],
    },
  },
  tcx: {
    ifindex: [16, "u32"],
    attach_type: [20, "u32"],
  },
  netkit: {
    ifindex: [16, "u32"],
    attach_type: [20, "u32"],
  },
  sockmap: {
    map_id: [16, "u32"],
    attach_type: [20, "u32"],
  },
} as const satisfies Struct;
export type LinkInfo = ValuesOf<typeof linkInfo>;

export const funcInfo = {
  insn_off: [0, "u32"],
  type_id: [4, "u32"],
} as const satisfies Struct;

/** `line_col`: the line above 10 bits for the column. */
export const lineInfo = {
  insn_off: [0, "u32"],
  file_name_off: [4, "u32"],
  line_off: [8, "u32"],
  line_col: [12, "u32"],
} as const satisfies Struct;
