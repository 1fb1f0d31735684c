// The batch commands: many elements in one call. Hashes are read bucket by bucket, other maps key by key.
// Linux: generic_map_*_batch in kernel/bpf/syscall.c, __htab_map_lookup_and_delete_batch in kernel/bpf/hashtab.c

import { RESULT } from "../../../machine/layout.ts";
import type * as commands from "../../uapi/commands.ts";
import { EFAULT, EINVAL, ENOENT, ENOMEM, ENOSPC, ENOTSUPP } from "../../uapi/errno.ts";
import type { MapOperation } from "../../uapi/map-rules.ts";
import { SCRATCH } from "../memory.ts";
import type { KernelState } from "../state.ts";
import type { CommandAttr } from "../syscall.ts";
import { findMapFile, lockFlags, type MapAccess, type MapFile, mayAccess } from "./elements.ts";
import { walk } from "./machine-elements.ts";
import { type EmbeddedMap, stride } from "./map.ts";
import { hasOperation, refusal } from "./shape.ts";

type LookupBatch = CommandAttr<typeof commands.BPF_MAP_LOOKUP_BATCH>;
type UpdateBatch = CommandAttr<typeof commands.BPF_MAP_UPDATE_BATCH>;

/** BPF_MAP_LOOKUP_BATCH */
export const lookupBatch = (state: KernelState, attr: LookupBatch): number =>
  batch(state, attr, "lookupBatch", "read", (map) =>
    map.family.hasBuckets ? lookupByBucket(state, map, attr, false) : lookupByKey(state, map, attr),
  );

/** BPF_MAP_LOOKUP_AND_DELETE_BATCH, which hashes have. */
export const lookupAndDeleteBatch = (state: KernelState, attr: LookupBatch): number =>
  batch(state, attr, "takeBatch", "read and write", (map) => lookupByBucket(state, map, attr, true));

/** BPF_MAP_UPDATE_BATCH */
export const updateBatch = (state: KernelState, attr: UpdateBatch): number =>
  batch(state, attr, "updateBatch", "write", (map, file) =>
    forEachKey(state, map, attr, (key, index) => {
      const value = key + stride(map.key_size);
      const { userValueSize } = map;
      if (!state.memory.copyIn(attr.values, value, userValueSize, index * userValueSize)) return -EFAULT;
      return map.family.operations.update?.(state, map, key, value, Number(attr.elem_flags), file) ?? -ENOTSUPP;
    }),
  );

/** BPF_MAP_DELETE_BATCH */
export const deleteBatch = (state: KernelState, attr: UpdateBatch): number =>
  batch(state, attr, "deleteBatch", "write", (map) =>
    forEachKey(state, map, attr, (key) => map.family.operations.remove?.(state, map, key) ?? -ENOTSUPP),
  );

function batch(
  state: KernelState,
  attr: LookupBatch | UpdateBatch,
  operation: MapOperation,
  access: MapAccess,
  command: (map: EmbeddedMap, file: MapFile) => number,
): number {
  const file = findMapFile(state, attr.map_fd);
  if (typeof file === "number") return file;
  const error = mayAccess(file, access);
  if (error !== 0) return error;
  return hasOperation(file.object, operation) ? command(file.object, file) : refusal(file.object, operation);
}

/** Writes or deletes key by key; the count tells how many succeeded. */
function forEachKey(
  state: KernelState,
  map: EmbeddedMap,
  attr: UpdateBatch,
  change: (key: number, index: number) => number,
): number {
  const error = lockFlags(map, attr.elem_flags);
  if (error !== 0) return error;
  const asked = attr.count;
  attr.count = 0;
  for (; attr.count < asked; attr.count++) {
    const key = state.memory.scratch(stride(map.key_size) + map.userValueSize);
    if (key === 0) return -ENOMEM;
    if (!state.memory.copyIn(attr.keys, key, map.key_size, attr.count * map.key_size)) return -EFAULT;
    const result = change(key, attr.count);
    if (result !== 0) return result;
  }
  return 0;
}

/** Where the walk goes on is told by the last key that was read. */
function lookupByKey(state: KernelState, map: EmbeddedMap, attr: LookupBatch): number {
  const { memory } = state;
  const { lookup, nextKey } = map.family.operations;
  if (lookup === undefined || nextKey === undefined) return -ENOTSUPP;
  const error = lockFlags(map, attr.elem_flags);
  if (error !== 0) return error;
  const asked = attr.count;
  if (asked === 0) return 0;
  attr.count = 0;
  const keyBytes = stride(map.key_size);
  const scratch = memory.scratch(2 * keyBytes + map.userValueSize);
  if (scratch === 0) return -ENOMEM;
  let previous = 0;
  let key = scratch;
  if (attr.in_batch !== null) {
    previous = scratch + keyBytes;
    if (!memory.copyIn(attr.in_batch, previous, map.key_size)) return -EFAULT;
  }
  let result = 0;
  let count = 0;
  while (count < asked) {
    result = nextKey(state, map, previous, key);
    if (result !== 0) break;
    const value = lookup(state, map, key, scratch + 2 * keyBytes);
    if (value >= 0) {
      if (!memory.copyOut(key, attr.keys, map.key_size, count * map.key_size)) return -EFAULT;
      if (!memory.copyOut(value, attr.values, map.userValueSize, count * map.userValueSize)) return -EFAULT;
      count++;
    } else if (value !== -ENOENT) return value;
    previous = key;
    key = key === scratch ? scratch + keyBytes : scratch;
  }
  attr.count = count;
  if (count > 0 && !memory.copyOut(previous, attr.out_batch, map.key_size)) return -EFAULT;
  return result;
}

/** Where the walk goes on is told by the number of the next bucket, a u32. A bucket is read whole or not at all. */
function lookupByBucket(state: KernelState, map: EmbeddedMap, attr: LookupBatch, isDelete: boolean): number {
  const { machine, memory } = state;
  const { remove } = map.family.operations;
  if (remove === undefined) return -ENOTSUPP;
  const error = lockFlags(map, attr.elem_flags);
  if (error !== 0) return error;
  if (Number(attr.flags) !== 0) return -EINVAL;
  const asked = attr.count;
  if (asked === 0) return 0;
  attr.count = 0;
  const keyBytes = map.key_size;
  const valueBytes = map.userValueSize;
  let bucket = 0;
  if (attr.in_batch !== null) {
    if (!memory.copyIn(attr.in_batch, RESULT, CURSOR)) return -EFAULT;
    bucket = memory.u32[RESULT / 4] as number;
  }
  const buckets = machine.hashBuckets(map.handle);
  if (bucket >= buckets) return -ENOENT;
  let count = 0;
  /** Entries that are copied at once. */
  let chunk = Math.max(1, Math.floor(SCRATCH / (keyBytes + valueBytes)) - SPARE);
  while (bucket < buckets) {
    const room = Math.min(chunk, asked - count);
    const keys = memory.scratch(stride(room * keyBytes) + (room + 1) * valueBytes);
    if (keys === 0) return -ENOMEM;
    const values = keys + stride(room * keyBytes);
    const copied = machine.hashCopyBuckets(map.handle, bucket, room, keys, values, valueBytes);
    const next = memory.u32[RESULT / 4] as number;
    if (next === bucket) {
      if (room === asked - count) break;
      chunk *= 2;
      continue;
    }
    const result = showValues(state, map, keys, values, copied);
    if (result < 0) return result;
    if (!memory.copyOut(keys, attr.keys, copied * keyBytes, count * keyBytes)) return -EFAULT;
    if (!memory.copyOut(values, attr.values, copied * valueBytes, count * valueBytes)) return -EFAULT;
    if (isDelete) for (let index = 0; index < copied; index++) remove(state, map, keys + index * keyBytes);
    count += copied;
    bucket = next;
  }
  memory.u32[RESULT / 4] = bucket;
  if (!memory.copyOut(RESULT, attr.out_batch, CURSOR)) return -EFAULT;
  attr.count = count;
  if (bucket === buckets) return -ENOENT;
  return count === 0 ? -ENOSPC : 0;
}

/** Bytes of the number of a bucket. */
const CURSOR = 4;
/** Entries' worth of memory that one value more, and rounding, may take. */
const SPARE = 2;

/** Makes copies of values what a lookup shows. Behind the copies is room for one more. */
function showValues(state: KernelState, map: EmbeddedMap, keys: number, values: number, count: number): number {
  const { lookup } = map.family.operations;
  if (lookup === walk.lookup && map.fields.length === 0) return 0;
  if (lookup === undefined) return -ENOTSUPP;
  const { memory } = state;
  const { key_size, userValueSize } = map;
  for (let index = 0; index < count; index++) {
    const value = lookup(state, map, keys + index * key_size, values + count * userValueSize);
    if (value < 0) return value;
    memory.u8.copyWithin(values + index * userValueSize, value, value + userValueSize);
  }
  return 0;
}
