// The instructions of an object file: its functions, and what their instructions refer to.

import { decodeInstructions, INSTRUCTION_SIZE, type Instruction, LD_IMM64 } from "../asm/instruction.ts";
import { BPF_CALL, BPF_JMP, BPF_PSEUDO_CALL } from "../uapi/insn.ts";
import {
  type Elf,
  type ElfRelocation,
  type ElfSection,
  type ElfSymbol,
  quote,
  SHF_EXECINSTR,
  SHN_UNDEF,
  STB_LOCAL,
  STT_FUNC,
  STT_NOTYPE,
} from "./elf.ts";
import type { DeclaredMap } from "./maps.ts";

/** A section of instructions. Slots are counted from its beginning. */
export interface Code {
  readonly section: ElfSection;
  readonly instructions: readonly Instruction[];
  /** In the order of the slots. */
  readonly functions: readonly CodeFunction[];
}

export interface CodeFunction {
  readonly name: string;
  readonly section: ElfSection;
  readonly instructions: readonly Instruction[];
  /** First slot. */
  readonly start: number;
  /** The slot behind its last. */
  readonly end: number;
  /** Whether it is visible to other files, which makes it a program where its section is a program type's. */
  readonly global: boolean;
}

/** What an instruction refers to; `slot` is its own. */
export type Use =
  | { readonly slot: number; readonly kind: "call" | "address"; readonly target: CodeFunction }
  | { readonly slot: number; readonly kind: "map"; readonly map: string; readonly valueOffset?: number };

/**
 * Every section of instructions.
 *
 * @throws ElfError where a section or a function is no whole number of instructions, or functions overlap
 */
export function readCode(elf: Elf): Code[] {
  return elf.sections
    .filter((section) => (section.flags & SHF_EXECINSTR) !== 0 && section.size > 0)
    .map((section) => {
      if (section.bytes.length !== section.size || section.size % INSTRUCTION_SIZE !== 0) {
        throw elf.error(section, `has ${section.size} bytes, expected a multiple of ${INSTRUCTION_SIZE}`);
      }
      const instructions = decodeInstructions(section.bytes);
      return { section, instructions, functions: readFunctions(elf, section, instructions) };
    });
}

function readFunctions(elf: Elf, section: ElfSection, instructions: readonly Instruction[]): CodeFunction[] {
  const symbols = functionSymbols(elf, section);
  if (symbols.length === 0) throw elf.error(section, `has ${section.size} bytes of instructions, but no function`);
  let previous: CodeFunction | undefined;
  return symbols.map(({ name, value, size, binding }) => {
    const fail = (problem: string) => elf.error(section, `function ${quote(name)}`, problem);
    if (value % INSTRUCTION_SIZE !== 0 || size % INSTRUCTION_SIZE !== 0 || size === 0) {
      throw fail(`has ${size} bytes at ${value}, expected a multiple of ${INSTRUCTION_SIZE}`);
    }
    const [start, end] = [value / INSTRUCTION_SIZE, (value + size) / INSTRUCTION_SIZE];
    if (previous && start < previous.end) throw fail(`begins at ${value}, inside function ${quote(previous.name)}`);
    previous = { name, section, instructions, start, end, global: binding !== STB_LOCAL };
    return previous;
  });
}

/** The functions of a section by place. Clang 7 and before gave them neither a type nor a size: each ends where the next begins. */
function functionSymbols(elf: Elf, section: ElfSection): readonly ElfSymbol[] {
  const symbols = elf.symbolsIn(section).toSorted((a, b) => a.value - b.value);
  const functions = symbols.filter((symbol) => symbol.type === STT_FUNC);
  if (functions.length > 0) return functions;
  const untyped = symbols.filter(({ type, name }) => type === STT_NOTYPE && !JUMP_LABEL.test(name));
  return untyped.map((symbol, index) => ({
    ...symbol,
    size: (untyped[index + 1]?.value ?? section.size) - symbol.value,
  }));
}

/** What clang calls the targets of jumps: `LBB0_2`, `.LBB0_2`. */
const JUMP_LABEL = /^\.?LBB\d/;

/**
 * What every function refers to, in the order of its instructions.
 *
 * @throws ElfError where an instruction refers to what is extern, not there, or not of its kind
 */
export function findUses(elf: Elf, code: readonly Code[], maps: readonly DeclaredMap[]): Map<CodeFunction, Use[]> {
  const targets = { functions: indexFunctions(code), maps: indexMaps(maps) };
  return new Map(
    code.flatMap(({ section, functions }) => {
      const relocations = relocationsBySlot(elf, section);
      return functions.map((fn) => [fn, findUsesIn(elf, fn, relocations, targets)] as const);
    }),
  );
}

/** What can be referred to, by index of the section; then functions by first slot, and maps by byte offset. */
interface Targets {
  readonly functions: ReadonlyMap<number, ReadonlyMap<number, CodeFunction>>;
  readonly maps: ReadonlyMap<number, { readonly data?: DeclaredMap; readonly declared: Map<number, DeclaredMap> }>;
}

function indexFunctions(code: readonly Code[]): Targets["functions"] {
  return new Map(code.map(({ section, functions }) => [section.index, new Map(functions.map((fn) => [fn.start, fn]))]));
}

function indexMaps(maps: readonly DeclaredMap[]): Targets["maps"] {
  interface Home {
    data?: DeclaredMap;
    readonly declared: Map<number, DeclaredMap>;
  }
  const index = new Map<number, Home>();
  for (const map of maps) {
    const home: Home = index.get(map.section) ?? { declared: new Map() };
    if (map.offset === undefined) home.data = map;
    else home.declared.set(map.offset, map);
    index.set(map.section, home);
  }
  return index;
}

function relocationsBySlot(elf: Elf, section: ElfSection): Map<number, ElfRelocation> {
  return new Map(
    elf.relocationsOf(section).map((relocation) => {
      if (relocation.offset % INSTRUCTION_SIZE !== 0) {
        const symbol = `symbol ${quote(relocation.symbol.name)}`;
        throw elf.error(section, symbol, `relocation at ${relocation.offset}, where no instruction begins`);
      }
      return [relocation.offset / INSTRUCTION_SIZE, relocation];
    }),
  );
}

const CALL = BPF_JMP | BPF_CALL;

function findUsesIn(
  elf: Elf,
  fn: CodeFunction,
  relocations: ReadonlyMap<number, ElfRelocation>,
  targets: Targets,
): Use[] {
  const uses: Use[] = [];
  const errorAt = (slot: number, problem: string) => {
    const place = [`function ${quote(fn.name)}`, `instruction ${slot - fn.start}`];
    const symbol = relocations.get(slot)?.symbol;
    return elf.error(fn.section, ...place, ...(symbol ? [`symbol ${quote(symbol.name)}`] : []), problem);
  };
  for (let slot = fn.start; slot < fn.end; slot++) {
    const { opcode, src, imm } = fn.instructions[slot]!;
    const symbol = relocations.get(slot)?.symbol;
    if (symbol?.section === SHN_UNDEF) {
      throw errorAt(slot, "is extern; functions of the kernel and of other files are not supported yet");
    }
    if (opcode === CALL && src === BPF_PSEUDO_CALL) {
      const home = symbol?.section ?? fn.section.index;
      const to = (symbol ? symbol.value / INSTRUCTION_SIZE : slot) + imm + 1;
      const target = targets.functions.get(home)?.get(to);
      if (!target) throw errorAt(slot, `calls slot ${to} of section ${home}, where no function begins`);
      uses.push({ slot, kind: "call", target });
    } else if (opcode === LD_IMM64 && symbol) {
      if (slot + 1 === fn.end) throw errorAt(slot, "loads 64 bits, and the function ends within them");
      const loaded = findLoaded(elf, symbol, imm, targets);
      if (typeof loaded === "string") throw errorAt(slot, loaded);
      uses.push({ slot, ...loaded });
    } else if (opcode === LD_IMM64 && src !== 0) {
      throw errorAt(slot, `loads a reference of kind ${src}, and no relocation says what to`);
    } else if (symbol) {
      const problem = `is referred to by opcode 0x${opcode.toString(16)}; only calls and 64-bit loads can do that`;
      throw errorAt(slot, problem);
    }
  }
  return uses;
}

type Loaded = { kind: "address"; target: CodeFunction } | { kind: "map"; map: string; valueOffset?: number };

/** What a 64-bit load of `symbol + addend` refers to: a map, a place in global data, or a function; or what is wrong with it. */
function findLoaded(elf: Elf, symbol: ElfSymbol, addend: number, targets: Targets): Loaded | string {
  const offset = symbol.value + addend;
  const home = targets.maps.get(symbol.section);
  const declared = home?.declared.get(offset);
  if (declared) return { kind: "map", map: declared.spec.name };
  if (home?.data) {
    const { name, valueSize } = home.data.spec;
    if (offset >= 0 && offset <= valueSize) return { kind: "map", map: name, valueOffset: offset };
    return `refers to byte ${offset} of the ${valueSize} bytes of ${name}`;
  }
  const target = targets.functions.get(symbol.section)?.get(offset / INSTRUCTION_SIZE);
  if (target) return { kind: "address", target };
  const section = quote(elf.sections[symbol.section]?.name ?? "");
  return `refers to byte ${offset} of section ${section}, where no map, global data or function is`;
}
