// The interpreter's own form of instructions: one number says what to do, and operands are addresses, of registers or of the immediate.
// Linux: Documentation/bpf/standardization/instruction-set.rst

import {
  BPF_FUNC_current_task_under_cgroup,
  BPF_FUNC_dynptr_data,
  BPF_FUNC_dynptr_from_mem,
  BPF_FUNC_dynptr_read,
  BPF_FUNC_dynptr_write,
  BPF_FUNC_for_each_map_elem,
  BPF_FUNC_get_prandom_u32,
  BPF_FUNC_get_smp_processor_id,
  BPF_FUNC_loop,
  BPF_FUNC_map_delete_elem,
  BPF_FUNC_map_lookup_elem,
  BPF_FUNC_map_lookup_percpu_elem,
  BPF_FUNC_map_peek_elem,
  BPF_FUNC_map_pop_elem,
  BPF_FUNC_map_push_elem,
  BPF_FUNC_map_update_elem,
  BPF_FUNC_redirect_map,
  BPF_FUNC_ringbuf_discard,
  BPF_FUNC_ringbuf_discard_dynptr,
  BPF_FUNC_ringbuf_output,
  BPF_FUNC_ringbuf_query,
  BPF_FUNC_ringbuf_reserve,
  BPF_FUNC_ringbuf_reserve_dynptr,
  BPF_FUNC_ringbuf_submit,
  BPF_FUNC_ringbuf_submit_dynptr,
  BPF_FUNC_skb_under_cgroup,
  BPF_FUNC_spin_lock,
  BPF_FUNC_spin_unlock,
  BPF_FUNC_tail_call,
  BPF_FUNC_user_ringbuf_drain,
} from "../src/uapi/helper-ids.ts";
import {
  BPF_ABS,
  BPF_ADDR_SPACE_CAST,
  BPF_ALU,
  BPF_ALU64,
  BPF_ATOMIC,
  BPF_CALL,
  BPF_DIV,
  BPF_DW,
  BPF_END,
  BPF_EXIT,
  BPF_IMM,
  BPF_IND,
  BPF_JA,
  BPF_JMP,
  BPF_JMP32,
  BPF_LD,
  BPF_LDX,
  BPF_MEM,
  BPF_MEMSX,
  BPF_MOD,
  BPF_MOV,
  BPF_PSEUDO_CALL,
  BPF_PSEUDO_FUNC,
  BPF_PSEUDO_KFUNC_CALL,
  BPF_REG_10,
  BPF_ST,
  BPF_STX,
  BPF_TO_BE,
  BPF_X,
} from "../src/uapi/insn.ts";
import {
  BPF_PROBE_ATOMIC,
  BPF_PROBE_MEM32,
  KFUNC_ARENA_ALLOC_PAGES,
  KFUNC_ARENA_FREE_PAGES,
  KFUNC_ARENA_RESERVE_PAGES,
  REGISTERS,
} from "./layout.ts";

/** A decoded instruction. */
@unmanaged
export class Operation {
  code: u32;
  /** Address of the destination register. */
  destination: usize;
  /** Address of the source register, or of `immediate`. */
  source: usize;
  /** Of a jump or call: address of the operation it goes to. Otherwise the signed offset; of a packet load, what is added to `source`. */
  offset: i32;
  immediate: i64;
}

// Numbers of operations, nearly without gaps, so that the interpreter's switch becomes one table jump.

// ALU64 + (opcode >> 4)
const ALU64 = 16;
export const ADD64 = 16;
export const SUB64 = 17;
export const MUL64 = 18;
export const DIV64 = 19;
export const OR64 = 20;
export const AND64 = 21;
export const LSH64 = 22;
export const RSH64 = 23;
export const NEG64 = 24;
export const MOD64 = 25;
export const XOR64 = 26;
export const MOV64 = 27;
export const ARSH64 = 28;

// ALU32 + (opcode >> 4)
const ALU32 = 32;
export const ADD32 = 32;
export const SUB32 = 33;
export const MUL32 = 34;
export const DIV32 = 35;
export const OR32 = 36;
export const AND32 = 37;
export const LSH32 = 38;
export const RSH32 = 39;
export const NEG32 = 40;
export const MOD32 = 41;
export const XOR32 = 42;
export const MOV32 = 43;
export const ARSH32 = 44;

// JMP64 + (opcode >> 4)
const JMP64 = 48;
export const JA = 48;
export const JEQ64 = 49;
export const JGT64 = 50;
export const JGE64 = 51;
export const JSET64 = 52;
export const JNE64 = 53;
export const JSGT64 = 54;
export const JSGE64 = 55;
export const EXIT = 57;
export const JLT64 = 58;
export const JLE64 = 59;
export const JSLT64 = 60;
export const JSLE64 = 61;
export const JCOND = 62;

// JMP32 + (opcode >> 4)
const JMP32 = 64;
export const JEQ32 = 65;
export const JGT32 = 66;
export const JGE32 = 67;
export const JSET32 = 68;
export const JNE32 = 69;
export const JSGT32 = 70;
export const JSGE32 = 71;
export const JLT32 = 74;
export const JLE32 = 75;
export const JSLT32 = 76;
export const JSLE32 = 77;

// LOAD, LOAD_SIGNED, STORE + ((opcode & BPF_DW) >> 3)
const LOAD = 80;
export const LOAD32 = 80;
export const LOAD16 = 81;
export const LOAD8 = 82;
export const LOAD64 = 83;
const LOAD_SIGNED = 84;
export const LOAD_SIGNED32 = 84;
export const LOAD_SIGNED16 = 85;
export const LOAD_SIGNED8 = 86;
const STORE = 88;
export const STORE32 = 88;
export const STORE16 = 89;
export const STORE8 = 90;
export const STORE64 = 91;

// Forms of their own.
export const LOAD_IMM64 = 92;
export const SDIV64 = 93;
export const SMOD64 = 94;
export const SDIV32 = 95;
export const SMOD32 = 96;
export const MOVSX8_64 = 97;
export const MOVSX16_64 = 98;
export const MOVSX32_64 = 99;
export const MOVSX8_32 = 100;
export const MOVSX16_32 = 101;
export const SWAP16 = 102;
export const SWAP32 = 103;
export const SWAP64 = 104;
export const TRUNCATE16 = 105;
export const TRUNCATE32 = 106;
export const NOTHING = 107;
export const CALL_LOCAL = 108;
export const CALL_HELPER = 109;
/** Helpers that the machine answers itself. */
export const MAP_LOOKUP = 110;
export const MAP_UPDATE = 111;
export const MAP_DELETE = 112;
export const MAP_LOOKUP_PERCPU = 113;
export const RINGBUF_OUTPUT = 114;
export const RINGBUF_RESERVE = 115;
export const RINGBUF_SUBMIT = 116;
export const RINGBUF_DISCARD = 117;
export const RINGBUF_QUERY = 118;
export const GET_CPU = 119;
export const GET_RANDOM = 120;
/** Jumps back, which costs one of the run's budget. Backward jumps go through one of these, behind the program's end. */
export const BACK = 121;
/** What a jump out of the program reaches. */
export const OUT_OF_PROGRAM = 122;
export const UNKNOWN = 123;

// ATOMIC + ((opcode & BPF_DW) >> 3)
const ATOMIC = 124;
export const ATOMIC32 = 124;
export const ATOMIC16 = 125;
export const ATOMIC8 = 126;
export const ATOMIC64 = 127;

// LOAD_PACKET + ((opcode & BPF_DW) >> 3)
const LOAD_PACKET = 128;
export const LOAD_PACKET32 = 128;
export const LOAD_PACKET16 = 129;
export const LOAD_PACKET8 = 130;

/** More helpers that the machine answers itself. */
export const TAIL_CALL = 132;
export const MAP_PUSH = 133;
export const MAP_POP = 134;
export const MAP_PEEK = 135;
export const REDIRECT_MAP = 136;
export const SKB_UNDER_CGROUP = 137;
export const TASK_UNDER_CGROUP = 138;
export const DYNPTR_FROM_MEM = 139;
export const DYNPTR_READ = 140;
export const DYNPTR_WRITE = 141;
export const DYNPTR_DATA = 142;
export const RINGBUF_RESERVE_DYNPTR = 143;
export const RINGBUF_SUBMIT_DYNPTR = 144;
export const RINGBUF_DISCARD_DYNPTR = 145;
/** Of those, the ones that call back into the program. */
export const FOR_EACH_MAP_ELEM = 146;
export const LOOP = 147;
export const USER_RINGBUF_DRAIN = 148;

// ARENA_LOAD, ARENA_LOAD_SIGNED, ARENA_STORE, ARENA_ATOMIC + ((opcode & BPF_DW) >> 3)
const ARENA_LOAD = 152;
export const ARENA_LOAD32 = 152;
export const ARENA_LOAD16 = 153;
export const ARENA_LOAD8 = 154;
export const ARENA_LOAD64 = 155;
const ARENA_LOAD_SIGNED = 156;
export const ARENA_LOAD_SIGNED32 = 156;
export const ARENA_LOAD_SIGNED16 = 157;
export const ARENA_LOAD_SIGNED8 = 158;
const ARENA_STORE = 160;
export const ARENA_STORE32 = 160;
export const ARENA_STORE16 = 161;
export const ARENA_STORE8 = 162;
export const ARENA_STORE64 = 163;
const ARENA_ATOMIC = 164;
export const ARENA_ATOMIC32 = 164;
export const ARENA_ATOMIC16 = 165;
export const ARENA_ATOMIC8 = 166;
export const ARENA_ATOMIC64 = 167;
export const ARENA_CAST_USER = 168;
export const ARENA_ALLOCATE = 169;
export const ARENA_FREE = 170;
export const ARENA_RESERVE = 171;

export const NO_JUMP: i32 = i32.MIN_VALUE;

/** Bytes of a slot of bytecode. */
export const SLOT_BYTES = 8;
/** Opcode of a 64-bit immediate load. */
const LD_IMM64 = BPF_LD | BPF_IMM | BPF_DW;
/** Class and mode of an opcode: BPF_LD with BPF_ABS or BPF_IND is a load from the packet. */
const MODE_MASK: u32 = 0xe7;

/** Decodes the slot at `slot`, but for where jumps and calls go. */
export function decode(slot: usize, operation: Operation): void {
  const opcode = <u32>load<u8>(slot);
  const registers = <u32>load<u8>(slot, 1);
  const dst = registers & 15;
  const src = registers >> 4;
  const off = <i32>load<i16>(slot, 2);
  const imm = load<i32>(slot, 4);
  operation.destination = register(dst);
  operation.source = register(src);
  operation.offset = off;
  operation.immediate =
    opcode == LD_IMM64 ? <i64>(<u32>imm) | ((<i64>load<i32>(slot, SLOT_BYTES + 4)) << 32) : <i64>imm;
  if ((opcode & MODE_MASK) == (BPF_LD | BPF_IND)) operation.offset = imm;
  if (usesImmediate(opcode)) operation.source = changetype<usize>(operation) + offsetof<Operation>("immediate");
  operation.code = max(dst, src) > <u32>BPF_REG_10 ? UNKNOWN : codeOf(opcode, src, off, imm);
}

/** How many slots behind the next one the jump or call at `slot` goes; NO_JUMP for other instructions. */
export function jumpDistance(slot: usize): i32 {
  const opcode = <u32>load<u8>(slot);
  const kind = opcode & 0xf0;
  const wide = (opcode & 7) == BPF_JMP;
  if ((!wide && (opcode & 7) != BPF_JMP32) || kind == BPF_EXIT) return NO_JUMP;
  if (kind == BPF_CALL) return load<u8>(slot, 1) >> 4 == BPF_PSEUDO_CALL ? load<i32>(slot, 4) : NO_JUMP;
  return kind == BPF_JA && !wide ? load<i32>(slot, 4) : <i32>load<i16>(slot, 2);
}

/** Whether the slot at `slot` loads the address of a function, which lies as many slots behind the next one as its immediate says. */
export function namesFunction(slot: usize): bool {
  return load<u8>(slot) == LD_IMM64 && load<u8>(slot, 1) >> 4 == BPF_PSEUDO_FUNC;
}

function usesImmediate(opcode: u32): bool {
  const kind = opcode & 7;
  if (kind == BPF_ST || (opcode & MODE_MASK) == (BPF_LD | BPF_ABS)) return true;
  return (kind & BPF_ALU) != 0 && !(opcode & BPF_X);
}

function codeOf(opcode: u32, src: u32, off: i32, imm: i32): u32 {
  switch (opcode & 7) {
    case BPF_ALU:
      return aluCode(opcode, off, imm, false);
    case BPF_ALU64:
      return aluCode(opcode, off, imm, true);
    case BPF_JMP:
      return (opcode & 0xf0) == BPF_CALL ? callCode(opcode, src, imm) : JMP64 + (opcode >> 4);
    case BPF_JMP32:
      return (opcode & 0xf0) == BPF_JA ? JA : JMP32 + (opcode >> 4);
    case BPF_LD:
      return opcode == LD_IMM64 ? LOAD_IMM64 : packetCode(opcode);
    default:
      return memoryCode(opcode);
  }
}

function aluCode(opcode: u32, off: i32, imm: i32, wide: bool): u32 {
  const kind = opcode & 0xf0;
  if (kind == BPF_END) return byteOrderCode(wide || (opcode & BPF_TO_BE) != 0, imm);
  if (!off) return (wide ? ALU64 : ALU32) + (opcode >> 4);
  if (kind == BPF_DIV && off == 1) return wide ? SDIV64 : SDIV32;
  if (kind == BPF_MOD && off == 1) return wide ? SMOD64 : SMOD32;
  if (kind == BPF_MOV && off == 8) return wide ? MOVSX8_64 : MOVSX8_32;
  if (kind == BPF_MOV && off == 16) return wide ? MOVSX16_64 : MOVSX16_32;
  if (kind == BPF_MOV && off == 32 && wide) return MOVSX32_64;
  if (kind == BPF_MOV && off == BPF_ADDR_SPACE_CAST && wide) return ARENA_CAST_USER;
  return UNKNOWN;
}

/** Memory is little-endian: to big-endian is a swap, to little-endian cuts off the upper bytes. */
function byteOrderCode(swap: bool, bits: i32): u32 {
  if (bits == 16) return swap ? SWAP16 : TRUNCATE16;
  if (bits == 32) return swap ? SWAP32 : TRUNCATE32;
  if (bits == 64) return swap ? SWAP64 : NOTHING;
  return UNKNOWN;
}

function callCode(opcode: u32, src: u32, imm: i32): u32 {
  if (opcode & BPF_X) return UNKNOWN;
  if (src == BPF_PSEUDO_CALL) return CALL_LOCAL;
  if (src == BPF_PSEUDO_KFUNC_CALL) return kernelFunctionCode(imm);
  return src ? UNKNOWN : helperCode(imm);
}

function packetCode(opcode: u32): u32 {
  const mode = opcode & 0xe0;
  const width = (opcode & BPF_DW) >> 3;
  return (mode == BPF_ABS || mode == BPF_IND) && width != BPF_DW >> 3 ? LOAD_PACKET + width : UNKNOWN;
}

function memoryCode(opcode: u32): u32 {
  const width = (opcode & BPF_DW) >> 3;
  const isLoad = (opcode & 7) == BPF_LDX;
  switch (opcode & 0xe0) {
    case BPF_MEM:
      return (isLoad ? LOAD : STORE) + width;
    case BPF_MEMSX:
      return isLoad && width != BPF_DW >> 3 ? LOAD_SIGNED + width : UNKNOWN;
    // Of a load: BPF_PROBE_MEM32SX.
    case BPF_ATOMIC:
      if (isLoad) return width != BPF_DW >> 3 ? ARENA_LOAD_SIGNED + width : UNKNOWN;
      return (opcode & 7) == BPF_STX ? ATOMIC + width : UNKNOWN;
    case BPF_PROBE_MEM32:
      return (isLoad ? ARENA_LOAD : ARENA_STORE) + width;
    case BPF_PROBE_ATOMIC:
      return (opcode & 7) == BPF_STX ? ARENA_ATOMIC + width : UNKNOWN;
    default:
      return UNKNOWN;
  }
}

function kernelFunctionCode(number: i32): u32 {
  switch (number) {
    case KFUNC_ARENA_ALLOC_PAGES:
      return ARENA_ALLOCATE;
    case KFUNC_ARENA_FREE_PAGES:
      return ARENA_FREE;
    case KFUNC_ARENA_RESERVE_PAGES:
      return ARENA_RESERVE;
    default:
      return UNKNOWN;
  }
}

function helperCode(id: i32): u32 {
  switch (id) {
    case BPF_FUNC_map_lookup_elem:
      return MAP_LOOKUP;
    case BPF_FUNC_map_update_elem:
      return MAP_UPDATE;
    case BPF_FUNC_map_delete_elem:
      return MAP_DELETE;
    case BPF_FUNC_map_lookup_percpu_elem:
      return MAP_LOOKUP_PERCPU;
    case BPF_FUNC_map_push_elem:
      return MAP_PUSH;
    case BPF_FUNC_map_pop_elem:
      return MAP_POP;
    case BPF_FUNC_map_peek_elem:
      return MAP_PEEK;
    case BPF_FUNC_tail_call:
      return TAIL_CALL;
    case BPF_FUNC_redirect_map:
      return REDIRECT_MAP;
    case BPF_FUNC_skb_under_cgroup:
      return SKB_UNDER_CGROUP;
    case BPF_FUNC_current_task_under_cgroup:
      return TASK_UNDER_CGROUP;
    case BPF_FUNC_spin_lock:
    case BPF_FUNC_spin_unlock:
      // There is one thread.
      return NOTHING;
    case BPF_FUNC_ringbuf_output:
      return RINGBUF_OUTPUT;
    case BPF_FUNC_ringbuf_reserve:
      return RINGBUF_RESERVE;
    case BPF_FUNC_ringbuf_submit:
      return RINGBUF_SUBMIT;
    case BPF_FUNC_ringbuf_discard:
      return RINGBUF_DISCARD;
    case BPF_FUNC_ringbuf_query:
      return RINGBUF_QUERY;
    case BPF_FUNC_get_smp_processor_id:
      return GET_CPU;
    case BPF_FUNC_get_prandom_u32:
      return GET_RANDOM;
    case BPF_FUNC_for_each_map_elem:
      return FOR_EACH_MAP_ELEM;
    case BPF_FUNC_loop:
      return LOOP;
    case BPF_FUNC_user_ringbuf_drain:
      return USER_RINGBUF_DRAIN;
    case BPF_FUNC_dynptr_from_mem:
      return DYNPTR_FROM_MEM;
    case BPF_FUNC_dynptr_read:
      return DYNPTR_READ;
    case BPF_FUNC_dynptr_write:
      return DYNPTR_WRITE;
    case BPF_FUNC_dynptr_data:
      return DYNPTR_DATA;
    case BPF_FUNC_ringbuf_reserve_dynptr:
      return RINGBUF_RESERVE_DYNPTR;
    case BPF_FUNC_ringbuf_submit_dynptr:
      return RINGBUF_SUBMIT_DYNPTR;
    case BPF_FUNC_ringbuf_discard_dynptr:
      return RINGBUF_DISCARD_DYNPTR;
    default:
      return CALL_HELPER;
  }
}

function register(number: u32): usize {
  return REGISTERS + number * sizeof<u64>();
}
