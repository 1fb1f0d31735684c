// Short runs of bytes, for which a loop is faster than the engine's memory.copy.

const LONG: usize = 64;

/** Copies bytes that do not overlap, or are the same. */
export function copy(to: usize, from: usize, bytes: usize): void {
  if (bytes > LONG) {
    memory.copy(to, from, bytes);
    return;
  }
  const end = from + bytes;
  while (from + 8 <= end) {
    store<u64>(to, load<u64>(from));
    from += 8;
    to += 8;
  }
  if (from + 4 <= end) {
    store<u32>(to, load<u32>(from));
    from += 4;
    to += 4;
  }
  while (from < end) {
    store<u8>(to, load<u8>(from));
    from += 1;
    to += 1;
  }
}

export function equal(a: usize, b: usize, bytes: usize): bool {
  const end = a + bytes;
  while (a + 8 <= end) {
    if (load<u64>(a) != load<u64>(b)) return false;
    a += 8;
    b += 8;
  }
  if (a + 4 <= end) {
    if (load<u32>(a) != load<u32>(b)) return false;
    a += 4;
    b += 4;
  }
  while (a < end) {
    if (load<u8>(a) != load<u8>(b)) return false;
    a += 1;
    b += 1;
  }
  return true;
}
