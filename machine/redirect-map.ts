// bpf_redirect_map: the answer of an XDP program that sends its packet where a map says.
// Linux: include/linux/filter.h, __bpf_xdp_redirect_map

import { BPF_F_BROADCAST, BPF_F_EXCLUDE_INGRESS, XDP_ABORTED, XDP_REDIRECT } from "../src/uapi/flags.ts";
import { BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH } from "../src/uapi/map-types.ts";
import * as devmapHash from "./devmap-hash.ts";
import { MapHeader } from "./map.ts";
import * as pointerArray from "./pointer-array.ts";

/** The answers that a caller may ask for where the map has no target: XDP_ABORTED to XDP_TX. */
const ANSWERS: u64 = 3;

/** XDP_REDIRECT where `key` (a u32) has a target; otherwise what the lower bits of `flags` ask for. */
export function redirectMap(map: MapHeader, key: usize, flags: u64): u64 {
  const isDevices = map.type == BPF_MAP_TYPE_DEVMAP || map.type == BPF_MAP_TYPE_DEVMAP_HASH;
  const known = ANSWERS | (isDevices ? <u64>(BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS) : 0);
  if (flags & ~known) return XDP_ABORTED;
  if (flags & BPF_F_BROADCAST) return XDP_REDIRECT;
  const target = map.type == BPF_MAP_TYPE_DEVMAP_HASH ? devmapHash.lookup(map, key) : pointerArray.lookup(map, key);
  return target ? XDP_REDIRECT : flags & ANSWERS;
}
