// Random programs that use maps of many types in many ways: lookups, locks, dynptrs, functions that helpers call, tail calls, maps in maps.
// r8 is a number that the result comes from, r9 what the function was given, r6 and r7 point into maps where the scope says so.

import * as b from "../../src/asm/builder.ts";
import type { Instruction } from "../../src/asm/instruction.ts";
import * as helper from "../../src/uapi/helper-ids.ts";
import * as insn from "../../src/uapi/insn.ts";
import { BPF_ADD } from "../../src/uapi/insn.ts";
import type { Random } from "../differential/random-program.ts";
import type { FuzzMap, FuzzMapName } from "./fuzz-maps.ts";

/** Gives the map of a name, which is made when it is first asked for. */
export type MapOf = (name: FuzzMapName) => FuzzMap;

export interface RandomMapProgram {
  readonly instructions: Instruction[];
  /** Whether it may be run: changed programs might go on for very long. */
  readonly isTame: boolean;
}

/** Memory that a register points to. */
interface Memory {
  readonly register: 6 | 7;
  readonly from: number;
  readonly to: number;
  readonly isWritable: boolean;
}

/** What is being written. */
interface Scope {
  readonly random: Random;
  readonly mapOf: MapOf;
  readonly isXdp: boolean;
  /** Either it makes tail calls or helpers call back: Linux 6.18 takes no tail call inside a function that a helper calls. */
  readonly makesTailCalls: boolean;
  readonly labels: { count: number };
  /** Functions, written when they are called. */
  readonly functions: b.Item[];
  readonly memory: readonly Memory[];
  /** How many blocks and functions enclose this one. */
  readonly depth: number;
  readonly frames: number;
  readonly isCallback: boolean;
  /** Whether r9 is the context, and not numbers on the caller's stack. */
  readonly hasContext: boolean;
  /** Whether the function must not end here: something is held. */
  readonly isHolding: boolean;
  readonly isLocked: boolean;
  readonly dynptr: "none" | "record" | "local";
  /** Maps that are being walked: a walk that adds what it takes away may not end. */
  readonly walked: readonly FuzzMapName[];
}

// The stack of each function: a key, numbers, a spilled pointer, a map pointer, a dynptr.
const KEY = -8;
const NUMBERS = -40;
const SPILLED = -48;
const MAP_POINTER = -56;
const DYNPTR = -72;
const MAX_DEPTH = 4;
const MAX_FRAMES = 4;

export function randomMapProgram(random: Random, mapOf: MapOf, isXdp: boolean, isTame: boolean): RandomMapProgram {
  const scope: Scope = {
    random,
    mapOf,
    isXdp,
    makesTailCalls: random(4) === 0,
    labels: { count: 0 },
    functions: [],
    memory: [],
    depth: 0,
    frames: 1,
    isCallback: false,
    hasContext: true,
    isHolding: false,
    isLocked: false,
    dynptr: "none",
    walked: [],
  };
  const items = [...functionStart(scope, b.r1), ...block(scope, 4 + random(8)), ...functionEnd(scope)];
  const instructions = b.program(...items, ...scope.functions);
  return { instructions: isTame ? instructions : mutate(random, instructions), isTame };
}

const pick = <T>(random: Random, from: readonly T[]): T => from[random(from.length)]!;
const reg = (register: number) => ({ register: register as b.Register });
const newLabel = ({ labels }: Scope): string => `label ${labels.count++}`;
const to = (register: Parameters<typeof b.mov>[0], at: number) => [b.mov(register, b.r10), b.add(register, at)];
const inside = (scope: Scope, more: Partial<Scope>): Scope => ({ ...scope, depth: scope.depth + 1, ...more });

function functionStart({ random }: Scope, given: Parameters<typeof b.mov>[0]): b.Item[] {
  const slots = [KEY, NUMBERS, NUMBERS + 8, NUMBERS + 16, NUMBERS + 24];
  return [
    b.mov(b.r9, given),
    b.mov(given, 0),
    b.mov(b.r8, random(9)),
    ...slots.map((at) => b.store("dw", b.r10, at, random(8))),
  ];
}

function functionEnd(scope: Scope): b.Item[] {
  const { random, isCallback } = scope;
  if (!isCallback) return [b.mov(b.r0, b.r8), b.alu64("and", b.r0, 0xffff), b.exit()];
  const keep = scope.hasContext ? [] : [b.store("dw", b.r9, 8 * random(4), b.r8)];
  const goOn = pick(random, [
    [b.mov(b.r0, 0)],
    [b.mov(b.r0, 0)],
    [b.mov(b.r0, 1)],
    [b.mov(b.r0, b.r8), b.alu64("and", b.r0, 1)],
    [b.mov(b.r0, b.r8), b.alu32("rsh", b.r0, 31)],
  ]);
  return [...keep, ...goOn, b.exit()];
}

function block(scope: Scope, count: number): b.Item[] {
  return Array.from({ length: count }, () => pick(scope.random, scope.isLocked ? LOCKED : MAKERS)(scope)).flat();
}

const smallBlock = (scope: Scope): b.Item[] => block(scope, 1 + scope.random(scope.depth < 2 ? 4 : 2));

/** r8 = r8 * 5 + a register. */
const note = (register: number): b.Item[] => [b.alu64("mul", b.r8, 5), b.add(b.r8, reg(register))];

function arithmetic({ random }: Scope): b.Item[] {
  const op = pick(random, ["add", "mul", "xor", "and", "or", "sub"] as const);
  return [(random(2) ? b.alu64 : b.alu32)(op, b.r8, random(64))];
}

function stackNumber({ random }: Scope): b.Item[] {
  const at = NUMBERS + 8 * random(4);
  return random(2)
    ? [b.store("dw", b.r10, at, random(3) ? b.r8 : random(8))]
    : [b.load("dw", b.r1, b.r10, at), ...note(1)];
}

function given(scope: Scope): b.Item[] {
  const { random, hasContext } = scope;
  if (hasContext) return [b.load("w", b.r1, b.r9, scope.isXdp ? 12 : 0), ...note(1)];
  const at = 8 * random(4);
  return random(2)
    ? [b.store("dw", b.r9, at, random(3) ? b.r8 : random(8))]
    : [b.load("dw", b.r1, b.r9, at), ...note(1)];
}

const WIDTHS = { b: 1, h: 2, w: 4, dw: 8 } as const;

function access(scope: Scope): b.Item[] {
  const { random, memory } = scope;
  if (memory.length === 0) return [];
  const { register, from, to, isWritable } = pick(random, memory);
  const size = pick(random, ["b", "h", "w", "dw"] as const);
  const room = (to - from) / WIDTHS[size];
  if (room < 1) return [];
  const at = from + WIDTHS[size] * random(Math.floor(room));
  if (isWritable && size === "dw" && random(4) === 0) {
    return [b.mov(b.r1, random(9)), b.atomic("dw", BPF_ADD, reg(register), at, b.r1)];
  }
  if (isWritable && random(2)) return [b.store(size, reg(register), at, random(2) ? b.r8 : random(99))];
  return [b.load(size, b.r1, reg(register), at), ...note(1)];
}

/** An access at a place that a number tells. */
function variableAccess(scope: Scope): b.Item[] {
  const { random, memory } = scope;
  const target = pick(random, [undefined, ...memory]);
  if (target === undefined || target.to - target.from < 16) return [];
  const { register, from, isWritable } = target;
  const point = [b.mov(b.r1, b.r8), b.alu64("and", b.r1, 15), b.mov(b.r2, reg(register)), b.add(b.r2, b.r1)];
  if (isWritable && random(2)) return [...point, b.store("b", b.r2, from, random(99))];
  return [...point, b.load("b", b.r1, b.r2, from), ...note(1)];
}

function condition(scope: Scope): b.Item[] {
  const { random } = scope;
  if (scope.depth >= MAX_DEPTH) return [];
  const [other, end] = [newLabel(scope), newLabel(scope)];
  const op = pick(random, ["jeq", "jgt", "jlt", "jsgt", "jset", "jne"] as const);
  const test = (random(2) ? b.jump : b.jump32)(op, b.r8, random(40), other);
  const deeper = inside(scope, {});
  return [test, ...smallBlock(deeper), b.goto(end), b.label(other), ...smallBlock(deeper), b.label(end)];
}

function earlyExit(scope: Scope): b.Item[] {
  if (scope.isHolding || scope.depth === 0) return [];
  const { random } = scope;
  const label = newLabel(scope);
  return [b.jump("jgt", b.r8, random(50), label), b.mov(b.r0, random(2)), b.exit(), b.label(label)];
}

/** Keeps a pointer on the stack while its register is used for something else. */
function spill(scope: Scope): b.Item[] {
  const { random, memory } = scope;
  if (memory.length === 0) return [];
  const spilled = pick(random, memory);
  const rest = inside(scope, { memory: memory.filter((one) => one !== spilled) });
  return [
    b.store("dw", b.r10, SPILLED, reg(spilled.register)),
    b.mov(reg(spilled.register), random(9)),
    ...accessOnly(rest),
    b.load("dw", reg(spilled.register), b.r10, SPILLED),
  ];
}

const accessOnly = (scope: Scope): b.Item[] => pick(scope.random, [access, variableAccess, arithmetic])(scope);

const KEYED: readonly FuzzMapName[] = ["array", "hash", "sparse", "lru", "percpuHash", "percpuArray", "lpm"];
const WALKABLE: readonly FuzzMapName[] = ["array", "hash", "sparse", "lru", "percpuHash", "percpuArray"];
const LISTS: readonly FuzzMapName[] = ["queue", "stack", "bloom"];

function storeKey({ random }: Scope, name: FuzzMapName): b.Item[] {
  if (name === "lpm") {
    return [b.store("w", b.r10, KEY, random(36)), b.store("w", b.r10, KEY + 4, pick(random, [0, 1, 0x101, 0x10101]))];
  }
  const variable = [b.mov(b.r1, b.r8), b.alu64("and", b.r1, 7), b.store("w", b.r10, KEY, b.r1)];
  return random(2) ? [b.store("w", b.r10, KEY, random(9))] : variable;
}

/** Points r2 at a key. */
function keyPointer(scope: Scope, name: FuzzMapName): b.Item[] {
  const { random, memory } = scope;
  const size = name === "lpm" ? 8 : 4;
  const source = pick(random, [undefined, undefined, ...memory]);
  if (source === undefined || source.to - source.from < size) return [...storeKey(scope, name), ...to(b.r2, KEY)];
  return [b.mov(b.r2, reg(source.register)), ...(source.from > 0 ? [b.add(b.r2, source.from)] : [])];
}

const freeRegister = ({ memory }: Scope): 6 | 7 | undefined =>
  ([6, 7] as const).find((register) => memory.every((one) => one.register !== register));

/** What follows a helper that gives a pointer or NULL: a block in which a register points to it. */
function withPointer(scope: Scope, memory: Memory, more: Partial<Scope> = {}, end: b.Item[] = []): b.Item[] {
  const { random } = scope;
  const skip = newLabel(scope);
  const known = inside(scope, { memory: [...scope.memory, memory], ...more });
  const body = [b.mov(reg(memory.register), b.r0), ...accessOnly(known), ...smallBlock(known), ...end];
  if (scope.isHolding || random(3)) return [b.jump("jeq", b.r0, 0, skip), ...body, b.label(skip)];
  return [b.jump("jne", b.r0, 0, skip), b.mov(b.r0, random(2)), b.exit(), b.label(skip), ...body];
}

const VALUE_SIZE = 32;

function lookup(scope: Scope): b.Item[] {
  const { random } = scope;
  const register = freeRegister(scope);
  if (register === undefined || scope.depth >= MAX_DEPTH) return [];
  const name = pick(random, KEYED);
  const memory = { register, from: 0, to: VALUE_SIZE, isWritable: true };
  const call = [
    ...keyPointer(scope, name),
    ...b.loadMapFd(b.r1, scope.mapOf(name).fd),
    b.call(helper.BPF_FUNC_map_lookup_elem),
  ];
  return [...call, ...withPointer(scope, memory)];
}

function lookupPerCpu(scope: Scope): b.Item[] {
  const register = freeRegister(scope);
  if (register === undefined || scope.depth >= MAX_DEPTH) return [];
  const { fd } = scope.mapOf("percpuConstant");
  const memory = { register, from: 0, to: VALUE_SIZE, isWritable: false };
  return [
    ...keyPointer(scope, "percpuConstant"),
    ...b.loadMapFd(b.r1, fd),
    b.mov(b.r3, pick(scope.random, [0, 1, 0, 1, 4096, -1])),
    b.call(helper.BPF_FUNC_map_lookup_percpu_elem),
    ...withPointer(scope, memory),
  ];
}

function directValue(scope: Scope): b.Item[] {
  const register = freeRegister(scope);
  if (register === undefined || scope.depth >= MAX_DEPTH) return [];
  const known = inside(scope, { memory: [...scope.memory, { register, from: 0, to: VALUE_SIZE, isWritable: true }] });
  return [...b.loadMapValue(reg(register), scope.mapOf("globals").fd, 0), ...smallBlock(known)];
}

function lookupInner(scope: Scope): b.Item[] {
  const register = freeRegister(scope);
  if (register === undefined || scope.depth >= MAX_DEPTH) return [];
  const { random } = scope;
  const outer = pick(random, ["arrayOfMaps", "hashOfMaps"] as const);
  const skip = newLabel(scope);
  const memory = { register, from: 0, to: VALUE_SIZE, isWritable: true };
  const write = [...to(b.r3, NUMBERS), b.mov(b.r4, random(3)), b.call(helper.BPF_FUNC_map_update_elem), ...note(0)];
  const use = random(3)
    ? [b.call(helper.BPF_FUNC_map_lookup_elem), ...withPointer(scope, memory)]
    : pick(random, [write, [b.call(helper.BPF_FUNC_map_delete_elem), ...note(0)]]);
  return [
    ...storeKey(scope, outer),
    ...to(b.r2, KEY),
    ...b.loadMapFd(b.r1, scope.mapOf(outer).fd),
    b.call(helper.BPF_FUNC_map_lookup_elem),
    b.jump("jeq", b.r0, 0, skip),
    b.mov(b.r1, b.r0),
    ...to(b.r2, KEY),
    ...use,
    b.label(skip),
  ];
}

const flags = (random: Random): number => pick(random, [0, 0, 0, 1, 2, 3, 4, -1]);

/** Points a register at 32 bytes. */
function valuePointer(scope: Scope, register: Parameters<typeof b.mov>[0]): b.Item[] {
  const source = pick(scope.random, [undefined, ...scope.memory]);
  return source && source.to - source.from >= VALUE_SIZE && source.from === 0
    ? [b.mov(register, reg(source.register))]
    : to(register, NUMBERS);
}

function update(scope: Scope): b.Item[] {
  const { random, walked } = scope;
  const name = pick(
    random,
    KEYED.filter((one) => !walked.includes(one)),
  );
  return [
    ...keyPointer(scope, name),
    ...b.loadMapFd(b.r1, scope.mapOf(name).fd),
    ...valuePointer(scope, b.r3),
    b.mov(b.r4, flags(random)),
    b.call(helper.BPF_FUNC_map_update_elem),
    ...note(0),
  ];
}

function remove(scope: Scope): b.Item[] {
  const name = pick(scope.random, KEYED);
  const call = [...b.loadMapFd(b.r1, scope.mapOf(name).fd), b.call(helper.BPF_FUNC_map_delete_elem)];
  return [...keyPointer(scope, name), ...call, ...note(0)];
}

function list(scope: Scope): b.Item[] {
  const { random } = scope;
  const name = pick(random, LISTS);
  const map = b.loadMapFd(b.r1, scope.mapOf(name).fd);
  const push = [
    map,
    ...valuePointer(scope, b.r2),
    b.mov(b.r3, pick(random, [0, 0, 2, 1, -1])),
    b.call(helper.BPF_FUNC_map_push_elem),
  ];
  const take = name === "bloom" || random(2) ? helper.BPF_FUNC_map_peek_elem : helper.BPF_FUNC_map_pop_elem;
  return [...(random(2) ? push : [map, ...to(b.r2, NUMBERS), b.call(take)]), ...note(0)];
}

function record(scope: Scope): b.Item[] {
  const { random } = scope;
  const register = freeRegister(scope);
  if (register === undefined || scope.depth >= MAX_DEPTH || scope.isHolding) return [];
  const size = pick(random, [8, 24, 32, 5000]);
  const done = random(2) ? helper.BPF_FUNC_ringbuf_submit : helper.BPF_FUNC_ringbuf_discard;
  const start = [
    ...b.loadMapFd(b.r1, scope.mapOf("ringbuf").fd),
    b.mov(b.r2, size),
    b.mov(b.r3, 0),
    b.call(helper.BPF_FUNC_ringbuf_reserve),
  ];
  const skip = newLabel(scope);
  const held = inside(scope, {
    memory: [...scope.memory, { register, from: 0, to: Math.min(size, 32), isWritable: true }],
    isHolding: true,
  });
  const zeros = Array.from({ length: size / 8 }, (_, word) => b.store("dw", reg(register), 8 * word, word)).slice(0, 4);
  return [
    ...start,
    b.jump("jeq", b.r0, 0, skip),
    b.mov(reg(register), b.r0),
    ...zeros,
    ...smallBlock(held),
    b.mov(b.r1, reg(register)),
    b.mov(b.r2, random(3)),
    b.call(done),
    b.label(skip),
  ];
}

function output(scope: Scope): b.Item[] {
  const { random } = scope;
  const map = b.loadMapFd(b.r1, scope.mapOf("ringbuf").fd);
  if (random(3) === 0) return [map, b.mov(b.r2, random(5)), b.call(helper.BPF_FUNC_ringbuf_query), ...note(0)];
  const size = random(2) ? [b.mov(b.r3, random(33))] : [b.mov(b.r3, b.r8), b.alu64("and", b.r3, 31)];
  return [
    map,
    ...valuePointer(scope, b.r2),
    ...size,
    b.mov(b.r4, random(4)),
    b.call(helper.BPF_FUNC_ringbuf_output),
    ...note(0),
  ];
}

function perfOutput(scope: Scope): b.Item[] {
  if (!scope.hasContext) return [];
  return [
    b.mov(b.r1, b.r9),
    ...b.loadMapFd(b.r2, scope.mapOf("perf").fd),
    ...b.loadImm64(b.r3, pick(scope.random, [0n, 0xffff_ffffn, 9n, 1n << 60n])),
    ...to(b.r4, NUMBERS),
    b.mov(b.r5, scope.random(33)),
    b.call(helper.BPF_FUNC_perf_event_output),
    ...note(0),
  ];
}

function redirect(scope: Scope): b.Item[] {
  if (!scope.isXdp) return [];
  const map = scope.mapOf(pick(scope.random, ["devmap", "devmapHash", "cpumap"] as const));
  const call = [b.mov(b.r2, scope.random(9)), b.mov(b.r3, scope.random(5)), b.call(helper.BPF_FUNC_redirect_map)];
  return [...b.loadMapFd(b.r1, map.fd), ...call, ...note(0)];
}

function dynptr(scope: Scope): b.Item[] {
  const { random, memory } = scope;
  if (scope.dynptr !== "none" || scope.isHolding || scope.depth >= MAX_DEPTH) return [];
  if (random(2)) {
    const done = random(2) ? helper.BPF_FUNC_ringbuf_submit_dynptr : helper.BPF_FUNC_ringbuf_discard_dynptr;
    return [
      ...b.loadMapFd(b.r1, scope.mapOf("ringbuf").fd),
      b.mov(b.r2, pick(random, [8, 24, 40, 5000])),
      b.mov(b.r3, random(6) === 0 ? 1 : 0),
      ...to(b.r4, DYNPTR),
      b.call(helper.BPF_FUNC_ringbuf_reserve_dynptr),
      ...note(0),
      ...zeroDynptr(scope),
      ...smallBlock(inside(scope, { dynptr: "record", isHolding: true })),
      ...to(b.r1, DYNPTR),
      b.mov(b.r2, random(3)),
      b.call(done),
    ];
  }
  const source = memory.find(({ from, to, isWritable }) => from === 0 && to === VALUE_SIZE && isWritable);
  const point = source ? [b.mov(b.r1, reg(source.register))] : b.loadMapValue(b.r1, scope.mapOf("globals").fd, 0);
  return [
    ...[point].flat(),
    b.mov(b.r2, pick(random, [0, 8, 31, 32])),
    b.mov(b.r3, random(6) === 0 ? 1 : 0),
    ...to(b.r4, DYNPTR),
    b.call(helper.BPF_FUNC_dynptr_from_mem),
    ...note(0),
    ...smallBlock(inside(scope, { dynptr: "local" })),
  ];
}

/** A new record holds what was there before. */
const zeroDynptr = ({ random }: Scope): b.Item[] =>
  [0, 8, 16, 24, 32]
    .slice(0, 1 + random(5))
    .flatMap((at) => [
      ...to(b.r1, DYNPTR),
      b.mov(b.r2, at),
      ...to(b.r3, NUMBERS),
      b.mov(b.r4, 8),
      b.mov(b.r5, 0),
      b.call(helper.BPF_FUNC_dynptr_write),
    ]);

function useDynptr(scope: Scope): b.Item[] {
  const { random } = scope;
  if (scope.dynptr === "none") return [];
  const at = pick(random, [0, 1, 8, 24, 33, -1]);
  const size = random(33);
  const tail = [b.mov(b.r5, random(8) === 0 ? 1 : 0)];
  const maker = random(3);
  if (maker === 0) {
    return [
      ...to(b.r1, DYNPTR),
      b.mov(b.r2, at),
      ...to(b.r3, NUMBERS),
      b.mov(b.r4, size),
      ...tail,
      b.call(helper.BPF_FUNC_dynptr_write),
      ...note(0),
    ];
  }
  if (maker === 1 && scope.dynptr === "local") {
    return [
      ...to(b.r1, NUMBERS),
      b.mov(b.r2, size),
      ...to(b.r3, DYNPTR),
      b.mov(b.r4, at),
      ...tail,
      b.call(helper.BPF_FUNC_dynptr_read),
      ...note(0),
    ];
  }
  const register = freeRegister(scope);
  if (register === undefined || scope.depth >= MAX_DEPTH) return [];
  const length = pick(random, [1, 8, 16]);
  const skip = newLabel(scope);
  const store = [b.store("b", reg(register), random(length), b.r8)];
  return [
    ...to(b.r1, DYNPTR),
    b.mov(b.r2, at),
    b.mov(b.r3, length),
    b.call(helper.BPF_FUNC_dynptr_data),
    b.jump("jeq", b.r0, 0, skip),
    b.mov(reg(register), b.r0),
    ...store,
    ...arithmetic(scope),
    b.label(skip),
  ];
}

function lock(scope: Scope): b.Item[] {
  const register = freeRegister(scope);
  if (register === undefined || scope.depth >= MAX_DEPTH) return [];
  const { random } = scope;
  const name = pick(random, ["lockedArray", "lockedHash"] as const);
  const skip = newLabel(scope);
  const lockAt = [b.mov(b.r1, reg(register)), b.add(b.r1, 4)];
  const memory = { register, from: 8, to: VALUE_SIZE, isWritable: true };
  const locked = inside(scope, { memory: [memory], isLocked: true, isHolding: true });
  const unlocked = inside(scope, { memory: [...scope.memory, memory] });
  return [
    ...storeKey(scope, name),
    ...to(b.r2, KEY),
    ...b.loadMapFd(b.r1, scope.mapOf(name).fd),
    b.call(helper.BPF_FUNC_map_lookup_elem),
    b.jump("jeq", b.r0, 0, skip),
    b.mov(reg(register), b.r0),
    ...lockAt,
    b.call(helper.BPF_FUNC_spin_lock),
    ...smallBlock(locked),
    ...lockAt,
    b.call(helper.BPF_FUNC_spin_unlock),
    ...smallBlock(unlocked),
    b.label(skip),
  ];
}

/** What a function that is called starts from. */
const called = (scope: Scope, more: Partial<Scope>): Scope =>
  inside(scope, { memory: [], isHolding: false, dynptr: "none", frames: scope.frames + 1, ...more });

function callback(scope: Scope): b.Item[] {
  const { random } = scope;
  if (scope.makesTailCalls || scope.frames >= MAX_FRAMES || scope.depth >= MAX_DEPTH) return [];
  const name = newLabel(scope);
  const own = { isCallback: true, hasContext: false } as const;
  const context = [...to(b.r3, NUMBERS), b.mov(b.r4, random(12) === 0 ? 1 : 0)];
  if (random(2)) {
    // Not 0 for certain: Linux 6.18 removes a function that is never called, and then misses it.
    const turns = random(2)
      ? [b.mov(b.r1, 1 + random(5))]
      : [b.mov(b.r1, b.r8), b.alu64("and", b.r1, 2), b.add(b.r1, 1)];
    const inner = called(scope, own);
    const index = random(2) ? note(1) : [];
    // r1 is the turn: functionStart leaves it as it is.
    scope.functions.push(
      b.label(name),
      ...functionStart(inner, b.r2),
      ...index,
      ...smallBlock(inner),
      ...functionEnd(inner),
    );
    return [...turns, b.loadFunction(b.r2, name), ...context, b.call(helper.BPF_FUNC_loop), ...note(0)];
  }
  const map = pick(random, WALKABLE);
  const memory: readonly Memory[] = [
    { register: 6, from: 0, to: 4, isWritable: false },
    { register: 7, from: 0, to: VALUE_SIZE, isWritable: true },
  ];
  const inner = called(scope, { ...own, memory, walked: [...scope.walked, map] });
  const deletes = random(3) === 0 && map !== "array" && map !== "percpuArray";
  const start = [
    ...functionStart(inner, b.r4),
    b.mov(b.r6, b.r2),
    b.mov(b.r7, b.r3),
    b.store("dw", b.r10, MAP_POINTER, b.r1),
  ];
  const end = [
    b.load("dw", b.r1, b.r10, MAP_POINTER),
    b.mov(b.r2, b.r6),
    b.call(helper.BPF_FUNC_map_delete_elem),
    ...note(0),
  ];
  const access = [b.load("w", b.r1, b.r6, 0), ...note(1), b.load("dw", b.r1, b.r7, 8), ...note(1)];
  scope.functions.push(
    b.label(name),
    ...start,
    ...access,
    ...smallBlock(inner),
    ...(deletes ? end : []),
    ...functionEnd(inner),
  );
  return [
    ...b.loadMapFd(b.r1, scope.mapOf(map).fd),
    b.loadFunction(b.r2, name),
    ...context,
    b.call(helper.BPF_FUNC_for_each_map_elem),
    ...note(0),
  ];
}

/** A subprogram, which may make a tail call where no helper called the function that it is called from. */
function subprogram(scope: Scope): b.Item[] {
  const { random } = scope;
  if (scope.frames >= MAX_FRAMES || scope.depth >= MAX_DEPTH) return [];
  const name = newLabel(scope);
  const hasContext = scope.hasContext && random(2) === 0;
  const inner = called(scope, { hasContext });
  const tail = hasContext && scope.makesTailCalls && random(2) === 0 ? tailCall(scope) : [];
  scope.functions.push(
    b.label(name),
    ...functionStart(inner, b.r1),
    ...smallBlock(inner),
    ...tail,
    ...functionEnd(inner),
  );
  return [...(hasContext ? [b.mov(b.r1, b.r9)] : to(b.r1, NUMBERS)), b.callLocal(name), ...note(0)];
}

function tailCall(scope: Scope): b.Item[] {
  const { random } = scope;
  const index = random(2) ? [b.mov(b.r3, random(4))] : [b.mov(b.r3, b.r8)];
  return [
    b.mov(b.r1, b.r9),
    ...b.loadMapFd(b.r2, scope.mapOf("programs").fd),
    ...index,
    b.call(helper.BPF_FUNC_tail_call),
  ];
}

/** A tail call in the main program. */
function mainTailCall(scope: Scope): b.Item[] {
  if (scope.frames > 1 || scope.isHolding || !scope.makesTailCalls) return [];
  return tailCall(scope);
}

/** What may be done while a lock is held. */
const LOCKED: readonly ((scope: Scope) => b.Item[])[] = [
  arithmetic,
  access,
  access,
  variableAccess,
  condition,
  stackNumber,
];

const MAKERS: readonly ((scope: Scope) => b.Item[])[] = [
  arithmetic,
  stackNumber,
  given,
  access,
  access,
  variableAccess,
  condition,
  condition,
  earlyExit,
  spill,
  lookup,
  lookup,
  lookup,
  lookupPerCpu,
  lookupInner,
  directValue,
  update,
  update,
  remove,
  list,
  list,
  record,
  output,
  perfOutput,
  redirect,
  dynptr,
  useDynptr,
  useDynptr,
  useDynptr,
  lock,
  callback,
  callback,
  callback,
  subprogram,
  mainTailCall,
];

/** Changes some instructions, but none to what would harm Linux: no pointer to the stack is added to a number, no atomic moves. */
function mutate(random: Random, instructions: readonly Instruction[]): Instruction[] {
  const changed = [...instructions];
  for (let count = 1 + random(2); count > 0; count--) {
    const at = random(changed.length);
    const slot = changed[at]!;
    const change = mutations.get(slot.opcode & 7);
    const isAtomic = (slot.opcode & 0xe7) === (insn.BPF_STX | insn.BPF_ATOMIC);
    if (change && !isAtomic && slot.opcode !== CALL && slot.opcode !== EXIT) changed[at] = change(random, slot);
  }
  return changed;
}

const CALL = insn.BPF_JMP | insn.BPF_CALL;
const EXIT = insn.BPF_JMP | insn.BPF_EXIT;

type Mutation = (random: Random, slot: Instruction) => Instruction;

const changeAccess: Mutation = (random, slot) =>
  pick(random, [
    { ...slot, dst: random(10) },
    { ...slot, off: slot.off + 8 * (random(5) - 2) },
    { ...slot, off: slot.off + random(9) - 4 },
    b.mov(reg(slot.dst), reg(slot.dst)),
  ]);
const changeAlu: Mutation = (random, slot) =>
  slot.src === 0 && (slot.opcode & insn.BPF_X) === 0
    ? { ...slot, imm: pick(random, [slot.imm + 8, slot.imm - 8, slot.imm + 1, 0, -1, 1000]) }
    : slot;
const changeJump: Mutation = (random, slot) =>
  pick(random, [
    { ...slot, dst: random(10) },
    { ...slot, off: slot.off + random(3) - 1 },
    { ...slot, opcode: slot.opcode ^ (0x10 << random(3)) },
  ]);
const mutations: ReadonlyMap<number, Mutation> = new Map([
  [insn.BPF_LDX, changeAccess],
  [insn.BPF_ST, changeAccess],
  [insn.BPF_STX, changeAccess],
  [insn.BPF_ALU, changeAlu],
  [insn.BPF_ALU64, changeAlu],
  [insn.BPF_JMP, changeJump],
  [insn.BPF_JMP32, changeJump],
]);
