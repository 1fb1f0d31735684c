// Who waits for file descriptors to become readable: readers of ring buffers.

import { EBADF, EPERM } from "../uapi/errno.ts";
import type { EmbeddedMap } from "./maps/map.ts";
import type { KernelState } from "./state.ts";

interface Watch {
  readonly map: EmbeddedMap;
  readonly callback: () => void;
  pending: boolean;
}

/** The watches of one kernel, by the map's address in the machine. */
export class Watches {
  readonly #byHandle = new Map<number, Set<Watch>>();

  /** Calls back in a microtask whenever there is something new, and once where there is something already. */
  add({ files, machine, memory }: KernelState, fd: number, callback: () => void): Disposable | number {
    const file = files.get(fd);
    if (file === undefined) return -EBADF;
    const map = file.object;
    // epoll refuses what cannot be polled.
    if (map.kind !== "map" || map.family.isReadable === undefined) return -EPERM;
    map.references.take();
    const watch: Watch = { map, callback, pending: false };
    const watches = this.#byHandle.get(map.handle) ?? new Set();
    this.#byHandle.set(map.handle, watches.add(watch));
    if (map.family.isReadable(machine.mapData(map.handle), memory)) this.#schedule(watches, watch);
    return {
      [Symbol.dispose]: () => {
        if (!watches.delete(watch)) return;
        if (watches.size === 0) this.#byHandle.delete(map.handle);
        map.references.drop();
      },
    };
  }

  /** A map has something for its readers. */
  wake(handle: number): void {
    const watches = this.#byHandle.get(handle);
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
