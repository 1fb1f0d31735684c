// Jenkins' lookup3 hash, which Linux calls jhash: bytes in groups of three little-endian words.

const INITIAL: u32 = 0xdeadbeef;
const GROUP: u32 = 12;

/** Hash of `bytes` bytes at `key`. */
export function jhash(key: usize, bytes: u32, seed: u32): u32 {
  let a = INITIAL + bytes + seed;
  let b = a;
  let c = a;
  while (bytes > GROUP) {
    a += load<u32>(key, 0);
    b += load<u32>(key, 4);
    c += load<u32>(key, 8);
    a = (a - c) ^ rotl(c, 4);
    c += b;
    b = (b - a) ^ rotl(a, 6);
    a += c;
    c = (c - b) ^ rotl(b, 8);
    b += a;
    a = (a - c) ^ rotl(c, 16);
    c += b;
    b = (b - a) ^ rotl(a, 19);
    a += c;
    c = (c - b) ^ rotl(b, 4);
    b += a;
    key += GROUP;
    bytes -= GROUP;
  }
  if (!bytes) return c;
  a += word(key, bytes);
  if (bytes > 4) b += word(key + 4, bytes - 4);
  if (bytes > 8) c += word(key + 8, bytes - 8);
  return final(a, b, c);
}

/** Frequent sizes, compiled into whoever asks: a call costs as much as the hash. */
export class Jhash {
  /** `jhash` of 4 bytes. */
  @inline
  static of4(key: usize, seed: u32): u32 {
    const start = INITIAL + 4 + seed;
    return final(start + load<u32>(key), start, start);
  }

  /** `jhash` of 8 bytes. */
  @inline
  static of8(key: usize, seed: u32): u32 {
    const start = INITIAL + 8 + seed;
    return final(start + load<u32>(key), start + load<u32>(key, 4), start);
  }

  /** `jhash` of 16 bytes. */
  @inline
  static of16(key: usize, seed: u32): u32 {
    const start = INITIAL + 16 + seed;
    let a = start + load<u32>(key);
    let b = start + load<u32>(key, 4);
    let c = start + load<u32>(key, 8);
    a = (a - c) ^ rotl(c, 4);
    c += b;
    b = (b - a) ^ rotl(a, 6);
    a += c;
    c = (c - b) ^ rotl(b, 8);
    b += a;
    a = (a - c) ^ rotl(c, 16);
    c += b;
    b = (b - a) ^ rotl(a, 19);
    a += c;
    c = (c - b) ^ rotl(b, 4);
    b += a;
    return final(a + load<u32>(key, 12), b, c);
  }
}

function final(a: u32, b: u32, c: u32): u32 {
  c = (c ^ b) - rotl(b, 14);
  a = (a ^ c) - rotl(c, 11);
  b = (b ^ a) - rotl(a, 25);
  c = (c ^ b) - rotl(b, 16);
  a = (a ^ c) - rotl(c, 4);
  b = (b ^ a) - rotl(a, 14);
  return (c ^ b) - rotl(b, 24);
}

/** The next 4 bytes, or as many as there are, as a number. */
function word(at: usize, bytes: u32): u32 {
  if (bytes >= 4) return load<u32>(at);
  let value: u32 = load<u8>(at);
  if (bytes > 1) value |= (<u32>load<u8>(at, 1)) << 8;
  if (bytes > 2) value |= (<u32>load<u8>(at, 2)) << 16;
  return value;
}
