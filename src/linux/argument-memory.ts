// The structs and buffers of a system call in memory that the kernel can reach, and their way back.

import { ENOMEM } from "../uapi/errno.ts";
import type { Memory, Pointer } from "../uapi/struct.ts";
import { GuardedSlot } from "./guarded-memory.ts";
import type { Syscalls } from "./syscalls.ts";

/** Slots for a struct and all that it points to, in the order in which a walk meets them. */
export class ArgumentMemory {
  readonly #syscalls: Syscalls;
  readonly #slots: GuardedSlot[] = [];

  constructor(syscalls: Syscalls) {
    this.#syscalls = syscalls;
  }

  slot(index: number): GuardedSlot {
    while (this.#slots.length <= index) this.#slots.push(new GuardedSlot(this.#syscalls));
    return this.#slots[index]!;
  }

  /**
   * Copies a struct in, and everything that its pointers reach.
   *
   * @returns its address, or -ENOMEM
   */
  put(memory: Memory): number {
    return this.#put(memory, { next: 0 });
  }

  /** Copies back what the kernel may have written since `put` of the same struct; the caller's bytes at its pointers stay. */
  take(memory: Memory): void {
    this.#take({ offset: 0, direction: "inout", ...memory }, { next: 0 });
  }

  #put({ bytes, pointers = [] }: Memory, walk: Walk): number {
    const slot = this.slot(walk.next++);
    if (slot.reserve(bytes.length) < 0) return -ENOMEM;
    const address = slot.put(bytes);
    const view = structIn(slot, bytes);
    for (const pointer of pointers) {
      const target = this.#put(pointer, walk);
      if (target < 0) return target;
      if (pointer.offset + POINTER_SIZE <= bytes.length) view.setBigUint64(pointer.offset, BigInt(target), true);
    }
    return address;
  }

  #take({ bytes, pointers = [], direction }: Pointer, walk: Walk): void {
    const slot = this.slot(walk.next++);
    if (direction !== "in") {
      const view = structIn(slot, bytes);
      for (const { offset } of pointers) {
        for (let at = offset; at < Math.min(offset + POINTER_SIZE, bytes.length); at++) view.setUint8(at, bytes[at]!);
      }
      slot.take(bytes);
    }
    for (const pointer of pointers) this.#take(pointer, walk);
  }
}

/** How many slots a walk over pointers has met. */
interface Walk {
  next: number;
}

const POINTER_SIZE = 8;

const structIn = ({ bytes: all }: GuardedSlot, bytes: Uint8Array): DataView =>
  new DataView(all.buffer, all.byteOffset + all.length - bytes.length, bytes.length);
