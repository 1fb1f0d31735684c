// Helpers that read memory at any address. What programs of this kernel can know of is the machine's memory; the rest is not there.
// Linux: kernel/trace/bpf_trace.c, bpf_probe_read_kernel; mm/maccess.c

import { DATA_START, HEAP_END } from "../../../machine/layout.ts";
import { EFAULT, ERANGE } from "../../uapi/errno.ts";
import type { MachineMemory } from "../memory.ts";
import { type HelperEnvironment, wide } from "./environment.ts";

/** Copies `size` bytes; fills them with zeros where they cannot be read. */
export function probeReadKernel({ memory }: HelperEnvironment, to: number, size: number): number {
  const from = readable(memory, wide(memory, 2));
  if (from === -EFAULT && size === 0) return 0;
  if (from >= 0 && from + size <= end(memory)) {
    memory.u8.copyWithin(to, from, from + size);
    return 0;
  }
  memory.u8.fill(0, to, to + size);
  return from < 0 ? from : -EFAULT;
}

/** Copies a text of at most `size` bytes, its NUL among them; gives how many. */
export function probeReadKernelString({ memory }: HelperEnvironment, to: number, size: number): number {
  if (size === 0) return 0;
  const { u8 } = memory;
  const from = readable(memory, wide(memory, 2));
  const limit = from < 0 ? 0 : Math.min(size, end(memory) - from);
  for (let i = 0; i < limit; i++) {
    const byte = i === size - 1 ? 0 : (u8[from + i] as number);
    u8[to + i] = byte;
    if (byte === 0) return i + 1;
  }
  u8.fill(0, to, to + size);
  return from < 0 ? from : -EFAULT;
}

/** Where Linux's own memory begins; below it is that of processes, which is not read. */
const KERNEL_START = 0xffff_8000_0000_0000n;

/** The address, or why there is nothing to read: -ERANGE, -EFAULT. */
function readable(memory: MachineMemory, address: bigint): number {
  if (address >= BigInt(DATA_START) && address < BigInt(end(memory))) return Number(address);
  return address < KERNEL_START ? -ERANGE : -EFAULT;
}

/** End of the memory that programs' data lies in. */
const end = ({ u32 }: MachineMemory): number => u32[HEAP_END / 4] as number;
