// mmap(2) of a BPF object as an ArrayBuffer on the memory itself.

import type { Mapping, MmapOptions } from "../kernel/kernel.ts";
import * as sys from "./syscalls.ts";

/**
 * Maps an object's memory, shared.
 *
 * After `unmap` the object is let go, and private zero pages stand at the same addresses for as long as a view of them is
 * reachable: reading a view late gives zeros. The addresses are given back when the last view has been collected.
 *
 * @returns the mapping, or -errno
 */
export function mapObject(
  syscalls: sys.Syscalls,
  fd: number,
  { length, offset = 0, writable = false, address: hint = 0 }: MmapOptions,
): Mapping | number {
  const protection = writable ? sys.PROT_READ | sys.PROT_WRITE : sys.PROT_READ;
  const address = syscalls.mmap(hint, length, protection, sys.MAP_SHARED, fd, offset);
  if (address < 0) return address;
  const buffer = syscalls.view(address, length);
  let mapped = true;
  return {
    bytes: new Uint8Array(buffer),
    address,
    unmap() {
      if (!mapped) return;
      mapped = false;
      syscalls.mmap(address, length, sys.PROT_READ | sys.PROT_WRITE, ZERO_PAGES, -1, 0);
      released.register(buffer, { syscalls, address, length });
    },
  };
}

const ZERO_PAGES = sys.MAP_PRIVATE | sys.MAP_ANONYMOUS | sys.MAP_NORESERVE | sys.MAP_FIXED;

/** The buffers of ended mappings, whose addresses are given back when nothing can read there any more. */
const released = new FinalizationRegistry<Addresses>(({ syscalls, address, length }) =>
  syscalls.munmap(address, length),
);

/** What is held until then: nothing from which the buffer could be reached. */
interface Addresses {
  readonly syscalls: sys.Syscalls;
  readonly address: number;
  readonly length: number;
}
