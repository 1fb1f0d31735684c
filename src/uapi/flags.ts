// Flags of the commands and helpers.
// Linux: include/uapi/linux/bpf.h

// BPF_MAP_UPDATE_ELEM and BPF_MAP_LOOKUP_ELEM
export const BPF_ANY = 0;
export const BPF_NOEXIST = 1;
export const BPF_EXIST = 2;
export const BPF_F_LOCK = 4;
// Newer than Linux 6.18, which answers EINVAL: a per-CPU value on one CPU, whose number stands in the upper 32 bits, or on all.
export const BPF_F_CPU = 8;
export const BPF_F_ALL_CPUS = 16;

// BPF_MAP_CREATE
export const BPF_F_NO_PREALLOC = 1;
export const BPF_F_NO_COMMON_LRU = 2;
export const BPF_F_NUMA_NODE = 4;
export const BPF_F_RDONLY = 8;
export const BPF_F_WRONLY = 16;
export const BPF_F_STACK_BUILD_ID = 32;
export const BPF_F_ZERO_SEED = 64;
export const BPF_F_RDONLY_PROG = 128;
export const BPF_F_WRONLY_PROG = 256;
export const BPF_F_CLONE = 512;
export const BPF_F_MMAPABLE = 1024;
export const BPF_F_PRESERVE_ELEMS = 2048;
export const BPF_F_INNER_MAP = 4096;
export const BPF_F_LINK = 8192;
export const BPF_F_PATH_FD = 16384;
export const BPF_F_VTYPE_BTF_OBJ_FD = 32768;
export const BPF_F_TOKEN_FD = 65536;
export const BPF_F_SEGV_ON_FAULT = 131072;
export const BPF_F_NO_USER_CONV = 262144;
/** Newer than Linux 6.18, which answers EINVAL: a ring buffer whose oldest records give way. */
export const BPF_F_RB_OVERWRITE = 524288;

// BPF_PROG_LOAD
export const BPF_F_STRICT_ALIGNMENT = 1;
export const BPF_F_ANY_ALIGNMENT = 2;
export const BPF_F_TEST_RND_HI32 = 4;
export const BPF_F_TEST_STATE_FREQ = 8;
export const BPF_F_SLEEPABLE = 16;
export const BPF_F_XDP_HAS_FRAGS = 32;
export const BPF_F_XDP_DEV_BOUND_ONLY = 64;
export const BPF_F_TEST_REG_INVARIANTS = 128;

// BPF_PROG_LOAD and BPF_BTF_LOAD: log_level
export const BPF_LOG_LEVEL1 = 1;
export const BPF_LOG_LEVEL2 = 2;
export const BPF_LOG_STATS = 4;
export const BPF_LOG_FIXED = 8;

// BPF_PROG_TEST_RUN
export const BPF_F_TEST_RUN_ON_CPU = 1;
export const BPF_F_TEST_XDP_LIVE_FRAMES = 2;
export const BPF_F_TEST_SKB_CHECKSUM_COMPLETE = 4;

// bpf_l3_csum_replace and bpf_l4_csum_replace
export const BPF_F_HDR_FIELD_MASK = 15;
export const BPF_F_PSEUDO_HDR = 16;
export const BPF_F_MARK_MANGLED_0 = 32;
export const BPF_F_MARK_ENFORCE = 64;
export const BPF_F_IPV6 = 128;

// bpf_redirect
export const BPF_F_INGRESS = 1;

// bpf_redirect_map
export const BPF_F_BROADCAST = 8;
export const BPF_F_EXCLUDE_INGRESS = 16;

// bpf_perf_event_output
export const BPF_F_INDEX_MASK = 4294967295;
export const BPF_F_CURRENT_CPU = 4294967295;
export const BPF_F_CTXLEN_MASK = 4503595332403200;

// Ring buffer helpers
export const BPF_RB_NO_WAKEUP = 1;
export const BPF_RB_FORCE_WAKEUP = 2;

// bpf_sk_storage_get
export const BPF_SK_STORAGE_GET_F_CREATE = 1;

// bpf_ringbuf_query
export const BPF_RB_AVAIL_DATA = 0;
export const BPF_RB_RING_SIZE = 1;
export const BPF_RB_CONS_POS = 2;
export const BPF_RB_PROD_POS = 3;
/** Newer than Linux 6.18. */
export const BPF_RB_OVERWRITE_POS = 4;

// Ring buffer record header
export const BPF_RINGBUF_BUSY_BIT = 2147483648;
export const BPF_RINGBUF_DISCARD_BIT = 1073741824;
export const BPF_RINGBUF_HDR_SZ = 8;

// What an XDP program returns
export const XDP_ABORTED = 0;
export const XDP_DROP = 1;
export const XDP_PASS = 2;
export const XDP_TX = 3;
export const XDP_REDIRECT = 4;
