// C's unsigned integers, as the BTF of contract cases has them.

import type { BuildableType } from "../../src/btf/build.ts";

/** @param size bytes */
export const int = (name: string, size: number): BuildableType => ({
  kind: "int",
  name,
  size,
  bits: 8 * size,
  offset: 0,
  signed: false,
  char: false,
  bool: false,
});
