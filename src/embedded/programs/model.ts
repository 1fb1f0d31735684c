// What a program type is to the verifier: its context, the helpers that it may call, its packet, and what it may return.

/** Part of a context struct. What is in no field must not be touched. */
export interface ContextField {
  readonly name: string;
  /** Bytes from the start of the struct. */
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** How it may be read; absent where it may not be. */
  readonly read?: FieldAccess;
  readonly write?: FieldAccess;
  /** What a read gives: a number where absent. `sock_common` may be NULL. */
  readonly holds?: "pkt" | "pkt_meta" | "pkt_end" | "sock_common";
}

/** `whole`: the field at once. `start`: its first bytes too. `narrow`: aligned parts of it too. `any`: aligned parts of any width up to 8 bytes. */
export type FieldAccess = "whole" | "start" | "narrow" | "any";

export interface ProgramModel {
  readonly context: readonly ContextField[];
  /** Where the context is the caller's bytes: no access reaches this one. */
  readonly freeContext?: number;
  /** Whether programs must be loaded with BPF_F_SLEEPABLE; others must not. */
  readonly sleepable?: boolean;
  /** BPF_FUNC_… that Linux lets this type call; those that are in the embedded kernel are in helpers/prototypes.ts. */
  readonly helpers: ReadonlySet<number>;
  /** Direct access to packet data. */
  readonly packet: "none" | "read" | "write";
  /** Whether BPF_LD with BPF_ABS or BPF_IND loads from the packet. */
  readonly packetLoads?: boolean;
  /** Whether helpers may be given packet memory. */
  readonly packetToHelpers: boolean;
  /** Inclusive range of r0 at exit; absent where any number is fine. */
  returns?(expectedAttachType: number): readonly [min: number, max: number] | undefined;
  /** Fields of the context that exist for some attach types only: whether `name` does. */
  hasField?(name: string, expectedAttachType: number): boolean;
}

/** The field that an access of `size` bytes at `offset` may touch; undefined where it is not allowed. */
export function findField(
  model: Pick<ProgramModel, "context" | "freeContext" | "hasField">,
  expectedAttachType: number,
  offset: number,
  size: number,
  mode: "read" | "write",
): ContextField | undefined {
  if (offset < 0 || offset % size !== 0) return undefined;
  if (model.freeContext !== undefined) return offset < model.freeContext ? { name: "bytes", offset, size } : undefined;
  const field = model.context.find((field) => offset >= field.offset && offset < field.offset + field.size);
  const access = field?.[mode];
  if (!field || !access || offset + size > field.offset + field.size) return undefined;
  if (model.hasField && !model.hasField(field.name, expectedAttachType)) return undefined;
  if (access === "whole" && (offset !== field.offset || size !== field.size)) return undefined;
  if (access === "start" && offset !== field.offset) return undefined;
  return field;
}
