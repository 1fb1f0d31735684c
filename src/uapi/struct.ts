// C structs of the Linux API as tables of fields, and their encoder and decoder.

/** Bytes in memory that a struct points to, and the pointers that lie in those bytes themselves. */
export interface Memory {
  readonly bytes: Uint8Array;
  readonly pointers?: readonly Pointer[];
}

/** A pointer that a struct holds: where it stands, what it points to, and who writes there. */
export interface Pointer extends Memory {
  /** Byte offset of the pointer in the struct that holds it. */
  readonly offset: number;
  readonly direction: Direction;
}

/** `in`: read by the kernel. `out`: written by the kernel. `inout`: both. */
export type Direction = "in" | "out" | "inout";

type ScalarType = "u32" | "s32" | "u64";

/**
 * A field: its byte offset, its type, and its direction where that is not `in`.
 * `pointer` is a u64 that points to the caller's bytes; `char[n]` a string that a NUL ends; `u8[n]` bytes.
 */
export type Field =
  | readonly [offset: number, type: ScalarType | "pointer", direction?: Direction]
  | readonly [offset: number, type: `char[${number}]` | `u8[${number}]`];

/** Fields by name; a nested table groups the fields of a member of a union, at offsets of the whole struct. */
export interface Struct {
  readonly [name: string]: Field | Struct;
}

type ValueOf<F> = F extends readonly [number, "u32" | "s32", ...unknown[]]
  ? number
  : F extends readonly [number, "u64", ...unknown[]]
    ? number | bigint
    : F extends readonly [number, "pointer", ...unknown[]]
      ? Uint8Array | Memory | null
      : F extends readonly [number, `char[${number}]`]
        ? string
        : F extends readonly [number, `u8[${number}]`]
          ? Uint8Array
          : Partial<ValuesOf<F>>;

/** The values of a struct's fields, all there. A u64 is decoded as a bigint and encoded from either. */
export type ValuesOf<S> = { -readonly [Name in keyof S]: ValueOf<S[Name]> };

/** Whether it is a field, not a nested table. */
export const isField = (field: Field | Struct): field is Field => Array.isArray(field);
const lengthOf = (type: string): number => Number(type.slice(type.indexOf("[") + 1, -1));

function widthOf(type: Field[1]): number {
  if (type === "u32" || type === "s32") return 4;
  if (type === "u64" || type === "pointer") return 8;
  return lengthOf(type);
}

/** Bytes up to the end of the last field: what the kernel calls a command's `LAST_FIELD`. */
export function sizeOf(struct: Struct): number {
  return Math.max(
    0,
    ...Object.values(struct).map((field) => (isField(field) ? field[0] + widthOf(field[1]) : sizeOf(field))),
  );
}

/**
 * Writes the fields that `values` has into `view`, and returns the pointers, which the caller must place.
 * A field that is absent or undefined is left as it is in `view`.
 */
export function encode(struct: Struct, values: object, view: DataView, pointers: Pointer[] = []): Pointer[] {
  for (const [name, value] of Object.entries(values)) {
    const field = struct[name];
    if (field === undefined || value === undefined || value === null) continue;
    if (!isField(field)) {
      encode(field, value, view, pointers);
      continue;
    }
    const [offset, type, direction = "in"] = field;
    if (type === "u32" || type === "s32") view.setUint32(offset, value, true);
    else if (type === "u64") view.setBigUint64(offset, toBigInt(value), true);
    else if (type === "pointer") {
      const memory: Memory = value instanceof Uint8Array ? { bytes: value } : value;
      pointers.push({ offset, direction, ...memory });
    } else {
      const bytes = typeof value === "string" ? new TextEncoder().encode(value) : (value as Uint8Array);
      const into = new Uint8Array(view.buffer, view.byteOffset + offset, lengthOf(type)).fill(0);
      into.set(bytes.subarray(0, into.length));
    }
  }
  return pointers;
}

/** As `setUint32` takes numbers: without their fraction, and zero for those that are no numbers. */
export const toBigInt = (value: number | bigint): bigint =>
  typeof value === "bigint" ? value : BigInt(Number.isFinite(value) ? Math.trunc(value) : 0);

/** Reads every field; a pointer is taken from `pointers` by its offset, and is null where none stands there. */
export function decode<S extends Struct>(struct: S, view: DataView, pointers: readonly Pointer[] = []): ValuesOf<S> {
  const values: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(struct)) {
    values[name] = isField(field) ? read(field, view, pointers) : decode(field, view, pointers);
  }
  return values as ValuesOf<S>;
}

/** Copies the fields that the kernel writes (`out`, `inout`), other than pointers, from `view` into `values`. */
export function decodeOutputs(struct: Struct, view: DataView, values: Record<string, unknown>): void {
  for (const [name, field] of Object.entries(struct)) {
    if (isField(field) && isOutput(field)) {
      values[name] = read(field, view, []);
    }
  }
}

/** Text as the kernel takes it behind a pointer: UTF-8, ended by a NUL. */
export const cString = (text: string): Uint8Array => new TextEncoder().encode(`${text}\0`);

/** Whether the kernel writes the field itself, not what it points to. */
export const isOutput = ([, type, direction = "in"]: Field): boolean => direction !== "in" && type !== "pointer";

function read([offset, type]: Field, view: DataView, pointers: readonly Pointer[]): unknown {
  if (type === "u32") return view.getUint32(offset, true);
  if (type === "s32") return view.getInt32(offset, true);
  if (type === "u64") return view.getBigUint64(offset, true);
  if (type === "pointer") return pointers.find((pointer) => pointer.offset === offset) ?? null;
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, lengthOf(type)).slice();
  if (type.startsWith("u8")) return bytes;
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
