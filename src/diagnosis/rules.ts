// The rules a program can break: what each is called, where it belongs, and what to do about it.

import type { Category } from "./diagnosis.ts";

interface RuleText {
  readonly category: Category;
  readonly title: string;
  readonly suggestion: string;
}

const REBUILD = "Build the program with a compiler for BPF (clang -target bpf), or correct the instruction.";

export const rules = {
  opcode: { category: "structure", title: "malformed instruction", suggestion: REBUILD },
  "map-reference": {
    category: "structure",
    title: "reference to a map that is not there",
    suggestion: "Create the map first and put its file descriptor into the instruction.",
  },
  jump: { category: "structure", title: "jump to a place that is none", suggestion: REBUILD },
  unreachable: {
    category: "structure",
    title: "unreachable instruction",
    suggestion: "Remove the code that no path reaches.",
  },
  "fall-through": {
    category: "structure",
    title: "function without an end",
    suggestion: "End every function with exit or a jump; in C, return on every path.",
  },
  loop: {
    category: "limit",
    title: "loop without an end",
    suggestion: "Bound the loop by a counter that changes on every turn and is compared with a constant.",
  },
  complexity: {
    category: "limit",
    title: "program too complex",
    suggestion: "Make loops shorter, split the program into smaller ones, or use fewer branches on unknown values.",
  },
  callback: {
    category: "structure",
    title: "function that a helper cannot call",
    suggestion:
      "Give helpers a static function that returns 0 to go on or 1 to stop, and load the program with its BTF.",
  },
  dynptr: {
    category: "initialisation",
    title: "stack that is no dynptr, or must stay one",
    suggestion:
      "Make each dynptr with its own helper, in 16 bytes of stack that nothing else is written to; release one of a ring buffer.",
  },
  "call-depth": {
    category: "limit",
    title: "calls nested too deeply",
    suggestion: "Nest at most 8 functions; recursion is not possible.",
  },
  "stack-depth": {
    category: "limit",
    title: "too much stack",
    suggestion:
      "Keep the local variables of each chain of calls within 512 bytes; put larger data into a per-CPU array.",
  },
  uninitialised: {
    category: "initialisation",
    title: "register without a value",
    suggestion: "Give the variable a value on every path that leads here; calls overwrite r0 to r5.",
  },
  "frame-pointer": {
    category: "initialisation",
    title: "write to the frame pointer",
    suggestion: "Copy r10 to another register and change that.",
  },
  "stack-uninitialised": {
    category: "initialisation",
    title: "stack memory without a value",
    suggestion:
      "Initialise the whole variable, padding too, before it is read or given to a helper: `struct key k = {};`.",
  },
  "null-check": {
    category: "memory",
    title: "pointer used without NULL check",
    suggestion: "Compare the pointer with NULL and use it only where it is not: `if (!value) return 0;`.",
  },
  "invalid-access": {
    category: "memory",
    title: "access through something that is no pointer to memory",
    suggestion:
      "Read through a pointer of the context, stack, packet or a map value; a number cannot be made a pointer.",
  },
  "map-value-bounds": {
    category: "memory",
    title: "access outside of a map value",
    suggestion: "Compare the index with the size of the value just before the access, as an unsigned number.",
  },
  "map-permission": {
    category: "memory",
    title: "access that the map's flags forbid",
    suggestion: "Create the map without BPF_F_RDONLY_PROG or BPF_F_WRONLY_PROG, or leave out the access.",
  },
  "stack-bounds": {
    category: "memory",
    title: "access outside of the stack",
    suggestion: "Keep accesses within the 512 bytes below r10, and bound every index.",
  },
  "memory-bounds": {
    category: "memory",
    title: "access outside of the memory",
    suggestion: "Compare offset and size with the size of the memory before the access.",
  },
  alignment: {
    category: "memory",
    title: "misaligned access",
    suggestion: "Align the access to its width; atomic and stack accesses must be.",
  },
  "spilled-pointer": {
    category: "memory",
    title: "pointer on the stack taken apart",
    suggestion: "Store and load pointers on the stack as whole 8 bytes.",
  },
  "packet-bounds": {
    category: "packet",
    title: "packet access without a sufficient check",
    suggestion:
      "Before the access compare with the end: `if (pointer + size > data_end) return XDP_PASS;`, and keep using that pointer.",
  },
  "packet-access": {
    category: "packet",
    title: "packet access that this program type does not have",
    suggestion: "Use a helper such as bpf_skb_load_bytes, or another program type.",
  },
  context: {
    category: "context",
    title: "access to the context that is not allowed",
    suggestion: "Read whole, aligned fields of the context that this program type has, through the unchanged pointer.",
  },
  arithmetic: {
    category: "arithmetic",
    title: "number operation that is not allowed",
    suggestion: "Check the divisor or shift count.",
  },
  "pointer-arithmetic": {
    category: "arithmetic",
    title: "pointer arithmetic that is not allowed",
    suggestion: "Only add or subtract numbers that have been compared with a bound, and only to pointers into memory.",
  },
  "unknown-helper": {
    category: "helper",
    title: "helper that this program may not call",
    suggestion: "Use another helper or program type; GPL helpers need a GPL-compatible licence.",
  },
  "helper-argument": {
    category: "helper",
    title: "wrong argument for a helper",
    suggestion: "Give the helper what its documentation asks for at this position.",
  },
  "helper-size": {
    category: "helper",
    title: "size for a helper that is not bounded",
    suggestion:
      "Bound the size between 1 and the memory's size: `size &= 63` or `if (size > 64) return 0;` on an unsigned number.",
  },
  reference: {
    category: "resource",
    title: "resource acquired and not released, or the reverse",
    suggestion: "Submit or discard every reserved record exactly once on every path.",
  },
  lock: {
    category: "resource",
    title: "lock not used as it must be",
    suggestion: "Take one lock at a time, call nothing while it is held, and unlock it on every path.",
  },
  "return-value": {
    category: "return value",
    title: "return value outside of its range",
    suggestion: "Return one of the values that this program type defines.",
  },
  leak: {
    category: "privilege",
    title: "address made visible",
    suggestion: "Do not store, compare or return pointers as numbers, or load the program with CAP_PERFMON.",
  },
  privilege: {
    category: "privilege",
    title: "capability missing",
    suggestion: "Load the program with CAP_BPF.",
  },
  unsupported: {
    category: "not supported",
    title: "not in the embedded kernel yet",
    suggestion: 'Load the program into the running kernel: openKernel({ kind: "linux" }).',
  },
} as const satisfies Record<string, RuleText>;

/** Name of a rule. */
export type Rule = keyof typeof rules;
