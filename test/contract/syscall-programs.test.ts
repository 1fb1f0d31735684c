// BPF_PROG_TYPE_SYSCALL: programs that a user runs on bytes of its choice.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";

import { BPF_F_SLEEPABLE } from "../../src/uapi/flags.ts";
import { BPF_PROG_TYPE_SYSCALL } from "../../src/uapi/program-types.ts";
import { contract, outcome } from "./contract.ts";
import { u64 } from "./maps.ts";
import { load, refusal, type TestRun, testRun } from "./programs.ts";

const { r0, r1, add, mov, load: ldx, store, exit } = asm;

const type = { prog_type: BPF_PROG_TYPE_SYSCALL, prog_flags: BPF_F_SLEEPABLE };
/** Only what such a program may be run with. */
const onContext = (bytes: Uint8Array | null, attr: TestRun = {}): TestRun => ({
  data_in: null,
  data_size_in: 0,
  ctx_in: bytes,
  ctx_size_in: bytes?.length ?? 0,
  ...attr,
});

contract("a syscall program reads and writes the bytes that it is run on", (kernel, { open }) => {
  const items = [ldx("dw", r0, r1, 0), add(r0, 1), store("dw", r1, 0, r0), store("b", r1, 15, 9), exit()];
  const prog_fd = open(load(kernel, items, type));
  const context = new Uint8Array(24).fill(0xaa);
  context.set(u64(41));
  const { outcome: result, retval } = testRun(kernel, prog_fd, onContext(context));
  expect([result, retval]).toEqual([0, 42]);
  expect([...context]).toEqual([
    42,
    ...new Array(7).fill(0),
    ...new Array(7).fill(0xaa),
    9,
    ...new Array(8).fill(0xaa),
  ]);
});

contract("a syscall program runs on no fewer bytes than it may access, and at most 65535", (kernel, { open }) => {
  const prog_fd = open(load(kernel, [ldx("w", r0, r1, 4), exit()], type));
  const run = (size: number) => testRun(kernel, prog_fd, onContext(size === 0 ? null : new Uint8Array(size))).outcome;
  expect([0, 4, 7, 8, 9, 65535, 65536].map(run)).toEqual(["EINVAL", "EINVAL", "EINVAL", 0, 0, 0, "EINVAL"]);
  const none = open(load(kernel, [mov(r0, 7), exit()], type));
  expect(testRun(kernel, none, onContext(null))).toMatchObject({ outcome: 0, retval: 7 });
});

contract("a syscall program is run with its context alone", (kernel, { open }) => {
  const prog_fd = open(load(kernel, [mov(r0, 0), exit()], type));
  const run = (attr: TestRun) => testRun(kernel, prog_fd, onContext(new Uint8Array(8), attr)).outcome;
  const bytes = new Uint8Array(64);
  expect(run({})).toBe(0);
  expect(run({ repeat: 1 })).toBe("EINVAL");
  expect(run({ flags: 1 })).toBe("EINVAL");
  expect(run({ batch_size: 1 })).toBe("EINVAL");
  expect(run({ data_in: bytes, data_size_in: 64 })).toBe("EINVAL");
  expect(run({ data_out: bytes, data_size_out: 64 })).toBe("EINVAL");
  expect(run({ ctx_out: bytes, ctx_size_out: 64 })).toBe("EINVAL");
});

contract("a syscall program's context is accessed in aligned pieces below 65535", (kernel) => {
  const access = (offset: number) => refusal(kernel, [ldx("w", r0, r1, offset), exit()], type);
  const denied = (offset: number) => ["EACCES", `invalid bpf_context access off=${offset} size=4`];
  expect(access(2)).toEqual(denied(2));
  expect(access(32764)).toEqual([expect.any(Number), expect.any(String)]);
  expect(access(-4)).toEqual(denied(-4));
  expect(refusal(kernel, [add(r1, 4), ldx("w", r0, r1, 0), exit()], type)).toEqual([
    "EACCES",
    "dereference of modified ctx ptr R1 off=4 disallowed",
  ]);
});

contract("syscall programs are sleepable, and others are not", (kernel) => {
  const items = [mov(r0, 0), exit()];
  expect(refusal(kernel, items, { ...type, prog_flags: 0 })).toEqual([
    "EINVAL",
    "Syscall programs can only be sleepable",
  ]);
  expect(refusal(kernel, items, { prog_flags: BPF_F_SLEEPABLE }).at(0)).toBe("EINVAL");
  expect(outcome(load(kernel, items, { ...type, expected_attach_type: 1 }))).toBe("EINVAL");
});
