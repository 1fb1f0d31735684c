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
   * Writes `value` at `offset`; padding becomes zero.
   *
   * @throws CodecError where the value does not fit
   */
  encode(value: T, view: DataView, offset: number): void;
  decode(view: DataView, offset: number): T;
}

/** The type of a codec's values. */
export type Infer<C> = C extends Codec<infer T> ? T : never;

/** A value that its codec cannot write: of another type, out of range, or of another length. */
export class CodecError extends RangeError {
  override readonly name = "CodecError";
  readonly code = "ERR_VALUE";

  /** The same error, with the place of the value in front: `packets: …`. */
  at(place: string): CodecError {
    const separator = this.message.startsWith("[") || !/^[\w.[\]]+: /.test(this.message) ? ": " : ".";
    return new CodecError(`${place}${separator}${this.message}`);
  }
}
