// skep/asm: instructions, and functions that build them.

export * from "./builder.ts";
export * from "./instruction.ts";
