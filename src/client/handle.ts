// What maps and programs have in common: a file descriptor of their own, and a pin.

import type { Kernel } from "../kernel/kernel.ts";
import { EBADF } from "../uapi/errno.ts";
import { BpfError } from "./errors.ts";
import { pin, pinOver, unpin } from "./pins.ts";

/** A live object of a kernel, held by a file descriptor. */
export abstract class Handle implements Disposable {
  readonly kernel: Kernel;
  abstract readonly name: string;
  #fd: number | undefined;
  #pinPath: string | undefined;

  /** @param pinPath where it is pinned already */
  protected constructor(kernel: Kernel, fd: number, pinPath?: string) {
    this.kernel = kernel;
    this.#fd = fd;
    this.#pinPath = pinPath;
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

  get isClosed(): boolean {
    return this.#fd === undefined;
  }

  /** The path at which this object was pinned or opened; undefined where it was neither. */
  get pinPath(): string | undefined {
    return this.#pinPath;
  }

  /**
   * Pins the object at a path in a BPF file system, where it outlives this process. BPF_OBJ_PIN, Linux 4.4.
   * An object that was pinned or opened at another path moves: that path is gone afterwards.
   *
   * @param options.replace takes the place of what is pinned there, in one step for whoever opens the path
   * @throws BpfError `EEXIST` where something is pinned there, `EPERM` outside a BPF file system, `ENOENT` without its directory
   */
  pin(path: string, options: { readonly replace?: boolean } = {}): void {
    const before = this.#pinPath;
    (options.replace ? pinOver : pin)(this.kernel, this.fd, path);
    this.#pinPath = path;
    if (before !== undefined && before !== path) unpin(this.kernel, this.fd, before);
  }

  /**
   * Removes the pin that this object was pinned or opened at. An object without one is left alone,
   * and so is a path where by now something else is pinned. unlink(2).
   */
  unpin(): void {
    if (this.#pinPath === undefined) return;
    unpin(this.kernel, this.fd, this.#pinPath);
    this.#pinPath = undefined;
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
