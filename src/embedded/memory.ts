// The machine's memory as JavaScript sees it, and the buffers of callers, which are copied in and out of it.

import type { Memory as UserMemory } from "../uapi/struct.ts";
import type { Machine } from "./machine.ts";

/** A pointer argument: a caller's bytes, or null. */
export type UserPointer = Uint8Array | UserMemory | null | undefined;

/** Bytes for one command, unless it needs more. */
export const SCRATCH = 4096;

/** The caller's bytes at a pointer, undefined where it is null. */
export function bytesAt(pointer: UserPointer): Uint8Array | undefined {
  if (pointer === null || pointer === undefined) return undefined;
  return pointer instanceof Uint8Array ? pointer : pointer.bytes;
}

/** The caller's first `size` bytes; undefined (EFAULT) where there are fewer. */
export function userBytes(pointer: UserPointer, size: number): Uint8Array | undefined {
  if (size === 0) return new Uint8Array(0);
  const bytes = bytesAt(pointer);
  return bytes !== undefined && bytes.length >= size ? bytes.subarray(0, size) : undefined;
}

/** Views of the machine's memory. They are renewed when memory has grown, so read them from here each time. */
export class MachineMemory {
  u8: Uint8Array;
  u32: Uint32Array;
  view: DataView;
  readonly #machine: Machine;
  #scratch = 0;
  #scratchSize = 0;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.u8 = new Uint8Array(machine.memory.buffer);
    this.u32 = new Uint32Array(machine.memory.buffer);
    this.view = new DataView(machine.memory.buffer);
  }

  /** Renews the views where memory has grown beyond them. To be called before memory that may be new is touched. */
  reach(end: number): void {
    if (end <= this.u8.length) return;
    const { buffer } = this.#machine.memory;
    this.u8 = new Uint8Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.view = new DataView(buffer);
  }

  /** Address of memory for the length of one command, at least `size` bytes; 0 where memory does not suffice. */
  scratch(size: number): number {
    if (this.#scratch !== 0 && size <= this.#scratchSize) return this.#scratch;
    const bytes = Math.max(size, SCRATCH);
    const address = this.#machine.allocate(bytes);
    if (address === 0) return 0;
    if (this.#scratch !== 0) this.#machine.free(this.#scratch);
    this.#scratch = address;
    this.#scratchSize = bytes;
    this.reach(address + bytes);
    return address;
  }

  /** Copies `size` bytes of a caller, from `offset` on, to an address. Returns false (EFAULT) where there are fewer. */
  copyIn(pointer: UserPointer, address: number, size: number, offset = 0): boolean {
    if (size === 0) return true;
    const bytes = bytesAt(pointer);
    if (bytes === undefined || bytes.length < offset + size) return false;
    this.reach(address + size);
    const { u8 } = this;
    if (size > 64) u8.set(bytes.length === size ? bytes : bytes.subarray(offset, offset + size), address);
    else for (let i = 0; i < size; i++) u8[address + i] = bytes[offset + i] as number;
    return true;
  }

  /** Copies from an address to a caller's bytes, from `offset` on. Returns false (EFAULT) where there are fewer. */
  copyOut(address: number, pointer: UserPointer, size: number, offset = 0): boolean {
    if (size === 0) return true;
    const bytes = bytesAt(pointer);
    if (bytes === undefined || bytes.length < offset + size) return false;
    this.reach(address + size);
    const { u8 } = this;
    if (size > 64) bytes.set(u8.subarray(address, address + size), offset);
    else for (let i = 0; i < size; i++) bytes[offset + i] = u8[address + i] as number;
    return true;
  }
}
