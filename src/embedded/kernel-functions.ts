// The functions of the kernel that programs call by BTF id (kfuncs), and the BTF of the embedded kernel, which declares them.
// Linux: kernel/bpf/arena.c, arena_kfuncs

import { KFUNC_ARENA_ALLOC_PAGES, KFUNC_ARENA_FREE_PAGES, KFUNC_ARENA_RESERVE_PAGES } from "../../machine/layout.ts";
import type { Instruction } from "../asm/instruction.ts";
import { parseBtf } from "../btf/btf.ts";
import { type BuildableType, buildBtf } from "../btf/build.ts";
import { BPF_CALL, BPF_JMP, BPF_PSEUDO_KFUNC_CALL } from "../uapi/insn.ts";

export interface KernelFunction {
  readonly name: string;
  readonly parameters: readonly KernelFunctionParameter[];
  /** A `void *` is a number to programs. */
  readonly returns: TypeName;
  /** KFUNC_… of the machine. */
  readonly number: number;
}

export interface KernelFunctionParameter {
  readonly name: string;
  readonly type: TypeName;
  /** What the verifier asks for; `ignored` is nothing. */
  readonly takes: "map" | "number" | "ignored";
}

type TypeName = "void" | "void *" | "int" | "u32" | "u64";

const map: KernelFunctionParameter = { name: "p__map", type: "void *", takes: "map" };
const pages: KernelFunctionParameter = { name: "page_cnt", type: "u32", takes: "number" };
const pointer: KernelFunctionParameter = { name: "ptr__ign", type: "void *", takes: "ignored" };

/** All of them may sleep, so that they are for programs which may. */
const functions: readonly KernelFunction[] = [
  {
    name: "bpf_arena_alloc_pages",
    parameters: [
      map,
      { ...pointer, name: "addr__ign" },
      pages,
      { name: "node_id", type: "int", takes: "number" },
      { name: "flags", type: "u64", takes: "number" },
    ],
    returns: "void *",
    number: KFUNC_ARENA_ALLOC_PAGES,
  },
  { name: "bpf_arena_free_pages", parameters: [map, pointer, pages], returns: "void", number: KFUNC_ARENA_FREE_PAGES },
  {
    name: "bpf_arena_reserve_pages",
    parameters: [map, pointer, pages],
    returns: "int",
    number: KFUNC_ARENA_RESERVE_PAGES,
  },
];

/** BTF of the embedded kernel: the functions that programs may call. */
export function kernelBtf(): Uint8Array {
  btf ??= buildBtf(types());
  return btf;
}
let btf: Uint8Array | undefined;

/** The functions by BTF id. */
export function kernelFunctions(): ReadonlyMap<number, KernelFunction> {
  byId ??= indexFunctions();
  return byId;
}
let byId: ReadonlyMap<number, KernelFunction> | undefined;

/** The instructions with the machine's numbers of kernel functions in the place of BTF ids. */
export function withFunctionNumbers(instructions: readonly Instruction[]): Instruction[] {
  return instructions.map((instruction) =>
    instruction.opcode === CALL && instruction.src === BPF_PSEUDO_KFUNC_CALL
      ? { ...instruction, imm: kernelFunctions().get(instruction.imm)?.number ?? NONE }
      : instruction,
  );
}

/** A call that no path reaches. */
const NONE = 0;
const CALL = BPF_JMP | BPF_CALL;

/** Ids of the types in front of the functions. */
const typeIds: Readonly<Record<TypeName, number>> = { void: 0, "void *": 1, int: 2, u32: 4, u64: 6 };

function types(): BuildableType[] {
  const integer = (name: string, size: number, signed: boolean): BuildableType => ({
    kind: "int",
    name,
    size,
    bits: 8 * size,
    offset: 0,
    signed,
    char: false,
    bool: false,
  });
  const declared: BuildableType[] = [
    { kind: "ptr", name: "", type: 0 },
    integer("int", 4, true),
    integer("unsigned int", 4, false),
    { kind: "typedef", name: "u32", type: 3 },
    integer("long long unsigned int", 8, false),
    { kind: "typedef", name: "u64", type: 5 },
  ];
  for (const { name, parameters, returns } of functions) {
    const params = parameters.map((parameter) => ({ name: parameter.name, type: typeIds[parameter.type] }));
    declared.push({ kind: "func_proto", name: "", returnType: typeIds[returns], params });
    declared.push({ kind: "func", name, type: declared.length, linkage: "static" });
  }
  return declared;
}

function indexFunctions(): Map<number, KernelFunction> {
  const parsed = parseBtf(kernelBtf());
  return new Map(functions.map((fn) => [parsed.find(fn.name, "func")!, fn]));
}
