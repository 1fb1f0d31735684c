// BPF_PROG_TEST_RUN: packets and contexts in, packets and contexts out.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import { BPF_PROG_TEST_RUN } from "../../src/uapi/commands.ts";
import {
  BPF_FUNC_ktime_get_ns,
  BPF_FUNC_xdp_adjust_head,
  BPF_FUNC_xdp_adjust_tail,
} from "../../src/uapi/helper-ids.ts";
import {
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_PROG_TYPE_XDP,
} from "../../src/uapi/program-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, toU32, u32 } from "./maps.ts";
import { frame, load, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r6, add, mov, load: ldx, store, exit, call, jump, label } = asm;

/** Returns 2 (XDP_PASS) and writes 0xab into the packet's first byte. */
const mark = [
  ldx("w", r2, r1, 0),
  ldx("w", r3, r1, 4),
  mov(r4, r2),
  add(r4, 14),
  jump("jgt", r4, r3, "out"),
  store("b", r2, 0, 0xab),
  label("out"),
  mov(r0, 2),
  exit(),
];

/** Returns data_end - data. */
const length = (data: number): asm.Item[] => [
  ldx("w", r2, r1, data),
  ldx("w", r0, r1, data + 4),
  asm.alu64("sub", r0, r2),
  exit(),
];

const constant = (value: number): asm.Item[] => [mov(r0, value), exit()];

const xdp = { prog_type: BPF_PROG_TYPE_XDP };
const tc = { prog_type: BPF_PROG_TYPE_SCHED_CLS };

for (const [name, prog_type] of [
  ["a socket filter", BPF_PROG_TYPE_SOCKET_FILTER],
  ["a tc classifier", BPF_PROG_TYPE_SCHED_CLS],
  ["an XDP program", BPF_PROG_TYPE_XDP],
] as const) {
  contract(`${name} returns its value`, (kernel, { open }) => {
    const run = testRun(kernel, open(load(kernel, constant(3), { prog_type })));
    expect([run.outcome, run.retval, run.data_size_out]).toEqual([0, 3, 64]);
  });

  contract(`${name} needs 14 bytes of packet`, (kernel, { open }) => {
    const prog = open(load(kernel, constant(1), { prog_type }));
    const sized = (data_size_in: number): number | string =>
      testRun(kernel, prog, { data_in: frame(100), data_size_in }).outcome;
    expect([0, 13, 14].map(sized)).toEqual(["EINVAL", "EINVAL", 0]);
  });

  contract(`${name} needs an IP header where the Ethernet type says so, but for XDP`, (kernel, { open }) => {
    const prog = open(load(kernel, constant(1), { prog_type }));
    const sized = (type: number, size: number): number | string => {
      const data_in = frame(size);
      new DataView(data_in.buffer).setUint16(12, type);
      return testRun(kernel, prog, { data_in, data_size_in: size }).outcome;
    };
    const short = prog_type === BPF_PROG_TYPE_XDP ? 0 : "EINVAL";
    expect([14, 33, 34].map((size) => sized(0x0800, size))).toEqual([short, short, 0]);
    expect([14, 53, 54].map((size) => sized(0x86dd, size))).toEqual([short, short, 0]);
  });

  // A socket filter runs behind the Ethernet header, in whose place zeros come back.
  const header = prog_type === BPF_PROG_TYPE_SOCKET_FILTER ? new Uint8Array(14) : frame(14);

  contract(`${name} gives its packet back, and tells its size`, (kernel, { open }) => {
    const prog = open(load(kernel, constant(1), { prog_type }));
    const data_in = frame(60).fill(7, 20);
    const data_out = new Uint8Array(100).fill(9);
    const run = testRun(kernel, prog, { data_in, data_size_in: 60, data_out, data_size_out: 100 });
    expect([run.outcome, run.data_size_out]).toEqual([0, 60]);
    expect([...data_out]).toEqual([...header, ...data_in.subarray(14), ...new Array(40).fill(9)]);
  });

  contract(
    `${name} whose data_out is too small is ENOSPC: the packet is cut, its size is whole`,
    (kernel, { open }) => {
      const prog = open(load(kernel, constant(1), { prog_type }));
      const data_in = frame(60).fill(7, 20);
      const data_out = new Uint8Array(30);
      const run = testRun(kernel, prog, { data_in, data_size_in: 60, data_out, data_size_out: 30 });
      expect([run.outcome, run.data_size_out]).toEqual(["ENOSPC", 60]);
      expect([...data_out]).toEqual([...header, ...data_in.subarray(14, 30)]);
    },
  );

  contract(`${name} whose buffers are shorter than their sizes is EFAULT`, (kernel, { open }) => {
    const prog = open(load(kernel, constant(1), { prog_type }));
    expect(testRun(kernel, prog, { data_in: frame(30), data_size_in: 60 }).outcome).toBe("EFAULT");
    expect(testRun(kernel, prog, { data_out: new Uint8Array(30), data_size_out: 64 }).outcome).toBe("EFAULT");
  });

  contract(`${name} runs as often as repeat says`, (kernel, { open }) => {
    const map = open(create(kernel, { max_entries: 1 }));
    const count = [asm.loadMapValue(r1, map, 0), mov(r2, 1), asm.atomic("dw", 0, r1, 0, r2), ...constant(1)];
    const prog = open(load(kernel, count, { prog_type }));
    const counted = (): number => {
      const value = new Uint8Array(8);
      kernel.bpf(1, { map_fd: map, key: u32(0), value });
      return toU32(value);
    };
    testRun(kernel, prog);
    expect(counted()).toBe(1);
    testRun(kernel, prog, { repeat: 1 });
    expect(counted()).toBe(2);
    testRun(kernel, prog, { repeat: 10 });
    expect(counted()).toBe(12);
  });

  contract(`${name}: flags and batch_size that the type does not know are EINVAL`, (kernel, { open }) => {
    const prog = open(load(kernel, constant(1), { prog_type }));
    expect(testRun(kernel, prog, { flags: 0x80 }).outcome).toBe("EINVAL");
    // Linux does not look at the CPU of an XDP run.
    expect(testRun(kernel, prog, { cpu: 1 }).outcome).toBe(prog_type === BPF_PROG_TYPE_XDP ? 0 : "EINVAL");
    expect(testRun(kernel, prog, { batch_size: 1 }).outcome).toBe("EINVAL");
  });

  contract(`${name}: a context size without a context, or the other way round, is EINVAL`, (kernel, { open }) => {
    const prog = open(load(kernel, constant(1), { prog_type }));
    expect(testRun(kernel, prog, { ctx_size_in: 24 }).outcome).toBe("EINVAL");
    expect(testRun(kernel, prog, { ctx_in: new Uint8Array(24) }).outcome).toBe("EINVAL");
    expect(testRun(kernel, prog, { ctx_size_out: 24 }).outcome).toBe("EINVAL");
    expect(testRun(kernel, prog, { ctx_out: new Uint8Array(24) }).outcome).toBe("EINVAL");
  });
}

contract("a program that is not open is EBADF, a map is EINVAL", (kernel, { open }) => {
  const map = open(create(kernel));
  expect(testRun(kernel, 12345).outcome).toBe("EBADF");
  expect(testRun(kernel, map).outcome).toBe("EINVAL");
});

contract("an XDP program writes its packet, and the caller's stays as it was", (kernel, { open }) => {
  const data_out = new Uint8Array(64);
  const data_in = frame(64);
  const run = testRun(kernel, open(load(kernel, mark, xdp)), { data_in, data_out, data_size_out: 64 });
  expect(run.retval).toBe(2);
  expect(data_out[0]).toBe(0xab);
  expect(data_in[0]).toBe(0);
});

contract("an XDP program sees its packet's length", (kernel, { open }) => {
  const prog = open(load(kernel, length(0), xdp));
  const lengths = [14, 60, 1500].map(
    (size) => testRun(kernel, prog, { data_in: frame(size), data_size_in: size }).retval,
  );
  expect(lengths).toEqual([14, 60, 1500]);
});

contract(
  "an XDP program sees the first 3520 bytes of a larger packet, and all of it comes back",
  (kernel, { open }) => {
    // A page less 256 bytes of headroom and 320 of struct skb_shared_info; the rest lies in fragments.
    const prog = open(load(kernel, length(0), xdp));
    for (const [size, seen] of [
      [3520, 3520],
      [3521, 3520],
      [9000, 3520],
    ] as const) {
      const data_in = frame(size).fill(7, 20);
      const data_out = new Uint8Array(size);
      const run = testRun(kernel, prog, { data_in, data_size_in: size, data_out, data_size_out: size });
      expect([run.outcome, run.retval, run.data_size_out]).toEqual([0, seen, size]);
      expect(data_out).toEqual(data_in);
    }
  },
);

contract("xdp_adjust_head moves the packet's start, up to 256 bytes before it", (kernel, { open }) => {
  const moved = (delta: number): asm.Item[] => [
    mov(r6, r1),
    mov(r2, delta),
    call(BPF_FUNC_xdp_adjust_head),
    mov(r1, r6),
    ...length(0),
  ];
  const size = (delta: number): number | undefined => testRun(kernel, open(load(kernel, moved(delta), xdp))).retval;
  expect([14, -14, -256 + 40].map(size)).toEqual([50, 78, 280]);
  const failed = (delta: number): asm.Item[] => [mov(r2, delta), call(BPF_FUNC_xdp_adjust_head), exit()];
  const result = (delta: number): number => (testRun(kernel, open(load(kernel, failed(delta), xdp))).retval ?? 0) | 0;
  expect([14, 60, -1000].map(result)).toEqual([0, -22, -22]);
});

contract("xdp_adjust_tail cuts the packet, and what it adds is zero", (kernel, { open }) => {
  const tail = (delta: number): asm.Item[] => [mov(r2, delta), call(BPF_FUNC_xdp_adjust_tail), exit()];
  const data_out = new Uint8Array(100).fill(9);
  const run = testRun(kernel, open(load(kernel, tail(10), xdp)), {
    data_in: frame(64).fill(7),
    data_out,
    data_size_out: 100,
  });
  expect([run.outcome, run.retval, run.data_size_out]).toEqual([0, 0, 74]);
  expect([...data_out.subarray(62, 76)]).toEqual([7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9]);
  const cut = testRun(kernel, open(load(kernel, tail(-50), xdp)));
  expect([cut.retval, cut.data_size_out]).toEqual([0, 14]);
  expect((testRun(kernel, open(load(kernel, tail(-51), xdp))).retval ?? 0) | 0).toBe(-22);
});

contract(
  "an XDP context tells how much of the packet is metadata, a multiple of 4, and how much lies in one piece",
  (kernel, { open }) => {
    const prog = open(load(kernel, length(0), xdp));
    const given = (data: number, data_end: number): unknown[] => {
      const ctx_in = new Uint8Array(new Uint32Array([data, data_end, 0, 0, 0, 0]).buffer);
      const ctx_out = new Uint8Array(24);
      const run = testRun(kernel, prog, { ctx_in, ctx_size_in: 24, ctx_out, ctx_size_out: 24 });
      return run.outcome === 0
        ? [run.retval, run.data_size_out, ...new Uint32Array(ctx_out.buffer, 0, 3)]
        : [run.outcome];
    };
    expect(given(0, 64)).toEqual([64, 64, 0, 64, 0]);
    expect(given(4, 64)).toEqual([60, 64, 4, 64, 0]);
    expect(given(48, 64)).toEqual([16, 64, 48, 64, 0]);
    expect(given(0, 63)).toEqual([63, 64, 0, 63, 0]);
    expect(given(0, 65)).toEqual(["EINVAL"]);
    expect(given(3, 64)).toEqual(["EINVAL"]);
    expect(given(60, 64)).toEqual(["EINVAL"]);
    expect(given(8, 4)).toEqual(["EINVAL"]);
  },
);

contract("a tc program reads and writes what the context allows", (kernel, { open }) => {
  // mark is at byte 8 and priority at 32 of struct __sk_buff.
  const swap = [ldx("w", r2, r1, 8), store("w", r1, 32, r2), ldx("w", r0, r1, 0), exit()];
  const prog = open(load(kernel, swap, tc));
  const ctx_in = new Uint8Array(192);
  new DataView(ctx_in.buffer).setUint32(8, 77, true);
  const ctx_out = new Uint8Array(192);
  const run = testRun(kernel, prog, { ctx_in, ctx_size_in: 192, ctx_out, ctx_size_out: 192 });
  expect([run.outcome, run.ctx_size_out]).toEqual([0, 192]);
  const out = new DataView(ctx_out.buffer);
  expect([out.getUint32(8, true), out.getUint32(32, true)]).toEqual([77, 77]);
});

contract("a tc program sees the packet's length, and its protocol", (kernel, { open }) => {
  const prog = open(load(kernel, [ldx("w", r0, r1, 0), exit()], tc));
  expect(testRun(kernel, prog).retval).toBe(64);
  const protocol = open(load(kernel, [ldx("w", r0, r1, 16), exit()], tc));
  expect(testRun(kernel, protocol).retval).toBe(0xb588);
});

contract("a socket filter sees the packet behind its Ethernet header", (kernel, { open }) => {
  const prog = open(load(kernel, [ldx("w", r0, r1, 0), exit()]));
  expect(testRun(kernel, prog).retval).toBe(50);
});

contract("time passes between two calls of ktime_get_ns, or stands still, but does not go back", (kernel, { open }) => {
  const later = [
    call(BPF_FUNC_ktime_get_ns),
    mov(r6, r0),
    call(BPF_FUNC_ktime_get_ns),
    mov(r2, 1),
    jump("jge", r0, r6, "out"),
    mov(r2, 0),
    label("out"),
    mov(r0, r2),
    exit(),
  ];
  expect(testRun(kernel, open(load(kernel, later))).retval).toBe(1);
});

contract("a run without a packet is EINVAL", (kernel, { open }) => {
  const prog_fd = open(load(kernel, constant(0)));
  expect(outcome(kernel.bpf(BPF_PROG_TEST_RUN, { prog_fd }))).toBe("EINVAL");
});
