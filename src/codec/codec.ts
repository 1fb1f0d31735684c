// Values as bytes, at a fixed size, in the byte order and the layout of C on little-endian machines.

/** How a value of type T is written as bytes. */
export interface Codec<T> {
  /** A C-like name, for messages: `u32`, `struct flow`. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Bytes. */
  readonly align: number;
  /**
   * Writes `value` at `offset`; padding becomes zero. After an error, the bytes written so far stay.
   *
   * @throws CodecError where the value does not fit
   */
  encode(value: T, view: DataView, offset: number): void;
  /** Reads a value at `offset`. What it returns is a copy: later changes of the bytes do not show in it. */
  decode(view: DataView, offset: number): T;
  /** The members of a struct, for those who read single ones. */
  readonly members?: readonly Member[];
}

/** A member at its place, in bytes. The members of one without a name are members of the struct around it. */
export interface Member {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: a codec is invariant in its type, so no other type takes every codec
  readonly codec: Codec<any>;
  readonly offset: number;
}

/** The typed arrays that show numbers of C. */
export type TypedArray =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/** A codec whose bytes are the elements of a typed array: of a number, or of an array of them. */
export interface Viewable<View extends TypedArray> {
  readonly view: {
    readonly BYTES_PER_ELEMENT: number;
    new (buffer: ArrayBuffer, byteOffset: number, length: number): View;
  };
}

/** The type of a codec's values. */
export type Infer<C> = C extends Codec<infer T> ? T : never;

/** A value that its codec cannot write: of another type, out of range, or of another length. */
export class CodecError extends RangeError {
  override readonly name = "CodecError";
  readonly code = "ERR_VALUE";
  /** Where the value stands in the one that was encoded: `flow.ports[1]`; empty for that value itself. */
  readonly path: string;
  /** What is wrong with the value, without the path. */
  readonly problem: string;

  constructor(problem: string, path = "") {
    super(path === "" ? problem : `${path}: ${problem}`);
    this.path = path;
    this.problem = problem;
  }

  /** The same error, seen from the value around it: `place` is a member's name, or an index as `[1]`. */
  at(place: string): CodecError {
    const separator = this.path === "" || this.path.startsWith("[") ? "" : ".";
    return new CodecError(this.problem, `${place}${separator}${this.path}`);
  }
}

/** Encodes a part of a value; an error of it says where the part stands. */
export function encodeAt<T>(place: string | number, codec: Codec<T>, value: T, view: DataView, offset: number): void {
  try {
    codec.encode(value, view, offset);
  } catch (error) {
    if (error instanceof CodecError) throw error.at(typeof place === "number" ? `[${place}]` : place);
    throw error;
  }
}

/** The bytes of a view, shared with it. */
export const bytesAt = (view: DataView, offset: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + offset, length);

/** A value as a message shows it. */
export function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof Uint8Array) return `a Uint8Array of ${value.length} bytes`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  return typeof value === "function" || typeof value === "symbol" ? `a ${typeof value}` : String(value);
}
