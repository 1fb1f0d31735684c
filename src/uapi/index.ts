// skep/uapi: Linux's own words: commands, types, flags, helpers, error numbers, and the tables of union bpf_attr.

export * from "./attach-types.ts";
export * from "./attr.ts";
export * from "./btf-kinds.ts";
export * from "./commands.ts";
export * from "./core-relocations.ts";
export * from "./errno.ts";
export * from "./flags.ts";
export * from "./helper-ids.ts";
export * from "./info.ts";
export * from "./insn.ts";
export * from "./link-types.ts";
export * from "./map-types.ts";
export * from "./perf-event.ts";
export * from "./program-types.ts";
export { decode, encode, type Memory, type Pointer, type Struct, type ValuesOf } from "./struct.ts";
