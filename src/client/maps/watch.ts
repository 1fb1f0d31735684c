// What changes in a map, found by reading it again and again.

import { shown } from "../../codec/codec.ts";
import { LONGEST_TIMER } from "../waiter.ts";
import type { MapEntries } from "./walk.ts";

export interface WatchOptions {
  /** Milliseconds between two readings; 1000 where absent. */
  readonly interval?: number;
  /** Ends the watch. */
  readonly signal?: AbortSignal;
  /** Whether the entries that are there at the beginning come first, as added. */
  readonly initial?: boolean;
}

/** One change of one key. */
export type MapChange<K, V> =
  | { readonly type: "added"; readonly key: K; readonly value: V; readonly previous: undefined }
  | { readonly type: "changed"; readonly key: K; readonly value: V; readonly previous: V }
  | { readonly type: "removed"; readonly key: K; readonly value: undefined; readonly previous: V };

/** What is watched. */
interface Watched<K, V> {
  readonly isClosed: boolean;
  entries(): MapEntries<K, V>;
}

const DEFAULT_INTERVAL = 1000;

/** Changes since the call, until the signal aborts or the map is closed. */
export function watchEntries<K, V>(
  map: Watched<K, V>,
  { interval = DEFAULT_INTERVAL, signal, initial = false }: WatchOptions = {},
): AsyncGenerator<MapChange<K, V>, void, undefined> {
  if (!(interval >= 0 && interval <= LONGEST_TIMER)) {
    throw new RangeError(`interval is from 0 to ${LONGEST_TIMER} milliseconds; got ${shown(interval)}`);
  }
  // Read now, not when the first change is asked for.
  const before = initial ? new Map<string, Seen<K, V>>() : read(map);
  return changes(map, before, initial ? 0 : interval, interval, signal);
}

interface Seen<K, V> {
  readonly key: K;
  readonly value: V;
  /** The value as text, to compare. */
  readonly text: string;
}

async function* changes<K, V>(
  map: Watched<K, V>,
  first: Map<string, Seen<K, V>>,
  delay: number,
  interval: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<MapChange<K, V>, void, undefined> {
  let before = first;
  for (let wait = delay; await elapsed(wait, signal); wait = interval) {
    if (map.isClosed) return;
    const now = read(map);
    for (const [id, { key, value, text }] of now) {
      const old = before.get(id);
      if (old === undefined) yield { type: "added", key, value, previous: undefined };
      else if (old.text !== text) yield { type: "changed", key, value, previous: old.value };
      if (signal?.aborted) return;
    }
    for (const [id, { key, value }] of before) {
      if (!now.has(id)) yield { type: "removed", key, value: undefined, previous: value };
      if (signal?.aborted) return;
    }
    before = now;
  }
}

function read<K, V>(map: Watched<K, V>): Map<string, Seen<K, V>> {
  const seen = new Map<string, Seen<K, V>>();
  for (const [key, value] of map.entries()) seen.set(textOf(key), { key, value, text: textOf(value) });
  return seen;
}

/** The same text for the same value: every part of it, bigints told from numbers. */
const textOf = (value: unknown): string => {
  if (typeof value === "number") return `${value}`;
  if (typeof value === "bigint") return `${value}n`;
  return JSON.stringify(value, (_, part) => (typeof part === "bigint" ? `${part}n` : part));
};

/** Waits; false where the signal aborts first. */
function elapsed(milliseconds: number, signal: AbortSignal | undefined): Promise<boolean> {
  if (signal?.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const done = (whole: boolean): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      resolve(whole);
    };
    const onAbort = () => done(false);
    const timer = setTimeout(() => done(true), milliseconds);
    signal?.addEventListener("abort", onAbort);
  });
}
