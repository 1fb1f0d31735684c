// skep/elf: object files as specs.

export type * from "../spec/spec.ts";
export { ElfError } from "./elf.ts";
export { readObject } from "./object.ts";
