// skep/asm: instructions, functions that build them, and their text.

export * from "./builder.ts";
export { disassemble } from "./disassembler.ts";
export * from "./instruction.ts";
