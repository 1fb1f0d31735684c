// BPF_PROG_LOAD: its attributes and its log.

import { expect } from "vitest";
import { exit, mov, r0, r10 } from "../../src/asm/builder.ts";
import type { Attr } from "../../src/uapi/attr.ts";
import { BPF_PROG_LOAD } from "../../src/uapi/commands.ts";
import {
  BPF_F_XDP_HAS_FRAGS,
  BPF_LOG_FIXED,
  BPF_LOG_LEVEL1,
  BPF_LOG_LEVEL2,
  BPF_LOG_STATS,
} from "../../src/uapi/flags.ts";
import {
  BPF_PROG_TYPE_SCHED_ACT,
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_PROG_TYPE_XDP,
} from "../../src/uapi/program-types.ts";
import { cString } from "../../src/uapi/struct.ts";
import { contract, outcome } from "./contract.ts";
import { load, loadAttr, textOf } from "./programs.ts";

const accepted = [mov(r0, 0), exit()];
const refused = [mov(r10, 0), mov(r0, 0), exit()];

type ProgLoad = Attr<typeof BPF_PROG_LOAD>;

const loads: readonly (readonly [fact: string, attr: ProgLoad, outcome: string])[] = [
  ["a socket filter", { prog_type: BPF_PROG_TYPE_SOCKET_FILTER }, "ok"],
  ["an XDP program", { prog_type: BPF_PROG_TYPE_XDP }, "ok"],
  ["a tc classifier", { prog_type: BPF_PROG_TYPE_SCHED_CLS }, "ok"],
  ["a tc action", { prog_type: BPF_PROG_TYPE_SCHED_ACT }, "ok"],
  ["a program type that no kernel has", { prog_type: 1000 }, "EINVAL"],
  ["program type 0", { prog_type: 0 }, "EINVAL"],
  ["no instructions", { insn_cnt: 0 }, "E2BIG"],
  ["more than a million instructions", { insn_cnt: 1_000_001 }, "E2BIG"],
  ["fewer bytes than insn_cnt says", { insn_cnt: 3 }, "EFAULT"],
  ["no licence", { license: null }, "EFAULT"],
  ["a licence that no NUL ends", { license: new TextEncoder().encode("GPL") }, "EFAULT"],
  ["an unknown licence", { license: cString("secret") }, "ok"],
  ["a name of 15 bytes", { prog_name: "a_name.of_15byt" }, "ok"],
  ["a name with a hyphen", { prog_name: "a-name" }, "EINVAL"],
  ["a flag that no kernel has", { prog_flags: 0x8000_0000 }, "EINVAL"],
  ["XDP_HAS_FRAGS on XDP", { prog_type: BPF_PROG_TYPE_XDP, prog_flags: BPF_F_XDP_HAS_FRAGS }, "ok"],
  ["a kernel version that is not this kernel's", { kern_version: 1 }, "ok"],
  [
    "BTF that is not there",
    { prog_btf_fd: 12345, func_info_cnt: 1, func_info_rec_size: 8, func_info: new Uint8Array(8) },
    "EBADF",
  ],
  ["log_level 0 with a log_buf", { log_level: 0, log_buf: new Uint8Array(100), log_size: 100 }, "EINVAL"],
  ["log_level 0 with log_size alone", { log_level: 0, log_size: 100 }, "EINVAL"],
  ["log_buf without log_size", { log_level: 1, log_buf: new Uint8Array(100), log_size: 0 }, "EINVAL"],
  ["a log_level that no kernel has", { log_level: 16, log_buf: new Uint8Array(100), log_size: 100 }, "EINVAL"],
  [
    "log_size larger than log_buf, which the log does not fill",
    { log_level: BPF_LOG_LEVEL1, log_buf: new Uint8Array(2000), log_size: 1 << 20 },
    "ok",
  ],
];

for (const [fact, attr, expected] of loads) {
  contract(`load with ${fact}: ${expected}`, (kernel) => {
    const result = load(kernel, accepted, attr);
    if (result >= 0) kernel.close(result);
    expect(result >= 0 ? "ok" : outcome(result)).toBe(expected);
  });
}

contract("a program that is accepted leaves the statistics in the log", (kernel, { open }) => {
  const log_buf = new Uint8Array(4096);
  open(load(kernel, accepted, { log_level: BPF_LOG_STATS, log_buf, log_size: log_buf.length }));
  expect(textOf(log_buf)).toMatch(/^processed 2 insns \(limit 1000000\)/m);
});

contract("log_level 2 shows each instruction", (kernel, { open }) => {
  const log_buf = new Uint8Array(4096);
  open(load(kernel, accepted, { log_level: BPF_LOG_LEVEL2, log_buf, log_size: log_buf.length }));
  expect(textOf(log_buf)).toContain("0: (b7) r0 = 0");
  expect(textOf(log_buf)).toContain("1: (95) exit");
});

contract("log_true_size is the log's size with its NUL, and 0 without a log", (kernel) => {
  const log_buf = new Uint8Array(4096);
  const attr = loadAttr(refused, { log_level: BPF_LOG_LEVEL1, log_buf, log_size: log_buf.length });
  expect(outcome(kernel.bpf(BPF_PROG_LOAD, attr))).toBe("EACCES");
  expect(attr.log_true_size).toBe(log_buf.indexOf(0) + 1);
  const silent = loadAttr(refused);
  expect(outcome(kernel.bpf(BPF_PROG_LOAD, silent))).toBe("EACCES");
  expect(silent.log_true_size).toBe(0);
});

contract("a log that does not fit is ENOSPC, keeps its end, and tells the size that it needs", (kernel) => {
  const whole = new Uint8Array(4096);
  kernel.bpf(BPF_PROG_LOAD, loadAttr(refused, { log_level: BPF_LOG_LEVEL1, log_buf: whole, log_size: whole.length }));
  const needed = whole.indexOf(0) + 1;
  const log_buf = new Uint8Array(32);
  const attr = loadAttr(refused, { log_level: BPF_LOG_LEVEL1, log_buf, log_size: log_buf.length });
  expect(outcome(kernel.bpf(BPF_PROG_LOAD, attr))).toBe("ENOSPC");
  expect(attr.log_true_size).toBe(needed);
  expect(textOf(log_buf)).toBe(textOf(whole).slice(-31));
});

contract("with BPF_LOG_FIXED a log that does not fit keeps its beginning", (kernel) => {
  const whole = new Uint8Array(4096);
  kernel.bpf(BPF_PROG_LOAD, loadAttr(refused, { log_level: BPF_LOG_LEVEL1, log_buf: whole, log_size: whole.length }));
  const log_buf = new Uint8Array(32);
  const attr = loadAttr(refused, { log_level: BPF_LOG_LEVEL1 | BPF_LOG_FIXED, log_buf, log_size: log_buf.length });
  expect(outcome(kernel.bpf(BPF_PROG_LOAD, attr))).toBe("ENOSPC");
  expect(textOf(log_buf)).toBe(textOf(whole).slice(0, 31));
});

contract("log_level without log_buf writes nothing, and tells the size", (kernel) => {
  const attr = loadAttr(refused, { log_level: BPF_LOG_LEVEL1 });
  expect(outcome(kernel.bpf(BPF_PROG_LOAD, attr))).toBe("EACCES");
  expect(attr.log_true_size).toBeGreaterThan(1);
});

contract("a log that would be written behind log_buf is EFAULT", (kernel) => {
  const attr = loadAttr(refused, { log_level: BPF_LOG_LEVEL1, log_buf: new Uint8Array(8), log_size: 4096 });
  expect(outcome(kernel.bpf(BPF_PROG_LOAD, attr))).toBe("EFAULT");
});
