// What a register or a stack slot may hold: a number, or a pointer of some kind with what is known of where it points.
// Values never change; nothing at all is `undefined`.

import type { Scalar } from "./scalar.ts";
import * as scalars from "./scalar.ts";
import type { VerifierMap } from "./verify.ts";

export type PointerKind =
  | "arena"
  | "ctx"
  | "dynptr_ptr"
  | "fp"
  | "func"
  | "map_key"
  | "map_ptr"
  | "map_value"
  | "mem"
  | "pkt"
  | "pkt_meta"
  | "pkt_end"
  | "ringbuf_mem"
  | "sock"
  | "sock_common"
  | "xdp_sock";

export interface Pointer {
  readonly kind: PointerKind;
  /** Not yet compared with NULL. */
  readonly nullable: boolean;
  /** Bytes from the start of the object: the fixed part. */
  readonly offset: number;
  /** Bytes from the start of the object: the part that is not fixed. */
  readonly variable: Scalar;
  /** Pointers with the same id, unless 0, are NULL together, and have the same variable part. */
  readonly id: number;
  /** Of a packet pointer: bytes from the pointer's variable part that are known to be in the packet. */
  readonly range: number;
  /** Of map_ptr, map_key and map_value. */
  readonly map?: VerifierMap;
  /** Of fp: number of the frame whose stack it is. */
  readonly frame: number;
  /** Of mem and ringbuf_mem: bytes. */
  readonly size: number;
  /** Of func: its first slot. */
  readonly start: number;
  /** Of mem: id of the dynptr that it belongs to, and ends with. */
  readonly dynptr: number;
  /** Id of the reference that must be released; 0 where none. */
  readonly reference: number;
}

export type Value = Scalar | Pointer;

export function pointer(kind: PointerKind, fields: Partial<Pointer> = {}): Pointer {
  return {
    kind,
    nullable: false,
    offset: 0,
    variable: scalars.ZERO,
    id: 0,
    range: 0,
    frame: 0,
    size: 0,
    start: 0,
    dynptr: 0,
    reference: 0,
    ...fields,
  };
}

export const isScalar = (value: Value | undefined): value is Scalar => value?.kind === "scalar";
export const isPointer = (value: Value | undefined): value is Pointer => value !== undefined && value.kind !== "scalar";
/** Whether it points to a socket, of which single fields may be read and nothing written. */
export const isSocket = (kind: PointerKind): boolean =>
  kind === "sock" || kind === "sock_common" || kind === "xdp_sock";
export const isPacket = (value: Value | undefined): value is Pointer =>
  value?.kind === "pkt" || value?.kind === "pkt_meta" || value?.kind === "pkt_end";

/** A value's type in the words of the log: `map_value_or_null`. */
export const typeName = (value: Value): string =>
  isPointer(value) && value.nullable ? `${value.kind}_or_null` : value.kind;

/** As logs print it: `map_value(map=flows,ks=4,vs=16)`, `fp-8`, `5`. */
export function print(value: Value): string {
  if (value.kind === "scalar") return scalars.print(value);
  const { kind, offset, variable, id, range, map, frame, size, reference } = value;
  if (kind === "fp" && scalars.isConstant(variable)) {
    return `fp${frame > 0 ? `[${frame}]` : ""}${offset + Number(scalars.numberOf(variable))}`;
  }
  if (kind === "arena") return kind;
  const parts: string[] = [];
  if (id) parts.push(`id=${id}`);
  if (reference) parts.push(`ref_id=${reference}`);
  if (map) parts.push(`map=${map.name},ks=${map.keySize},vs=${map.valueSize}`);
  if (offset) parts.push(`off=${offset}`);
  if (kind === "pkt" || kind === "pkt_meta") parts.push(`r=${range}`);
  if (kind === "mem" || kind === "ringbuf_mem") parts.push(`sz=${size}`);
  if (!scalars.isConstant(variable)) parts.push(...scalars.printRanges(variable));
  else if (!scalars.isZero(variable)) parts.push(`imm=0x${variable.bits.value.toString(16)}`);
  return `${typeName(value)}(${parts.join(",")})`;
}
