// The fields of a struct's table that a kernel must treat on their own: pointers, and what it writes.

import { type Field, isField, isOutput, type Struct } from "../uapi/struct.ts";

type Kind = "pointer" | "output";

type NamedField = readonly [name: string, field: Field];

const known: Record<Kind, WeakMap<Struct, readonly NamedField[]>> = { pointer: new WeakMap(), output: new WeakMap() };

/** A struct's fields that are pointers; or those that the kernel writes, other than pointers. */
export function fieldsOf(struct: Struct, kind: Kind): readonly NamedField[] {
  const fields = known[kind].get(struct) ?? select(struct, kind);
  known[kind].set(struct, fields);
  return fields;
}

function select(struct: Struct, kind: Kind): NamedField[] {
  return Object.entries(struct).filter((entry): entry is [string, Field] => {
    const [, field] = entry;
    if (!isField(field)) return false;
    return kind === "pointer" ? field[1] === "pointer" : isOutput(field);
  });
}
