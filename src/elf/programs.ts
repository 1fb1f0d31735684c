// The programs of an object file: every function that its section's name makes a program, joined with the subprograms it calls.

import type { Instruction } from "../asm/instruction.ts";
import type { Btf } from "../btf/btf.ts";
import { matchSection, type SectionMatch } from "../spec/sections.ts";
import type { FunctionInfo, LineInfo, MapReference, ProgramSpec } from "../spec/spec.ts";
import * as coreKinds from "../uapi/core-relocations.ts";
import { BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE } from "../uapi/insn.ts";
import { namesByNumber } from "../uapi/names.ts";
import type { BtfExt } from "./btf-ext.ts";
import { type Code, type CodeFunction, findUses, readCode, type Use } from "./code.ts";
import { type Elf, quote } from "./elf.ts";
import type { DeclaredMap } from "./maps.ts";

/** The types of an object, and what they say of its instructions. */
interface ObjectTypes {
  readonly btf: Btf;
  readonly ext: BtfExt;
}

/**
 * Every program of the file, in the order of the sections.
 *
 * @throws ElfError where a section name is no program type's, or an instruction needs what is not there or not supported
 */
export function readPrograms(elf: Elf, maps: readonly DeclaredMap[], types: ObjectTypes | undefined): ProgramSpec[] {
  const code = readCode(elf);
  if (types) refuseCoreRelocations(elf, code, types);
  const uses = findUses(elf, code, maps);
  let total = 0;
  return code.flatMap((section) =>
    entriesOf(elf, section).map(({ fn, match }) => {
      const joined = join(fn, uses, types?.ext);
      total += joined.instructions.length;
      if (total > MAX_INSTRUCTIONS) {
        const problem = `with it the programs have ${total} instructions, expected at most ${MAX_INSTRUCTIONS}`;
        throw elf.error(fn.section, `program ${quote(fn.name)}`, problem);
      }
      return {
        name: fn.name,
        section: fn.section.name,
        type: match.rule.type,
        expectedAttachType: match.rule.attachType,
        flags: match.rule.flags,
        ...(match.extras !== undefined && { attachTo: match.extras }),
        autoload: match.autoload,
        ...joined,
      };
    }),
  );
}

/** The functions of a section that are programs: the global ones, unless they are subprograms. */
function entriesOf(elf: Elf, { section, functions }: Code): { fn: CodeFunction; match: SectionMatch }[] {
  if (section.name === SUBPROGRAMS) return [];
  const match = matchSection(section.name);
  const programs = functions.filter((fn) => fn.global);
  const [first] = programs;
  if (match && !first) {
    throw elf.error(section, `function ${quote(functions[0]!.name)}`, "is static, which a program cannot be");
  }
  if (!match && first) {
    throw elf.error(section, `function ${quote(first.name)}`, "no program type has this section name");
  }
  return match ? programs.map((fn) => ({ fn, match })) : [];
}

/** The section whose functions are subprograms only. */
const SUBPROGRAMS = ".text";

/** Each program has its own copy of the subprograms, so that a small file could ask for endless memory. */
const MAX_INSTRUCTIONS = 4_000_000;

const coreKindNames = namesByNumber(coreKinds);

function refuseCoreRelocations(elf: Elf, code: readonly Code[], { btf, ext }: ObjectTypes): void {
  for (const { section, functions } of code) {
    for (const { instruction, typeId, access, kind } of ext.coreRelocations.get(section.name)?.values() ?? []) {
      const fn = functions.find(({ start, end }) => start <= instruction && instruction < end);
      if (!fn) throw elf.error(section, `CO-RE relocation of instruction ${instruction}, which is in no function`);
      const name = coreKindNames.get(kind) ?? `of kind ${kind}`;
      const problem = `CO-RE relocation ${name} of ${btf.nameOf(typeId)}, access ${quote(access)}, is not supported yet`;
      const role = section.name === SUBPROGRAMS ? "function" : "program";
      throw elf.error(section, `${role} ${quote(fn.name)}`, `instruction ${instruction - fn.start}`, problem);
    }
  }
}

type Joined = Pick<ProgramSpec, "instructions" | "references" | "functions" | "lines">;

/** A program with its subprograms behind it, each once; calls and addresses of functions are resolved. */
function join(program: CodeFunction, uses: ReadonlyMap<CodeFunction, readonly Use[]>, ext: BtfExt | undefined): Joined {
  const order = reachable(program, uses);
  const starts = new Map<CodeFunction, number>();
  const instructions: Instruction[] = [];
  for (const fn of order) {
    starts.set(fn, instructions.length);
    for (let slot = fn.start; slot < fn.end; slot++) instructions.push(fn.instructions[slot]!);
  }
  const references: MapReference[] = [];
  for (const fn of order) {
    for (const use of uses.get(fn)!) {
      const slot = starts.get(fn)! + use.slot - fn.start;
      const patch = (at: number, fields: Partial<Instruction>) => {
        instructions[at] = { ...instructions[at]!, ...fields };
      };
      if (use.kind === "map") {
        const inValue = use.valueOffset !== undefined;
        references.push({ instruction: slot, map: use.map, ...(inValue && { valueOffset: use.valueOffset }) });
        patch(slot, { src: inValue ? BPF_PSEUDO_MAP_VALUE : BPF_PSEUDO_MAP_FD, imm: 0 });
        patch(slot + 1, { imm: use.valueOffset ?? 0 });
      } else {
        patch(slot, {
          imm: starts.get(use.target)! - slot - 1,
          ...(use.kind === "address" && { src: BPF_PSEUDO_FUNC }),
        });
      }
    }
  }
  return { instructions, references, ...joinInformation(order, starts, ext) };
}

/** The functions that a program can reach, each in front of those that it calls, in the order of the calls. */
function reachable(program: CodeFunction, uses: ReadonlyMap<CodeFunction, readonly Use[]>): CodeFunction[] {
  const found = new Set<CodeFunction>();
  const pending = [program];
  for (let fn = pending.pop(); fn; fn = pending.pop()) {
    if (found.has(fn)) continue;
    found.add(fn);
    const targets = uses.get(fn)!.flatMap((use) => (use.kind === "map" ? [] : [use.target]));
    for (const target of targets.reverse()) pending.push(target);
  }
  return [...found];
}

/** Function and line information, each only where the kernel takes it: every function has some at its beginning. */
function joinInformation(
  order: readonly CodeFunction[],
  starts: ReadonlyMap<CodeFunction, number>,
  ext: BtfExt | undefined,
): Pick<ProgramSpec, "functions" | "lines"> {
  const functions: FunctionInfo[] = [];
  const lines: LineInfo[] = [];
  let functionsComplete = true;
  let linesComplete = true;
  for (const fn of order) {
    const start = starts.get(fn)!;
    const info = ext?.functions.get(fn.section.name)?.get(fn.start);
    const lineAt = ext?.lines.get(fn.section.name);
    functionsComplete &&= info !== undefined;
    linesComplete &&= lineAt?.has(fn.start) ?? false;
    if (info) functions.push({ ...info, instruction: start });
    for (let slot = fn.start; slot < fn.end; slot++) {
      const line = lineAt?.get(slot);
      if (line) lines.push({ ...line, instruction: start + slot - fn.start });
    }
  }
  return { functions: functionsComplete ? functions : [], lines: linesComplete ? lines : [] };
}
