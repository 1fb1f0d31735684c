// Atomic operations (BPF_STX | BPF_ATOMIC). One thread runs programs, so they need no atomic instruction, but must be aligned.

import {
  BPF_ADD,
  BPF_AND,
  BPF_CMPXCHG,
  BPF_FETCH,
  BPF_LOAD_ACQ,
  BPF_OR,
  BPF_STORE_REL,
  BPF_XCHG,
  BPF_XOR,
} from "../src/uapi/insn.ts";
import { RESULT } from "./layout.ts";
import { ARENA_ATOMIC32, ARENA_ATOMIC64, ATOMIC8, ATOMIC16, ATOMIC32, ATOMIC64, Operation } from "./operations.ts";

/** Whether the immediate names an operation that there is for this width. */
export function isAtomic(operation: Operation): bool {
  switch (<i32>operation.immediate) {
    case BPF_LOAD_ACQ:
    case BPF_STORE_REL:
      return true;
    case BPF_ADD:
    case BPF_ADD | BPF_FETCH:
    case BPF_AND:
    case BPF_AND | BPF_FETCH:
    case BPF_OR:
    case BPF_OR | BPF_FETCH:
    case BPF_XOR:
    case BPF_XOR | BPF_FETCH:
    case BPF_XCHG:
    case BPF_CMPXCHG:
      return isWide(operation.code);
    default:
      return false;
  }
}

/** Those that change what they find work on 4 and 8 bytes. */
function isWide(code: u32): bool {
  return code == ATOMIC32 || code == ATOMIC64 || code == ARENA_ATOMIC32 || code == ARENA_ATOMIC64;
}

/** A load takes its address from the source register, all others from the destination. */
export function addressOfAtomic(operation: Operation): u64 {
  const base = operation.immediate == BPF_LOAD_ACQ ? operation.source : operation.destination;
  return load<u64>(base) + operation.offset;
}

/** Carries out the operation; false where the address is not aligned. */
export function atomic(operation: Operation, address: usize): bool {
  switch (operation.code) {
    case ATOMIC8:
      return runAligned<u8>(operation, address);
    case ATOMIC16:
      return runAligned<u16>(operation, address);
    case ATOMIC32:
      return runAligned<u32>(operation, address);
    default:
      return runAligned<u64>(operation, address);
  }
}

function runAligned<T>(operation: Operation, address: usize): bool {
  if (address & (sizeof<T>() - 1)) return false;
  run<T>(operation, address);
  return true;
}

/** Carries out an operation on a number of type T, wherever it lies. */
export function run<T>(operation: Operation, address: usize): void {
  const old = load<T>(address);
  const operand = load<T>(operation.source);
  switch (<i32>operation.immediate) {
    case BPF_LOAD_ACQ:
      store<u64>(operation.destination, <u64>old);
      return;
    case BPF_STORE_REL:
    case BPF_XCHG:
      store<T>(address, operand);
      break;
    case BPF_CMPXCHG:
      if (old == load<T>(RESULT)) store<T>(address, operand);
      store<u64>(RESULT, <u64>old);
      return;
    case BPF_ADD:
    case BPF_ADD | BPF_FETCH:
      store<T>(address, <T>(old + operand));
      break;
    case BPF_AND:
    case BPF_AND | BPF_FETCH:
      store<T>(address, <T>(old & operand));
      break;
    case BPF_OR:
    case BPF_OR | BPF_FETCH:
      store<T>(address, <T>(old | operand));
      break;
    default:
      store<T>(address, <T>(old ^ operand));
  }
  if (operation.immediate & BPF_FETCH) store<u64>(operation.source, <u64>old);
}
