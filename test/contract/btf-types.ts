// C's types, as the BTF of contract cases has them; others are named by their id.

import type { BuildableType } from "../../src/btf/build.ts";

/**
 * An unsigned integer.
 *
 * @param size bytes
 */
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

/**
 * @param size bytes
 * @param fields their offsets are bytes
 */
export const struct = (
  name: string,
  size: number,
  ...fields: readonly [name: string, type: number, offset: number][]
): BuildableType => ({
  kind: "struct",
  name,
  size,
  members: fields.map(([name, type, offset]) => ({ name, type, bitOffset: 8 * offset, bitSize: 0 })),
});

/** An array whose indices are of the type 1, an integer. */
export const array = (type: number, length: number): BuildableType => ({
  kind: "array",
  name: "",
  type,
  indexType: 1,
  length,
});

export const pointer = (type: number): BuildableType => ({ kind: "ptr", name: "", type });
