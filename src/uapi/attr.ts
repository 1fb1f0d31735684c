// union bpf_attr: for each command of bpf(2) a table of its fields, as include/uapi/linux/bpf.h of Linux 6.18 lays them out.
// A table ends with the field that the kernel calls the command's LAST_FIELD: bytes behind it must be zero.

import * as commands from "./commands.ts";
import type { Struct, ValuesOf } from "./struct.ts";

/** sizeof(union bpf_attr) in Linux 6.18, in bytes. */
export const BPF_ATTR_SIZE = 168;

/** Bytes of a map's or program's name, its NUL included. */
export const BPF_OBJ_NAME_LEN = 16;

const mapCreate = {
  map_type: [0, "u32"],
  key_size: [4, "u32"],
  value_size: [8, "u32"],
  max_entries: [12, "u32"],
  map_flags: [16, "u32"],
  inner_map_fd: [20, "u32"],
  numa_node: [24, "u32"],
  map_name: [28, "char[16]"],
  map_ifindex: [44, "u32"],
  btf_fd: [48, "u32"],
  btf_key_type_id: [52, "u32"],
  btf_value_type_id: [56, "u32"],
  btf_vmlinux_value_type_id: [60, "u32"],
  map_extra: [64, "u64"],
  value_type_btf_obj_fd: [72, "s32"],
  map_token_fd: [76, "s32"],
  excl_prog_hash: [80, "pointer"],
  excl_prog_hash_size: [88, "u32"],
} as const satisfies Struct;

const mapLookupElem = {
  map_fd: [0, "u32"],
  key: [8, "pointer"],
  value: [16, "pointer", "out"],
  flags: [24, "u64"],
} as const satisfies Struct;

const mapUpdateElem = {
  map_fd: [0, "u32"],
  key: [8, "pointer"],
  value: [16, "pointer"],
  flags: [24, "u64"],
} as const satisfies Struct;

const mapDeleteElem = {
  map_fd: [0, "u32"],
  key: [8, "pointer"],
} as const satisfies Struct;

const mapGetNextKey = {
  map_fd: [0, "u32"],
  key: [8, "pointer"],
  next_key: [16, "pointer", "out"],
} as const satisfies Struct;

const mapFreeze = {
  map_fd: [0, "u32"],
} as const satisfies Struct;

const mapLookupBatch = {
  in_batch: [0, "pointer"],
  out_batch: [8, "pointer", "out"],
  keys: [16, "pointer", "out"],
  values: [24, "pointer", "out"],
  count: [32, "u32", "inout"],
  map_fd: [36, "u32"],
  elem_flags: [40, "u64"],
  flags: [48, "u64"],
} as const satisfies Struct;

const mapUpdateBatch = {
  in_batch: [0, "pointer"],
  out_batch: [8, "pointer", "out"],
  keys: [16, "pointer"],
  values: [24, "pointer"],
  count: [32, "u32", "inout"],
  map_fd: [36, "u32"],
  elem_flags: [40, "u64"],
  flags: [48, "u64"],
} as const satisfies Struct;

const progLoad = {
  prog_type: [0, "u32"],
  insn_cnt: [4, "u32"],
  insns: [8, "pointer"],
  license: [16, "pointer"],
  log_level: [24, "u32"],
  log_size: [28, "u32"],
  log_buf: [32, "pointer", "out"],
  kern_version: [40, "u32"],
  prog_flags: [44, "u32"],
  prog_name: [48, "char[16]"],
  prog_ifindex: [64, "u32"],
  expected_attach_type: [68, "u32"],
  prog_btf_fd: [72, "u32"],
  func_info_rec_size: [76, "u32"],
  func_info: [80, "pointer"],
  func_info_cnt: [88, "u32"],
  line_info_rec_size: [92, "u32"],
  line_info: [96, "pointer"],
  line_info_cnt: [104, "u32"],
  attach_btf_id: [108, "u32"],
  attach_prog_fd: [112, "u32"],
  attach_btf_obj_fd: [112, "u32"],
  core_relo_cnt: [116, "u32"],
  fd_array: [120, "pointer"],
  core_relos: [128, "pointer"],
  core_relo_rec_size: [136, "u32"],
  log_true_size: [140, "u32", "out"],
  prog_token_fd: [144, "s32"],
  fd_array_cnt: [148, "u32"],
  signature: [152, "pointer"],
  signature_size: [160, "u32"],
  keyring_id: [164, "s32"],
} as const satisfies Struct;

const objPin = {
  pathname: [0, "pointer"],
  bpf_fd: [8, "u32"],
  file_flags: [12, "u32"],
  path_fd: [16, "s32"],
} as const satisfies Struct;

const progAttach = {
  target_fd: [0, "u32"],
  target_ifindex: [0, "u32"],
  attach_bpf_fd: [4, "u32"],
  attach_type: [8, "u32"],
  attach_flags: [12, "u32"],
  replace_bpf_fd: [16, "u32"],
  relative_fd: [20, "u32"],
  relative_id: [20, "u32"],
  expected_revision: [24, "u64"],
} as const satisfies Struct;

const progTestRun = {
  prog_fd: [0, "u32"],
  retval: [4, "u32", "out"],
  data_size_in: [8, "u32"],
  data_size_out: [12, "u32", "inout"],
  data_in: [16, "pointer"],
  data_out: [24, "pointer", "out"],
  repeat: [32, "u32"],
  duration: [36, "u32", "out"],
  ctx_size_in: [40, "u32"],
  ctx_size_out: [44, "u32", "inout"],
  /** A syscall program changes it. */
  ctx_in: [48, "pointer", "inout"],
  ctx_out: [56, "pointer", "out"],
  flags: [64, "u32"],
  cpu: [68, "u32"],
  batch_size: [72, "u32"],
} as const satisfies Struct;

const getNextId = {
  start_id: [0, "u32"],
  next_id: [4, "u32", "out"],
} as const satisfies Struct;

const progGetFdById = {
  prog_id: [0, "u32"],
} as const satisfies Struct;

const mapGetFdById = {
  map_id: [0, "u32"],
  next_id: [4, "u32"],
  open_flags: [8, "u32"],
} as const satisfies Struct;

const btfGetFdById = {
  btf_id: [0, "u32"],
  next_id: [4, "u32"],
  open_flags: [8, "u32"],
  fd_by_id_token_fd: [12, "s32"],
} as const satisfies Struct;

const linkGetFdById = {
  link_id: [0, "u32"],
} as const satisfies Struct;

const objGetInfoByFd = {
  bpf_fd: [0, "u32"],
  info_len: [4, "u32", "inout"],
  info: [8, "pointer", "inout"],
} as const satisfies Struct;

const progQuery = {
  target_fd: [0, "u32"],
  target_ifindex: [0, "u32"],
  attach_type: [4, "u32"],
  query_flags: [8, "u32"],
  attach_flags: [12, "u32", "out"],
  prog_ids: [16, "pointer", "out"],
  prog_cnt: [24, "u32", "inout"],
  count: [24, "u32", "inout"],
  prog_attach_flags: [32, "pointer", "out"],
  link_ids: [40, "pointer", "out"],
  link_attach_flags: [48, "pointer", "out"],
  revision: [56, "u64", "out"],
} as const satisfies Struct;

const rawTracepointOpen = {
  name: [0, "pointer"],
  prog_fd: [8, "u32"],
  cookie: [16, "u64"],
} as const satisfies Struct;

const btfLoad = {
  btf: [0, "pointer"],
  btf_log_buf: [8, "pointer", "out"],
  btf_size: [16, "u32"],
  btf_log_size: [20, "u32"],
  btf_log_level: [24, "u32"],
  btf_log_true_size: [28, "u32", "out"],
  btf_flags: [32, "u32"],
  btf_token_fd: [36, "s32"],
} as const satisfies Struct;

const taskFdQuery = {
  pid: [0, "u32"],
  fd: [4, "u32"],
  flags: [8, "u32"],
  buf_len: [12, "u32", "inout"],
  buf: [16, "pointer", "out"],
  prog_id: [24, "u32", "out"],
  fd_type: [28, "u32", "out"],
  probe_offset: [32, "u64", "out"],
  probe_addr: [40, "u64", "out"],
} as const satisfies Struct;

const linkCreate = {
  prog_fd: [0, "u32"],
  map_fd: [0, "u32"],
  target_fd: [4, "u32"],
  target_ifindex: [4, "u32"],
  attach_type: [8, "u32"],
  flags: [12, "u32"],
  target_btf_id: [16, "u32"],
  iter_info: [16, "pointer"],
  iter_info_len: [24, "u32"],
  perf_event: {
    bpf_cookie: [16, "u64"],
  },
  kprobe_multi: {
    flags: [16, "u32"],
    cnt: [20, "u32"],
    syms: [24, "pointer"],
    addrs: [32, "pointer"],
    cookies: [40, "pointer"],
  },
  tracing: {
    target_btf_id: [16, "u32"],
    cookie: [24, "u64"],
  },
  netfilter: {
    pf: [16, "u32"],
    hooknum: [20, "u32"],
    priority: [24, "s32"],
    flags: [28, "u32"],
  },
  tcx: {
    relative_fd: [16, "u32"],
    relative_id: [16, "u32"],
    expected_revision: [24, "u64"],
  },
  uprobe_multi: {
    path: [16, "pointer"],
    offsets: [24, "pointer"],
    ref_ctr_offsets: [32, "pointer"],
    cookies: [40, "pointer"],
    cnt: [48, "u32"],
    flags: [52, "u32"],
    pid: [56, "u32"],
  },
  netkit: {
    relative_fd: [16, "u32"],
    relative_id: [16, "u32"],
    expected_revision: [24, "u64"],
  },
  cgroup: {
    relative_fd: [16, "u32"],
    relative_id: [16, "u32"],
    expected_revision: [24, "u64"],
  },
} as const satisfies Struct;

const linkUpdate = {
  link_fd: [0, "u32"],
  new_prog_fd: [4, "u32"],
  new_map_fd: [4, "u32"],
  flags: [8, "u32"],
  old_prog_fd: [12, "u32"],
  old_map_fd: [12, "u32"],
} as const satisfies Struct;

const linkDetach = {
  link_fd: [0, "u32"],
} as const satisfies Struct;

const enableStats = {
  type: [0, "u32"],
} as const satisfies Struct;

const iterCreate = {
  link_fd: [0, "u32"],
  flags: [4, "u32"],
} as const satisfies Struct;

const progBindMap = {
  prog_fd: [0, "u32"],
  map_fd: [4, "u32"],
  flags: [8, "u32"],
} as const satisfies Struct;

const tokenCreate = {
  flags: [0, "u32"],
  bpffs_fd: [4, "u32"],
} as const satisfies Struct;

const progStreamRead = {
  stream_buf: [0, "pointer", "out"],
  stream_buf_len: [8, "u32"],
  stream_id: [12, "u32"],
  prog_fd: [16, "u32"],
} as const satisfies Struct;

/** The fields of each command, by the command's number. */
export const attrs = {
  [commands.BPF_MAP_CREATE]: mapCreate,
  [commands.BPF_MAP_LOOKUP_ELEM]: mapLookupElem,
  [commands.BPF_MAP_UPDATE_ELEM]: mapUpdateElem,
  [commands.BPF_MAP_DELETE_ELEM]: mapDeleteElem,
  [commands.BPF_MAP_GET_NEXT_KEY]: mapGetNextKey,
  [commands.BPF_PROG_LOAD]: progLoad,
  [commands.BPF_OBJ_PIN]: objPin,
  [commands.BPF_OBJ_GET]: objPin,
  [commands.BPF_PROG_ATTACH]: progAttach,
  [commands.BPF_PROG_DETACH]: progAttach,
  [commands.BPF_PROG_TEST_RUN]: progTestRun,
  [commands.BPF_PROG_GET_NEXT_ID]: getNextId,
  [commands.BPF_MAP_GET_NEXT_ID]: getNextId,
  [commands.BPF_PROG_GET_FD_BY_ID]: progGetFdById,
  [commands.BPF_MAP_GET_FD_BY_ID]: mapGetFdById,
  [commands.BPF_OBJ_GET_INFO_BY_FD]: objGetInfoByFd,
  [commands.BPF_PROG_QUERY]: progQuery,
  [commands.BPF_RAW_TRACEPOINT_OPEN]: rawTracepointOpen,
  [commands.BPF_BTF_LOAD]: btfLoad,
  [commands.BPF_BTF_GET_FD_BY_ID]: btfGetFdById,
  [commands.BPF_TASK_FD_QUERY]: taskFdQuery,
  [commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM]: mapLookupElem,
  [commands.BPF_MAP_FREEZE]: mapFreeze,
  [commands.BPF_BTF_GET_NEXT_ID]: getNextId,
  [commands.BPF_MAP_LOOKUP_BATCH]: mapLookupBatch,
  [commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH]: mapLookupBatch,
  [commands.BPF_MAP_UPDATE_BATCH]: mapUpdateBatch,
  [commands.BPF_MAP_DELETE_BATCH]: mapUpdateBatch,
  [commands.BPF_LINK_CREATE]: linkCreate,
  [commands.BPF_LINK_UPDATE]: linkUpdate,
  [commands.BPF_LINK_GET_FD_BY_ID]: linkGetFdById,
  [commands.BPF_LINK_GET_NEXT_ID]: getNextId,
  [commands.BPF_ENABLE_STATS]: enableStats,
  [commands.BPF_ITER_CREATE]: iterCreate,
  [commands.BPF_LINK_DETACH]: linkDetach,
  [commands.BPF_PROG_BIND_MAP]: progBindMap,
  [commands.BPF_TOKEN_CREATE]: tokenCreate,
  [commands.BPF_PROG_STREAM_READ_BY_FD]: progStreamRead,
} as const;

export type BpfCommand = keyof typeof attrs;

/** What a command takes, named after the fields of union bpf_attr; a field that is left out is zero. */
export type Attr<Command extends BpfCommand> = Partial<ValuesOf<(typeof attrs)[Command]>>;
