// The interpreter: one loop over decoded operations, registers in memory, every access checked.
// A 32-bit result is cast to u32, because a narrow load takes the width of the expression around it.
// Linux: kernel/bpf/core.c, ___bpf_prog_run; RFC 9669.

import { MAX_BPF_STACK, MAX_CALL_FRAMES } from "../src/uapi/insn.ts";
import { freeKept } from "./allocator.ts";
import { callArena, useArena } from "./arena-access.ts";
import { addressOfAtomic, atomic, isAtomic } from "./atomic.ts";
import { copy } from "./bytes.ts";
import { drain, forEachElement, repeat } from "./callbacks.ts";
import { underCgroup } from "./cgroup-array.ts";
import {
  Dynptr,
  dynptrData,
  dynptrFromMemory,
  dynptrRead,
  dynptrWrite,
  ringbufDiscardDynptr,
  ringbufReserveDynptr,
  ringbufSubmitDynptr,
} from "./dynptr.ts";
import { freeDeferred } from "./hash.ts";
import { helper } from "./imports.ts";
import {
  BUDGET,
  CPU,
  DATA_START,
  DEPTH,
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_ALIGNMENT,
  FAULT_BUDGET,
  FAULT_CALL_DEPTH,
  FAULT_INSTRUCTION,
  FAULT_NESTING,
  FAULT_NONE,
  FAULT_OUT_OF_PROGRAM,
  FAULT_SLOT,
  FRAME,
  MAX_DEPTH,
  MAX_FRAMES,
  R0,
  R1,
  R2,
  R3,
  R4,
  R5,
  R6,
  R10,
  REMAINING,
  SAVED_FRAMES,
  SAVED_REGISTERS,
  STACKS_END,
} from "./layout.ts";
import { MapHeader, mapDelete, mapLookupOn, mapPeek, mapPop, mapPush, mapUpdate } from "./map.ts";
import * as op from "./operations.ts";
import { Operation } from "./operations.ts";
import { addressInPacket, networkNumber } from "./packet.ts";
import * as pointerArray from "./pointer-array.ts";
import { lastExit, operationAt, Program, slotOf } from "./program.ts";
import { nextRandom } from "./random.ts";
import { redirectMap } from "./redirect-map.ts";
import { ringbufDiscard, ringbufOutput, ringbufQuery, ringbufReserve, ringbufSubmit } from "./ringbuf.ts";

/** r1 to r10 of an interrupted run. */
const SAVED_BYTES: usize = 80;
/** r6 to r9 of a caller. */
const CALLEE_SAVED_BYTES: usize = 32;
/** How often a may_goto of a frame falls through, and most turns of bpf_loop. Linux: BPF_MAX_LOOPS. */
export const MAX_LOOPS: u32 = 8 << 20;
/** Tail calls of one run. */
const MAX_TAIL_CALLS: u32 = 33;

/** What a caller gets back when its callee exits. */
@unmanaged
class Frame {
  r6: u64;
  r7: u64;
  r8: u64;
  r9: u64;
  returnTo: usize;
  loops: u32;
  program: Program;
}

const FRAME_BYTES: usize = offsetof<Frame>();
const LAST_FRAME: usize = <usize>SAVED_FRAMES + FRAME_BYTES * (<usize>MAX_FRAMES - 1);
/** From the first frame of a program to its last. */
const DEEPEST: usize = FRAME_BYTES * (MAX_CALL_FRAMES - 1);

/**
 * Runs a program on a CPU, r1 pointing to its context; r0 is left at RESULT.
 *
 * @returns FAULT_NONE, or which fault ended it, with FAULT_SLOT and FAULT_ADDRESS
 */
export function programRun(program: Program, context: usize, cpu: u32): i32 {
  const depth = load<usize>(DEPTH);
  const caller = load<usize>(FRAME);
  const frames: usize = depth ? caller + FRAME_BYTES : SAVED_FRAMES;
  if (depth == MAX_DEPTH || frames > LAST_FRAME) return FAULT_NESTING;
  const outerCpu = load<u32>(CPU);
  const saved = <usize>SAVED_REGISTERS + depth * SAVED_BYTES;
  if (depth) copy(saved, R1, SAVED_BYTES);
  store<usize>(DEPTH, depth + 1);
  store<u32>(CPU, cpu);
  store<u64>(R1, context);
  store<u64>(R10, <usize>STACKS_END - frameNumber(frames) * MAX_BPF_STACK);
  store<u32>(REMAINING, load<u32>(BUDGET));
  const fault = interpret(program, changetype<usize>(operationAt(program, 0)), frames, lastFrame(frames));
  store<u32>(CPU, outerCpu);
  store<usize>(FRAME, caller);
  store<usize>(DEPTH, depth);
  if (depth) copy(R1, saved, SAVED_BYTES);
  else {
    freeDeferred();
    freeKept();
  }
  return fault;
}

/**
 * Calls a function of the program from within a helper, r1 to r5 being its arguments; r0 is what it returns.
 *
 * @param frame of the caller
 * @param last frame that there is
 */
export function callBack(program: Program, callback: usize, frame: usize, last: usize): i32 {
  const remaining = load<u32>(REMAINING);
  if (!remaining) return FAULT_BUDGET;
  if (frame == last) return FAULT_CALL_DEPTH;
  store<u32>(REMAINING, remaining - 1);
  copy(frame, R6, CALLEE_SAVED_BYTES);
  store<u64>(R10, load<u64>(R10) - MAX_BPF_STACK);
  const fault = interpret(program, callback, frame + FRAME_BYTES, last);
  store<u64>(R10, load<u64>(R10) + MAX_BPF_STACK);
  copy(R6, frame, CALLEE_SAVED_BYTES);
  return fault;
}

/** Number of a frame, counted through all running programs. */
export function frameNumber(frame: usize): usize {
  return (frame - SAVED_FRAMES) / FRAME_BYTES;
}

/** The deepest frame of a program that starts in a frame. */
function lastFrame(frame: usize): usize {
  return min(frame + DEEPEST, LAST_FRAME);
}

/** Executes a function from its `first` operation, whose frame is `frames`, until it exits. */
function interpret(program: Program, first: usize, frames: usize, last: usize): i32 {
  let frame = frames;
  let loops = MAX_LOOPS;
  let tailCalls: u32 = 0;
  let budget = load<u32>(REMAINING);
  let limit = accessLimit();
  let next = first;
  while (true) {
    const now = changetype<Operation>(next);
    next += offsetof<Operation>();
    switch (now.code) {
      case op.ADD64:
        store<u64>(now.destination, load<u64>(now.destination) + load<u64>(now.source));
        break;
      case op.SUB64:
        store<u64>(now.destination, load<u64>(now.destination) - load<u64>(now.source));
        break;
      case op.MUL64:
        store<u64>(now.destination, load<u64>(now.destination) * load<u64>(now.source));
        break;
      case op.DIV64:
        store<u64>(now.destination, divide<u64>(load<u64>(now.destination), load<u64>(now.source)));
        break;
      case op.OR64:
        store<u64>(now.destination, load<u64>(now.destination) | load<u64>(now.source));
        break;
      case op.AND64:
        store<u64>(now.destination, load<u64>(now.destination) & load<u64>(now.source));
        break;
      case op.LSH64:
        store<u64>(now.destination, load<u64>(now.destination) << (load<u64>(now.source) & 63));
        break;
      case op.RSH64:
        store<u64>(now.destination, load<u64>(now.destination) >> (load<u64>(now.source) & 63));
        break;
      case op.NEG64:
        store<u64>(now.destination, 0 - load<u64>(now.destination));
        break;
      case op.MOD64:
        store<u64>(now.destination, remainder<u64>(load<u64>(now.destination), load<u64>(now.source)));
        break;
      case op.XOR64:
        store<u64>(now.destination, load<u64>(now.destination) ^ load<u64>(now.source));
        break;
      case op.MOV64:
        store<u64>(now.destination, load<u64>(now.source));
        break;
      case op.ARSH64:
        store<u64>(now.destination, load<i64>(now.destination) >> (load<i64>(now.source) & 63));
        break;

      case op.ADD32:
        store<u64>(now.destination, <u32>(load<u32>(now.destination) + load<u32>(now.source)));
        break;
      case op.SUB32:
        store<u64>(now.destination, <u32>(load<u32>(now.destination) - load<u32>(now.source)));
        break;
      case op.MUL32:
        store<u64>(now.destination, <u32>(load<u32>(now.destination) * load<u32>(now.source)));
        break;
      case op.DIV32:
        store<u64>(now.destination, divide<u32>(load<u32>(now.destination), load<u32>(now.source)));
        break;
      case op.OR32:
        store<u64>(now.destination, <u32>(load<u32>(now.destination) | load<u32>(now.source)));
        break;
      case op.AND32:
        store<u64>(now.destination, <u32>(load<u32>(now.destination) & load<u32>(now.source)));
        break;
      case op.LSH32:
        store<u64>(now.destination, <u32>(load<u32>(now.destination) << (load<u32>(now.source) & 31)));
        break;
      case op.RSH32:
        store<u64>(now.destination, <u32>(load<u32>(now.destination) >> (load<u32>(now.source) & 31)));
        break;
      case op.NEG32:
        store<u64>(now.destination, <u32>(0 - load<u32>(now.destination)));
        break;
      case op.MOD32:
        store<u64>(now.destination, remainder<u32>(load<u32>(now.destination), load<u32>(now.source)));
        break;
      case op.XOR32:
        store<u64>(now.destination, <u32>(load<u32>(now.destination) ^ load<u32>(now.source)));
        break;
      case op.MOV32:
        store<u64>(now.destination, load<u32>(now.source));
        break;
      case op.ARSH32:
        store<u64>(now.destination, <u32>(load<i32>(now.destination) >> (load<i32>(now.source) & 31)));
        break;

      case op.JA:
        next = now.offset;
        break;
      case op.JEQ64:
        if (load<u64>(now.destination) == load<u64>(now.source)) next = now.offset;
        break;
      case op.JGT64:
        if (load<u64>(now.destination) > load<u64>(now.source)) next = now.offset;
        break;
      case op.JGE64:
        if (load<u64>(now.destination) >= load<u64>(now.source)) next = now.offset;
        break;
      case op.JSET64:
        if (load<u64>(now.destination) & load<u64>(now.source)) next = now.offset;
        break;
      case op.JNE64:
        if (load<u64>(now.destination) != load<u64>(now.source)) next = now.offset;
        break;
      case op.JSGT64:
        if (load<i64>(now.destination) > load<i64>(now.source)) next = now.offset;
        break;
      case op.JSGE64:
        if (load<i64>(now.destination) >= load<i64>(now.source)) next = now.offset;
        break;
      case op.EXIT:
        if (frame == frames) {
          store<u32>(REMAINING, budget);
          return FAULT_NONE;
        }
        frame -= FRAME_BYTES;
        copy(R6, frame, CALLEE_SAVED_BYTES);
        store<u64>(R10, load<u64>(R10) + MAX_BPF_STACK);
        next = changetype<Frame>(frame).returnTo;
        loops = changetype<Frame>(frame).loops;
        program = changetype<Frame>(frame).program;
        break;
      case op.JLT64:
        if (load<u64>(now.destination) < load<u64>(now.source)) next = now.offset;
        break;
      case op.JLE64:
        if (load<u64>(now.destination) <= load<u64>(now.source)) next = now.offset;
        break;
      case op.JSLT64:
        if (load<i64>(now.destination) < load<i64>(now.source)) next = now.offset;
        break;
      case op.JSLE64:
        if (load<i64>(now.destination) <= load<i64>(now.source)) next = now.offset;
        break;
      case op.JCOND:
        if (loops) loops -= 1;
        else next = now.offset;
        break;

      case op.JEQ32:
        if (load<u32>(now.destination) == load<u32>(now.source)) next = now.offset;
        break;
      case op.JGT32:
        if (load<u32>(now.destination) > load<u32>(now.source)) next = now.offset;
        break;
      case op.JGE32:
        if (load<u32>(now.destination) >= load<u32>(now.source)) next = now.offset;
        break;
      case op.JSET32:
        if (load<u32>(now.destination) & load<u32>(now.source)) next = now.offset;
        break;
      case op.JNE32:
        if (load<u32>(now.destination) != load<u32>(now.source)) next = now.offset;
        break;
      case op.JSGT32:
        if (load<i32>(now.destination) > load<i32>(now.source)) next = now.offset;
        break;
      case op.JSGE32:
        if (load<i32>(now.destination) >= load<i32>(now.source)) next = now.offset;
        break;
      case op.JLT32:
        if (load<u32>(now.destination) < load<u32>(now.source)) next = now.offset;
        break;
      case op.JLE32:
        if (load<u32>(now.destination) <= load<u32>(now.source)) next = now.offset;
        break;
      case op.JSLT32:
        if (load<i32>(now.destination) < load<i32>(now.source)) next = now.offset;
        break;
      case op.JSLE32:
        if (load<i32>(now.destination) <= load<i32>(now.source)) next = now.offset;
        break;

      case op.LOAD32: {
        const address = load<u64>(now.source) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u64>(now.destination, load<u32>(<usize>address));
        break;
      }
      case op.LOAD16: {
        const address = load<u64>(now.source) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u64>(now.destination, load<u16>(<usize>address));
        break;
      }
      case op.LOAD8: {
        const address = load<u64>(now.source) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u64>(now.destination, load<u8>(<usize>address));
        break;
      }
      case op.LOAD64: {
        const address = load<u64>(now.source) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u64>(now.destination, load<u64>(<usize>address));
        break;
      }

      case op.LOAD_SIGNED32: {
        const address = load<u64>(now.source) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<i64>(now.destination, load<i32>(<usize>address));
        break;
      }
      case op.LOAD_SIGNED16: {
        const address = load<u64>(now.source) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<i64>(now.destination, load<i16>(<usize>address));
        break;
      }
      case op.LOAD_SIGNED8: {
        const address = load<u64>(now.source) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<i64>(now.destination, load<i8>(<usize>address));
        break;
      }

      case op.STORE32: {
        const address = load<u64>(now.destination) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u32>(<usize>address, load<u32>(now.source));
        break;
      }
      case op.STORE16: {
        const address = load<u64>(now.destination) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u16>(<usize>address, load<u16>(now.source));
        break;
      }
      case op.STORE8: {
        const address = load<u64>(now.destination) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u8>(<usize>address, load<u8>(now.source));
        break;
      }
      case op.STORE64: {
        const address = load<u64>(now.destination) + now.offset;
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u64>(<usize>address, load<u64>(now.source));
        break;
      }

      case op.LOAD_IMM64:
        store<i64>(now.destination, now.immediate);
        next += offsetof<Operation>();
        break;

      case op.SDIV64:
        store<u64>(now.destination, divideSigned<i64>(load<i64>(now.destination), load<i64>(now.source)));
        break;
      case op.SMOD64:
        store<u64>(now.destination, remainder<i64>(load<i64>(now.destination), load<i64>(now.source)));
        break;
      case op.SDIV32:
        store<u64>(now.destination, <u32>divideSigned<i32>(load<i32>(now.destination), load<i32>(now.source)));
        break;
      case op.SMOD32:
        store<u64>(now.destination, <u32>remainder<i32>(load<i32>(now.destination), load<i32>(now.source)));
        break;
      case op.MOVSX8_64:
        store<i64>(now.destination, load<i8>(now.source));
        break;
      case op.MOVSX16_64:
        store<i64>(now.destination, load<i16>(now.source));
        break;
      case op.MOVSX32_64:
        store<i64>(now.destination, load<i32>(now.source));
        break;
      case op.MOVSX8_32:
        store<u64>(now.destination, <u32>(<i32>load<i8>(now.source)));
        break;
      case op.MOVSX16_32:
        store<u64>(now.destination, <u32>(<i32>load<i16>(now.source)));
        break;
      case op.SWAP16:
        store<u64>(now.destination, bswap<u16>(load<u16>(now.destination)));
        break;
      case op.SWAP32:
        store<u64>(now.destination, bswap<u32>(load<u32>(now.destination)));
        break;
      case op.SWAP64:
        store<u64>(now.destination, bswap<u64>(load<u64>(now.destination)));
        break;
      case op.TRUNCATE16:
        store<u64>(now.destination, load<u16>(now.destination));
        break;

      case op.TRUNCATE32:
        store<u64>(now.destination, load<u32>(now.destination));
        break;
      case op.NOTHING:
        break;

      case op.CALL_LOCAL: {
        if (frame == last) return fault(FAULT_CALL_DEPTH, program, now, 0);
        if (!budget) return fault(FAULT_BUDGET, program, now, 0);
        budget -= 1;
        copy(frame, R6, CALLEE_SAVED_BYTES);
        changetype<Frame>(frame).returnTo = next;
        changetype<Frame>(frame).loops = loops;
        changetype<Frame>(frame).program = program;
        frame += FRAME_BYTES;
        store<u64>(R10, load<u64>(R10) - MAX_BPF_STACK);
        loops = MAX_LOOPS;
        next = now.offset;
        break;
      }
      case op.CALL_HELPER:
        store<usize>(FRAME, frame);
        helper(<i32>now.immediate);
        limit = accessLimit();
        break;

      case op.MAP_LOOKUP:
        store<u64>(R0, mapLookupOn(load<MapHeader>(R1), load<usize>(R2), load<u32>(CPU)));
        break;
      case op.MAP_UPDATE:
        store<i64>(R0, mapUpdate(load<MapHeader>(R1), load<usize>(R2), load<usize>(R3), load<u64>(R4)));
        limit = accessLimit();
        break;
      case op.MAP_DELETE:
        store<i64>(R0, mapDelete(load<MapHeader>(R1), load<usize>(R2)));
        break;
      case op.MAP_LOOKUP_PERCPU:
        store<u64>(R0, mapLookupOn(load<MapHeader>(R1), load<usize>(R2), load<u32>(R3)));
        break;
      case op.MAP_PUSH:
        store<i64>(R0, mapPush(load<MapHeader>(R1), load<usize>(R2), load<u64>(R3)));
        break;
      case op.MAP_POP:
        store<i64>(R0, mapPop(load<MapHeader>(R1), load<usize>(R2)));
        break;
      case op.MAP_PEEK:
        store<i64>(R0, mapPeek(load<MapHeader>(R1), load<usize>(R2)));
        break;
      case op.REDIRECT_MAP:
        store<u64>(R0, redirectMap(load<MapHeader>(R1), R2, load<u64>(R3)));
        break;
      case op.SKB_UNDER_CGROUP:
        store<i64>(R0, underCgroup(load<MapHeader>(R2), load<u32>(R3)));
        break;
      case op.TASK_UNDER_CGROUP:
        store<i64>(R0, underCgroup(load<MapHeader>(R1), load<u32>(R2)));
        break;
      case op.TAIL_CALL: {
        const target = tailCalls < MAX_TAIL_CALLS ? pointerArray.lookup(load<MapHeader>(R2), R3) : 0;
        if (!target) break;
        tailCalls += 1;
        loops = MAX_LOOPS;
        // The other program may call as deep as one that starts here.
        last = lastFrame(frame);
        program = changetype<Program>(target);
        next = changetype<usize>(operationAt(program, 0));
        break;
      }
      case op.RINGBUF_OUTPUT:
        store<i64>(R0, ringbufOutput(load<MapHeader>(R1), load<usize>(R2), load<u64>(R3), load<u64>(R4)));
        break;
      case op.RINGBUF_RESERVE:
        store<u64>(R0, load<u64>(R3) ? 0 : ringbufReserve(load<MapHeader>(R1), load<u64>(R2)));
        break;
      case op.RINGBUF_SUBMIT:
        ringbufSubmit(load<usize>(R1), load<u64>(R2));
        break;
      case op.RINGBUF_DISCARD:
        ringbufDiscard(load<usize>(R1), load<u64>(R2));
        break;
      case op.RINGBUF_QUERY:
        store<u64>(R0, ringbufQuery(load<MapHeader>(R1), load<u64>(R2)));
        break;
      case op.GET_CPU:
        store<u64>(R0, load<u32>(CPU));
        break;
      case op.GET_RANDOM:
        store<u64>(R0, nextRandom());
        break;
      case op.FOR_EACH_MAP_ELEM:
      case op.LOOP:
      case op.USER_RINGBUF_DRAIN: {
        store<u32>(REMAINING, budget);
        store<u32>(FAULT_SLOT, slotOf(program, now));
        const kind = callBackFor(now.code, program, frame, last);
        if (kind) return kind;
        budget = load<u32>(REMAINING);
        limit = accessLimit();
        break;
      }
      case op.DYNPTR_FROM_MEM:
        store<i64>(R0, dynptrFromMemory(load<u64>(R1), load<u32>(R2), load<u64>(R3), load<Dynptr>(R4)));
        break;
      case op.DYNPTR_READ:
        store<i64>(R0, dynptrRead(load<usize>(R1), load<u32>(R2), load<Dynptr>(R3), load<u32>(R4), load<u64>(R5)));
        break;
      case op.DYNPTR_WRITE:
        store<i64>(R0, dynptrWrite(load<Dynptr>(R1), load<u32>(R2), load<usize>(R3), load<u32>(R4), load<u64>(R5)));
        break;
      case op.DYNPTR_DATA:
        store<u64>(R0, dynptrData(load<Dynptr>(R1), load<u32>(R2), load<u32>(R3)));
        break;
      case op.RINGBUF_RESERVE_DYNPTR:
        store<i64>(R0, ringbufReserveDynptr(load<MapHeader>(R1), load<u32>(R2), load<u64>(R3), load<Dynptr>(R4)));
        break;
      case op.RINGBUF_SUBMIT_DYNPTR:
        ringbufSubmitDynptr(load<Dynptr>(R1), load<u64>(R2));
        break;
      case op.RINGBUF_DISCARD_DYNPTR:
        ringbufDiscardDynptr(load<Dynptr>(R1), load<u64>(R2));
        break;
      case op.ARENA_ALLOCATE:
      case op.ARENA_FREE:
      case op.ARENA_RESERVE:
        callArena(now.code);
        limit = accessLimit();
        break;
      case op.BACK:
        if (!budget) return fault(FAULT_BUDGET, program, now, 0);
        budget -= 1;
        next = now.offset;
        break;

      case op.ATOMIC8:
      case op.ATOMIC16:
      case op.ATOMIC32:
      case op.ATOMIC64: {
        if (!isAtomic(now)) return fault(FAULT_INSTRUCTION, program, now, 0);
        const address = addressOfAtomic(now);
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        if (!atomic(now, <usize>address)) return fault(FAULT_ALIGNMENT, program, now, address);
        break;
      }

      case op.LOAD_PACKET32:
      case op.LOAD_PACKET16:
      case op.LOAD_PACKET8: {
        const address = addressInPacket(now, load<u64>(R6), limit);
        if (!address) {
          store<u64>(R0, 0);
          next = changetype<usize>(lastExit(program));
          break;
        }
        if (address - DATA_START > limit) return fault(FAULT_ACCESS, program, now, address);
        store<u64>(R0, networkNumber(now, <usize>address));
        break;
      }

      case op.OUT_OF_PROGRAM:
        return fault(FAULT_OUT_OF_PROGRAM, program, now, 0);
      default:
        // What is left are operations on an arena.
        if (!program.arena || !useArena(changetype<MapHeader>(program.arena), now)) {
          return fault(FAULT_INSTRUCTION, program, now, 0);
        }
    }
  }
}

/** Answers a helper that calls back into the program. */
function callBackFor(code: u32, program: Program, frame: usize, last: usize): i32 {
  switch (code) {
    case op.LOOP:
      return repeat(program, frame, last);
    case op.USER_RINGBUF_DRAIN:
      return drain(program, frame, last);
    default:
      return forEachElement(program, frame, last);
  }
}

/** Highest valid distance of an address from DATA_START, for accesses of any width. */
function accessLimit(): u64 {
  return ((<u64>memory.size()) << 16) - DATA_START - sizeof<u64>();
}

function fault(kind: i32, program: Program, operation: Operation, address: u64): i32 {
  store<u32>(FAULT_SLOT, slotOf(program, operation));
  store<u64>(FAULT_ADDRESS, address);
  return kind;
}

function divide<T>(a: T, b: T): T {
  return b == 0 ? <T>0 : a / b;
}

function remainder<T>(a: T, b: T): T {
  return b == 0 ? a : a % b;
}

/** Where b is -1, the negation does not overflow as the division would. */
function divideSigned<T>(a: T, b: T): T {
  return b == -1 ? <T>0 - a : divide<T>(a, b);
}
