// Who waits for file descriptors to become ready: readers of ring and perf buffers, writers of user ring buffers.

import type { Readiness } from "../kernel/kernel.ts";
import { EBADF, EPERM } from "../uapi/errno.ts";
import type { EmbeddedMap } from "./maps/map.ts";
import type { KernelObject } from "./objects.ts";
import type { EmbeddedPerfEvent } from "./perf-events.ts";
import type { KernelState } from "./state.ts";

interface Watch {
  readonly callback: () => void;
  pending: boolean;
}

/** What can be watched. */
type Watched = EmbeddedMap | EmbeddedPerfEvent;
/** A map by its address in the machine, a performance event by itself. */
type Key = number | EmbeddedPerfEvent;

/** The watches of one kernel. */
export class Watches {
  readonly #byKey = new Map<Key, Set<Watch>>();

  /** Calls back in a microtask whenever there is something new, and once where there is something already. */
  add(state: KernelState, fd: number, callback: () => void, readiness: Readiness): Disposable | number {
    const object = state.files.get(fd)?.object;
    if (object === undefined) return -EBADF;
    if (!isWatchable(object)) return -EPERM;
    object.references.take();
    const key = object.kind === "map" ? object.handle : object;
    const watch: Watch = { callback, pending: false };
    const watches = this.#byKey.get(key) ?? new Set();
    this.#byKey.set(key, watches.add(watch));
    if (isReady(state, object, readiness)) this.#schedule(watches, watch);
    return {
      [Symbol.dispose]: () => {
        if (!watches.delete(watch)) return;
        if (watches.size === 0) this.#byKey.delete(key);
        object.references.drop();
      },
    };
  }

  /** A map or an event has something for those who watch it. */
  wake(key: Key): void {
    const watches = this.#byKey.get(key);
    for (const watch of watches ?? []) this.#schedule(watches as Set<Watch>, watch);
  }

  #schedule(watches: ReadonlySet<Watch>, watch: Watch): void {
    if (watch.pending) return;
    watch.pending = true;
    queueMicrotask(() => {
      watch.pending = false;
      if (watches.has(watch)) watch.callback();
    });
  }
}

/** epoll refuses what cannot be polled. */
function isWatchable(object: KernelObject): object is Watched {
  if (object.kind === "perf event") return true;
  return object.kind === "map" && object.family.isReady !== undefined;
}

function isReady({ machine, memory }: KernelState, object: Watched, readiness: Readiness): boolean {
  if (object.kind === "map") {
    return object.family.isReady?.(object, readiness, machine.mapData(object.handle), memory) ?? false;
  }
  // Without a buffer it is hung up, which every watch hears of. A wake-up is told once.
  if (object.buffer === undefined) return true;
  const { ready } = object;
  object.ready = false;
  return ready && readiness === "readable";
}
