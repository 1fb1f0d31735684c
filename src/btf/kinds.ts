// The layout of a BTF type: a common head of 12 bytes, then `fixed` bytes, then `each` bytes for each of its vlen parts.
// Linux: Documentation/bpf/btf.rst

import * as kinds from "../uapi/btf-kinds.ts";

/** Bytes of struct btf_header. */
export const headerSize = 24;
export const magic = 0xeb9f;
export const version = 1;
/** Bytes of struct btf_type. */
export const typeSize = 12;

export const kindLayouts = {
  int: { number: kinds.BTF_KIND_INT, fixed: 4, each: 0 },
  ptr: { number: kinds.BTF_KIND_PTR, fixed: 0, each: 0 },
  array: { number: kinds.BTF_KIND_ARRAY, fixed: 12, each: 0 },
  struct: { number: kinds.BTF_KIND_STRUCT, fixed: 0, each: 12 },
  union: { number: kinds.BTF_KIND_UNION, fixed: 0, each: 12 },
  enum: { number: kinds.BTF_KIND_ENUM, fixed: 0, each: 8 },
  fwd: { number: kinds.BTF_KIND_FWD, fixed: 0, each: 0 },
  typedef: { number: kinds.BTF_KIND_TYPEDEF, fixed: 0, each: 0 },
  volatile: { number: kinds.BTF_KIND_VOLATILE, fixed: 0, each: 0 },
  const: { number: kinds.BTF_KIND_CONST, fixed: 0, each: 0 },
  restrict: { number: kinds.BTF_KIND_RESTRICT, fixed: 0, each: 0 },
  func: { number: kinds.BTF_KIND_FUNC, fixed: 0, each: 0 },
  func_proto: { number: kinds.BTF_KIND_FUNC_PROTO, fixed: 0, each: 8 },
  var: { number: kinds.BTF_KIND_VAR, fixed: 4, each: 0 },
  datasec: { number: kinds.BTF_KIND_DATASEC, fixed: 0, each: 12 },
  float: { number: kinds.BTF_KIND_FLOAT, fixed: 0, each: 0 },
  decl_tag: { number: kinds.BTF_KIND_DECL_TAG, fixed: 4, each: 0 },
  type_tag: { number: kinds.BTF_KIND_TYPE_TAG, fixed: 0, each: 0 },
  enum64: { number: kinds.BTF_KIND_ENUM64, fixed: 0, each: 12 },
} as const;

/** The kinds that a type record can have: all but void, which is id 0 and has none. */
export type RecordKind = keyof typeof kindLayouts;

export const kindNames = Object.keys(kindLayouts) as readonly RecordKind[];

/** Linkage of functions and variables, by its number. */
export const linkages = ["static", "global", "extern"] as const;
export type Linkage = (typeof linkages)[number];

/** Bits of an int's encoding. */
export const INT_SIGNED = 1;
export const INT_CHAR = 2;
export const INT_BOOL = 4;
