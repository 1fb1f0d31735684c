// Programs in arenas: what they allocate, store and follow, and what JavaScript sees of it through its mapping.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import { LD_IMM64 } from "../../src/asm/instruction.ts";
import { type Btf, parseBtf } from "../../src/btf/btf.ts";
import type { Kernel, Mapping } from "../../src/kernel/kernel.ts";
import { BPF_F_MMAPABLE, BPF_F_NO_USER_CONV, BPF_F_SLEEPABLE } from "../../src/uapi/flags.ts";
import * as insn from "../../src/uapi/insn.ts";
import { BPF_MAP_TYPE_ARENA, BPF_MAP_TYPE_HASH } from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_SYSCALL } from "../../src/uapi/program-types.ts";
import { cString } from "../../src/uapi/struct.ts";
import { type Bench, contract, outcome } from "./contract.ts";
import { create, type MapCreate } from "./maps.ts";
import { load, refusal, testRun } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10 } = asm;
const { add, alu32, alu64, atomic, castToArena, castToUser, exit, jump, label, load: ldx, loadMapFd, mov, store } = asm;

const PAGE = 4096;
/** An address that nothing is mapped at. */
const START = 0x1000_0000_0000;
const sleepable = { prog_type: BPF_PROG_TYPE_SYSCALL, prog_flags: BPF_F_SLEEPABLE };

/** An arena of 16 pages, and the calls of kernel functions that take it. */
function arenaOf(kernel: Kernel, { open }: Pick<Bench, "open">, attr: MapCreate = {}) {
  const fd = open(
    create(kernel, {
      map_type: BPF_MAP_TYPE_ARENA,
      key_size: 0,
      value_size: 0,
      max_entries: 16,
      map_flags: BPF_F_MMAPABLE,
      map_extra: START,
      ...attr,
    }),
  );
  const btf = btfOf(kernel);
  const call = (name: string) => asm.callKernelFunction(btf.find(name, "func")!);
  return {
    fd,
    /** r0 = the address of new pages, which r2 asks for. */
    allocateAt: (count: number, { node = -1, flags = 0 } = {}): asm.Item[] => [
      loadMapFd(r1, fd),
      mov(r3, count),
      mov(r4, node),
      mov(r5, flags),
      call("bpf_arena_alloc_pages"),
    ],
    /** r0 = the address of new pages, anywhere. */
    allocate(count: number, options?: { node?: number; flags?: number }): asm.Item[] {
      return [mov(r2, 0), ...this.allocateAt(count, options)];
    },
    /** Frees or reserves pages from the address in r2 on. */
    free: (count: number): asm.Item[] => [loadMapFd(r1, fd), mov(r3, count), call("bpf_arena_free_pages")],
    reserve: (count: number): asm.Item[] => [loadMapFd(r1, fd), mov(r3, count), call("bpf_arena_reserve_pages")],
    call,
    mapped(address: number): Mapping {
      const mapping = kernel.mmap(fd, { length: 16 * PAGE, address, writable: true });
      if (typeof mapping === "number") throw new Error(`mmap: ${outcome(mapping)}`);
      return mapping;
    },
  };
}
type TestArena = ReturnType<typeof arenaOf>;

/** Parsed once: vmlinux has 200,000 types. */
const btfs = new Map<Kernel["kind"], Btf>();
function btfOf({ kind, system }: Kernel): Btf {
  const btf = btfs.get(kind) ?? parseBtf(system.btf()!);
  btfs.set(kind, btf);
  return btf;
}

/** Runs instructions with the context, 64 bytes, in r9; gives its words up to the last that is not 0. */
function run(kernel: Kernel, { open, close }: Bench, items: readonly asm.Item[]): bigint[] {
  const prog_fd = open(load(kernel, [mov(r9, r1), ...items, mov(r0, 0), exit()], sleepable));
  const ctx_in = new Uint8Array(64);
  const result = testRun(kernel, prog_fd, { data_in: null, data_size_in: 0, ctx_in, ctx_size_in: 64 });
  close(prog_fd);
  expect(result.outcome).toBe(0);
  const words = [...new BigUint64Array(ctx_in.buffer)];
  return words.slice(0, words.findLastIndex((word) => word !== 0n) + 1);
}

/** `context[word] = register` */
const tell = (word: number, register: typeof r0 | typeof r1 | typeof r2): asm.Item =>
  store("dw", r9, 8 * word, register);

/** Instructions with the user's address of a new page in r8, and the program's pointer to it in r6. */
const onPage = (arena: TestArena, ...items: asm.Item[]): asm.Item[] => [
  ...arena.allocate(1),
  mov(r8, r0),
  castToArena(r6, r0),
  ...items,
];
const at = (offset: number): bigint => BigInt(START + offset);

contract("a program builds a linked list that JavaScript follows, changes, and has summed", (kernel, bench) => {
  // The first node must not have an address whose lower half is 0: that is NULL.
  const start = START + 0x10000;
  const at = (offset: number): bigint => BigInt(start + offset);
  const arena = arenaOf(kernel, bench, { map_extra: start });
  // struct node { struct node __arena *next; u64 value; }, ten of them, the last one first.
  run(kernel, bench, [
    ...onPage(arena),
    mov(r7, 0),
    mov(r1, 0),
    label("more"),
    castToUser(r2, r1),
    store("dw", r6, 0, r2),
    store("dw", r6, 8, r7),
    mov(r1, r6),
    add(r6, 16),
    add(r7, 1),
    jump("jne", r7, 10, "more"),
  ]);
  const mapping = arena.mapped(start);
  const view = new DataView(mapping.bytes.buffer, mapping.bytes.byteOffset, mapping.bytes.length);
  const values: bigint[] = [];
  for (let node = at(9 * 16); node !== 0n; node = view.getBigUint64(Number(node) - start, true)) {
    const value = Number(node) - start + 8;
    values.push(view.getBigUint64(value, true));
    view.setBigUint64(value, 100n, true);
  }
  expect(values).toEqual([9n, 8n, 7n, 6n, 5n, 4n, 3n, 2n, 1n, 0n]);
  // A list of JavaScript's own on another page: its first node holds the address of the second.
  view.setBigUint64(3 * PAGE, at(3 * PAGE + 64), true);
  view.setBigUint64(3 * PAGE + 8, 1000n, true);
  view.setBigUint64(3 * PAGE + 64, at(9 * 16), true);
  view.setBigUint64(3 * PAGE + 72, 5000n, true);
  const sum = run(kernel, bench, [
    loadMapFd(r1, arena.fd),
    asm.loadImm64(r2, at(3 * PAGE)),
    mov(r7, 0),
    mov(r8, 0),
    label("more"),
    castToArena(r6, r2),
    ldx("dw", r1, r6, 8),
    alu64("add", r7, r1),
    ldx("dw", r2, r6, 0),
    add(r8, 1),
    jump("jgt", r8, 20, "done"),
    jump("jne", r2, 0, "more"),
    label("done"),
    store("dw", r9, 0, r7),
    store("dw", r9, 8, r8),
  ]);
  expect(sum).toEqual([7000n, 12n]);
  mapping.unmap();
});

contract("a program and JavaScript see the same bytes, in all widths and at any place", (kernel, bench) => {
  // Where an arena was mapped, nothing else is while its bytes can be reached.
  const start = 2 * START;
  const arena = arenaOf(kernel, bench, { map_extra: start });
  run(kernel, bench, [
    ...onPage(arena),
    store("dw", r6, 0, -2),
    store("w", r6, 9, 0x01020304),
    store("h", r6, 15, 0x0506),
    store("b", r6, PAGE - 1, 7),
  ]);
  const mapping = arena.mapped(start);
  const expected = new Uint8Array(PAGE);
  expected.fill(0xff, 1, 8)[0] = 0xfe;
  expected.set([4, 3, 2, 1], 9);
  expected.set([6, 5], 15);
  expected[PAGE - 1] = 7;
  expect([...mapping.bytes.slice(0, PAGE)]).toEqual([...expected]);
  mapping.bytes.set([0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87], 33);
  const read = run(kernel, bench, [
    loadMapFd(r1, arena.fd),
    asm.loadImm64(r6, BigInt(start + 33)),
    castToArena(r6, r6),
    ...(["dw", "w", "h", "b"] as const).flatMap((width, word) => [ldx(width, r0, r6, 0), tell(word, r0)]),
    ...(["w", "h", "b"] as const).flatMap((width, word) => [asm.loadSigned(width, r0, r6, 0), tell(word + 4, r0)]),
  ]);
  expect(read.map((word) => word.toString(16))).toEqual([
    "8786858483828180",
    "83828180",
    "8180",
    "80",
    "ffffffff83828180",
    "ffffffffffff8180",
    "ffffffffffffff80",
  ]);
  mapping.unmap();
});

contract("bpf_arena_alloc_pages gives the first room that suffices, and NULL when there is none", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const { allocate } = arena;
  expect(
    run(kernel, bench, [
      ...[1, 14, 2, 1, 1].flatMap((count, word) => [...allocate.call(arena, count), tell(word, r0)]),
      mov(r1, 1),
      tell(5, r1),
    ]),
  ).toEqual([at(0), at(PAGE), 0n, at(15 * PAGE), 0n, 1n]);
});

contract("bpf_arena_alloc_pages gives NULL for what it cannot understand", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const asked = [
    arena.allocate(17),
    arena.allocate(0),
    arena.allocate(1, { flags: 1 }),
    arena.allocate(1, { node: 5000 }),
    arena.allocate(1, { node: -2 }),
    arena.allocate(1, { node: 0 }),
  ];
  expect(
    run(
      kernel,
      bench,
      asked.flatMap((items, word) => [...items, tell(word, r0)]),
    ),
  ).toEqual([0n, 0n, 0n, 0n, 0n, at(0)]);
});

contract("bpf_arena_alloc_pages gives the pages that it is asked for, where they are free", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const wanted: [page: bigint, count: number][] = [
    [at(3 * PAGE), 2],
    [at(4 * PAGE), 1],
    [at(5), 1],
    [at(15 * PAGE), 2],
    [at(14 * PAGE), 2],
    // Of the upper half nothing is looked at.
    [BigInt(6 * PAGE), 1],
  ];
  const items = wanted.flatMap(([page, count], word) => [
    asm.loadImm64(r2, page),
    ...arena.allocateAt(count),
    tell(word, r0),
  ]);
  expect(run(kernel, bench, items)).toEqual([at(3 * PAGE), 0n, 0n, 0n, at(14 * PAGE), at(6 * PAGE)]);
});

contract("freed pages are gone for programs, and zero when they come again", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const items = onPage(
    arena,
    store("dw", r6, 0, 5),
    ldx("dw", r0, r6, 0),
    tell(0, r0),
    mov(r2, r8),
    ...arena.free(1),
    ldx("dw", r0, r6, 0),
    tell(1, r0),
    ...arena.allocate(1),
    tell(2, r0),
    ldx("dw", r0, r6, 0),
    tell(3, r0),
    store("dw", r6, 0, 6),
    ldx("dw", r0, r6, 0),
    tell(4, r0),
  );
  expect(run(kernel, bench, items)).toEqual([5n, 0n, at(0), 0n, 6n]);
});

contract("reserved pages are not allocated until they are freed", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const at2 = (page: number) => asm.loadImm64(r2, at(page * PAGE));
  const items = [
    ...[at2(0), ...arena.reserve(2), tell(0, r0)],
    ...[at2(1), ...arena.reserve(2), tell(1, r0)],
    ...[at2(15), ...arena.reserve(2), tell(2, r0)],
    ...[...arena.allocate(1), tell(3, r0)],
    ...[at2(0), ...arena.free(2)],
    ...[...arena.allocate(2), tell(4, r0)],
  ];
  expect(run(kernel, bench, items)).toEqual([0n, 0xfffffff0n, 0xffffffean, at(2 * PAGE), at(0)]);
});

contract("a map that is no arena has no pages to give", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const hash = bench.open(create(kernel, { map_type: BPF_MAP_TYPE_HASH }));
  const items = [
    ...[mov(r2, 0), loadMapFd(r1, hash), mov(r3, 1), mov(r4, 0), mov(r5, 0), arena.call("bpf_arena_alloc_pages")],
    tell(0, r0),
    ...[mov(r2, 0), loadMapFd(r1, hash), mov(r3, 1), arena.call("bpf_arena_reserve_pages"), tell(1, r0)],
    ...[mov(r2, PAGE), loadMapFd(r1, hash), mov(r3, 1), arena.call("bpf_arena_free_pages")],
  ];
  expect(run(kernel, bench, items)).toEqual([0n, 0xffffffean]);
});

contract("of a page that is not there loads give 0, and stores have no effect", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const items = onPage(
    arena,
    store("dw", r6, PAGE, 5),
    ldx("dw", r0, r6, PAGE),
    tell(0, r0),
    ldx("b", r0, r6, -1),
    tell(1, r0),
    store("w", r6, PAGE - 4, 9),
    // Half of it is there.
    store("dw", r6, PAGE - 4, -1),
    ldx("dw", r0, r6, PAGE - 4),
    tell(2, r0),
    ldx("w", r0, r6, PAGE - 4),
    tell(3, r0),
    mov(r2, 7),
    atomic("dw", insn.BPF_ADD | insn.BPF_FETCH, r6, PAGE, r2),
    tell(4, r2),
  );
  expect(run(kernel, bench, items)).toEqual([0n, 0n, 0n, 9n, 7n]);
});

for (const offset of [0, -1, -8, -32768, 32767, 32760]) {
  for (const low of [0n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_f000n, 0xffff_ffffn, 0x9_0000_2000n]) {
    contract(`no access leaves the arena: 0x${low.toString(16)} with offset ${offset}`, (kernel, bench) => {
      const arena = arenaOf(kernel, bench, { map_extra: START + 0x5000_0000 });
      const items = onPage(
        arena,
        store("dw", r6, 0, 77),
        asm.loadImm64(r1, low),
        castToArena(r7, r1),
        mov(r0, 3),
        ldx("dw", r0, r7, offset),
        tell(0, r0),
        store("dw", r7, offset, -1),
        ldx("dw", r0, r6, 0),
        tell(1, r0),
      );
      expect(run(kernel, bench, items)).toEqual([0n, 77n]);
    });
  }
}

contract("the last page of 4 GiB has nothing behind it, and the first nothing in front", (kernel, bench) => {
  const arena = arenaOf(kernel, bench, { map_extra: START + 0xffff_f000, max_entries: 1 });
  const items = onPage(
    arena,
    store("w", r6, PAGE - 4, 8),
    castToUser(r1, r6),
    tell(0, r1),
    ldx("dw", r0, r6, PAGE - 4),
    tell(1, r0),
    ldx("w", r0, r6, PAGE - 4),
    tell(2, r0),
    mov(r1, 0),
    castToArena(r1, r1),
    ldx("w", r0, r1, -4),
    tell(3, r0),
    mov(r1, -4),
    castToArena(r1, r1),
    ldx("w", r0, r1, 0),
    tell(4, r0),
  );
  expect(run(kernel, bench, items)).toEqual([at(0xffff_f000), 0n, 8n, 0n, 8n]);
});

contract("a pointer that is cast to user space gets the arena's upper half, NULL stays NULL", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const cast = (value: bigint, word: number) => [asm.loadImm64(r1, value), castToUser(r2, r1), tell(word, r2)];
  const values = [0n, 0x5_0000_0000n, 0xffff_ffff_ffff_ffffn, 8n];
  const items = [loadMapFd(r1, arena.fd), ...values.flatMap(cast)];
  expect(run(kernel, bench, items)).toEqual([0n, 0n, at(0xffff_ffff), at(8)]);
  const plain = arenaOf(kernel, bench, { map_flags: BPF_F_MMAPABLE | BPF_F_NO_USER_CONV });
  const lower = [loadMapFd(r1, plain.fd), ...values.flatMap(cast)];
  expect(run(kernel, bench, lower)).toEqual([0n, 0n, 0xffff_ffffn, 8n]);
});

for (const [operation, expected] of [
  ["add", 0x12n],
  ["sub", 0xfffffffen],
  ["mul", 0xa0n],
  ["or", 0x1an],
  ["xor", 0x1an],
  ["and", 0x0n],
  ["lsh", 0xa0000n],
  ["div", 0n],
  ["mod", 0xan],
] as const) {
  contract(`a number ${operation} an arena pointer is an arena pointer of 32 bits`, (kernel, bench) => {
    const arena = arenaOf(kernel, bench);
    const own = operation === "add" || operation === "sub" ? 8 : 16;
    const items = onPage(
      arena,
      add(r6, operation === "sub" ? 12 : own),
      mov(r1, 10),
      alu64(operation, r1, r6),
      tell(0, r1),
      ldx("dw", r0, r1, 0),
      mov(r1, 10),
      alu32(operation, r1, r6),
      tell(1, r1),
      ldx("dw", r0, r1, 0),
    );
    expect(run(kernel, bench, items).concat(0n, 0n).slice(0, 2)).toEqual([expected, expected]);
  });
}

for (const [name, operation, memory, result] of [
  ["add", insn.BPF_ADD, 15n, 5n],
  ["fetch and add", insn.BPF_ADD | insn.BPF_FETCH, 15n, 10n],
  ["and", insn.BPF_AND, 0n, 5n],
  ["or", insn.BPF_OR, 15n, 5n],
  ["xor", insn.BPF_XOR, 15n, 5n],
  ["exchange", insn.BPF_XCHG, 5n, 10n],
  ["compare and exchange", insn.BPF_CMPXCHG, 5n, 5n],
] as const) {
  contract(`atomic operations in an arena: ${name}`, (kernel, bench) => {
    const arena = arenaOf(kernel, bench);
    const items = (["w", "dw"] as const).flatMap((width, index) => [
      store("dw", r6, 0, 10),
      mov(r0, 10),
      mov(r2, 5),
      atomic(width, operation, r6, 0, r2),
      tell(2 * index + 1, r2),
      ldx("dw", r2, r6, 0),
      tell(2 * index, r2),
    ]);
    const words = run(kernel, bench, onPage(arena, ...items));
    expect(words.concat(0n, 0n, 0n, 0n).slice(0, 4)).toEqual([memory, result, memory, result]);
  });
}

contract("a 64-bit load of a place in an arena is its address in user space", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  const { fd } = arena;
  const items = [asm.loadMapValue(r1, fd, 8), tell(0, r1), asm.loadMapValue(r1, fd, 16 * PAGE), tell(1, r1)];
  expect(run(kernel, bench, items)).toEqual([at(8), at(16 * PAGE)]);
  const behind = [asm.loadMapValue(r1, fd, 16 * PAGE + 1), mov(r0, 0), exit()];
  expect(refusal(kernel, behind, sleepable)).toEqual([
    "ERANGE",
    `invalid access to map value pointer, value_size=0 off=${16 * PAGE + 1}`,
  ]);
});

const end = [mov(r0, 0), exit()];
/** A program that is refused, and why. */
const refused: readonly (readonly [
  fact: string,
  items: (arena: TestArena) => readonly asm.Item[],
  expected: readonly [error: string, line: string],
  attr?: object,
])[] = [
  [
    "a cast in a program without an arena",
    () => [mov(r6, 0), castToArena(r6, r6)],
    ["EINVAL", "addr_space_cast insn can only be used in a program that has an associated arena"],
  ],
  [
    "a cast to an address space that there is not",
    (arena) => onPage(arena, { ...castToArena(r1, r6), imm: 2 }),
    ["EINVAL", "addr_space_cast insn can only convert between address space 1 and 0"],
  ],
  [
    "a cast of 32 bits",
    (arena) => onPage(arena, { ...castToArena(r1, r6), opcode: insn.BPF_ALU | insn.BPF_MOV | insn.BPF_X }),
    ["EINVAL", "BPF_MOV uses reserved fields"],
  ],
  ["a cast of nothing", (arena) => onPage(arena, castToArena(r1, r7)), ["EACCES", "R7 !read_ok"]],
  [
    "an access by the user's address",
    (arena) => onPage(arena, store("dw", r8, 0, 1)),
    ["EACCES", "R8 invalid mem access 'scalar'"],
  ],
  [
    "an instruction that accesses an arena and the stack",
    (arena) =>
      onPage(
        arena,
        mov(r7, r6),
        jump("jeq", r8, 0, "on"),
        mov(r7, r10),
        add(r7, -8),
        label("on"),
        store("dw", r7, 0, 1),
      ),
    ["EINVAL", "same insn cannot be used with different pointers"],
  ],
  [
    "an arena pointer as a helper's memory",
    (arena) => onPage(arena, mov(r1, r6), mov(r2, 8), asm.call(6)),
    ["EACCES", "R1 type=arena expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"],
  ],
  [
    "an atomic fetch and or",
    (arena) => onPage(arena, mov(r1, 1), atomic("dw", insn.BPF_OR | insn.BPF_FETCH, r6, 0, r1)),
    ["EACCES", "BPF_ATOMIC stores into R6 arena is not allowed"],
  ],
  [
    "what bpf_arena_free_pages returns",
    (arena) => [mov(r2, 0), ...arena.free(1), store("dw", r10, -8, r0)],
    ["EACCES", "R0 !read_ok"],
  ],
  ["arguments after a call", (arena) => [...arena.allocate(1), mov(r0, r1)], ["EACCES", "R1 !read_ok"]],
  [
    "NULL for a map",
    ({ call }) => [mov(r1, 0), mov(r3, 1), mov(r4, 0), mov(r5, 0), call("bpf_arena_alloc_pages")],
    ["EACCES", "Possibly NULL pointer passed to trusted arg0"],
  ],
  [
    "a context for a map",
    ({ call }) => [mov(r3, 1), mov(r4, 0), mov(r5, 0), call("bpf_arena_alloc_pages")],
    ["EINVAL", "pointer in R1 isn't map pointer"],
  ],
  [
    "a pointer for a number of pages",
    ({ fd, call }) => [loadMapFd(r1, fd), mov(r3, r10), mov(r4, 0), mov(r5, 0), call("bpf_arena_alloc_pages")],
    ["EINVAL", "R3 is not a scalar"],
  ],
  [
    "a call of a type that is no function",
    () => [asm.callKernelFunction(1)],
    ["EINVAL", "kernel btf_id 1 is not a function"],
  ],
  [
    "a call of nothing",
    () => [asm.callKernelFunction(0)],
    ["EINVAL", "invalid kernel function call not eliminated in verifier pass"],
  ],
  [
    "a call by a program that is not under the GPL",
    (arena) => arena.allocate(1),
    ["EINVAL", "cannot call kernel function from non-GPL compatible program"],
    { license: cString("MIT") },
  ],
  [
    "a call by a program that must not sleep",
    (arena) => arena.allocate(1),
    ["EACCES", "program must be sleepable to call sleepable kfunc bpf_arena_alloc_pages"],
    { prog_type: BPF_PROG_TYPE_SOCKET_FILTER, prog_flags: 0 },
  ],
];
for (const [fact, items, expected, attr] of refused) {
  contract(`refused: ${fact}`, (kernel, bench) => {
    const arena = arenaOf(kernel, bench);
    expect(refusal(kernel, [...items(arena), ...end], { ...sleepable, ...attr })).toEqual(expected);
  });
}

contract("an arena without an address, and a second arena, are refused", (kernel, bench) => {
  const without = arenaOf(kernel, bench, { map_extra: 0 });
  expect(refusal(kernel, [...without.allocate(1), ...end], sleepable)).toEqual([
    "EINVAL",
    "arena's user address must be set via map_extra or mmap()",
  ]);
  const [one, two] = [arenaOf(kernel, bench), arenaOf(kernel, bench)];
  expect(refusal(kernel, [loadMapFd(r1, one.fd), loadMapFd(r1, two.fd), ...end], sleepable)).toEqual([
    "EBUSY",
    "Only one arena per program",
  ]);
});

contract("an arena that is mapped where the kernel likes has its address from then on", (kernel, bench) => {
  const arena = arenaOf(kernel, bench, { map_extra: 0 });
  const mapping = kernel.mmap(arena.fd, { length: 16 * PAGE, writable: true }) as Mapping;
  mapping.bytes[8] = 9;
  const start = BigInt(mapping.address);
  const items = [
    asm.loadMapValue(r1, arena.fd, 8),
    tell(0, r1),
    castToArena(r1, r1),
    ldx("dw", r0, r1, 0),
    tell(1, r0),
  ];
  expect(run(kernel, bench, [...items, castToUser(r1, r1), tell(2, r1)])).toEqual([start + 8n, 9n, start + 8n]);
  mapping.unmap();
});

contract("programs that do not sleep follow arena pointers too", (kernel, bench) => {
  const arena = arenaOf(kernel, bench);
  run(kernel, bench, onPage(arena, store("dw", r6, 16, 42)));
  const items = [
    { opcode: LD_IMM64, dst: 1, src: insn.BPF_PSEUDO_MAP_VALUE, off: 0, imm: arena.fd },
    { opcode: 0, dst: 0, src: 0, off: 0, imm: 16 },
    castToArena(r1, r1),
    ldx("w", r0, r1, 0),
    exit(),
  ];
  const prog_fd = bench.open(load(kernel, items));
  expect(testRun(kernel, prog_fd)).toMatchObject({ outcome: 0, retval: 42 });
});
