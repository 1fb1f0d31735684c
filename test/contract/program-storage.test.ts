// Storage that programs have under BPF_PROG_TEST_RUN: that of the run, by bpf_get_local_storage, and that of the packet's socket.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import { buildBtf } from "../../src/btf/build.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_BTF_LOAD, BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import { BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import * as types from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_CGROUP_SKB, BPF_PROG_TYPE_SCHED_CLS } from "../../src/uapi/program-types.ts";
import { array, int } from "./btf-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, type MapCreate, u32 } from "./maps.ts";
import { frame, load, refusal, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r6, r7, r10 } = asm;
const { add, mov, load: ldx, store, exit, call, jump, label, loadMapFd, loadMapValue } = asm;

const cgroupSkb = { prog_type: BPF_PROG_TYPE_CGROUP_SKB };
const classifier = { prog_type: BPF_PROG_TYPE_SCHED_CLS };
/** Offset of `sk` in struct __sk_buff. */
const SK = 168;

const runStorage = (kernel: Kernel, map_type: number, attr: MapCreate = {}): number =>
  create(kernel, { map_type, key_size: 16, max_entries: 0, ...attr });

/** Storage of sockets with values of u64. */
function socketStorage(kernel: Kernel, open: (fd: number) => number): number {
  const btf = buildBtf([int("u32", 4), int("u64", 8)]);
  const btf_fd = open(kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length }));
  const typed = { btf_fd, btf_key_type_id: 1, btf_value_type_id: 2 };
  const map_type = types.BPF_MAP_TYPE_SK_STORAGE;
  return open(create(kernel, { map_type, max_entries: 0, map_flags: BPF_F_NO_PREALLOC, ...typed }));
}

/** r0 = this run's storage. */
const getStorage = (map: number): asm.Item[] => [
  loadMapFd(r1, map),
  mov(r2, 0),
  call(helpers.BPF_FUNC_get_local_storage),
];

for (const [name, map_type] of [
  ["cgroup storage", types.BPF_MAP_TYPE_CGROUP_STORAGE],
  ["per-CPU cgroup storage", types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE],
] as const) {
  /** Counts runs in the storage, and writes the count to an array. */
  const counter = (storage: number, array: number): asm.Item[] => [
    ...getStorage(storage),
    ldx("dw", r1, r0, 0),
    add(r1, 1),
    store("dw", r0, 0, r1),
    loadMapValue(r2, array, 0),
    store("dw", r2, 0, r1),
    mov(r0, 1),
    exit(),
  ];

  contract(`${name} is zero when a test run begins, and stays for all its repeats`, (kernel, { open }) => {
    const storage = open(runStorage(kernel, map_type));
    const array = open(create(kernel, { max_entries: 1 }));
    const program = open(load(kernel, counter(storage, array), cgroupSkb));
    for (const [repeat, expected] of [
      [1, 1n],
      [5, 5n],
      [1, 1n],
    ] as const) {
      expect(testRun(kernel, program, { repeat }).outcome).toBe(0);
      expect(get(kernel, array, 0)).toBe(expected);
    }
  });

  contract(`a pointer to ${name} is never NULL, and bounded by the value`, (kernel, { open }) => {
    const storage = open(runStorage(kernel, map_type));
    const read = (offset: number): asm.Item[] => [...getStorage(storage), ldx("w", r1, r0, offset), mov(r0, 1), exit()];
    expect(testRun(kernel, open(load(kernel, read(4), cgroupSkb))).retval).toBe(1);
    expect(refusal(kernel, read(8), cgroupSkb)[0]).toBe("EACCES");
  });

  contract(`bpf_get_local_storage of ${name} takes no flags: EINVAL`, (kernel, { open }) => {
    const storage = open(runStorage(kernel, map_type));
    const items = [loadMapFd(r1, storage), mov(r2, 1), call(helpers.BPF_FUNC_get_local_storage), mov(r0, 1), exit()];
    expect(refusal(kernel, items, cgroupSkb)).toEqual(["EINVAL", "get_local_storage() doesn't support non-zero flags"]);
  });

  contract(`a program names one map of ${name}, or EBUSY`, (kernel, { open }) => {
    const [first, second] = [open(runStorage(kernel, map_type)), open(runStorage(kernel, map_type))];
    const items = [...getStorage(first), ...getStorage(second), mov(r0, 1), exit()];
    expect(refusal(kernel, items, cgroupSkb)[0]).toBe("EBUSY");
  });

  contract(`${name} goes with no other helper`, (kernel, { open }) => {
    const storage = open(runStorage(kernel, map_type));
    const items = [
      store("dw", r10, -16, 0),
      store("dw", r10, -8, 0),
      mov(r2, r10),
      add(r2, -16),
      loadMapFd(r1, storage),
      call(helpers.BPF_FUNC_map_lookup_elem),
      mov(r0, 1),
      exit(),
    ];
    expect(refusal(kernel, items, cgroupSkb)).toEqual([
      "EINVAL",
      `cannot pass map_type ${map_type} into func bpf_map_lookup_elem#1`,
    ]);
  });

  contract(`other program types have no ${name}`, (kernel, { open }) => {
    const storage = open(runStorage(kernel, map_type));
    expect(refusal(kernel, [...getStorage(storage), mov(r0, 1), exit()])).toEqual([
      "EINVAL",
      "program of this type cannot use helper bpf_get_local_storage#81",
    ]);
  });

  contract(`programs that call each other's tails share ${name}`, (kernel, { open }) => {
    const storage = open(runStorage(kernel, map_type));
    const other = open(runStorage(kernel, map_type));
    const jumps = open(create(kernel, { map_type: types.BPF_MAP_TYPE_PROG_ARRAY, value_size: 4 }));
    const callTail: asm.Item[] = [
      mov(r1, r6),
      loadMapFd(r2, jumps),
      mov(r3, 0),
      call(helpers.BPF_FUNC_tail_call),
      mov(r0, 0),
      exit(),
    ];
    const caller: asm.Item[] = [mov(r6, r1), ...getStorage(storage), store("dw", r0, 0, 7), ...callTail];
    const callee = (map: number): asm.Item[] => [
      ...getStorage(map),
      ldx("dw", r1, r0, 0),
      mov(r0, 0),
      jump("jne", r1, 7, "out"),
      mov(r0, 1),
      label("out"),
      exit(),
    ];
    const program = open(load(kernel, caller, cgroupSkb));
    const put = (items: asm.Item[]): number | string => {
      const value = u32(open(load(kernel, items, cgroupSkb)));
      return outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd: jumps, key: u32(0), value }));
    };
    expect(put(callee(other))).toBe("EINVAL");
    expect(put([mov(r0, 1), exit()])).toBe(0);
    expect(put(callee(storage))).toBe(0);
    expect(testRun(kernel, program).retval).toBe(1);
    expect(outcome(load(kernel, [mov(r6, r1), ...callTail], cgroupSkb))).toBe("EINVAL");
  });
}

/** r6 = the packet's socket, or the program returns 100. */
const socket: asm.Item[] = [ldx("dw", r6, r1, SK), mov(r0, 100), jump("jeq", r6, 0, "out")];

/** r0 = the socket's value or NULL. `value`: offset from r10 of what a new one begins with. */
const storageGet = (map: number, flags: number, value?: number): asm.Item[] => [
  loadMapFd(r1, map),
  mov(r2, r6),
  ...(value === undefined ? [mov(r3, 0)] : [mov(r3, r10), add(r3, value)]),
  mov(r4, flags),
  call(helpers.BPF_FUNC_sk_storage_get),
];
const storageDelete = (map: number): asm.Item[] => [
  loadMapFd(r1, map),
  mov(r2, r6),
  call(helpers.BPF_FUNC_sk_storage_delete),
];

const CREATE = BPF_SK_STORAGE_GET_F_CREATE;

for (const [name, type] of [
  ["a classifier", classifier],
  ["a cgroup_skb program", cgroupSkb],
] as const) {
  /** A program whose result is written to an array, for some types return only 0 or 1. */
  const run = (
    kernel: Kernel,
    open: (fd: number) => number,
    items: readonly asm.Item[],
    repeat = 1,
  ): bigint | string => {
    const array = open(create(kernel, { max_entries: 1 }));
    const program = open(
      load(
        kernel,
        [...socket, ...items, label("out"), loadMapValue(r1, array, 0), store("dw", r1, 0, r0), mov(r0, 1), exit()],
        type,
      ),
    );
    expect(testRun(kernel, program, { repeat }).outcome).toBe(0);
    return get(kernel, array, 0);
  };

  contract(`${name} finds no storage of its socket until it makes some`, (kernel, { open }) => {
    const map = socketStorage(kernel, open);
    const items = [...storageGet(map, 0), jump("jeq", r0, 0, "out"), mov(r0, 1)];
    expect(run(kernel, open, items)).toBe(0n);
  });

  contract(`${name} makes storage with zeros, and with what it gives`, (kernel, { open }) => {
    const map = socketStorage(kernel, open);
    expect(
      run(kernel, open, [...storageGet(map, CREATE), jump("jeq", r0, 0, "out"), ldx("dw", r0, r0, 0), add(r0, 5)]),
    ).toBe(5n);
    const given: asm.Item[] = [store("dw", r10, -8, 77), ...storageGet(map, CREATE, -8), jump("jeq", r0, 0, "out")];
    expect(run(kernel, open, [...given, ldx("dw", r0, r0, 0)])).toBe(77n);
    // What is there already is not written.
    const again: asm.Item[] = [store("dw", r10, -8, 78), ...storageGet(map, CREATE, -8), jump("jeq", r0, 0, "out")];
    expect(run(kernel, open, [...given, ...again, ldx("dw", r0, r0, 0)])).toBe(77n);
  });

  contract(`the storage of ${name} stays for the repeats of a test run, and goes with it`, (kernel, { open }) => {
    const map = socketStorage(kernel, open);
    const items: asm.Item[] = [
      ...storageGet(map, CREATE),
      jump("jeq", r0, 0, "out"),
      ldx("dw", r1, r0, 0),
      add(r1, 1),
      store("dw", r0, 0, r1),
      mov(r0, r1),
    ];
    expect([run(kernel, open, items), run(kernel, open, items, 3), run(kernel, open, items)]).toEqual([1n, 3n, 1n]);
  });

  contract(`${name} deletes its socket's storage once: then ENOENT`, (kernel, { open }) => {
    const map = socketStorage(kernel, open);
    const removed: asm.Item[] = [...storageGet(map, CREATE), ...storageDelete(map)];
    expect(run(kernel, open, removed)).toBe(0n);
    expect(BigInt.asIntN(64, run(kernel, open, storageDelete(map)) as bigint)).toBe(-2n);
    const kept: asm.Item[] = [
      ...storageGet(map, CREATE),
      jump("jeq", r0, 0, "out"),
      mov(r7, r0),
      ...storageDelete(map),
    ];
    // A value that was deleted stays until the program ends.
    expect(run(kernel, open, [...kept, ldx("dw", r0, r7, 0)])).toBe(0n);
  });

  contract(`flags but CREATE are no storage to ${name}`, (kernel, { open }) => {
    const map = socketStorage(kernel, open);
    expect(run(kernel, open, [...storageGet(map, 2), jump("jeq", r0, 0, "out"), mov(r0, 1)])).toBe(0n);
    const wide = [
      loadMapFd(r1, map),
      mov(r2, r6),
      mov(r3, 0),
      asm.loadImm64(r4, 1n << 32n),
      call(helpers.BPF_FUNC_sk_storage_get),
      jump("jeq", r0, 0, "out"),
      mov(r0, 1),
    ];
    expect(run(kernel, open, wide)).toBe(0n);
  });
}

/** The fields of struct bpf_sock, by offset. */
const fields = {
  bound_dev_if: 0,
  family: 4,
  type: 8,
  protocol: 12,
  mark: 16,
  priority: 20,
  src_ip4: 24,
  src_ip6_0: 28,
  src_ip6_3: 40,
  src_port: 44,
  dst_port: 48,
  dst_ip4: 52,
  dst_ip6_0: 56,
  dst_ip6_3: 68,
  state: 72,
  rx_queue_mapping: 76,
} as const;
const widths = { 1: "b", 2: "h", 4: "w", 8: "dw" } as const;

/** r6 = the full socket of r6, or the program returns 101. */
const fullSocket: asm.Item[] = [
  mov(r1, r6),
  call(helpers.BPF_FUNC_sk_fullsock),
  mov(r6, r0),
  mov(r0, 101),
  jump("jeq", r6, 0, "out"),
];

function ipv4(): Uint8Array {
  const bytes = frame(64);
  bytes.set([8, 0, 0x45, 0, 0, 50], 12);
  bytes.set([10, 0, 0, 1, 10, 0, 0, 2], 26);
  return bytes;
}
function ipv6(): Uint8Array {
  const bytes = frame(64);
  bytes.set([0x86, 0xdd, 0x60], 12);
  bytes.set(
    Array.from({ length: 32 }, (_, index) => index + 1),
    22,
  );
  return bytes;
}

for (const [name, data_in, expected] of [
  ["no IP", frame(64), { family: 0, src_ip4: 0, dst_ip4: 0, src_ip6_0: 0, dst_ip6_3: 0 }],
  ["IPv4", ipv4(), { family: 2, src_ip4: 0x0100000a, dst_ip4: 0x0200000a }],
  [
    "IPv6",
    ipv6(),
    { family: 10, src_ip6_0: 0x04030201, src_ip6_3: 0x100f0e0d, dst_ip6_0: 0x14131211, dst_ip6_3: 0x201f1e1d },
  ],
] as const) {
  contract(`a test run's socket is as new, with the addresses of ${name}`, (kernel, { open }) => {
    const read = (offset: number): number | undefined => {
      const items = [...socket, ...fullSocket, ldx("w", r0, r6, offset), label("out"), exit()];
      return testRun(kernel, open(load(kernel, items, classifier)), { data_in, data_size_in: data_in.length }).retval;
    };
    const always = {
      bound_dev_if: 0,
      type: 0,
      protocol: 0,
      mark: 0,
      priority: 0,
      src_port: 0,
      dst_port: 0,
      state: 7,
      rx_queue_mapping: 0xffff_ffff,
    };
    for (const [field, value] of Object.entries({ ...always, ...expected }))
      expect([field, read(fields[field as keyof typeof fields])]).toEqual([field, value]);
  });
}

/** Whether a program may read a part of struct bpf_sock, of which only `sock` shows all fields. */
function isReadable(kind: "sock_common" | "sock", size: number, offset: number): boolean {
  if (size > 4 || offset % size !== 0) return false;
  const isWhole = kind === "sock" && offset >= fields.type && offset < fields.src_ip4;
  if (offset === fields.bound_dev_if || (isWhole && offset >= fields.mark)) return size === 4;
  if (isWhole) return offset % 4 === 0;
  if ([fields.family, fields.src_port, fields.state, fields.rx_queue_mapping].includes(offset as never)) return true;
  const isAddress = (first: number, behind: number): boolean => offset >= first && offset < behind;
  if (isAddress(fields.src_ip4, fields.src_port) || isAddress(fields.dst_ip4, fields.state)) return true;
  return isAddress(fields.dst_port, fields.dst_port + 2);
}

for (const kind of ["sock_common", "sock"] as const) {
  contract(`which parts of a ${kind} are read`, (kernel) => {
    for (const size of [1, 2, 4, 8] as const) {
      for (let offset = 0; offset <= 84; offset++) {
        const access = ldx(widths[size], r0, r6, offset);
        const items = [...socket, ...(kind === "sock" ? fullSocket : []), access, label("out"), mov(r0, 1), exit()];
        const [error, line] = refusal(kernel, items, classifier);
        const words = `R6 invalid ${kind} access off=${offset} size=${size}`;
        if (isReadable(kind, size, offset))
          expect(`${size} at ${offset}: ${typeof error}`).toBe(`${size} at ${offset}: number`);
        else expect([error, line]).toEqual(["EACCES", words]);
      }
    }
  });
}

const sinks: readonly (readonly [fact: string, items: readonly asm.Item[], errno: string, words: string])[] = [
  [
    "a socket that was not compared with NULL",
    [ldx("dw", r6, r1, SK), ldx("w", r0, r6, 4), exit()],
    "EACCES",
    "R6 invalid mem access 'sock_common_or_null'",
  ],
  [
    "a full socket that was not compared with NULL",
    [...socket, mov(r1, r6), call(helpers.BPF_FUNC_sk_fullsock), ldx("w", r0, r0, 4), label("out"), exit()],
    "EACCES",
    "R0 invalid mem access 'sock_or_null'",
  ],
  [
    "a socket that may be NULL, as an argument",
    [ldx("dw", r1, r1, SK), call(helpers.BPF_FUNC_sk_fullsock), mov(r0, 0), exit()],
    "EACCES",
    "R1 type=sock_common_or_null expected=sock_common, sock, tcp_sock, xdp_sock",
  ],
  [
    "a number for a socket",
    [mov(r1, 0), call(helpers.BPF_FUNC_sk_fullsock), mov(r0, 0), exit()],
    "EACCES",
    "R1 type=scalar expected=sock_common, sock, tcp_sock, xdp_sock",
  ],
  [
    "a store to a socket",
    [...socket, store("w", r6, 16, 1), mov(r0, 0), label("out"), exit()],
    "EACCES",
    "R6 cannot write into sock_common",
  ],
  [
    "an atomic addition to a socket",
    [...socket, mov(r0, 1), asm.atomic("w", 0, r6, 4, r0), label("out"), exit()],
    "EACCES",
    "BPF_ATOMIC stores into R6 sock_common is not allowed",
  ],
  [
    "arithmetic on a socket",
    [...socket, add(r6, 4), mov(r0, 0), label("out"), exit()],
    "EACCES",
    "R6 pointer arithmetic on sock_common prohibited",
  ],
  [
    "arithmetic on a socket that may be NULL",
    [ldx("dw", r6, r1, SK), add(r6, 4), mov(r0, 0), exit()],
    "EACCES",
    "R6 pointer arithmetic on sock_common_or_null prohibited, null-check it first",
  ],
  [
    "half of the pointer",
    [ldx("w", r6, r1, SK), mov(r0, 0), exit()],
    "EACCES",
    "invalid bpf_context access off=168 size=4",
  ],
  [
    "a store to the packet's socket",
    [store("dw", r1, SK, 0), mov(r0, 0), exit()],
    "EACCES",
    "invalid bpf_context access off=168 size=8",
  ],
  [
    "one load through two kinds of pointers",
    [
      ldx("w", r7, r1, 0),
      ...socket,
      jump("jeq", r7, 5, "load"),
      ...fullSocket,
      label("load"),
      ldx("w", r0, r6, 4),
      label("out"),
      mov(r0, 0),
      exit(),
    ],
    "EINVAL",
    "same insn cannot be used with different pointers",
  ],
];

for (const [fact, items, errno, words] of sinks) {
  contract(`${fact} is refused`, (kernel) => {
    expect(refusal(kernel, items, classifier)).toEqual([errno, words]);
  });
}

contract("bpf_sk_storage_get wants its map, a socket and a value of it", (kernel, { open }) => {
  const map = socketStorage(kernel, open);
  const hash = open(create(kernel, { map_type: types.BPF_MAP_TYPE_HASH }));
  const end: asm.Item[] = [mov(r0, 0), label("out"), exit()];
  expect(refusal(kernel, [...socket, ...storageGet(hash, 0), ...end], classifier)).toEqual([
    "EINVAL",
    "cannot pass map_type 1 into func bpf_sk_storage_get#107",
  ]);
  const number = [
    ...socket,
    loadMapFd(r1, map),
    mov(r2, r6),
    mov(r3, 1),
    mov(r4, 0),
    call(helpers.BPF_FUNC_sk_storage_get),
  ];
  expect(refusal(kernel, [...number, ...end], classifier)).toEqual([
    "EACCES",
    expect.stringMatching(/^R3 type=scalar expected=fp, /),
  ]);
  const noSocket = [mov(r6, r1), ...storageGet(map, 0), ...end];
  expect(refusal(kernel, noSocket, classifier)).toEqual([
    "EACCES",
    "R2 type=ctx expected=sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_",
  ]);
  const unchecked = [...socket, ...storageGet(map, 0), ldx("dw", r0, r0, 0), ...end];
  expect(refusal(kernel, unchecked, classifier)).toEqual(["EACCES", "R0 invalid mem access 'map_value_or_null'"]);
});

contract("a socket's storage is charged to it: 128 KiB", (kernel, { open }) => {
  const btf = buildBtf([int("u32", 4), array(1, 12_000)]);
  const btf_fd = open(kernel.bpf(BPF_BTF_LOAD, { btf, btf_size: btf.length }));
  const typed = { btf_fd, btf_key_type_id: 1, btf_value_type_id: 2 };
  const map_type = types.BPF_MAP_TYPE_SK_STORAGE;
  const maps = Array.from({ length: 4 }, () =>
    open(create(kernel, { map_type, value_size: 48_000, max_entries: 0, map_flags: BPF_F_NO_PREALLOC, ...typed })),
  );
  const items: asm.Item[] = [...socket, mov(r7, 0)];
  for (const [index, map] of maps.entries()) {
    items.push(...storageGet(map, CREATE), jump("jeq", r0, 0, `full${index}`), add(r7, 1), label(`full${index}`));
  }
  const program = open(load(kernel, [...items, mov(r0, r7), label("out"), exit()], classifier));
  expect([testRun(kernel, program).retval, testRun(kernel, program).retval]).toEqual([2, 2]);
});
