// BPF_MAP_TYPE_USER_RINGBUF: the pages of a ring buffer, of which user space writes the producer's position and the data.
// bpf_user_ringbuf_drain is: begin, then for each sample peek, its callback, and release; then end. A sample that wraps on Linux
// goes on behind the data here, where there is as much room again. What user space writes may change at any time: it is read once.
// Linux: kernel/bpf/ringbuf.c

import { E2BIG, EAGAIN, EBUSY, EINVAL, ENODATA } from "../src/uapi/errno.ts";
import { BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP } from "../src/uapi/flags.ts";
import { MAX_SIZE } from "./dynptr.ts";
import { wake } from "./imports.ts";
import { PAGE_BYTES } from "./layout.ts";
import { MapHeader } from "./map.ts";
import { areWakeupFlags, BUSY, DISCARDED, RecordHeader, recordBytes } from "./ringbuf.ts";

/** Most samples of one drain. Linux: BPF_MAX_USER_RINGBUF_SAMPLES. */
export const MAX_SAMPLES: u32 = 128 * 1024;

/** In the page in front of the consumer's, which user space does not see. */
@unmanaged
class Drain {
  /** Where a record finds its ring buffer's map. */
  map: usize;
  isBusy: bool;
  /** Bytes of the sample that is being read. */
  sampleLength: u32;
}

/** 0; -EINVAL for unknown flags, -EBUSY while a callback of another drain runs. */
export function userRingbufBegin(map: MapHeader, flags: u64): i32 {
  if (!areWakeupFlags(flags)) return -EINVAL;
  const drain = drainOf(map);
  if (drain.isBusy) return -EBUSY;
  drain.isBusy = true;
  return 0;
}

/**
 * Address of the next sample, whose length `userRingbufSampleLength` tells; or -errno:
 * -ENODATA where there is none or it is not finished, -EAGAIN where it was discarded and skipped, which counts as one of the
 * drain's samples, -EINVAL and -E2BIG where positions and length contradict each other.
 */
export function userRingbufPeek(map: MapHeader): i32 {
  const producer = atomic.load<u64>(map.data + PAGE_BYTES);
  if (producer & 7) return -EINVAL;
  const consumer = load<u64>(map.data);
  if (consumer >= producer) return -ENODATA;
  // Samples are 8-aligned, whatever was written to the consumer's page, which is there to be read.
  const address = map.data + 2 * PAGE_BYTES + (<u32>consumer & map.mask & ~7);
  const header = atomic.load<u32>(address);
  const length = header & ~(BUSY | DISCARDED);
  const bytes = recordBytes(length);
  if (bytes > producer - consumer) return -EINVAL;
  if (bytes > map.maxEntries || length > MAX_SIZE) return -E2BIG;
  if (header & DISCARDED) {
    atomic.store<u64>(map.data, consumer + bytes);
    return -EAGAIN;
  }
  if (header & BUSY) return -ENODATA;
  drainOf(map).sampleLength = length;
  return <i32>(address + offsetof<RecordHeader>());
}

export function userRingbufSampleLength(map: MapHeader): u32 {
  return drainOf(map).sampleLength;
}

/** Gives the peeked sample's room back to user space. */
export function userRingbufRelease(map: MapHeader): void {
  const bytes = recordBytes(drainOf(map).sampleLength);
  atomic.store<u64>(map.data, load<u64>(map.data) + bytes);
}

/** Ends a drain of so many samples, with those that were discarded, and wakes who waits for room, unless flags say otherwise. */
export function userRingbufEnd(map: MapHeader, samples: u32, flags: u64): void {
  drainOf(map).isBusy = false;
  if (flags & BPF_RB_FORCE_WAKEUP || (samples && !(flags & BPF_RB_NO_WAKEUP))) wake(changetype<usize>(map));
}

function drainOf(map: MapHeader): Drain {
  return changetype<Drain>(map.data - PAGE_BYTES);
}
