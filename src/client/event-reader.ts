// What readers of ring buffers and of perf buffers have in common: waiting, one event at a time, iterating and listening.

import type { Kernel } from "../kernel/kernel.ts";
import { deadlineOf, type Waiter, type WaitOptions } from "./waiter.ts";

export interface EventReaderOptions {
  /** Closes the reader: a waiting read and an iteration end. */
  readonly signal?: AbortSignal;
  /** The map's name, for messages. */
  readonly name?: string;
}

/** Takes events in order: those that are there with `drain`, or waiting with `read`, `for await` and `on`. */
export abstract class EventReader<T> implements AsyncIterable<T>, Disposable {
  protected readonly kernel: Kernel;
  /** The map's name, for messages. */
  protected readonly name: string;
  protected abstract readonly waiter: Waiter;
  readonly #signal: AbortSignal | undefined;
  readonly #listening = new Set<() => void>();
  #closed = false;
  readonly #onAbort = () => this.close();

  protected constructor(kernel: Kernel, { signal, name = "" }: EventReaderOptions) {
    this.kernel = kernel;
    this.name = name;
    this.#signal = signal;
  }

  /** Whether it is closed: nothing more can be read. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether there is an event to take, or an error to be told. */
  abstract get readable(): boolean;

  /** Bytes that were sent and not taken yet, with the headers of their records: the backlog. */
  abstract get available(): number;

  /** Takes the events that are there, one by one. */
  *drain(): IterableIterator<T> {
    for (let event = this.take(); event !== undefined; event = this.take()) yield event;
  }

  /**
   * Takes the next event, waiting for one.
   *
   * @returns undefined when the time is over or the signal aborts, after `flush` where nothing was there, and when the reader is closed
   * @throws RingBufferError where the shared memory holds no valid record
   */
  async read(options: WaitOptions = {}): Promise<T | undefined> {
    const there = this.take();
    if (there !== undefined || this.#closed) return there;
    using _hold = this.waiter.hold();
    const deadline = deadlineOf(options);
    for (;;) {
      const woken = await this.waiter.wait(deadline, options.signal);
      const event = this.take();
      if (event !== undefined || woken === "end") return event;
    }
  }

  /** Events as they come, until the reader is closed or its signal aborts. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    if (this.#closed) return;
    using _hold = this.waiter.hold();
    while (!this.#closed) {
      const event = this.take();
      if (event !== undefined) yield event;
      else await this.waiter.wait(Number.POSITIVE_INFINITY);
    }
  }

  /**
   * Waits until there is something to take, and takes nothing.
   *
   * @returns whether there is; false when the time is over, the signal aborts, after `flush`, or when the reader is closed
   */
  async wait(options: WaitOptions = {}): Promise<boolean> {
    if (this.#closed || this.readable) return !this.#closed;
    using _hold = this.waiter.hold();
    const deadline = deadlineOf(options);
    for (;;) {
      const woken = await this.waiter.wait(deadline, options.signal);
      if (this.#closed) return false;
      if (this.readable) return true;
      if (woken === "end") return false;
    }
  }

  /** Wakes every waiting read: each takes what is there, or gives undefined. */
  flush(): void {
    this.waiter.end();
  }

  /** Ends waiting reads and listeners, and gives the mapped memory back. The map stays open. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.waiter.end();
    for (const end of this.#listening) end();
    this.release();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** To be called when the reader can be closed: closes it when its signal aborts. */
  protected opened(): void {
    if (this.#signal?.aborted) this.close();
    else this.#signal?.addEventListener("abort", this.#onAbort);
  }

  /** Takes one event, where there is one. */
  protected abstract take(): T | undefined;

  /** Gives back what the reader holds. Called once. */
  protected abstract release(): void;

  /**
   * Calls `drain` for what is there and whenever something came, until disposed or closed. Where it throws, listening ends,
   * and `failed` hears of it; without that, the error is thrown from the event loop.
   */
  protected listen(drain: () => void, failed?: (error: unknown) => void): Disposable {
    let more: ReturnType<typeof setTimeout> | undefined;
    const end = () => {
      clearTimeout(more);
      listening[Symbol.dispose]();
      this.#listening.delete(end);
    };
    const run = () => {
      if (this.#closed) return;
      try {
        drain();
      } catch (error) {
        end();
        if (failed === undefined) throw error;
        failed(error);
        return;
      }
      // What is left, because a drain takes no more than a buffer holds, wakes nobody.
      if (!this.#closed && this.readable && this.#listening.has(end)) more = setTimeout(run, 0);
    };
    const listening = this.#closed ? NOTHING : this.waiter.listen(run);
    this.#listening.add(end);
    return { [Symbol.dispose]: end };
  }
}

const NOTHING: Disposable = { [Symbol.dispose]() {} };
