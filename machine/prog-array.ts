// BPF_MAP_TYPE_PROG_ARRAY: addresses of programs, which tail calls go on with.

import { MapHeader } from "./map.ts";

/** The program at an index, 0 where there is none. bpf_tail_call. */
export function mapTailTarget(map: MapHeader, index: u32): usize {
  return index < map.maxEntries ? load<usize>(map.data + index * map.stride) : 0;
}
