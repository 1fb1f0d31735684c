// Loads and stores through each kind of pointer, by instructions and by helpers.
// Linux: kernel/bpf/verifier.c, check_mem_access, check_helper_mem_access

import { ENOTSUPP } from "../../uapi/errno.ts";
import { BPF_F_RDONLY_PROG, BPF_F_STRICT_ALIGNMENT, BPF_F_WRONLY_PROG } from "../../uapi/flags.ts";
import { BPF_MAP_TYPE_ARRAY } from "../../uapi/map-types.ts";
import type { SpecialFieldKind } from "../btf-fields.ts";
import { bpfSock } from "../context.ts";
import { findField } from "../programs/model.ts";
import { socketFields } from "../programs/socket.ts";
import { deny, Refusal, reject } from "./refusal.ts";
import * as scalars from "./scalar.ts";
import { giveStackToHelper, loadStack, storeStack } from "./stack.ts";
import { MAX_DIRECT_VALUE_OFFSET } from "./structure.ts";
import * as tnum from "./tnum.ts";
import { isPointer, type Pointer, pointer, typeName, type Value } from "./values.ts";
import type { Walk } from "./walk.ts";

/** A load or store of `size` bytes at a register + `offset`. */
export interface Access {
  readonly register: number;
  readonly offset: number;
  readonly size: number;
  /** Whether a load extends the sign. */
  readonly signed?: boolean;
  readonly atomic?: boolean;
}

/** What a load gives. */
export function load(walk: Walk, access: Access): Value {
  const base = checkBase(walk, access);
  const { register, offset, size } = access;
  const extend = (value: Value): Value =>
    access.signed && !isPointer(value) ? scalars.signExtend(value, size, 64) : value;
  switch (base.kind) {
    case "map_value":
      checkMapValue(base, register, offset, size, "read");
      return extend(constantContent(base, register, offset, size) ?? scalars.ofSize(size));
    case "map_key":
      checkRegion(base, register, offset, size, base.map!.keySize);
      break;
    case "mem":
    case "ringbuf_mem":
      checkRegion(base, register, offset, size, base.size);
      break;
    case "ctx":
      return loadContext(walk, base, access);
    case "fp":
      return extend(loadStack(walk, register, base, offset, size));
    case "pkt":
    case "pkt_meta":
      checkPacket(base, register, offset, size);
      break;
    case "sock":
    case "sock_common":
    case "xdp_sock":
      checkSocket(base.kind, register, offset, size);
      break;
    case "arena":
      break;
    default:
      deny("invalid-access", `R${register} invalid mem access '${typeName(base)}'`, register);
  }
  return scalars.ofSize(size, access.signed);
}

/** Checks a store, and keeps what was stored where that is the stack. */
export function store(walk: Walk, access: Access, value: Value, valueRegister: number | undefined): void {
  const base = checkBase(walk, access);
  const { register, offset, size } = access;
  if (walk.mayNotLeak && isPointer(value) && base.kind !== "fp") {
    const place =
      base.kind === "map_value" ? "map" : base.kind === "ctx" ? "ctx" : base.kind === "pkt" ? "packet" : "mem";
    deny("leak", `R${valueRegister} leaks addr into ${place}`, valueRegister);
  }
  switch (base.kind) {
    case "map_value":
      checkMapValue(base, register, offset, size, "write");
      return;
    case "map_key":
      deny("map-permission", `write to change key R${register} not allowed`, register);
      break;
    case "mem":
    case "ringbuf_mem":
      checkRegion(base, register, offset, size, base.size);
      return;
    case "ctx":
      checkUnmodified(base, register);
      if (!findField(walk.model, walk.input.expectedAttachType, offset, size, "write"))
        denyContext(register, offset, size);
      walk.contextBytes = Math.max(walk.contextBytes, offset + size);
      return;
    case "fp":
      storeStack(walk, { register, offset, size }, base, value, valueRegister);
      return;
    case "pkt":
    case "pkt_meta":
      if (walk.model.packet !== "write") deny("packet-access", "cannot write into packet", register);
      checkPacket(base, register, offset, size);
      return;
    case "arena":
      return;
    case "sock":
    case "sock_common":
    case "xdp_sock":
      deny("invalid-access", `R${register} cannot write into ${base.kind}`, register);
      break;
    default:
      deny("invalid-access", `R${register} invalid mem access '${typeName(base)}'`, register);
  }
}

/** What the memory of a helper's argument is for. */
export interface HelperMemory {
  readonly write: boolean;
  /** Whether all of it is written. */
  readonly whole: boolean;
  /** Whether the helper takes packet memory. */
  readonly packet: boolean;
}

/** Checks `size` bytes that a helper reads or writes at a register. */
export function checkHelperMemory(walk: Walk, register: number, size: number, use: HelperMemory): void {
  const base = walk.read(register);
  if (base.kind === "scalar" || base.nullable) denyMemoryType(register, base);
  switch (base.kind) {
    case "fp":
      giveStackToHelper(walk, register, base, size, use);
      return;
    case "pkt":
    case "pkt_meta":
      if (!use.packet || !walk.model.packetToHelpers || (use.write && walk.model.packet !== "write")) {
        deny("packet-access", "helper access to the packet is not allowed", register);
      }
      checkPacket(base, register, 0, size);
      return;
    case "map_value":
      checkMapValue(base, register, 0, size, use.write ? "write" : "read", false);
      return;
    case "map_key":
      if (use.write) deny("map-permission", `R${register} cannot write into map_key`, register);
      checkRegion(base, register, 0, size, base.map!.keySize);
      return;
    case "mem":
    case "ringbuf_mem":
      checkRegion(base, register, 0, size, base.size);
      return;
    default:
      denyMemoryType(register, base);
  }
}

/** Refuses a context pointer that was moved. */
export function checkUnmodified({ kind, offset, variable }: Pointer, register: number): void {
  if (offset < 0) deny("context", `negative offset ${kind} ptr R${register} off=${offset} disallowed`, register);
  if (offset !== 0) {
    deny("context", `dereference of modified ${kind} ptr R${register} off=${offset} disallowed`, register);
  }
  if (!scalars.isZero(variable)) {
    deny("context", `variable ${kind} access var_off=${tnum.print(variable.bits)} disallowed`, register);
  }
}

export function denyMemoryType(register: number, value: Value): never {
  const expected = "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_";
  deny("helper-argument", `R${register} type=${typeName(value)} expected=${expected}`, register);
}

function checkBase(walk: Walk, { register, offset, size, atomic }: Access): Pointer {
  const base = walk.read(register);
  if (base.kind === "scalar") deny("invalid-access", `R${register} invalid mem access 'scalar'`, register);
  if (base.nullable) deny("null-check", `R${register} invalid mem access '${typeName(base)}'`, register);
  walk.noteArena(base.kind === "arena", register);
  if (base.kind === "arena") return base;
  const strict = atomic || base.kind === "fp" || (walk.input.flags & BPF_F_STRICT_ALIGNMENT) !== 0;
  if (strict) checkAlignment(base, offset, size);
  return base;
}

const alignmentNames: Partial<Record<Pointer["kind"], string>> = { fp: "stack ", map_value: "value ", ctx: "context " };
/** Bytes before the IP header: on the machines that need alignment, packets begin this much after an aligned address. */
const NET_IP_ALIGN = 2;

function checkAlignment(base: Pointer, offset: number, size: number): void {
  const packet = base.kind === "pkt" || base.kind === "pkt_meta";
  const fixed = base.offset + offset + (packet ? NET_IP_ALIGN : 0);
  if (tnum.isAligned(tnum.add(base.variable.bits, tnum.constant(BigInt(fixed))), size)) return;
  const { bits } = base.variable;
  const variable = tnum.isConstant(bits) ? `${BigInt.asIntN(64, bits.value)}` : tnum.print(bits);
  const where = packet
    ? `packet access off ${NET_IP_ALIGN}+${variable}+${base.offset}+${offset}`
    : `${alignmentNames[base.kind] ?? ""}access off ${variable}+${base.offset}+${offset}`;
  deny("alignment", `misaligned ${where} size ${size}`);
}

function checkMapValue(
  base: Pointer,
  register: number,
  offset: number,
  size: number,
  mode: "read" | "write",
  direct = true,
): void {
  const { flags, valueSize } = base.map!;
  const forbidden = mode === "read" ? BPF_F_WRONLY_PROG : BPF_F_RDONLY_PROG;
  if ((flags & forbidden) !== 0) {
    const words = mode === "read" ? "read from map forbidden" : "write into map forbidden";
    deny("map-permission", `${words}, value_size=${valueSize} off=${base.offset + offset} size=${size}`, register);
  }
  checkRegion(base, register, offset, size, valueSize);
  checkSpecialFields(base, register, offset, size, direct);
}

/** Names of special fields that are not `bpf_` and their kind. */
const fieldNames: Readonly<Partial<Record<SpecialFieldKind, string>>> = {
  workqueue: "bpf_wq",
  kptr: "kptr",
  kptr_untrusted: "kptr",
  percpu_kptr: "percpu_kptr",
  uptr: "uptr",
};

/** Refuses what touches a lock, a timer, …: the kernel alone does. */
function checkSpecialFields(base: Pointer, register: number, offset: number, size: number, direct: boolean): void {
  const start = base.offset + offset;
  const first = start + Number(base.variable.wide.smin);
  const end = start + Number(base.variable.wide.umax) + size;
  for (const field of base.map!.fields ?? []) {
    if (first >= field.offset + field.size || field.offset >= end) continue;
    const name = fieldNames[field.kind] ?? `bpf_${field.kind}`;
    if (name.startsWith("bpf_")) deny("map-permission", `${name} cannot be accessed directly by load/store`, register);
    if (!direct) deny("map-permission", `${name} cannot be accessed indirectly by helper`, register);
    reject("unsupported", `${name} in a map value is not in the embedded kernel yet`, register);
  }
}

const regionNames: Partial<Record<Pointer["kind"], string>> = {
  map_key: "map key, key_size",
  map_value: "map value, value_size",
};

/** Checks an access to memory of a known size: a map's key or value, or a ring buffer record. */
function checkRegion(base: Pointer, register: number, offset: number, size: number, limit: number): void {
  const rule = base.kind === "map_value" ? "map-value-bounds" : "memory-bounds";
  const name = regionNames[base.kind] ?? "memory, mem_size";
  const at = base.offset + offset;
  const { smin, umax } = base.variable.wide;
  if (smin < 0n && (smin <= -(1n << 31n) || Number(smin) + at < 0)) {
    const advice = "either use unsigned index or do a if (index >=0) check.";
    deny(rule, `R${register} min value is negative, ${advice}`, register);
  }
  const describe = (at: number) => `invalid access to ${name}=${limit} off=${at} size=${size}`;
  const low = Number(smin) + at;
  if (low < 0 || low + size > limit) {
    deny(rule, `${describe(low)}\nR${register} min value is outside of the allowed memory range`, register);
  }
  if (umax >= BigInt(MAX_DIRECT_VALUE_OFFSET)) {
    deny(rule, `R${register} unbounded memory access, make sure to bounds check any such access`, register);
  }
  const high = Number(umax) + at;
  if (high + size > limit) {
    deny(rule, `${describe(high)}\nR${register} max value is outside of the allowed memory range`, register);
  }
}

function checkPacket(base: Pointer, register: number, offset: number, size: number): void {
  if (base.variable.wide.smin < 0n) {
    const advice = "either use unsigned index or do a if (index >=0) check.";
    deny("packet-bounds", `R${register} min value is negative, ${advice}`, register);
  }
  const at = base.offset + offset;
  if (at >= 0 && at + size <= base.range) return;
  const words = `invalid access to packet, off=${at} size=${size}, R${register}(id=${base.id},off=${at},r=${base.range})`;
  deny("packet-bounds", `${words}\nR${register} offset is outside of the packet`, register);
}

function checkSocket(kind: keyof typeof socketFields, register: number, offset: number, size: number): void {
  const isPadding = kind !== "xdp_sock" && (offset & ~1) === bpfSock.padding;
  if (!isPadding && findField({ context: socketFields[kind] }, 0, offset, size, "read")) return;
  deny("memory-bounds", `R${register} invalid ${kind} access off=${offset} size=${size}`, register);
}

function loadContext(walk: Walk, base: Pointer, { register, offset, size, signed }: Access): Value {
  checkUnmodified(base, register);
  const field = findField(walk.model, walk.input.expectedAttachType, offset, size, "read");
  if (!field || (signed && field.holds)) denyContext(register, offset, size);
  walk.contextBytes = Math.max(walk.contextBytes, offset + size);
  if (field.holds === "sock_common") return pointer("sock_common", { nullable: true, id: walk.newId() });
  return field.holds ? pointer(field.holds) : scalars.ofSize(size, signed);
}

function denyContext(register: number, offset: number, size: number): never {
  deny("context", `invalid bpf_context access off=${offset} size=${size}`, register);
}

/** Content of a frozen map that programs cannot write. Of an array, Linux knows it where there is one element. */
function constantContent(base: Pointer, register: number, offset: number, size: number): Value | undefined {
  const map = base.map!;
  if (!map.frozen || (map.flags & BPF_F_RDONLY_PROG) === 0 || !scalars.isConstant(base.variable)) return undefined;
  if (map.type === BPF_MAP_TYPE_ARRAY && map.maxEntries !== 1) {
    const words = `direct value access to an array of one element only, max_entries=${map.maxEntries}`;
    throw new Refusal(ENOTSUPP, "map-permission", words, register);
  }
  const value = map.contents?.(base.offset + offset + Number(scalars.numberOf(base.variable)), size);
  return value === undefined ? undefined : scalars.constant(value);
}
