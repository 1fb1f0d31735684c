// Memory for the arguments of a system call. Each buffer ends exactly where a page begins that nobody may touch,
// so that the kernel itself answers EFAULT where it would read or write behind the buffer's end.

import * as sys from "./syscalls.ts";

/** A place for one buffer at a time, as large as the largest that it had. */
export class GuardedSlot {
  /** The first address behind every buffer of this slot. */
  end = 0;
  /** All of the slot up to `end`; a buffer of n bytes is its last n. */
  bytes = new Uint8Array(0);
  readonly #syscalls: sys.Syscalls;

  constructor(syscalls: sys.Syscalls) {
    this.#syscalls = syscalls;
    this.reserve(INITIAL_SIZE);
  }

  /**
   * Makes room for a buffer of `length` bytes; what the slot held is lost where it has to grow.
   *
   * @returns 0, or -errno (ENOMEM)
   */
  reserve(length: number): number {
    const held = this.bytes.length;
    if (length <= held && held > 0) return 0;
    const { pageSize } = this.#syscalls;
    const size = Math.ceil(Math.max(length, 2 * held) / pageSize) * pageSize;
    const address = this.#syscalls.mmap(0, size + pageSize, sys.PROT_NONE, PRIVATE, -1, 0);
    if (address < 0) return address;
    const error = this.#syscalls.mmap(address, size, sys.PROT_READ | sys.PROT_WRITE, PRIVATE | sys.MAP_FIXED, -1, 0);
    if (error < 0) {
      this.#syscalls.munmap(address, size + pageSize);
      return error;
    }
    if (held > 0) this.#syscalls.munmap(this.end - held, held + pageSize);
    this.end = address + size;
    this.bytes = new Uint8Array(this.#syscalls.view(address, size));
    return 0;
  }

  /** Copies a buffer in, for which there must be room, and returns its address. */
  put(buffer: Uint8Array): number {
    const { length } = buffer;
    const start = this.bytes.length - length;
    if (length > LOOP_LIMIT) this.bytes.set(buffer, start);
    else for (let i = 0; i < length; i++) this.bytes[start + i] = buffer[i]!;
    return this.end - length;
  }

  /** Copies a buffer of the same length out. */
  take(buffer: Uint8Array): void {
    const { length } = buffer;
    const start = this.bytes.length - length;
    if (length > LOOP_LIMIT) buffer.set(this.bytes.subarray(start));
    else for (let i = 0; i < length; i++) buffer[i] = this.bytes[start + i]!;
  }
}

const PRIVATE = sys.MAP_PRIVATE | sys.MAP_ANONYMOUS | sys.MAP_NORESERVE;

/** Bytes of a new slot. */
const INITIAL_SIZE = 4096;

/** Up to this many bytes a loop copies faster than `set`. */
const LOOP_LIMIT = 64;
