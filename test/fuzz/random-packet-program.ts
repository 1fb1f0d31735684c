// Random packet programs that know, more or less, what their registers hold: maps, stack, packet, helpers, branches, loops,
// subprograms. Most are acceptable; in a `wild` one a few instructions are changed.

import * as b from "../../src/asm/builder.ts";
import { type Instruction, LD_IMM64 } from "../../src/asm/instruction.ts";
import * as helper from "../../src/uapi/helper-ids.ts";
import * as insn from "../../src/uapi/insn.ts";
import type { Random } from "../differential/random-program.ts";

/** File descriptors of the maps that programs use. */
export interface FuzzMaps {
  /** Array of one value. */
  readonly globals: number;
  /** Array of 8 values. */
  readonly array: number;
  /** Hash with keys of 4 bytes. */
  readonly hash: number;
  readonly ringbuf: number;
}

/** Bytes of a value of each array and of the hash. */
export const VALUE_SIZE = 32;
const RECORD_SIZE = 24;
/** Bytes of packet that programs make sure of. */
const PACKET_SIZE = 40;
/** Stack slots of 8 bytes that hold numbers; behind them are as many for pointers. */
const SLOTS = 6;

type Kind = "nothing" | "number" | "counter" | "context" | "packet" | "value" | "record";

/** Bytes that may be accessed behind a pointer of each kind. */
const room: Partial<Record<Kind, number>> = { packet: PACKET_SIZE, value: VALUE_SIZE, record: RECORD_SIZE };

/** What is being written. */
interface Scope {
  readonly random: Random;
  readonly maps: FuzzMaps;
  readonly isXdp: boolean;
  /** What r0 to r9 hold. */
  kinds: Kind[];
  /** What the pointer slots hold. */
  spilled: Kind[];
  readonly labels: { count: number };
  /** Subprograms, written when they are called. */
  readonly subprograms: b.Item[];
  /** How many blocks and calls enclose this one. */
  readonly depth: number;
}

/** @param wild whether some instructions are changed afterwards */
export function randomPacketProgram(random: Random, maps: FuzzMaps, isXdp: boolean, wild: boolean): Instruction[] {
  const kinds: Kind[] = new Array<Kind>(10).fill("nothing");
  kinds[6] = "context";
  const scope: Scope = {
    random,
    maps,
    isXdp,
    kinds,
    spilled: new Array<Kind>(SLOTS).fill("nothing"),
    labels: { count: 0 },
    subprograms: [],
    depth: 0,
  };
  const items = [
    b.mov(b.r6, b.r1),
    ...initialStack(scope),
    ...numbers(scope),
    ...packetPointer(scope, 7),
    ...block(scope, 12 + random(20)),
    ...result(scope),
  ];
  const instructions = b.program(...items, ...scope.subprograms);
  return wild ? mutate(random, instructions) : instructions;
}

const pick = <T>(random: Random, from: readonly T[]): T => from[random(from.length)]!;
const reg = (number: number) => ({ register: number as b.Register });
const holding = ({ kinds }: Scope, ...wanted: readonly Kind[]): number[] =>
  kinds.flatMap((kind, register) => (wanted.includes(kind) ? [register] : []));
/** A register that may be overwritten. */
const target = (scope: Scope): number =>
  pick(
    scope.random,
    [0, 1, 2, 3, 4, 5, 7, 8, 9].filter((register) => !["counter", "record"].includes(scope.kinds[register]!)),
  );
const numberIn = (scope: Scope): number | undefined => {
  const from = holding(scope, "number", "counter");
  return from.length > 0 ? pick(scope.random, from) : undefined;
};
const newLabel = ({ labels }: Scope): string => `label ${labels.count++}`;

const initialStack = ({ random }: Scope): b.Item[] =>
  Array.from({ length: SLOTS }, (_, slot) => b.store("dw", b.r10, -8 * (slot + 1), random(1 << 30)));

function numbers(scope: Scope): b.Item[] {
  return [0, 2, 8].map((register) => {
    scope.kinds[register] = "number";
    return b.mov(reg(register), scope.random(2000) - 1000);
  });
}

/** Points a register at the packet, or leaves the program. Uses r2 and r3. */
function packetPointer(scope: Scope, register: number): b.Item[] {
  const [data, end] = scope.isXdp ? [0, 4] : [76, 80];
  const enough = newLabel(scope);
  scope.kinds[register] = "packet";
  for (const used of [2, 3]) scope.kinds[used] = "number";
  return [
    b.load("w", reg(register), b.r6, data),
    b.load("w", b.r3, b.r6, end),
    b.mov(b.r2, reg(register)),
    b.add(b.r2, PACKET_SIZE),
    pick(scope.random, [b.jump("jle", b.r2, b.r3, enough), b.jump("jge", b.r3, b.r2, enough)]),
    b.mov(b.r0, 1),
    b.exit(),
    b.label(enough),
    b.mov(b.r2, 3),
    b.mov(b.r3, 5),
  ];
}

/** r0 = a hash of the numbers in registers. */
function result(scope: Scope): b.Item[] {
  const registers = holding(scope, "number", "counter").filter((register) => register !== 0);
  const start = scope.kinds[0] === "number" ? [] : [b.mov(b.r0, 0)];
  return [
    ...start,
    ...registers.flatMap((register) => [b.alu64("mul", b.r0, 31), b.alu64("xor", b.r0, reg(register))]),
    ...(scope.depth === 0 ? [b.alu64("and", b.r0, 0xffff)] : []),
    b.exit(),
  ];
}

function block(scope: Scope, count: number): b.Item[] {
  return Array.from({ length: count }, () => pick(scope.random, MAKERS)(scope)).flat();
}

type Make = (scope: Scope) => b.Item[];

/** What blocks are made of, the common ones more than once. */
const MAKERS: readonly Make[] = [
  arithmetic,
  arithmetic,
  arithmetic,
  arithmetic,
  extension,
  stackAccess,
  stackAccess,
  variableStackAccess,
  pointerAccess,
  pointerAccess,
  pointerAccess,
  variableAccess,
  variableAccess,
  atomicAccess,
  spill,
  fill,
  contextAccess,
  directValue,
  lookup,
  lookup,
  update,
  record,
  output,
  checksum,
  packetCopy,
  adjust,
  condition,
  condition,
  condition,
  loop,
  call,
];

const ALU = ["add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "mod", "xor", "mov", "arsh"] as const;
const JUMPS = ["jeq", "jgt", "jge", "jset", "jne", "jsgt", "jsge", "jlt", "jle", "jslt", "jsle"] as const;
const WIDTHS = { b: 1, h: 2, w: 4, dw: 8 } as const;
const width = (random: Random): b.Width => pick(random, ["b", "h", "w", "dw"] as const);

function immediate(random: Random): number {
  const power = (1 << random(32)) | 0;
  return pick(random, [random(16), random(300) - 150, power, power - 1, -power]) | 0;
}

function arithmetic(scope: Scope): b.Item[] {
  const { random } = scope;
  const op = pick(random, ALU);
  const wide = random(2) === 0;
  const dst = op === "mov" ? target(scope) : pick(random, [...holding(scope, "number"), -1]);
  const src = numberIn(scope);
  if (dst < 0 || src === undefined) return [];
  const shifts = op === "lsh" || op === "rsh" || op === "arsh";
  const constant = shifts ? random(wide ? 64 : 32) : immediate(random) || 1;
  const slot = (wide ? b.alu64 : b.alu32)(op, reg(dst), random(2) ? constant : reg(src));
  scope.kinds[dst] = "number";
  return [(op === "div" || op === "mod") && random(2) ? { ...slot, off: 1 } : slot];
}

function extension(scope: Scope): b.Item[] {
  const { random } = scope;
  const src = numberIn(scope);
  if (src === undefined) return [];
  const dst = target(scope);
  scope.kinds[dst] = "number";
  if (random(2)) return [{ ...b.mov(reg(dst), reg(src)), off: pick(random, [8, 16, 32]) }];
  const opcode = pick(random, [insn.BPF_ALU64, insn.BPF_ALU | insn.BPF_TO_LE, insn.BPF_ALU | insn.BPF_TO_BE]);
  const imm = pick(random, [16, 32, 64]);
  return [b.mov(reg(dst), reg(src)), { opcode: opcode | insn.BPF_END, dst, src: 0, off: 0, imm }];
}

/** An aligned place among the numbers in the stack. */
const stackPlace = (random: Random, size: b.Width): number => -WIDTHS[size] * (1 + random((8 * SLOTS) / WIDTHS[size]));

function stackAccess(scope: Scope): b.Item[] {
  const { random } = scope;
  const size = width(random);
  const at = stackPlace(random, size);
  const src = numberIn(scope);
  if (random(2)) return [b.store(size, b.r10, at, src === undefined ? random(9) : reg(src))];
  const dst = target(scope);
  scope.kinds[dst] = "number";
  return [
    size !== "dw" && random(3) === 0 ? b.loadSigned(size, reg(dst), b.r10, at) : b.load(size, reg(dst), b.r10, at),
  ];
}

/** Makes a register a number from 0 to `max`, a power of two less 1, in one of several ways; undefined where none is free. */
function bounded(scope: Scope, max: number): { readonly register: number; readonly items: b.Item[] } | undefined {
  const { random } = scope;
  const src = numberIn(scope);
  if (src === undefined) return undefined;
  const register = target(scope);
  scope.kinds[register] = "number";
  const [same, inside] = [b.mov(reg(register), reg(src)), newLabel(scope)];
  const compare = random(2) ? b.jump : b.jump32;
  const clamp = [b.label(inside), ...(compare === b.jump32 ? [b.alu32("mov", reg(register), reg(register))] : [])];
  const items = pick(random, [
    [same, b.alu64("and", reg(register), max)],
    [same, b.alu32("and", reg(register), max)],
    [same, b.alu32("mod", reg(register), max + 2), b.alu64("and", reg(register), max)],
    [same, b.alu64("rsh", reg(register), 64 - Math.log2(max + 1))],
    [same, compare("jle", reg(register), max, inside), b.mov(reg(register), 1), ...clamp],
    [same, compare("jlt", reg(register), max, inside), b.mov(reg(register), max), ...clamp],
    [
      same,
      b.jump("jsgt", reg(register), max, inside),
      b.jump("jsge", reg(register), 0, `${inside} too`),
      b.label(inside),
      b.mov(reg(register), 0),
      b.label(`${inside} too`),
    ],
  ]);
  return { register, items };
}

function variableStackAccess(scope: Scope): b.Item[] {
  const { random } = scope;
  const index = bounded(scope, 15);
  if (index === undefined) return [];
  const at = -8 * SLOTS + random(16);
  const pointer = target(scope);
  if (pointer === index.register) return index.items;
  scope.kinds[pointer] = "number";
  // Not number += r10: Linux 6.18 then takes the pointer for one into the stack of the main program.
  const items = [...index.items, b.mov(reg(pointer), b.r10), b.add(reg(pointer), reg(index.register))];
  if (random(2)) return [...items, b.load("b", reg(pointer), reg(pointer), at)];
  return [...items, b.store("b", reg(pointer), at, random(256)), b.mov(reg(pointer), 4)];
}

function pointerAccess(scope: Scope): b.Item[] {
  const { random } = scope;
  const pointers = holding(scope, "packet", "value", "record");
  if (pointers.length === 0) return [];
  const pointer = pick(random, pointers);
  const size = width(random);
  const at = random(room[scope.kinds[pointer]!]! - WIDTHS[size] + 1);
  const src = numberIn(scope);
  if (random(2)) return [b.store(size, reg(pointer), at, src === undefined || random(4) === 0 ? 7 : reg(src))];
  if (scope.kinds[pointer] === "record") return [];
  const dst = target(scope);
  scope.kinds[dst] = "number";
  return [b.load(size, reg(dst), reg(pointer), at)];
}

/** An access behind a pointer plus a bounded number. The packet's own check is made again. */
function variableAccess(scope: Scope): b.Item[] {
  const { random } = scope;
  const pointers = holding(scope, "packet", "value");
  const max = pick(random, [3, 7, 15]);
  const index = pointers.length > 0 ? bounded(scope, max) : undefined;
  const pointer = holding(scope, "packet", "value")[0];
  if (index === undefined || pointer === undefined) return index?.items ?? [];
  const { register, items } = index;
  const size = width(random);
  const kind = scope.kinds[pointer]!;
  const rest = room[kind]! - max - WIDTHS[size];
  if (rest < 0) return items;
  const at = random(rest + 1);
  const after = newLabel(scope);
  const moved = [...items, b.add(reg(register), reg(pointer))];
  const access = random(2)
    ? [b.store(size, reg(register), at, random(99))]
    : [b.load(size, reg(register), reg(register), at)];
  const end = [b.label(after), b.mov(reg(register), 6)];
  if (kind === "value") return [...moved, ...access, ...end];
  const other = [0, 1, 2, 3, 4, 5, 8, 9].find((free) => free !== register && scope.kinds[free] === "number");
  if (other === undefined) return [...moved, ...end];
  return [
    ...moved,
    b.load("w", reg(other), b.r6, scope.isXdp ? 4 : 80),
    b.add(reg(register), at + WIDTHS[size]),
    b.jump("jgt", reg(register), reg(other), after),
    b.add(reg(register), -at - WIDTHS[size]),
    ...access,
    ...end,
    b.mov(reg(other), 8),
  ];
}

const ATOMICS = [insn.BPF_ADD, insn.BPF_AND, insn.BPF_OR, insn.BPF_XOR].flatMap((op) => [op, op | insn.BPF_FETCH]);

function atomicAccess(scope: Scope): b.Item[] {
  const { random } = scope;
  const values = holding(scope, "value");
  const src = pick(random, [...holding(scope, "number"), -1]);
  if (src < 0 || scope.kinds[0] !== "number") return [];
  const size = pick(random, ["w", "dw"] as const);
  const op = pick(random, [...ATOMICS, insn.BPF_XCHG, insn.BPF_CMPXCHG]);
  // Not a fetch from the stack: Linux 6.18 does not see that what depends on it depends on the slot, and prunes wrongly.
  if (values.length === 0) return [b.atomic(size, insn.BPF_XOR, b.r10, stackPlace(random, size), reg(src))];
  return [b.atomic(size, op, reg(pick(random, values)), WIDTHS[size] * random(VALUE_SIZE / WIDTHS[size]), reg(src))];
}

const pointerSlot = (slot: number): number => -8 * (SLOTS + slot + 1);

function spill(scope: Scope): b.Item[] {
  const from = holding(scope, "packet", "value", "number");
  if (from.length === 0) return [];
  const register = pick(scope.random, from);
  const slot = scope.random(SLOTS);
  scope.spilled[slot] = scope.kinds[register]!;
  return [b.store("dw", b.r10, pointerSlot(slot), reg(register))];
}

function fill(scope: Scope): b.Item[] {
  const slot = scope.random(SLOTS);
  const kind = scope.spilled[slot]!;
  if (kind === "nothing") return [];
  const register = target(scope);
  scope.kinds[register] = kind;
  return [b.load("dw", reg(register), b.r10, pointerSlot(slot))];
}

function contextAccess(scope: Scope): b.Item[] {
  const { random } = scope;
  if (scope.kinds[6] !== "context") return [];
  const src = numberIn(scope);
  if (!scope.isXdp && random(2) && src !== undefined) {
    return [b.store("w", b.r6, pick(random, [8, 32, 48, 52, 56, 60, 64]), reg(src))];
  }
  const dst = target(scope);
  scope.kinds[dst] = "number";
  if (scope.isXdp) return [b.load("w", reg(dst), b.r6, 12)];
  return [b.load(pick(random, ["b", "h", "w"] as const), reg(dst), b.r6, pick(random, [0, 8, 16, 32, 48, 56]))];
}

function directValue(scope: Scope): b.Item[] {
  const dst = target(scope);
  scope.kinds[dst] = "value";
  return [b.loadMapValue(reg(dst), scope.maps.globals, 0)];
}

/** What helpers leave behind. */
function afterCall(scope: Scope): void {
  scope.kinds[0] = "number";
  for (let register = 1; register <= 5; register++) scope.kinds[register] = "nothing";
}

const scratchIsFree = ({ kinds }: Scope): boolean =>
  [0, 1, 2, 3, 4, 5].every((register) => kinds[register] !== "counter" && kinds[register] !== "record");

/** r2 = a key of 4 bytes in the stack. */
function key(scope: Scope): b.Item[] {
  const at = stackPlace(scope.random, "w");
  return [b.store("w", b.r10, at, scope.random(10)), b.mov(b.r2, b.r10), b.add(b.r2, at)];
}

function lookup(scope: Scope): b.Item[] {
  const { random, maps } = scope;
  if (!scratchIsFree(scope) || scope.depth > 2) return [];
  const call = [
    ...key(scope),
    b.loadMapFd(b.r1, random(2) ? maps.array : maps.hash),
    b.call(helper.BPF_FUNC_map_lookup_elem),
  ];
  afterCall(scope);
  const keep = pick(random, [0, 7, 8, 9]);
  const to = scope.kinds[keep] === "counter" || scope.kinds[keep] === "record" ? 0 : keep;
  const inner = inside(scope);
  inner.kinds[0] = to === 0 ? "value" : "nothing";
  inner.kinds[to] = "value";
  const [copy, after] = [to === 0 ? [] : [b.mov(reg(to), b.r0)], newLabel(scope)];
  if (to !== 0) scope.kinds[to] = "nothing";
  scope.kinds[0] = "nothing";
  const check = random(2) ? b.r0 : reg(to);
  const body = block(inner, 2 + random(4));
  merge(scope, inner);
  const numbered = holding(scope, "number").includes(0) ? [] : [b.mov(b.r0, 9)];
  scope.kinds[0] = "number";
  return [...call, ...copy, b.jump("jeq", check, 0, after), ...body, b.label(after), ...numbered];
}

function update(scope: Scope): b.Item[] {
  const { random, maps } = scope;
  if (!scratchIsFree(scope)) return [];
  const map = random(2) ? maps.array : maps.hash;
  const start = key(scope);
  const remove = [...start, b.loadMapFd(b.r1, map), b.call(helper.BPF_FUNC_map_delete_elem)];
  const value = [b.mov(b.r3, b.r10), b.add(b.r3, -VALUE_SIZE - 8 * random(SLOTS - VALUE_SIZE / 8 + 1))];
  const set = [
    ...start,
    ...value,
    b.mov(b.r4, random(4)),
    b.loadMapFd(b.r1, map),
    b.call(helper.BPF_FUNC_map_update_elem),
  ];
  afterCall(scope);
  return random(3) === 0 ? remove : set;
}

function record(scope: Scope): b.Item[] {
  const { random, maps } = scope;
  if (!scratchIsFree(scope) || holding(scope, "record").length > 0 || scope.depth > 1) return [];
  const call = [
    b.loadMapFd(b.r1, maps.ringbuf),
    b.mov(b.r2, RECORD_SIZE),
    b.mov(b.r3, 0),
    b.call(helper.BPF_FUNC_ringbuf_reserve),
  ];
  const keep = pick(random, [7, 8, 9].filter((register) => scope.kinds[register] !== "counter").concat(0));
  afterCall(scope);
  const to = keep === 0 ? 0 : keep;
  scope.kinds[0] = "nothing";
  scope.kinds[to] = "nothing";
  const inner = inside(scope);
  inner.kinds[to] = "record";
  const body = block(inner, 1 + random(4));
  const after = newLabel(scope);
  const end = random(2) ? helper.BPF_FUNC_ringbuf_submit : helper.BPF_FUNC_ringbuf_discard;
  afterCall(inner);
  inner.kinds[to] = "nothing";
  inner.kinds[0] = "nothing";
  merge(scope, inner);
  scope.kinds[0] = "number";
  return [
    ...call,
    ...(to === 0 ? [] : [b.mov(reg(to), b.r0)]),
    b.jump("jeq", b.r0, 0, after),
    ...body,
    b.mov(b.r1, reg(to)),
    b.mov(b.r2, 0),
    b.call(end),
    b.label(after),
    b.mov(b.r0, 2),
  ];
}

function output(scope: Scope): b.Item[] {
  if (!scratchIsFree(scope)) return [];
  const size = bounded(scope, 31);
  if (size === undefined) return [];
  const items = [
    ...size.items,
    b.mov(b.r3, reg(size.register)),
    b.loadMapFd(b.r1, scope.maps.ringbuf),
    b.mov(b.r2, b.r10),
    b.add(b.r2, -8 * SLOTS),
    b.mov(b.r4, 0),
    b.call(helper.BPF_FUNC_ringbuf_output),
  ];
  afterCall(scope);
  return items;
}

function checksum(scope: Scope): b.Item[] {
  const { random } = scope;
  if (!scratchIsFree(scope)) return [];
  const size = random(2) ? bounded(scope, 15) : undefined;
  const items = [
    ...(size === undefined ? [b.mov(b.r2, 4 * random(4))] : [...size.items, b.mov(b.r2, reg(size.register))]),
    b.mov(b.r1, b.r10),
    b.add(b.r1, -8 * SLOTS),
    b.mov(b.r3, 0),
    b.mov(b.r4, 0),
    b.mov(b.r5, random(100)),
    b.call(helper.BPF_FUNC_csum_diff),
  ];
  afterCall(scope);
  return items;
}

/** Copies between the packet and the stack, from an offset that may be out of the packet. */
function packetCopy(scope: Scope): b.Item[] {
  const { random, isXdp } = scope;
  if (!scratchIsFree(scope) || scope.kinds[6] !== "context") return [];
  const stores = random(2) === 0;
  const size = random(3) === 0 && stores ? bounded(scope, 15) : undefined;
  const length =
    size === undefined
      ? [b.mov(b.r4, 1 + random(16))]
      : [...size.items, b.mov(b.r4, reg(size.register)), b.add(b.r4, 1)];
  const ids = isXdp
    ? [helper.BPF_FUNC_xdp_store_bytes, helper.BPF_FUNC_xdp_load_bytes]
    : [helper.BPF_FUNC_skb_store_bytes, helper.BPF_FUNC_skb_load_bytes];
  const items = [
    ...length,
    b.mov(b.r1, b.r6),
    b.mov(b.r2, random(80)),
    b.mov(b.r3, b.r10),
    b.add(b.r3, -8 * SLOTS),
    b.mov(b.r5, 0),
    b.call(stores ? ids[0]! : ids[1]!),
  ];
  afterCall(scope);
  if (stores && !isXdp) forgetPacket(scope);
  return items;
}

function forgetPacket(scope: Scope): void {
  scope.kinds = scope.kinds.map((kind) => (kind === "packet" ? "nothing" : kind));
  scope.spilled = scope.spilled.map((kind) => (kind === "packet" ? "nothing" : kind));
}

function adjust(scope: Scope): b.Item[] {
  const { random } = scope;
  if (!scratchIsFree(scope) || !scope.isXdp || scope.kinds[6] !== "context" || scope.depth > 0) return [];
  const ids = [helper.BPF_FUNC_xdp_adjust_head, helper.BPF_FUNC_xdp_adjust_tail, helper.BPF_FUNC_xdp_adjust_meta];
  const items = [b.mov(b.r1, b.r6), b.mov(b.r2, random(64) - 32), b.call(pick(random, ids))];
  afterCall(scope);
  forgetPacket(scope);
  return random(3) === 0 ? items : [...items, ...packetPointer(scope, 7)];
}

/** A scope for a block that may be left out. */
const inside = (scope: Scope): Scope => ({
  ...scope,
  kinds: [...scope.kinds],
  spilled: [...scope.spilled],
  depth: scope.depth + 1,
});

/** What is sure behind a block that may have been left out. */
function merge(scope: Scope, other: Scope): void {
  scope.kinds = scope.kinds.map((kind, register) => (kind === other.kinds[register] ? kind : "nothing"));
  scope.spilled = scope.spilled.map((kind, slot) => (kind === other.spilled[slot] ? kind : "nothing"));
}

function condition(scope: Scope): b.Item[] {
  const { random } = scope;
  const left = numberIn(scope);
  const right = numberIn(scope);
  if (left === undefined || right === undefined || scope.depth > 3) return [];
  const after = newLabel(scope);
  const otherwise = newLabel(scope);
  const operand = random(2) ? reg(right) : immediate(random);
  const jump = (random(2) ? b.jump : b.jump32)(pick(random, JUMPS), reg(left), operand, otherwise);
  const [first, second] = [inside(scope), inside(scope)];
  const body = block(first, 1 + random(4));
  const rest = random(2) ? block(second, 1 + random(4)) : [];
  merge(first, second);
  scope.kinds = first.kinds;
  scope.spilled = first.spilled;
  return [jump, ...body, b.goto(after), b.label(otherwise), ...rest, b.label(after)];
}

function loop(scope: Scope): b.Item[] {
  const { random } = scope;
  const counters = [7, 8, 9].filter((register) => !["counter", "record"].includes(scope.kinds[register]!));
  if (counters.length === 0 || scope.depth > 1) return [];
  const counter = pick(random, counters);
  const start = newLabel(scope);
  // What the body destroys is not there when it begins again: it may use what is safe alone.
  scope.kinds = scope.kinds.map((kind, register) =>
    kind === "counter" || kind === "record" || (register === 6 && kind === "context") ? kind : "nothing",
  );
  scope.spilled.fill("nothing");
  scope.kinds[counter] = "counter";
  const inner = inside(scope);
  const body = block(inner, 2 + random(4));
  merge(scope, inner);
  const bound = 1 + random(12);
  const again = pick(random, [b.jump("jlt", reg(counter), bound, start), b.jump("jne", reg(counter), bound, start)]);
  scope.kinds[counter] = "number";
  scope.kinds[0] = "number";
  return [b.mov(reg(counter), 0), b.label(start), ...body, b.add(reg(counter), 1), again, b.mov(b.r0, 0)];
}

/** Calls a function of its own, with what r1 to r5 happen to hold. */
function call(scope: Scope): b.Item[] {
  const { random } = scope;
  if (!scratchIsFree(scope) || scope.depth > 2) return [];
  const name = newLabel(scope);
  const passed = pick(random, [...holding(scope, "number", "value", "packet").filter((from) => from > 5), 0]);
  const passes = scope.kinds[passed] === "nothing" || passed === 0 ? [] : [b.mov(b.r3, reg(passed))];
  if (passes.length > 0) scope.kinds[3] = scope.kinds[passed]!;
  const kinds = scope.kinds.map((kind, register): Kind => (register >= 1 && register <= 5 ? kind : "nothing"));
  kinds[8] = "number";
  kinds[6] = scope.kinds[6] === "context" && random(2) ? "context" : "nothing";
  kinds[1] = kinds[6];
  const callee = { ...inside(scope), kinds, spilled: new Array<Kind>(SLOTS).fill("nothing") };
  const body = [
    ...(kinds[6] === "context" ? [b.mov(b.r6, b.r1)] : []),
    b.mov(b.r8, random(9)),
    ...initialStack(scope),
    ...block(callee, 2 + random(6)),
    ...result(callee),
  ];
  scope.subprograms.push(b.label(name), ...body);
  afterCall(scope);
  // It may have moved the packet.
  forgetPacket(scope);
  return [...passes, ...(kinds[6] === "context" ? [b.mov(b.r1, b.r6)] : []), b.callLocal(name)];
}

/** Changes a few instructions: registers, offsets, immediates, operations; or takes one away. */
function mutate(random: Random, instructions: readonly Instruction[]): Instruction[] {
  const changed = [...instructions];
  for (let count = 1 + random(3); count > 0; count--) {
    const at = random(changed.length);
    const { opcode } = changed[at]!;
    if (opcode === LD_IMM64 || opcode === 0) continue;
    changed[at] = pick(random, MUTATIONS)(random, changed[at]!);
  }
  return changed;
}

type Mutation = (random: Random, instruction: Instruction) => Instruction;
const isJump = ({ opcode }: Instruction) => (opcode & 7) === insn.BPF_JMP || (opcode & 7) === insn.BPF_JMP32;
const isCall = (slot: Instruction) => isJump(slot) && (slot.opcode & 0xf0) === insn.BPF_CALL;
const isAdd = ({ opcode }: Instruction) => opcode === (insn.BPF_ALU64 | insn.BPF_ADD | insn.BPF_X);

const MUTATIONS: readonly Mutation[] = [
  (random, slot) => ({ ...slot, dst: random(11) }),
  (random, slot) => (isCall(slot) || isAdd(slot) ? slot : { ...slot, src: random(11) }),
  (random, slot) => ({ ...slot, off: isJump(slot) ? slot.off : slot.off + random(17) - 8 }),
  (random, slot) => ({ ...slot, off: isJump(slot) ? slot.off + random(3) - 1 : slot.off }),
  (random, slot) => (isJump(slot) ? slot : { ...slot, imm: immediate(random) }),
  (random, slot) => (isJump(slot) ? { ...slot, opcode: slot.opcode ^ (0x10 << random(3)) } : slot),
  (random, slot) => (isJump(slot) ? slot : { ...slot, opcode: slot.opcode ^ (0x08 << random(2)) }),
  (_, slot) => (isJump(slot) ? slot : b.mov(reg(slot.dst), reg(slot.dst))),
];
