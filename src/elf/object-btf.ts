// The `.BTF` section as a kernel takes it. Compilers leave open where variables lie in their sections and how long those are,
// and call hidden functions global, which the kernel would verify each on its own.
// Linux: Documentation/bpf/btf.rst

import { type Btf, type BtfTypeOf, parseBtf } from "../btf/btf.ts";
import { kindLayouts, linkages, typeSize } from "../btf/kinds.ts";
import { type Elf, type ElfSection, quote, STB_LOCAL, STT_FUNC, STV_DEFAULT } from "./elf.ts";

/**
 * The object's BTF, its data sections completed from the ELF file. Type ids are those of the file.
 *
 * @throws ElfError where a variable is extern, or its section or symbol is not there
 * @throws BtfError where the section is malformed
 */
export function readObjectBtf(elf: Elf, section: ElfSection): Btf {
  const btf = parseBtf(section.bytes);
  const completed = section.bytes.slice();
  const view = new DataView(completed.buffer);
  const hidden = hiddenFunctions(elf);
  for (let id = 1; id < btf.length; id++) {
    const type = btf.type(id);
    if (type.kind === "func" && hidden.has(type.name)) makeStatic(view, btf.offsetOf(id));
    if (type.kind === "datasec") completeDataSection(elf, btf, type, view, btf.offsetOf(id));
  }
  return parseBtf(completed);
}

/** Names of the subprograms that are called from other files at most, not from outside. */
function hiddenFunctions(elf: Elf): Set<string> {
  const text = elf.section(".text");
  const hidden = text && elf.symbolsIn(text).filter((symbol) => symbol.visibility !== STV_DEFAULT);
  return new Set(
    hidden?.filter(({ type, binding }) => type === STT_FUNC && binding !== STB_LOCAL).map(({ name }) => name),
  );
}

/** A function's linkage stands where other kinds have their vlen. */
function makeStatic(view: DataView, at: number): void {
  const info = view.getUint32(at + 4, true);
  view.setUint32(at + 4, ((info & ~0xffff) | linkages.indexOf("static")) >>> 0, true);
}

/** Fills in the section's size and the places of its global variables, in ascending order; static variables have theirs. */
function completeDataSection(elf: Elf, btf: Btf, type: BtfTypeOf<"datasec">, view: DataView, at: number): void {
  const home = elf.section(type.name);
  const symbols = new Map(home && elf.symbolsIn(home).map((symbol) => [symbol.name, symbol]));
  const variables = type.variables.map((entry) => {
    const variable = btf.type(entry.type);
    const linkage = "linkage" in variable ? variable.linkage : "static";
    if (linkage === "static") return entry;
    const symbol = symbols.get(variable.name);
    const place = `symbol ${quote(variable.name)}`;
    if (linkage === "extern") throw elf.error(type, place, "is extern; externs of a kernel are not supported yet");
    if (!symbol) throw elf.error(type, place, "is in the BTF, but not in the symbol table");
    return { ...entry, offset: symbol.value };
  });
  if (!home) throw elf.error(type, "is in the BTF, but not in the file");
  view.setUint32(at + 8, home.size, true);
  variables
    .sort((a, b) => a.offset - b.offset)
    .forEach((entry, index) => {
      const entryAt = at + typeSize + index * kindLayouts.datasec.each;
      view.setUint32(entryAt, entry.type, true);
      view.setUint32(entryAt + 4, entry.offset, true);
      view.setUint32(entryAt + 8, entry.size, true);
    });
}
