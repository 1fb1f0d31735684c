// Programs in memory: bytecode decoded once into operations that point at their registers and targets.

import { ENOMEM } from "../src/uapi/errno.ts";
import { allocateZeroed, free } from "./allocator.ts";
import {
  BACK,
  CALL_LOCAL,
  decode,
  EXIT,
  jumpDistance,
  NO_JUMP,
  namesFunction,
  Operation,
  OUT_OF_PROGRAM,
  SLOT_BYTES,
} from "./operations.ts";

/** The operations follow: one a slot, one for jumps out of the program, an exit, one for each backward jump. */
@unmanaged
export class Program {
  slots: u32;
  /** The map that arena pointers point into; 0 where there is none. Keeps the operations 8-aligned. */
  arena: usize;
}

/** Address of the decoded program, or -ENOMEM. */
export function programLoad(instructions: usize, slots: u32): i32 {
  const backward = countBackward(instructions, slots);
  const address = allocateZeroed(offsetof<Program>() + (slots + 2 + backward) * offsetof<Operation>());
  if (!address) return -ENOMEM;
  const program = changetype<Program>(address);
  program.slots = slots;
  let back = slots + 2;
  operationAt(program, slots).code = OUT_OF_PROGRAM;
  lastExit(program).code = EXIT;
  for (let index: u32 = 0; index < slots; ++index) {
    const slot = instructions + index * SLOT_BYTES;
    const operation = operationAt(program, index);
    decode(slot, operation);
    if (namesFunction(slot)) {
      operation.immediate = changetype<usize>(targetOf(program, index, load<i32>(slot, 4)));
      continue;
    }
    const distance = jumpDistance(slot);
    if (distance == NO_JUMP) continue;
    const goal = targetOf(program, index, distance);
    operation.offset = <i32>changetype<usize>(goal);
    if (distance >= 0 || operation.code == CALL_LOCAL) continue;
    const step = operationAt(program, back++);
    step.code = BACK;
    step.offset = operation.offset;
    step.immediate = index;
    operation.offset = <i32>changetype<usize>(step);
  }
  return <i32>address;
}

/** Gives a program its arena; it outlives the program. */
export function programSetArena(program: Program, map: usize): void {
  program.arena = map;
}

export function programFree(program: Program): void {
  free(changetype<usize>(program));
}

export function operationAt(program: Program, index: u32): Operation {
  return changetype<Operation>(changetype<usize>(program) + offsetof<Program>() + index * offsetof<Operation>());
}

/** The exit that ends a function from inside of an instruction. */
export function lastExit(program: Program): Operation {
  return operationAt(program, program.slots + 1);
}

/** The slot that an operation was decoded from. */
export function slotOf(program: Program, operation: Operation): u32 {
  if (operation.code == BACK) return <u32>operation.immediate;
  return <u32>(changetype<usize>(operation) - changetype<usize>(operationAt(program, 0))) / offsetof<Operation>();
}

function countBackward(instructions: usize, slots: u32): u32 {
  let count: u32 = 0;
  for (let index: u32 = 0; index < slots; ++index) {
    const distance = jumpDistance(instructions + index * SLOT_BYTES);
    if (distance != NO_JUMP && distance < 0) count += 1;
  }
  return count;
}

function targetOf(program: Program, index: u32, distance: i32): Operation {
  const target = <i64>index + 1 + distance;
  return operationAt(program, target >= 0 && target < <i64>program.slots ? <u32>target : program.slots);
}
