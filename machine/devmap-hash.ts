// BPF_MAP_TYPE_DEVMAP_HASH: chained buckets by the low bits of a u32 key, new elements in front.
// Its elements are struct bpf_devmap_val behind what links them; who removes one frees it.

import { E2BIG, ENOENT, ENOMEM } from "../src/uapi/errno.ts";
import { allocateZeroed, free } from "./allocator.ts";
import { roundUpToPowerOfTwo } from "./hash.ts";
import { MapHeader } from "./map.ts";

@unmanaged
class Device {
  next: usize;
  key: u32;
  interfaceIndex: u32;
  program: u32;
}

export function initialize(map: MapHeader): i32 {
  const buckets = roundUpToPowerOfTwo(map.maxEntries);
  const bytes = buckets * sizeof<usize>();
  if (bytes > <u64>i32.MAX_VALUE) return -ENOMEM;
  map.mask = <u32>buckets - 1;
  map.data = allocateZeroed(<usize>bytes);
  if (!map.data) return -ENOMEM;
  map.memory = <u32>bytes;
  return 0;
}

export function destroy(map: MapHeader): void {
  for (let bucket: u32 = 0; bucket <= map.mask; ++bucket) {
    let device = load<usize>(bucketOf(map, bucket));
    while (device) {
      const next = changetype<Device>(device).next;
      free(device);
      device = next;
    }
  }
  free(map.data);
}

/** Address of a key's struct bpf_devmap_val, 0 where there is none. */
export function lookup(map: MapHeader, key: usize): usize {
  const device = load<usize>(linkTo(map, load<u32>(key)));
  return device ? device + offsetof<Device>("interfaceIndex") : 0;
}

/** Puts a key in front of its bucket. Address of its struct bpf_devmap_val, which a new key has yet to be given; or -E2BIG, -ENOMEM. */
export function devmapHashSet(map: MapHeader, key: u32): i32 {
  let address = devmapHashTake(map, key);
  if (!address) {
    if (map.count >= map.maxEntries) return -E2BIG;
    address = allocateZeroed(offsetof<Device>());
    if (!address) return -ENOMEM;
  }
  const bucket = bucketOf(map, key);
  const device = changetype<Device>(address);
  device.key = key;
  device.next = load<usize>(bucket);
  store<usize>(bucket, address);
  map.count += 1;
  return <i32>(address + offsetof<Device>("interfaceIndex"));
}

/** Takes a key out. What is to be freed when no program uses it, 0 where the key is not there. */
export function devmapHashTake(map: MapHeader, key: u32): usize {
  const link = linkTo(map, key);
  const device = load<usize>(link);
  if (!device) return 0;
  store<usize>(link, changetype<Device>(device).next);
  map.count -= 1;
  return device;
}

export function nextKey(map: MapHeader, key: usize, next: usize): i32 {
  let device: usize = 0;
  let bucket: u32 = 0;
  if (key) {
    const current = load<usize>(linkTo(map, load<u32>(key)));
    if (current) {
      device = changetype<Device>(current).next;
      bucket = (load<u32>(key) & map.mask) + 1;
    }
  }
  while (!device) {
    if (bucket > map.mask) return -ENOENT;
    device = load<usize>(bucketOf(map, bucket++));
  }
  store<u32>(next, changetype<Device>(device).key);
  return 0;
}

/** Where the address of a key's element stands, or 0 stands where it is missing. */
function linkTo(map: MapHeader, key: u32): usize {
  let link = bucketOf(map, key);
  let device = load<usize>(link);
  while (device && changetype<Device>(device).key != key) {
    link = device + offsetof<Device>("next");
    device = load<usize>(link);
  }
  return link;
}

function bucketOf(map: MapHeader, key: u32): usize {
  return map.data + (key & map.mask) * sizeof<usize>();
}
