// A program that drains a user ring buffer.

import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_FUNC_dynptr_read, BPF_FUNC_user_ringbuf_drain } from "../../src/uapi/helper-ids.ts";
import type { Bench } from "./contract.ts";
import { functionsOf } from "./functions.ts";
import { load } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r10, add, alu64, call, exit, label, loadFunction, loadMapFd, mov, store } = asm;

/** A program that takes all samples: it returns their number << 16 | the sum of their first 8 bytes. */
export function drainer(kernel: Kernel, { open }: Bench, ring: number): number {
  const items = [
    store("dw", r10, -8, 0),
    loadMapFd(r1, ring),
    loadFunction(r2, "callback"),
    mov(r3, r10),
    add(r3, -8),
    mov(r4, 0),
    call(BPF_FUNC_user_ringbuf_drain),
    asm.load("dw", r1, r10, -8),
    alu64("lsh", r0, 16),
    alu64("or", r0, r1),
    exit(),
    label("callback"),
    mov(r6, r2),
    mov(r3, r1),
    store("dw", r10, -8, 0),
    mov(r1, r10),
    add(r1, -8),
    mov(r2, 8),
    mov(r4, 0),
    mov(r5, 0),
    call(BPF_FUNC_dynptr_read),
    asm.load("dw", r1, r10, -8),
    asm.load("dw", r2, r6, 0),
    alu64("add", r2, r1),
    store("dw", r6, 0, r2),
    mov(r0, 0),
    exit(),
  ];
  return open(load(kernel, items, functionsOf(kernel, open, items)));
}
