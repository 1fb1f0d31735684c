// What maps and programs have in common: a file descriptor of their own, and pins.

import type { Kernel } from "../kernel/kernel.ts";
import { EBADF } from "../uapi/errno.ts";
import { BpfError } from "./errors.ts";
import { pin } from "./pins.ts";

/** A live object of a kernel, held by a file descriptor. */
export abstract class Handle implements Disposable {
  readonly kernel: Kernel;
  abstract readonly name: string;
  #fd: number | undefined;

  protected constructor(kernel: Kernel, fd: number) {
    this.kernel = kernel;
    this.#fd = fd;
  }

  /**
   * The file descriptor; this object keeps it.
   *
   * @throws BpfError `EBADF` once this object is closed
   */
  get fd(): number {
    if (this.#fd === undefined) throw new BpfError(EBADF, { syscall: "bpf", subject: this.name, hint: "it is closed" });
    return this.#fd;
  }

  /**
   * Pins the object at a path in a BPF file system, where it outlives this process. BPF_OBJ_PIN, Linux 4.4.
   *
   * @throws BpfError `EEXIST` where something is pinned there, `EPERM` outside a BPF file system, `ENOENT` without its directory
   */
  pin(path: string): void {
    pin(this.kernel, this.fd, path);
  }

  /** Closes the file descriptor. The object lives on while something else holds it: a pin, a program, another descriptor. */
  close(): void {
    if (this.#fd === undefined) return;
    const fd = this.#fd;
    this.#fd = undefined;
    this.kernel.close(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Makes something of a file descriptor that is ours, and closes it where that fails. */
export function closingOnFailure<T>(kernel: Kernel, fd: number, make: () => T): T {
  try {
    return make();
  } catch (error) {
    kernel.close(fd);
    throw error;
  }
}
