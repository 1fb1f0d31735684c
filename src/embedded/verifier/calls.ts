// Calls of helpers, checked against their prototypes, and calls of subprograms, walked as if inlined.
// Linux: kernel/bpf/verifier.c, check_helper_call, check_func_arg, check_func_call, prepare_func_exit

import type { Instruction } from "../../asm/instruction.ts";
import { ENOTSUPP } from "../../uapi/errno.ts";
import { BPF_F_INNER_MAP, BPF_F_RDONLY_PROG } from "../../uapi/flags.ts";
import * as helperIds from "../../uapi/helper-ids.ts";
import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_PROG_ARRAY,
  BPF_MAP_TYPE_SOCKHASH,
  BPF_MAP_TYPE_SOCKMAP,
} from "../../uapi/map-types.ts";
import { namesByNumber } from "../../uapi/names.ts";
import { type Argument, type Prototype, prototypes } from "../helpers/prototypes.ts";
import { type Callback, enterCallback, leaveCallback } from "./callbacks.ts";
import { makeDynptr, releaseDynptr, useDynptr } from "./dynptr.ts";
import { hasLock, useLock } from "./locks.ts";
import { goTogether } from "./map-rules.ts";
import { checkHelperMemory, checkUnmodified, denyMemoryType } from "./memory.ts";
import { deny, Refusal, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { constantKey } from "./stack.ts";
import { type Dynptr, enterFrame, newFrame } from "./state.ts";
import { MAX_DIRECT_VALUE_OFFSET } from "./structure.ts";
import { isPacket, isPointer, isScalar, isSocket, type Pointer, pointer, typeName, type Value } from "./values.ts";
import type { VerifierMap } from "./verify.ts";
import type { Walk } from "./walk.ts";

/** A helper's name as logs print it: `bpf_map_lookup_elem#1`. */
export const helperName = (id: number): string => `${names.get(id)?.replace("BPF_FUNC_", "bpf_") ?? "unknown"}#${id}`;

/** Gives the path on which the helper calls back into the program, where it does. */
export function callHelper(walk: Walk, { imm: id, dst, src, off }: Instruction): Callback | undefined {
  if (dst !== 0 || src !== 0 || off !== 0) reject("opcode", "BPF_CALL uses reserved fields");
  const prototype = findPrototype(walk, id);
  const call: Call = {
    id,
    prototype,
    map: undefined,
    recordSize: 0,
    reference: 0,
    released: 0,
    dynptr: undefined,
    key: undefined,
  };
  prototype.arguments.forEach((argument, index) => {
    checkArgument(walk, call, argument, index + 1);
  });
  if (call.map) checkMap(walk, call, call.map);
  if (call.released) walk.release(call.released);
  checkDynptrMemory(walk, call);
  const callback = prototype.callsBack && enterCallback(walk, id, prototype.callsBack);
  for (let register = 0; register <= 5; register++) walk.write(register, undefined);
  walk.write(0, returnValue(walk, call));
  if (prototype.movesPacket) walk.forget(isPacket);
  return callback;
}

/** Enters a subprogram with the same arguments. */
export function callSubprogram(walk: Walk, { dst, off, imm }: Instruction): void {
  if (dst !== 0 || off !== 0) reject("opcode", "BPF_CALL uses reserved fields");
  const target = walk.at + 1 + imm;
  const caller = walk.frame;
  const callee = newFrame(walk.structure.subprogramOf[target]!, walk.at + 1);
  enterFrame(walk.state, callee);
  for (let register = 1; register <= 5; register++) {
    callee.registers[register] = caller.registers[register];
    callee.madeAt[register] = caller.madeAt[register]!;
    caller.registers[register] = undefined;
  }
  caller.registers[0] = undefined;
}

/** Leaves the subprogram; gives the slot to go on at. */
export function returnToCaller(walk: Walk): number {
  const { frames } = walk.state;
  const result = walk.frame.registers[0];
  if (result?.kind === "fp") reject("leak", "cannot return stack pointer to the caller", 0);
  const { isCallback, returnTo } = walk.frame;
  if (isCallback) {
    leaveCallback(walk, result);
    return returnTo;
  }
  const callee = frames.pop()!;
  walk.frame.registers[0] = result;
  walk.frame.madeAt[0] = callee.madeAt[0]!;
  return callee.returnTo;
}

const names = namesByNumber(helperIds, "BPF_FUNC_");

interface Call {
  readonly id: number;
  readonly prototype: Prototype;
  map: VerifierMap | undefined;
  /** The low 32 bits of the constant size: helpers take no more of it, or give NULL. */
  recordSize: number;
  /** Reference that an argument has. */
  reference: number;
  /** Reference that it releases. */
  released: number;
  dynptr: Pick<Dynptr, "id" | "reference"> | undefined;
  /** The key, where it is a number that is known. */
  key: bigint | undefined;
}

function findPrototype(walk: Walk, id: number): Prototype {
  if (id <= 0 || !names.has(id)) reject("unknown-helper", `invalid func unknown#${id}`);
  const prototype = prototypes.get(id);
  const allowed = walk.model.helpers.has(id) && !(prototype?.perfmon && walk.mayNotLeak);
  if (!allowed) reject("unknown-helper", `program of this type cannot use helper ${helperName(id)}`);
  if (!prototype) reject("unsupported", `helper ${helperName(id)} is not in the embedded kernel yet`);
  if (prototype.gplOnly && !walk.input.gplCompatible) {
    reject("unknown-helper", "cannot call GPL-restricted function from non-GPL compatible program");
  }
  return prototype;
}

function checkArgument(walk: Walk, call: Call, argument: Argument, register: number): void {
  const value = walk.read(register);
  if (argument === "anything") {
    if (walk.mayNotLeak && isPointer(value)) deny("leak", `R${register} leaks addr into helper function`, register);
    return;
  }
  if (isPacket(value) && !(call.prototype.packetMemory && walk.model.packetToHelpers)) {
    deny("packet-access", "helper access to the packet is not allowed", register);
  }
  if (isPointer(value) && value.reference) {
    if (call.reference) {
      const words = `more than one arg with ref_obj_id R${register} ${value.reference} ${call.reference}`;
      deny("reference", words, register);
    }
    call.reference = value.reference;
  }
  switch (argument) {
    case "context":
      expectKind(value, register, "ctx");
      checkUnmodified(value, register);
      return;
    case "map":
      expectKind(value, register, "map_ptr");
      call.map = value.map!;
      return;
    case "map key":
    case "map value":
    case "map value or null":
    case "uninitialised map value": {
      if (argument === "map value or null" && isScalar(value) && scalars.isZero(value)) {
        walk.needExact(value);
        return;
      }
      if (argument !== "map key" && socketMaps.includes(call.map!.type)) denySocket(value, register, argument);
      const size = argument === "map key" ? call.map!.keySize : call.map!.valueSize;
      checkMemoryType(value, register);
      if (size === 0) deny("helper-argument", "invalid zero-sized read", register);
      const write = argument === "uninitialised map value" && call.map!.type !== BPF_MAP_TYPE_BLOOM_FILTER;
      checkHelperMemory(walk, register, size, { write, whole: true, packet: true });
      if (argument === "map key" && hasEveryKey(call.map!)) call.key = constantKey(walk, value as Pointer);
      return;
    }
    case "memory":
    case "memory or null":
    case "uninitialised memory":
      if (argument === "memory or null" && isScalar(value) && scalars.isZero(value)) walk.needExact(value);
      else checkMemoryType(value, register);
      return;
    case "size":
    case "size or zero":
      checkSize(walk, call, value, register, argument === "size or zero");
      return;
    case "constant size":
      if (!isScalar(value)) denyType(value, register, "scalar");
      if (!scalars.isConstant(value)) deny("helper-argument", `R${register} is not a known constant'`, register);
      walk.needExact(value);
      call.recordSize = Number(BigInt.asUintN(32, value.bits.value));
      return;
    case "record":
      expectKind(value, register, "ringbuf_mem");
      if (value.offset !== 0 || !scalars.isZero(value.variable)) {
        const words = "must have zero offset when passed to release func or trusted arg to kfunc";
        reject("reference", `R${register} ${words}`, register);
      }
      if (!value.reference)
        reject("reference", `R${register} must be referenced when passed to release function`, register);
      call.released = value.reference;
      return;
    case "constant string":
      checkConstantString(value, register);
      return;
    case "function":
      expectKind(value, register, "func");
      checkUnmodified(value, register);
      return;
    case "new dynptr":
    case "new record dynptr":
      makeDynptr(walk, value, register, argument === "new dynptr" ? "local" : "ringbuf");
      return;
    case "dynptr":
      call.dynptr = useDynptr(walk, value, register);
      return;
    case "record dynptr":
      call.released = releaseDynptr(walk, value, register);
      return;
    case "dynptr memory":
      checkMemoryType(value, register);
      return;
    case "stack or null":
      if (isScalar(value) && scalars.isZero(value)) walk.needExact(value);
      else expectKind(value, register, "fp");
      return;
    case "socket":
    case "any socket":
      if (!isPointer(value) || value.nullable || !isSocket(value.kind)) denyType(value, register, sockets[argument]);
      return;
    case "zero":
      if (!isScalar(value) || !scalars.isZero(value))
        reject("helper-argument", "get_local_storage() doesn't support non-zero flags", register);
      walk.needExact(value);
      return;
    case "lock":
      useLock(walk, value, register, call.id === helperIds.BPF_FUNC_spin_unlock);
      return;
  }
}

function expectKind(value: Value, register: number, kind: Pointer["kind"]): asserts value is Pointer {
  if (value.kind !== kind || value.nullable) denyType(value, register, kind);
}

function denyType(value: Value, register: number, expected: string): never {
  const rule = isPointer(value) && value.nullable ? "null-check" : "helper-argument";
  deny(rule, `R${register} type=${typeName(value)} expected=${expected}`, register);
}

/** Whether there is an element for every key below max_entries; of an inner map with BPF_F_INNER_MAP there may be fewer. */
const hasEveryKey = ({ type, flags }: VerifierMap): boolean =>
  (type === BPF_MAP_TYPE_ARRAY || type === BPF_MAP_TYPE_PERCPU_ARRAY) && (flags & BPF_F_INNER_MAP) === 0;

/** Maps whose elements bpf_for_each_map_elem visits. */
const withElements: readonly number[] = [
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
];

/** Maps whose values are sockets to programs. */
const socketMaps: readonly number[] = [BPF_MAP_TYPE_SOCKMAP, BPF_MAP_TYPE_SOCKHASH];

/** No pointer to a socket in the embedded kernel is taken for the value of a map of sockets. */
function denySocket(value: Value, register: number, argument: Argument): never {
  if (argument !== "map value") reject("helper-argument", "invalid arg_type for sockmap/sockhash", register);
  denyType(value, register, sockets["any socket"]);
}

/** The pointers that are taken for a socket, in the words of the log. */
const sockets = {
  socket: "sock_common, sock, tcp_sock, xdp_sock",
  "any socket": "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_",
} as const;

const memoryKinds: readonly Value["kind"][] = ["fp", "pkt", "pkt_meta", "map_key", "map_value", "mem", "ringbuf_mem"];

function checkMemoryType(value: Value, register: number): void {
  if (!isPointer(value) || value.nullable || !memoryKinds.includes(value.kind)) denyMemoryType(register, value);
}

function checkMap(walk: Walk, { id, prototype }: Call, map: VerifierMap): void {
  const register = prototype.arguments.indexOf("map") + 1;
  if (prototype.writesMap && (map.flags & BPF_F_RDONLY_PROG) !== 0) {
    deny("map-permission", "write into map forbidden", register);
  }
  if (id === helperIds.BPF_FUNC_tail_call) {
    if (map.type !== BPF_MAP_TYPE_PROG_ARRAY) {
      reject("helper-argument", "expected prog array map for tail call", register);
    }
    // In a subprogram, what is held is left to its caller, to which the other program returns.
    if (walk.depth === 0) walk.checkReleased("tail_call");
  }
  if (prototype.callsBack?.includes("map") && !withElements.includes(map.type)) {
    throw new Refusal(ENOTSUPP, "helper-argument", "callback function not allowed for map", register);
  }
  if (!goTogether(id, map.type)) {
    reject("helper-argument", `cannot pass map_type ${map.type} into func ${helperName(id)}`, register);
  }
}

/** A dynptr is made to the value of a map only. */
function checkDynptrMemory({ frame }: Walk, { prototype, id }: Call): void {
  const register = prototype.arguments.indexOf("dynptr memory") + 1;
  const value = frame.registers[register];
  if (register === 0 || !value || value.kind === "map_value") return;
  deny("dynptr", `Unsupported reg type ${typeName(value)} for ${helperName(id).replace(/#.*/, "")} data`, register);
}

function checkSize(walk: Walk, call: Call, size: Value, register: number, zeroAllowed: boolean): void {
  if (!isScalar(size)) denyType(size, register, "scalar");
  const { smin, umin, umax } = size.wide;
  if (smin < 0n) {
    const words = `R${register} min value is negative, either use unsigned or 'var &= const'`;
    deny("helper-size", words, register);
  }
  if (umin === 0n && !zeroAllowed) {
    deny("helper-size", `R${register} invalid zero-sized read: u64=[${umin},${umax}]`, register);
  }
  if (umax >= BigInt(MAX_DIRECT_VALUE_OFFSET)) {
    const words = `R${register} unbounded memory access, use 'var &= const' or 'if (var < const)'`;
    deny("helper-size", words, register);
  }
  walk.needExact(size);
  const memory = walk.read(register - 1);
  const argument = call.prototype.arguments[register - 2]!;
  if (isScalar(memory)) {
    // NULL, which was allowed; then there is nothing to read.
    if (umax !== 0n) denyType(memory, register - 1, "fp");
    return;
  }
  const write = argument === "uninitialised memory" || argument === "dynptr memory";
  const packet = call.prototype.packetMemory === true;
  checkHelperMemory(walk, register - 1, Number(umax), { write, whole: scalars.isConstant(size), packet });
}

const MAX_STRING = 4096;

function checkConstantString(value: Value, register: number): void {
  expectKind(value, register, "map_value");
  const map = value.map!;
  if (!map.frozen || (map.flags & BPF_F_RDONLY_PROG) === 0 || !map.contents) {
    deny("helper-argument", `R${register} does not point to a readonly map'`, register);
  }
  if (!scalars.isConstant(value.variable)) {
    deny("helper-argument", `R${register} is not a constant address'`, register);
  }
  const start = value.offset + Number(scalars.numberOf(value.variable));
  if (start < 0) deny("map-value-bounds", `R${register} min value is outside of the allowed memory range`, register);
  if (map.type === BPF_MAP_TYPE_ARRAY && map.maxEntries !== 1) {
    throw new Refusal(ENOTSUPP, "helper-argument", "direct value access on string failed", register);
  }
  for (let at = start; at < Math.min(map.valueSize, start + MAX_STRING); at++) {
    if (map.contents(at, 1) === 0n) return;
  }
  reject("helper-argument", "string is not zero-terminated", register);
}

function returnValue(walk: Walk, { id, prototype, map, recordSize, dynptr, key }: Call): Value | undefined {
  switch (prototype.returns) {
    case "integer":
      return scalars.UNKNOWN;
    case "nothing":
      return undefined;
    case "map value or null":
      if (socketMaps.includes(map!.type)) {
        reject("unsupported", "pointers to sockets are not in the embedded kernel", 0);
      }
      if (id === helperIds.BPF_FUNC_map_lookup_elem && key !== undefined && key < BigInt(map!.maxEntries)) {
        return pointer("map_value", { map: map!, id: hasLock(map) ? walk.newId() : 0 });
      }
      return pointer("map_value", { nullable: true, id: walk.newId(), map: map! });
    case "map value":
      return pointer("map_value", { map: map!, id: hasLock(map) ? walk.newId() : 0 });
    case "socket or null":
      return pointer("sock", { nullable: true, id: walk.newId() });
    case "record or null": {
      const reference = walk.acquire();
      return pointer("ringbuf_mem", { nullable: true, id: reference, reference, size: recordSize });
    }
    case "dynptr memory or null": {
      const { id: owner, reference } = dynptr!;
      return pointer("mem", { nullable: true, id: walk.newId(), size: recordSize, dynptr: owner, reference });
    }
  }
}
