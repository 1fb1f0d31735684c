// Several readers in one wait.

import type { EventReader } from "./event-reader.ts";
import type { WaitOptions } from "./waiter.ts";

/**
 * Waits until at least one of the readers has something to take, and takes nothing.
 *
 * @returns the readers that have; none when the time is over, the signal aborts, or a reader is closed or flushed
 * @example
 * for (;;) {
 *   const ready = await pollBuffers([ring, samples], { signal });
 *   if (ready.length === 0) break;
 *   for (const reader of ready) for (const event of reader.drain()) console.log(event);
 * }
 */
export async function pollBuffers<const Readers extends readonly EventReader<unknown>[]>(
  readers: Readers,
  options: WaitOptions = {},
): Promise<Readers[number][]> {
  const ready = (): Readers[number][] => readers.filter(({ readable }) => readable);
  if (readers.length === 0 || readers.some(({ readable }) => readable)) return ready();
  // One for each: many listeners on one signal are taken for a leak, and warned of.
  const others = readers.map(() => new AbortController());
  const end = () => {
    for (const other of others) other.abort();
  };
  options.signal?.addEventListener("abort", end);
  if (options.signal?.aborted) end();
  try {
    await Promise.race(readers.map((reader, index) => reader.wait({ ...options, signal: others[index]!.signal })));
    return ready();
  } finally {
    end();
    options.signal?.removeEventListener("abort", end);
  }
}
