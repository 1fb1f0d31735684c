// Why the kernel refused to create a map: its answer is one number for many mistakes, so the attributes are looked at again.
// Linux: kernel/bpf/syscall.c (map_create), arraymap.c, hashtab.c, ringbuf.c

import { type Attr, BPF_OBJ_NAME_LEN } from "../uapi/attr.ts";
import type { BPF_MAP_CREATE } from "../uapi/commands.ts";
import { E2BIG, EINVAL, ENOMEM } from "../uapi/errno.ts";
import { BPF_F_MMAPABLE, BPF_F_NO_PREALLOC } from "../uapi/flags.ts";
import * as types from "../uapi/map-types.ts";

const arrays: readonly number[] = [types.BPF_MAP_TYPE_ARRAY, types.BPF_MAP_TYPE_PERCPU_ARRAY];
const hashes: readonly number[] = [types.BPF_MAP_TYPE_HASH, types.BPF_MAP_TYPE_PERCPU_HASH];
const perCpu: readonly number[] = [types.BPF_MAP_TYPE_PERCPU_ARRAY, types.BPF_MAP_TYPE_PERCPU_HASH];
const MAX_PERCPU_VALUE = 32768;

/** The first attribute that explains `errno`, as a sentence; undefined where none does. */
export function explainMapCreate(
  errno: number,
  attr: Attr<typeof BPF_MAP_CREATE>,
  pageSize: number,
): string | undefined {
  const { map_type = 0, key_size = 0, value_size = 0, max_entries = 0, map_flags = 0, map_name = "" } = attr;
  if (errno === ENOMEM) {
    return `the kernel has no memory for ${max_entries} entries of ${key_size} + ${value_size} bytes`;
  }
  if (errno === E2BIG && perCpu.includes(map_type) && value_size > MAX_PERCPU_VALUE) {
    return `a per-CPU value has at most ${MAX_PERCPU_VALUE} bytes; got ${value_size}`;
  }
  if (errno === E2BIG)
    return `keys of ${key_size} and values of ${value_size} bytes are larger than the kernel can hold`;
  if (errno !== EINVAL) return undefined;
  if (!/^[\w.]*$/.test(map_name)) return `a map's name has letters, digits, "_" and "."; got "${map_name}"`;
  if (map_name.length >= BPF_OBJ_NAME_LEN) {
    return `a map's name has at most ${BPF_OBJ_NAME_LEN - 1} characters; got ${map_name.length}`;
  }
  if (map_type === types.BPF_MAP_TYPE_RINGBUF) {
    return `a ring buffer's max_entries is a power of two and a multiple of the page size (${pageSize}); got ${max_entries}`;
  }
  if (max_entries === 0) return "max_entries must be at least 1; got 0";
  if (value_size === 0) return "value_size must be at least 1; got 0";
  if (arrays.includes(map_type) && key_size !== 4) return `an array's key_size is 4; got ${key_size}`;
  if (hashes.includes(map_type) && key_size === 0) return "a hash's key_size must be at least 1; got 0";
  if (arrays.includes(map_type) && (map_flags & BPF_F_NO_PREALLOC) !== 0) {
    return "an array is always preallocated: it does not take BPF_F_NO_PREALLOC";
  }
  if (map_type !== types.BPF_MAP_TYPE_ARRAY && (map_flags & BPF_F_MMAPABLE) !== 0) {
    return "of these map types only an array takes BPF_F_MMAPABLE";
  }
  return undefined;
}
