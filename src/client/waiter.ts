// Waits for file descriptors of a kernel to become ready, for as long as somebody wants to know.

import type { Kernel, Readiness } from "../kernel/kernel.ts";
import { EBADF } from "../uapi/errno.ts";
import { BpfError } from "./errors.ts";
import { identityOf } from "./info.ts";

export interface WaitOptions {
  /** Milliseconds; without it, for ever. */
  readonly timeout?: number;
  /** Ends this wait. */
  readonly signal?: AbortSignal;
}

/** Why a wait is over: something may be there, or it was ended by its deadline, its signal or `end`. */
export type Wake = "ready" | "end";

/** The file descriptors of one reader or writer. They are watched while it is held; a watch keeps the process alive. */
export class Waiter {
  readonly #kernel: Kernel;
  readonly #fds: readonly number[];
  readonly #readiness: Readiness;
  readonly #subject: string;
  /** What the file descriptors were of at first: once closed, the kernel gives their numbers to others. */
  readonly #identities: readonly (string | undefined)[];
  readonly #waiting = new Set<(reason: Wake) => void>();
  readonly #listeners = new Set<() => void>();
  #holders = 0;
  #watches: Disposable[] = [];
  /** Whether something came since somebody last waited for it. */
  #ready = false;

  /** @param subject the map's name, for messages */
  constructor(kernel: Kernel, fds: readonly number[], readiness: Readiness, subject: string) {
    this.#kernel = kernel;
    this.#fds = fds;
    this.#readiness = readiness;
    this.#subject = subject;
    this.#identities = fds.map((fd) => identityOf(kernel, fd));
  }

  /**
   * Watches until disposed.
   *
   * @throws BpfError where a file descriptor cannot be watched: `EBADF` once its map is closed
   */
  hold(): Disposable {
    if (this.#holders === 0) this.#watch();
    this.#holders++;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        if (--this.#holders === 0) this.#unwatch();
      },
    };
  }

  /** Calls back each time that something may be there, until disposed. */
  listen(callback: () => void): Disposable {
    const hold = this.hold();
    this.#listeners.add(callback);
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(callback);
        hold[Symbol.dispose]();
      },
    };
  }

  /** Waits while held, to a deadline in milliseconds of performance.now. */
  async wait(deadline: number, signal?: AbortSignal): Promise<Wake> {
    if (this.#ready || signal?.aborted) {
      this.#ready = false;
      return signal?.aborted ? "end" : "ready";
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    let wake: ((reason: Wake) => void) | undefined;
    const abort = () => wake?.("end");
    try {
      return await new Promise<Wake>((resolve) => {
        wake = resolve;
        this.#waiting.add(resolve);
        signal?.addEventListener("abort", abort);
        if (deadline === Number.POSITIVE_INFINITY) return;
        const left = deadline - performance.now();
        const reason: Wake = left > LONGEST_TIMER ? "ready" : "end";
        timer = setTimeout(resolve, Math.min(Math.max(0, left), LONGEST_TIMER), reason);
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      if (wake !== undefined) this.#waiting.delete(wake);
      this.#ready = false;
    }
  }

  /** Something may be there. */
  wake(): void {
    this.#ready = true;
    for (const wake of this.#waiting) wake("ready");
    for (const listener of this.#listeners) listener();
  }

  /** Ends every wait that is under way. */
  end(): void {
    for (const wake of this.#waiting) wake("end");
  }

  #watch(): void {
    this.#ready = false;
    for (const [index, fd] of this.#fds.entries()) {
      const isOurs = identityOf(this.#kernel, fd) === this.#identities[index];
      const watch = isOurs ? this.#kernel.watch(fd, () => this.wake(), this.#readiness) : -EBADF;
      if (typeof watch === "number") {
        this.#unwatch();
        const hint =
          watch === -EBADF ? { hint: "the map was closed: keep it open as long as its reader or writer" } : {};
        throw new BpfError(-watch, { syscall: "epoll_ctl", subject: this.#subject, ...hint });
      }
      this.#watches.push(watch);
    }
  }

  #unwatch(): void {
    for (const watch of this.#watches.splice(0)) watch[Symbol.dispose]();
  }
}

/** When a wait of so many milliseconds is over, in milliseconds of performance.now. */
export const deadlineOf = ({ timeout }: WaitOptions): number =>
  timeout === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeout;

/** Milliseconds of the longest timer that there is. */
export const LONGEST_TIMER = 2 ** 31 - 1;
