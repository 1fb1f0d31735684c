// perf_event_open(2) as BPF uses it: constants, and the first bytes of struct perf_event_attr and struct perf_event_mmap_page.
// Linux: include/uapi/linux/perf_event.h

import type { Struct } from "./struct.ts";

// perf_event_attr.type
export const PERF_TYPE_SOFTWARE = 1;

// perf_event_attr.config of PERF_TYPE_SOFTWARE
export const PERF_COUNT_SW_DUMMY = 9;
export const PERF_COUNT_SW_BPF_OUTPUT = 10;

// perf_event_attr.sample_type
export const PERF_SAMPLE_RAW = 1024;

// perf_event_attr.flags: the bit fields of the struct, from disabled on
export const PERF_ATTR_DISABLED = 1;
export const PERF_ATTR_WATERMARK = 16384;

// ioctl(2) of a perf event
export const PERF_EVENT_IOC_ENABLE = 9216;
export const PERF_EVENT_IOC_DISABLE = 9217;
export const PERF_EVENT_IOC_ID = 2148017159;
export const PERF_EVENT_IOC_PAUSE_OUTPUT = 1074013193;

// perf_event_open(2)
export const PERF_FLAG_FD_CLOEXEC = 8;

// perf_event_header.type
export const PERF_RECORD_LOST = 2;
export const PERF_RECORD_SAMPLE = 9;

// perf_event_header.misc
export const PERF_RECORD_MISC_KERNEL = 1;

/** Bytes of struct perf_event_header: u32 type, u16 misc, u16 size. */
export const PERF_EVENT_HEADER_SIZE = 8;

/** Bytes of struct perf_event_mmap_page that it tells as its `size`: those in front of its reserved ones. */
export const PERF_EVENT_MMAP_PAGE_SIZE = 96;

/** struct perf_event_attr, as far as its first version, PERF_ATTR_SIZE_VER0, goes. `wakeup` is events, or a watermark in bytes. */
export const perfEventAttr = {
  type: [0, "u32"],
  size: [4, "u32"],
  config: [8, "u64"],
  sample_period: [16, "u64"],
  sample_type: [24, "u64"],
  read_format: [32, "u64"],
  flags: [40, "u64"],
  wakeup: [48, "u32"],
  bp_type: [52, "u32"],
  config1: [56, "u64"],
} as const satisfies Struct;

/** The fields of struct perf_event_mmap_page that tell of the data behind it. */
export const perfEventMmapPage = {
  version: [0, "u32"],
  compat_version: [4, "u32"],
  size: [72, "u32"],
  data_head: [1024, "u64"],
  data_tail: [1032, "u64"],
  data_offset: [1040, "u64"],
  data_size: [1048, "u64"],
} as const satisfies Struct;
