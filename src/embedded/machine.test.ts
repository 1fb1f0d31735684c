import { describe, expect, test } from "vitest";
import * as layout from "../../machine/layout.ts";
import * as b from "../asm/builder.ts";
import { encodeInstructions, type Instruction } from "../asm/instruction.ts";
import { E2BIG, EAGAIN, EEXIST, EINVAL, ENOENT, ENOMEM } from "../uapi/errno.ts";
import * as flag from "../uapi/flags.ts";
import * as helper from "../uapi/helper-ids.ts";
import * as insn from "../uapi/insn.ts";
import * as type from "../uapi/map-types.ts";
import { machineBase64 } from "./machine.generated.ts";
import { createMachine, type Machine, type MachineOptions } from "./machine.ts";

const MIB = 1 << 20;
const { r0, r1, r2, r3, r4, r6, r10 } = b;

describe("the module", () => {
  const sections = sectionsOf(Uint8Array.from(atob(machineBase64), (char) => char.charCodeAt(0)));

  test("has no global that can change, since each instance would have its own", () => {
    expect(sections.filter(({ id }) => id === GLOBAL_SECTION)).toEqual([]);
  });

  test("has no data segments, which each instance would write", () => {
    expect(sections.filter(({ id }) => id === DATA_SECTION)).toEqual([]);
  });
});

describe("the allocator", () => {
  test("gives 8-aligned memory that does not overlap, and counts it", () => {
    const { machine } = start();
    const before = machine.bytesInUse();
    const blocks = [1, 8, 9, 100, 2040, 2041, 4096, 100_000].map((bytes) => ({ bytes, at: machine.allocate(bytes) }));
    const ordered = blocks.toSorted((x, y) => x.at - y.at);
    for (const { at } of blocks) expect(at % 8).toBe(0);
    for (const [index, { at, bytes }] of ordered.slice(0, -1).entries()) {
      expect(at + bytes).toBeLessThanOrEqual(ordered[index + 1]!.at);
    }
    expect(machine.bytesInUse() - before).toBeGreaterThan(106_000);
    for (const { at } of blocks) machine.free(at);
    expect(machine.bytesInUse()).toBe(before);
  });

  test("answers 0 at its limit and uses freed memory again, also in other sizes", () => {
    const { machine } = start({ memoryLimit: 4 * MIB });
    expect(machine.allocate(4 * MIB)).toBe(0);
    for (let round = 0; round < 20; round++) {
      const large = machine.allocate(3 * MIB);
      expect(large).toBeGreaterThan(0);
      expect(machine.allocate(3 * MIB)).toBe(0);
      machine.free(large);
      const small = Array.from({ length: 10 }, () => machine.allocate(300_000));
      expect(small).not.toContain(0);
      for (const at of small) machine.free(at);
    }
  });

  test("takes any order of allocating and freeing", () => {
    const { machine, u8 } = start({ memoryLimit: 2 * MIB });
    const random = sequence(7);
    const blocks: { at: number; bytes: number; fill: number; pages: boolean }[] = [];
    const before = machine.bytesInUse();
    const release = (index: number) => {
      const [{ at, bytes, fill, pages }] = blocks.splice(index, 1) as [(typeof blocks)[number]];
      expect(
        u8()
          .subarray(at, at + bytes)
          .every((byte) => byte === fill),
      ).toBe(true);
      if (pages) machine.freePages(at, bytes);
      else machine.free(at);
    };
    for (let step = 0; step < 1500; step++) {
      if (blocks.length > 60 || (blocks.length > 0 && random(2) === 0)) release(random(blocks.length));
      const bytes = 1 + random([40, 3000, 60_000][random(3)]!);
      const pages = random(4) === 0;
      const at = pages ? machine.allocatePages(bytes) : machine.allocateZeroed(bytes);
      if (at === 0) continue;
      const content = u8().subarray(at, at + bytes);
      expect(content.some((byte) => byte !== 0)).toBe(false);
      content.fill(step & 255);
      blocks.push({ at, bytes, fill: step & 255, pages });
    }
    while (blocks.length > 0) release(0);
    expect(machine.bytesInUse()).toBe(before);
  });

  test("gives whole pages that lie on a page boundary", () => {
    const { machine } = start();
    expect(machine.allocatePages(1) % layout.PAGE_BYTES).toBe(0);
    expect(machine.allocatePages(10_000) % layout.PAGE_BYTES).toBe(0);
  });
});

describe("an array", () => {
  test("has all its values from the start, 8 bytes apart where they are smaller", () => {
    const { machine, map } = start();
    const array = map(type.BPF_MAP_TYPE_ARRAY, 4, 5, 3);
    expect(array.lookup(2) - array.lookup(0)).toBe(16);
    expect(array.lookup(3)).toBe(0);
    expect(array.lookup(0)).toBe(machine.mapData(array.at));
  });

  test("tells errors in Linux's order", () => {
    const array = start().map(type.BPF_MAP_TYPE_ARRAY, 4, 8, 3);
    expect(array.update(3, 1, 3)).toBe(-EINVAL);
    expect(array.update(3, 1, flag.BPF_NOEXIST)).toBe(-E2BIG);
    expect(array.update(0, 1, flag.BPF_NOEXIST)).toBe(-EEXIST);
    expect(array.update(0, 1, flag.BPF_F_LOCK)).toBe(-EINVAL);
    expect(array.update(0, 1, flag.BPF_EXIST)).toBe(0);
    expect(array.remove(0)).toBe(-EINVAL);
  });

  test("goes from key to key, and to the first from one that is out of range", () => {
    const array = start().map(type.BPF_MAP_TYPE_ARRAY, 4, 8, 3);
    expect([array.next(), array.next(0), array.next(1), array.next(2), array.next(77)]).toEqual([0, 1, 2, -ENOENT, 0]);
  });

  test("that does not fit is ENOMEM and leaves nothing", () => {
    const { machine } = start({ memoryLimit: 2 * MIB });
    const before = machine.bytesInUse();
    for (const each of [type.BPF_MAP_TYPE_ARRAY, type.BPF_MAP_TYPE_HASH, type.BPF_MAP_TYPE_PERCPU_HASH]) {
      expect(machine.mapCreate(each, 4, MIB, 2 ** 31, 0)).toBe(-ENOMEM);
      expect(machine.mapCreate(each, 4, MIB, 2, 0)).toBe(-ENOMEM);
    }
    expect(machine.mapCreate(type.BPF_MAP_TYPE_RINGBUF, 0, 0, MIB, 0)).toBe(-ENOMEM);
    expect(machine.bytesInUse()).toBe(before);
  });
});

describe.each([
  ["preallocated", 0],
  ["allocated one by one", flag.BPF_F_NO_PREALLOC],
])("a hash, %s", (_name, flags) => {
  test("tells errors in Linux's order", () => {
    const hash = start().map(type.BPF_MAP_TYPE_HASH, 4, 8, 2, flags);
    expect(hash.update(1, 1, 3)).toBe(-EINVAL);
    expect(hash.update(1, 1, flag.BPF_F_LOCK)).toBe(-EINVAL);
    expect(hash.update(1, 1, flag.BPF_EXIST)).toBe(-ENOENT);
    expect(hash.update(1, 10, flag.BPF_NOEXIST)).toBe(0);
    expect(hash.update(1, 1, flag.BPF_NOEXIST)).toBe(-EEXIST);
    expect(hash.update(2, 20)).toBe(0);
    expect(hash.update(3, 30)).toBe(-E2BIG);
    expect(hash.update(1, 11)).toBe(0);
    expect([hash.get(1), hash.get(2), hash.get(3)]).toEqual([11, 20, undefined]);
    expect(hash.remove(3)).toBe(-ENOENT);
    expect([hash.remove(1), hash.get(1), hash.update(3, 30)]).toEqual([0, undefined, 0]);
  });

  test("agrees with a Map through many changes, and frees what it took", () => {
    const { machine, map } = start({ memoryLimit: 16 * MIB });
    const before = machine.bytesInUse();
    const hash = map(type.BPF_MAP_TYPE_HASH, 4, 8, 50, flags);
    const model = new Map<number, number>();
    const random = sequence(11);
    for (let step = 0; step < 5000; step++) {
      const key = random(100);
      if (random(3) === 0) expect(hash.remove(key)).toBe(model.delete(key) ? 0 : -ENOENT);
      else if (model.has(key) || model.size < 50) {
        expect(hash.update(key, step)).toBe(0);
        model.set(key, step);
      } else expect(hash.update(key, step)).toBe(-E2BIG);
      expect(hash.get(key)).toBe(model.get(key));
    }
    expect(hash.keys().toSorted((x, y) => x - y)).toEqual([...model.keys()].toSorted((x, y) => x - y));
    machine.mapDestroy(hash.at);
    expect(machine.bytesInUse()).toBe(before);
  });

  test("keeps a replaced or deleted value readable while a program runs", () => {
    const { machine, map, run, u8 } = start({
      helper: () => {
        hash.remove(1);
        hash.update(2, 7);
      },
    });
    const hash = map(type.BPF_MAP_TYPE_HASH, 4, 8, 2, flags);
    hash.update(1, 42);
    u8();
    const program = b.program(
      b.store("w", r10, -4, 1),
      ...lookupKeyOnStack(hash.at),
      b.mov(r6, r0),
      b.call(helper.BPF_FUNC_ktime_get_ns),
      b.load("dw", r0, r6, 0),
      b.exit(),
    );
    // A preallocated element is used again at once, as on Linux; any other is freed when the program has ended.
    expect(run(program)).toBe(flags ? 42n : 7n);
    const before = machine.bytesInUse();
    hash.remove(2);
    expect(machine.bytesInUse()).toBeLessThanOrEqual(before);
  });
});

test("a hash takes keys of any length", () => {
  const { machine, allocate, u8 } = start();
  for (let size = 1; size <= 40; size++) {
    const map = machine.mapCreate(type.BPF_MAP_TYPE_HASH, size, 1, 64, 0);
    const key = allocate(size);
    const value = allocate(8);
    for (let index = 0; index < 8; index++) {
      u8().fill(index, key, key + size);
      u8()[value] = index;
      expect(machine.mapUpdate(map, key, value, 0)).toBe(0);
    }
    for (let index = 0; index < 8; index++) {
      u8().fill(index, key, key + size);
      expect(u8()[machine.mapLookup(map, key)]).toBe(index);
      u8()[key + size - 1]! ^= 128;
      expect(machine.mapLookup(map, key)).toBe(0);
    }
    machine.mapDestroy(map);
  }
});

describe("a per-CPU map", () => {
  test.each([
    ["array", type.BPF_MAP_TYPE_PERCPU_ARRAY],
    ["hash", type.BPF_MAP_TYPE_PERCPU_HASH],
  ])("%s has a value for each CPU, of which a program sees its own", (_name, kind) => {
    const { machine, map, run, view, allocate } = start({ cpus: 3 });
    const perCpu = map(kind, 4, 4, 2);
    const key = allocate(4);
    const values = allocate(24);
    view().setUint32(key, 1, true);
    for (const [cpu, value] of [10, 20, 30].entries()) view().setUint32(values + 8 * cpu, value, true);
    expect(machine.mapUpdatePerCpu(perCpu.at, key, values, 0)).toBe(0);
    const increment = b.program(
      b.store("w", r10, -4, 1),
      ...lookupKeyOnStack(perCpu.at),
      b.load("w", r1, r0, 0),
      b.add(r1, 1),
      b.store("w", r0, 0, r1),
      b.mov(r0, r1),
      b.exit(),
    );
    expect(run(increment, { cpu: 2 })).toBe(31n);
    expect(run(increment, { cpu: 2 })).toBe(32n);
    const block = perCpu.lookup(1);
    expect([0, 1, 2].map((cpu) => view().getUint32(block + 8 * cpu, true))).toEqual([10, 20, 32]);
  });

  test("hash gets zero for the other CPUs when a program adds a key", () => {
    const { map, run, view } = start({ cpus: 2 });
    const perCpu = map(type.BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 1);
    perCpu.update(9, 1);
    perCpu.remove(9);
    const add = b.program(
      b.store("w", r10, -4, 5),
      b.store("dw", r10, -16, 77),
      ...b.loadImm64(r1, BigInt(perCpu.at)),
      ...[b.mov(r2, r10), b.add(r2, -4), b.mov(r3, r10), b.add(r3, -16), b.mov(r4, 0)],
      b.call(helper.BPF_FUNC_map_update_elem),
      b.exit(),
    );
    expect(run(add, { cpu: 1 })).toBe(0n);
    const block = perCpu.lookup(5);
    expect([view().getUint32(block, true), view().getUint32(block + 8, true)]).toEqual([0, 77]);
  });
});

describe("a ring buffer", () => {
  const DATA = 2 * layout.PAGE_BYTES;

  function ring(options: Partial<MachineOptions> = {}) {
    const wakes: number[] = [];
    const started = start({ wake: (map) => wakes.push(map), ...options });
    const { machine, view } = started;
    const at = machine.mapCreate(type.BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
    const data = machine.mapData(at);
    const consume = (position: number) => view().setUint32(data, position, true);
    const produced = () => view().getUint32(data + layout.PAGE_BYTES, true);
    return { ...started, at, data, wakes, consume, produced };
  }

  test("refuses a record that does not fit before the consumer", () => {
    const { machine, at, consume } = ring();
    expect(machine.ringbufReserve(at, 4089)).toBe(0);
    // One byte less than all: the producer stays at most mask bytes ahead.
    expect(machine.ringbufReserve(at, 4088)).toBe(0);
    const first = machine.ringbufReserve(at, 4080);
    expect(first).toBeGreaterThan(0);
    machine.ringbufSubmit(first, 0);
    expect(machine.ringbufOutput(at, first, 8, 0)).toBe(-EAGAIN);
    consume(4088);
    expect(machine.ringbufOutput(at, first, 8, 0)).toBe(0);
    expect(machine.ringbufOutput(at, first, 8, 4)).toBe(-EINVAL);
  });

  test("writes a record that wraps in one piece", () => {
    const { machine, at, data, consume, produced, u8 } = ring();
    machine.ringbufSubmit(machine.ringbufReserve(at, 4000), 0);
    consume(4008);
    const record = machine.ringbufReserve(at, 200);
    expect(record).toBe(data + DATA + 4008 + 8);
    u8().fill(1, record, record + 200);
    machine.ringbufSubmit(record, 0);
    expect(produced()).toBe(4008 + 208);
    consume(4216);
    expect(machine.ringbufReserve(at, 8)).toBe(data + DATA + 120 + 8);
  });

  test("keeps a record busy until it is submitted or discarded, and those behind it from passing the ring", () => {
    const { machine, at, consume, view } = ring();
    const first = machine.ringbufReserve(at, 1000);
    const second = machine.ringbufReserve(at, 1001);
    const header = (record: number) => view().getUint32(record - 8, true);
    expect(header(first)).toBe(flag.BPF_RINGBUF_BUSY_BIT + 1000);
    machine.ringbufDiscard(second, 0);
    expect(header(second)).toBe(flag.BPF_RINGBUF_DISCARD_BIT + 1001);
    consume(3000);
    expect(machine.ringbufReserve(at, 3000)).toBe(0);
    machine.ringbufSubmit(first, 0);
    expect(header(first)).toBe(1000);
    expect(machine.ringbufReserve(at, 3000)).toBeGreaterThan(0);
  });

  test("wakes readers only where they have caught up, unless told", () => {
    const { machine, at, wakes } = ring();
    const output = (flags: number) => machine.ringbufOutput(at, at, 8, flags);
    output(flag.BPF_RB_NO_WAKEUP);
    expect(wakes).toEqual([]);
    output(0);
    expect(wakes).toEqual([]);
    output(flag.BPF_RB_FORCE_WAKEUP);
    expect(wakes).toEqual([at]);
  });

  test("is filled by a program", () => {
    const { at, run, view, data, wakes } = ring();
    const program = b.program(
      ...b.loadImm64(r1, BigInt(at)),
      ...[b.mov(r2, 16), b.mov(r3, 0), b.call(helper.BPF_FUNC_ringbuf_reserve)],
      b.store("dw", r0, 0, 0x1234),
      ...[b.mov(r1, r0), b.mov(r2, 0), b.call(helper.BPF_FUNC_ringbuf_submit)],
      ...b.loadImm64(r1, BigInt(at)),
      ...[b.mov(r2, flag.BPF_RB_AVAIL_DATA), b.call(helper.BPF_FUNC_ringbuf_query)],
      b.exit(),
    );
    expect(run(program)).toBe(24n);
    expect(view().getUint32(data + DATA, true)).toBe(16);
    expect(view().getUint32(data + DATA + 8, true)).toBe(0x1234);
    expect(wakes).toEqual([at]);
  });
});

describe("the interpreter", () => {
  const MIN64 = -(2n ** 63n);
  const binary = (op: b.AluOp, x: bigint, y: bigint) => [
    ...b.loadImm64(r0, x),
    ...b.loadImm64(r1, y),
    b.alu64(op, r0, r1),
  ];
  const binary32 = (op: b.AluOp, x: bigint, y: bigint) => [
    ...b.loadImm64(r0, x),
    ...b.loadImm64(r1, y),
    b.alu32(op, r0, r1),
  ];
  const signed = (slots: readonly b.Slot[]) => slots.map((slot, index) => (index === 4 ? { ...slot, off: 1 } : slot));
  const raw = (opcode: number, fields: Partial<Instruction>): Instruction => ({
    opcode,
    dst: 0,
    src: 0,
    off: 0,
    imm: 0,
    ...fields,
  });

  test.each<[string, readonly Instruction[], bigint]>([
    ["x / 0 is 0", binary("div", 5n, 0n), 0n],
    ["x % 0 is x", binary("mod", 5n, 0n), 5n],
    ["32-bit x % 0 keeps the lower half", binary32("mod", 0x1_0000_0005n, 0n), 5n],
    ["the smallest number / -1 is itself", signed(binary("div", MIN64, -1n)), 2n ** 63n],
    ["the smallest number % -1 is 0", signed(binary("mod", MIN64, -1n)), 0n],
    ["32-bit: the smallest number / -1 is itself", signed(binary32("div", -(2n ** 31n), -1n)), 2n ** 31n],
    ["signed division rounds to zero", signed(binary("div", -7n, 2n)), 2n ** 64n - 3n],
    ["a signed remainder has the dividend's sign", signed(binary("mod", -7n, 2n)), 2n ** 64n - 1n],
    ["a shift masks its count", binary("lsh", 1n, 65n), 2n],
    ["a 32-bit shift masks its count", binary32("rsh", 4n, 33n), 2n],
    ["a 32-bit arithmetic shift zero-extends", binary32("arsh", 0x8000_0000n, 4n), 0xf800_0000n],
    ["mov imm sign-extends", [b.mov(r0, -1)], 2n ** 64n - 1n],
    ["32-bit mov imm does not", [b.alu32("mov", r0, -1)], 0xffff_ffffn],
    ["st dw imm sign-extends", [b.store("dw", r10, -8, -2), b.load("dw", r0, r10, -8)], 2n ** 64n - 2n],
    ["le16 cuts off", [b.mov(r0, 0x12345678), raw(insn.BPF_ALU | insn.BPF_END, { imm: 16 })], 0x5678n],
    [
      "be16 swaps and cuts off",
      [b.mov(r0, 0x12345678), raw(insn.BPF_ALU | insn.BPF_END | insn.BPF_TO_BE, { imm: 16 })],
      0x7856n,
    ],
    [
      "bswap64",
      [...b.loadImm64(r0, 0x0102030405060708n), raw(insn.BPF_ALU64 | insn.BPF_END, { imm: 64 })],
      0x0807060504030201n,
    ],
    [
      "movsx from 8 to 64",
      [b.mov(r1, 0x80), raw(insn.BPF_ALU64 | insn.BPF_MOV | insn.BPF_X, { src: 1, off: 8 })],
      2n ** 64n - 128n,
    ],
    [
      "movsx from 8 to 32",
      [b.mov(r1, 0x80), raw(insn.BPF_ALU | insn.BPF_MOV | insn.BPF_X, { src: 1, off: 8 })],
      2n ** 32n - 128n,
    ],
    ["signed load", [b.store("b", r10, -1, 0xff), b.loadSigned("b", r0, r10, -1)], 2n ** 64n - 1n],
    [
      "unaligned access",
      [b.store("dw", r10, -8, 0), b.store("w", r10, -7, 0x01020304), b.load("dw", r0, r10, -8)],
      0x01020304_00n,
    ],
    ["gotol", [b.mov(r0, 1), raw(insn.BPF_JMP32 | insn.BPF_JA, { imm: 1 }), b.mov(r0, 2)], 1n],
    [
      "32-bit cmpxchg zero-extends r0 and compares half of it",
      [
        b.store("w", r10, -4, -1),
        ...b.loadImm64(r0, 0x5_ffff_ffffn),
        b.mov(r1, 3),
        b.atomic("w", insn.BPF_CMPXCHG, r10, -4, r1),
        b.load("w", r1, r10, -4),
        b.alu64("lsh", r1, 32),
        b.alu64("or", r0, r1),
      ],
      0x3_ffff_ffffn,
    ],
    [
      "fetch and add",
      [b.store("dw", r10, -8, 5), b.mov(r0, 3), b.atomic("dw", insn.BPF_ADD | insn.BPF_FETCH, r10, -8, r0)],
      5n,
    ],
  ])("%s", (_name, slots, expected) => {
    expect(start().run([...slots, b.exit()])).toBe(expected);
  });

  test("gives each function a stack and its caller's r6 to r9 back", () => {
    const program = b.program(
      ...[b.mov(r6, 40), b.store("dw", r10, -8, 1), b.callLocal("f"), b.add(r0, r6)],
      ...[b.load("dw", r1, r10, -8), b.add(r0, r1), b.exit()],
      b.label("f"),
      ...[b.mov(r6, 1000), b.store("dw", r10, -8, 2), b.load("dw", r0, r10, -8), b.exit()],
    );
    expect(start().run(program)).toBe(43n);
  });

  test("jumps out of a may_goto loop at last", () => {
    const program = b.program(
      ...[
        b.mov(r0, 0),
        b.add(r0, 1),
        { ...b.goto("end"), opcode: insn.BPF_JMP | insn.BPF_JCOND },
        { ...b.goto("x"), to: undefined as never, off: -3 },
      ],
      b.label("end"),
      b.exit(),
    );
    expect(start().run(program)).toBe(8388609n);
  });

  const packetLoad = (imm: number): Instruction => raw(insn.BPF_LD | insn.BPF_ABS | insn.BPF_B, { imm });

  test("ends the function that loads from outside of the packet", () => {
    const program = b.program(
      b.mov(r6, r10),
      b.add(r6, -256),
      b.store("w", r6, layout.SKB_DATA, layout.DATA_START),
      b.store("w", r6, layout.SKB_DATA_END, layout.DATA_START + 4),
      b.mov(r0, 1),
      b.callLocal("load"),
      b.add(r0, 5),
      b.exit(),
      b.label("load"),
      packetLoad(4),
      b.mov(r0, 100),
      b.exit(),
    );
    expect(start().run(program)).toBe(5n);
  });

  test("hands unknown helpers their arguments and takes their result, also when they run programs", () => {
    const started: ReturnType<typeof start> = start({
      helper: (id) => {
        const { view, run } = started;
        const inner = run([b.mov(r0, 5), b.mov(r1, 0), b.mov(r6, 0), b.exit()]);
        const argument = view().getBigUint64(layout.ARGUMENTS, true);
        view().setBigUint64(layout.RESULT, BigInt(id) + argument + inner, true);
      },
    });
    expect(started.run([b.mov(r6, 1000), b.mov(r1, 100), b.call(2000), b.add(r0, r6), b.exit()])).toBe(3105n);
  });

  test("a helper runs any number of programs, one after the other, that call helpers in turn", () => {
    const started: ReturnType<typeof start> = start({
      helper: (id) => {
        if (id === 2000)
          for (let i = 0; i <= layout.MAX_FRAMES; i++) started.run([b.mov(r0, 0), b.call(2001), b.exit()]);
      },
    });
    expect(started.run([b.mov(r0, 0), b.call(2000), b.exit()])).toBe(0n);
  });

  test("tells the CPU, and random numbers that the seed repeats", () => {
    expect(start().run([b.call(helper.BPF_FUNC_get_smp_processor_id), b.exit()], { cpu: 1 })).toBe(1n);
    const random = [b.call(helper.BPF_FUNC_get_prandom_u32), b.exit()];
    const [one, two] = [start({ seed: 5 }), start({ seed: 5 })];
    expect([one.run(random), one.run(random)]).toEqual([two.run(random), two.run(random)]);
    expect(one.run(random)).not.toBe(one.run(random));
  });

  test.each<[string, readonly Instruction[], number, number]>([
    ["access to page 0", [b.mov(r1, 0), b.load("b", r0, r1, 8), b.exit()], layout.FAULT_ACCESS, 1],
    [
      "access to the machine's own state",
      [b.mov(r1, layout.CPU), b.store("w", r1, 0, 0), b.exit()],
      layout.FAULT_ACCESS,
      1,
    ],
    [
      "access with an upper half",
      [...b.loadImm64(r1, 0x1_0002_0000n), b.load("b", r0, r1, 0), b.exit()],
      layout.FAULT_ACCESS,
      2,
    ],
    ["access behind the end of memory", [b.mov(r1, 4 * MIB), b.load("b", r0, r1, 0), b.exit()], layout.FAULT_ACCESS, 1],
    ["a packet load without a context", [b.mov(r6, 0), packetLoad(0), b.exit()], layout.FAULT_ACCESS, 1],
    [
      "a packet load from a context that names no memory",
      [b.mov(r6, r10), b.add(r6, -256), b.store("w", r6, layout.SKB_DATA_END, -1), packetLoad(8), b.exit()],
      layout.FAULT_ACCESS,
      3,
    ],
    ["an unaligned atomic operation", [b.atomic("w", insn.BPF_ADD, r10, -3, r1), b.exit()], layout.FAULT_ALIGNMENT, 0],
    ["an unknown opcode", [b.mov(r0, 0), raw(0xff, {}), b.exit()], layout.FAULT_INSTRUCTION, 1],
    ["an unknown register", [raw(insn.BPF_ALU64 | insn.BPF_MOV, { dst: 11 }), b.exit()], layout.FAULT_INSTRUCTION, 0],
    ["a fall off the end", [b.mov(r0, 0)], layout.FAULT_OUT_OF_PROGRAM, 1],
    ["a jump out of the program", [{ ...b.goto("x"), off: 100 }, b.exit()], layout.FAULT_OUT_OF_PROGRAM, 2],
    [
      "endless recursion",
      [raw(insn.BPF_JMP | insn.BPF_CALL, { src: 1, imm: -1 }), b.exit()],
      layout.FAULT_CALL_DEPTH,
      0,
    ],
    ["an endless loop", [b.mov(r0, 0), { ...b.goto("x"), off: -1 }], layout.FAULT_BUDGET, 1],
  ])("faults on %s", (_name, slots, fault, slot) => {
    const { machine, load, view } = start();
    view().setUint32(layout.BUDGET, 1000, true);
    expect(machine.programRun(load(slots), 0, 0)).toBe(fault);
    expect(view().getUint32(layout.FAULT_SLOT, true)).toBe(slot);
  });
});

interface StartedMap {
  at: number;
  lookup(key: number): number;
  get(key: number): number | undefined;
  update(key: number, value: number, flags?: number): number;
  remove(key: number): number;
  next(key?: number): number;
  keys(): number[];
}

function start(options: Partial<MachineOptions> = {}) {
  const machine: Machine = createMachine({
    cpus: 2,
    memoryLimit: 4 * MIB,
    seed: 1,
    helper() {},
    wake() {},
    ...options,
  });
  const u8 = () => new Uint8Array(machine.memory.buffer);
  const view = () => new DataView(machine.memory.buffer);
  const allocate = (bytes: number) => machine.allocateZeroed(bytes);
  const [keyAt, nextAt, valueAt] = [allocate(8), allocate(8), allocate(8)] as const;

  /** A map of u32 keys, whose values are looked at as u32. */
  function map(kind: number, keySize: number, valueSize: number, maxEntries: number, flags = 0): StartedMap {
    const at = machine.mapCreate(kind, keySize, valueSize, maxEntries, flags);
    expect(at).toBeGreaterThan(0);
    const key = (value: number) => {
      view().setUint32(keyAt, value, true);
      return keyAt;
    };
    const started: StartedMap = {
      at,
      lookup: (of) => machine.mapLookup(at, key(of)),
      get: (of) => {
        const value = machine.mapLookup(at, key(of));
        return value ? view().getUint32(value, true) : undefined;
      },
      update: (of, value, flags = flag.BPF_ANY) => {
        view().setUint32(valueAt, value, true);
        return machine.mapUpdate(at, key(of), valueAt, flags);
      },
      remove: (of) => machine.mapDelete(at, key(of)),
      next: (of) => machine.mapNextKey(at, of === undefined ? 0 : key(of), nextAt) || view().getUint32(nextAt, true),
      keys: () => {
        const keys: number[] = [];
        for (let next = started.next(); next >= 0; next = started.next(next)) keys.push(next);
        return keys;
      },
    };
    return started;
  }

  function load(instructions: readonly Instruction[]): number {
    const bytes = encodeInstructions(instructions);
    const at = allocate(bytes.length);
    u8().set(bytes, at);
    const program = machine.programLoad(at, instructions.length);
    machine.free(at);
    return program;
  }

  /** r0 of a program that ends without a fault. */
  function run(instructions: readonly Instruction[], { cpu = 0, context = 0 } = {}): bigint {
    const program = load(instructions);
    expect(machine.programRun(program, context, cpu)).toBe(layout.FAULT_NONE);
    machine.programFree(program);
    return view().getBigUint64(layout.RESULT, true);
  }

  return { machine, u8, view, allocate, map, load, run };
}

/** r0 = bpf_map_lookup_elem(map, u32 at r10 - 4) */
const lookupKeyOnStack = (map: number): b.Slot[] => [
  ...b.loadImm64(r1, BigInt(map)),
  b.mov(r2, r10),
  b.add(r2, -4),
  b.call(helper.BPF_FUNC_map_lookup_elem),
];

/** Numbers below `bound` that a seed repeats. */
function sequence(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

const GLOBAL_SECTION = 6;
const DATA_SECTION = 11;

function sectionsOf(wasm: Uint8Array): { id: number; bytes: number }[] {
  const sections: { id: number; bytes: number }[] = [];
  for (let at = 8; at < wasm.length; ) {
    const id = wasm[at++]!;
    let bytes = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++]!;
      bytes |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    sections.push({ id, bytes });
    at += bytes;
  }
  return sections;
}
