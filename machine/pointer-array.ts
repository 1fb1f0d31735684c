// Arrays of addresses: of maps, of programs, and of values that come and go. An element has the room of a u64; 0 where it is empty.

import * as array from "./array.ts";
import { MapHeader } from "./map.ts";

export function initialize(map: MapHeader): i32 {
  map.stride = sizeof<u64>();
  return array.initialize(map, 1);
}

/** The address at an index, 0 where there is none. */
export function lookup(map: MapHeader, key: usize): usize {
  const element = array.lookup(map, key);
  return element ? load<usize>(element) : 0;
}
