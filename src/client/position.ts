// Positions in a shared buffer: u64 counters of bytes that one side moves while the other looks.
// They are read as two halves, as a bigint for each record would cost more than the record.

/** The position at the first two words. It is read again where its high half moved meanwhile. */
export function loadPosition(words: Int32Array): number {
  let high = Atomics.load(words, 1);
  for (let attempt = 0; ; attempt++) {
    const low = Atomics.load(words, 0);
    const after = Atomics.load(words, 1);
    // Somebody who changes it without end shall not hold us up.
    if (after === high || attempt === ATTEMPTS) return (high >>> 0) * 2 ** 32 + (low >>> 0);
    high = after;
  }
}

/** Stores a position in one piece, so that the other side never sees half of it. */
export function storePosition(words: Int32Array, position: number): void {
  const high = Math.floor(position / 2 ** 32) | 0;
  if (Atomics.load(words, 1) === high) Atomics.store(words, 0, position | 0);
  else Atomics.store(new BigInt64Array(words.buffer, words.byteOffset, 1), 0, BigInt(position));
}

/** Behind it, numbers no longer tell multiples of 8 apart: a walk would stand still. At 10 GB a second, a buffer is there after 83 days. */
export const LARGEST_POSITION = 2 ** 56;

const ATTEMPTS = 100;
