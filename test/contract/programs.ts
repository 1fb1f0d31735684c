// Programs of contract cases: loaded, refused, and run.

import { type Item, program } from "../../src/asm/builder.ts";
import { encodeInstructions } from "../../src/asm/instruction.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import type { Attr } from "../../src/uapi/attr.ts";
import { BPF_PROG_LOAD, BPF_PROG_TEST_RUN } from "../../src/uapi/commands.ts";
import { BPF_PROG_TYPE_SOCKET_FILTER } from "../../src/uapi/program-types.ts";
import { cString } from "../../src/uapi/struct.ts";
import { outcome } from "./contract.ts";

/** The attributes of BPF_PROG_LOAD for a socket filter under the GPL. */
export function loadAttr(items: readonly Item[], attr: Attr<typeof BPF_PROG_LOAD> = {}): Attr<typeof BPF_PROG_LOAD> {
  const insns = encodeInstructions(program(...items));
  return {
    prog_type: BPF_PROG_TYPE_SOCKET_FILTER,
    insns,
    insn_cnt: insns.length / 8,
    license: cString("GPL"),
    ...attr,
  };
}

export const load = (kernel: Kernel, items: readonly Item[], attr?: Attr<typeof BPF_PROG_LOAD>): number =>
  kernel.bpf(BPF_PROG_LOAD, loadAttr(items, attr));

/** How a program is refused: the error's name, and the last line of the log that is no statistics. */
export function refusal(
  kernel: Kernel,
  items: readonly Item[],
  attr?: Attr<typeof BPF_PROG_LOAD>,
): [error: number | string, line: string] {
  const log_buf = new Uint8Array(65536);
  const result = load(kernel, items, { log_level: 1, log_buf, log_size: log_buf.length, ...attr });
  if (result >= 0) kernel.close(result);
  const lines = textOf(log_buf)
    .split("\n")
    .filter((line) => line !== "" && !/^(processed|verification time|stack depth) /.test(line));
  return [outcome(result), lines.at(-1) ?? ""];
}

/** The text before the first NUL. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** An Ethernet frame of `length` bytes, zero but for a type that no protocol has. */
export function frame(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set([0x88, 0xb5], 12);
  return bytes;
}

export type TestRun = Attr<typeof BPF_PROG_TEST_RUN>;

/** One test run over `frame(64)`, or as `attr` says; what the kernel wrote stands in the attributes that it returns. */
export function testRun(
  kernel: Kernel,
  prog_fd: number,
  attr: TestRun = {},
): TestRun & { readonly outcome: number | string } {
  const data_in = frame(64);
  const run: TestRun = { prog_fd, data_in, data_size_in: data_in.length, ...attr };
  return Object.assign(run, { outcome: outcome(kernel.bpf(BPF_PROG_TEST_RUN, run)) });
}
