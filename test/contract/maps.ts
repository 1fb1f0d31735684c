// Maps of contract cases.

import type { Kernel } from "../../src/kernel/kernel.ts";
import type { Attr } from "../../src/uapi/attr.ts";
import {
  BPF_MAP_CREATE,
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
} from "../../src/uapi/commands.ts";
import { EAGAIN } from "../../src/uapi/errno.ts";
import { BPF_MAP_TYPE_ARRAY } from "../../src/uapi/map-types.ts";
import { outcome } from "./contract.ts";

export type MapCreate = Attr<typeof BPF_MAP_CREATE>;

/** A map of u32 to u64 with 4 elements, an array; or as `attr` says. */
export const create = (kernel: Kernel, attr: MapCreate = {}): number =>
  kernel.bpf(BPF_MAP_CREATE, { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 8, max_entries: 4, ...attr });

/** The outcome of a creation; a map that is made is closed again. */
export function creation(kernel: Kernel, attr: MapCreate = {}): number | string {
  const result = create(kernel, attr);
  if (result < 0) return outcome(result);
  kernel.close(result);
  return "ok";
}

export const u32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
export const u64 = (value: bigint | number): Uint8Array => new Uint8Array(new BigUint64Array([BigInt(value)]).buffer);
export const toU32 = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
export const toU64 = (bytes: Uint8Array, at = 0): bigint =>
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);

/** BPF_MAP_UPDATE_ELEM. Linux says EAGAIN while it lets go of what a closed map kept with the same owner: then it is asked again. */
export function update(kernel: Kernel, attr: Attr<typeof BPF_MAP_UPDATE_ELEM>): number {
  const deadline = performance.now() + 1000;
  let result = kernel.bpf(BPF_MAP_UPDATE_ELEM, attr);
  while (result === -EAGAIN && performance.now() < deadline) result = kernel.bpf(BPF_MAP_UPDATE_ELEM, attr);
  return result;
}

/** BPF_MAP_UPDATE_ELEM of a u32 key and a u64 value. */
export const set = (kernel: Kernel, map_fd: number, key: number, value: bigint | number, flags = 0): number | string =>
  outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(key), value: u64(value), flags }));

/** BPF_MAP_LOOKUP_ELEM of a u32 key: the u64 value, or the error's name. */
export function get(kernel: Kernel, map_fd: number, key: number, flags = 0): bigint | string {
  const value = new Uint8Array(8);
  const result = kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(key), value, flags });
  return result < 0 ? String(outcome(result)) : toU64(value);
}

export const remove = (kernel: Kernel, map_fd: number, key: number): number | string =>
  outcome(kernel.bpf(BPF_MAP_DELETE_ELEM, { map_fd, key: u32(key) }));

/** BPF_MAP_GET_NEXT_KEY: the key behind `key`, or the first for undefined; or the error's name. */
export function nextKey(kernel: Kernel, map_fd: number, key: number | undefined): number | string {
  const next_key = new Uint8Array(4);
  const result = kernel.bpf(BPF_MAP_GET_NEXT_KEY, { map_fd, key: key === undefined ? null : u32(key), next_key });
  return result < 0 ? outcome(result) : toU32(next_key);
}

/** All keys, in the map's order. */
export function keys(kernel: Kernel, map_fd: number): number[] {
  const found: number[] = [];
  for (let key = nextKey(kernel, map_fd, undefined); typeof key === "number"; key = nextKey(kernel, map_fd, key))
    found.push(key);
  return found;
}
