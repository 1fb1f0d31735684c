// The reader of a ring buffer, and programs that write into it.

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { add, call, exit, loadMapFd, mov, program, r0, r1, r2, r3, r4, r10, store } from "../../src/asm/builder.ts";
import { BpfMap, type RingBufferMap } from "../../src/client/map.ts";
import { BpfProgram } from "../../src/client/program.ts";
import type { RingBuffer } from "../../src/client/ring-buffer.ts";
import { u32, u64 } from "../../src/codec/scalars.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_FUNC_ringbuf_output } from "../../src/uapi/helper-ids.ts";
import { contract } from "../contract/contract.ts";

const SIZE = 4096;

/** A program that writes the number 77, as a u32, into the ring. */
const writer = (kernel: Kernel, ring: RingBufferMap<unknown>): BpfProgram =>
  BpfProgram.load(kernel, {
    type: "socket_filter",
    name: "writer",
    instructions: program(
      store("w", r10, -4, 77),
      loadMapFd(r1, ring.fd),
      mov(r2, r10),
      add(r2, -4),
      mov(r3, 4),
      mov(r4, 0),
      call(BPF_FUNC_ringbuf_output),
      mov(r0, 0),
      exit(),
    ),
  });

const run = (program: BpfProgram, repeat = 1): unknown => program.testRun({ data: new Uint8Array(64), repeat });

const within = <T>(promise: Promise<T>): Promise<T | "late"> =>
  Promise.race([promise, sleep(5000, "late" as const, { ref: false })]);

interface Bench {
  readonly ring: RingBufferMap<number>;
  readonly program: BpfProgram;
  readonly reader: RingBuffer<number>;
}

/** A case with a ring of u32, its writer and its reader. */
const reading = (name: string, body: (bench: Bench) => void | Promise<void>): void =>
  contract(name, async (kernel) => {
    using ring = BpfMap.create(kernel, { name: "events", type: "ringbuf", maxEntries: SIZE, record: u32 });
    using program = writer(kernel, ring);
    using reader = ring.ringBuffer();
    await body({ ring, program, reader });
  });

describe("RingBuffer", () => {
  reading("drain takes what is there, in order, and then nothing", ({ program, reader }) => {
    run(program, 3);
    expect([...reader.drain()]).toEqual([77, 77, 77]);
    expect([...reader.drain()]).toEqual([]);
  });

  reading("records go on past the end of the ring", ({ program, reader }) => {
    const records = SIZE / 16;
    for (let round = 0; round < 5; round++) {
      run(program, records - 30);
      expect([...reader.drain()]).toHaveLength(records - 30);
    }
  });

  reading("a full ring takes no more, and has room again once it is read", ({ program, reader }) => {
    run(program, 1000);
    // One record short: the positions may differ by less than the size.
    expect([...reader.drain()]).toHaveLength(SIZE / 16 - 1);
    run(program, 2);
    expect([...reader.drain()]).toEqual([77, 77]);
  });

  reading("a timeout may be longer than a timer runs", async ({ program, reader }) => {
    const records = [reader.read({ timeout: Number.POSITIVE_INFINITY }), reader.read({ timeout: 2 ** 40 })];
    await sleep(20);
    run(program, 2);
    expect(await Promise.all(records)).toEqual([77, 77]);
  });

  reading("read waits for a record", async ({ program, reader }) => {
    const record = reader.read();
    await sleep(20);
    run(program);
    expect(await within(record)).toBe(77);
  });

  reading("read gives undefined after its timeout", async ({ reader }) => {
    expect(await within(reader.read({ timeout: 10 }))).toBeUndefined();
  });

  reading("flush ends a waiting read, which takes what is there", async ({ reader }) => {
    const record = reader.read();
    await sleep(10);
    reader.flush();
    expect(await within(record)).toBeUndefined();
  });

  reading("an iteration gets each record and ends with close", async ({ program, reader }) => {
    const seen: number[] = [];
    const iteration = (async () => {
      for await (const record of reader) {
        seen.push(record);
        if (seen.length === 40) reader.close();
      }
    })();
    for (let burst = 0; burst < 4; burst++) {
      await sleep(5);
      run(program, 10);
    }
    expect(await within(iteration)).toBeUndefined();
    expect(seen).toHaveLength(40);
  });

  reading("a signal ends reading", async ({ ring }) => {
    const controller = new AbortController();
    const reader = ring.ringBuffer({ signal: controller.signal });
    const record = reader.read();
    await sleep(10);
    controller.abort();
    expect(await within(record)).toBeUndefined();
    expect(await reader.read()).toBeUndefined();
    expect([...ring.ringBuffer({ signal: AbortSignal.abort() }).drain()]).toEqual([]);
  });

  reading("reading twice goes on where the first reader stopped", ({ ring, program, reader }) => {
    run(program, 3);
    reader.drain().next();
    using second = ring.ringBuffer();
    expect([...second.drain()]).toEqual([77, 77]);
  });

  contract("a record that is shorter than its codec is an error that names both sizes", (kernel) => {
    using ring = BpfMap.create(kernel, { name: "events", type: "ringbuf", maxEntries: SIZE, record: u64 });
    using program = writer(kernel, ring);
    using reader = ring.ringBuffer();
    run(program);
    expect(() => [...reader.drain()]).toThrow(
      'ring buffer "events" of 4096 bytes, at position 0: a record has 4 bytes; u64 needs 8',
    );
  });

  contract("without a codec a record is its bytes", (kernel) => {
    using ring = BpfMap.create(kernel, { type: "ringbuf", maxEntries: SIZE });
    using program = writer(kernel, ring);
    using reader = ring.ringBuffer();
    run(program);
    expect([...reader.drain()]).toEqual([Uint8Array.of(77, 0, 0, 0)]);
  });

  contract("a size is rounded up to what the kernel takes", (kernel) => {
    using ring = BpfMap.create(kernel, { type: "ringbuf", maxEntries: 5000 });
    expect(ring.maxEntries).toBe(8192);
    expect(() => BpfMap.create(kernel, { type: "ringbuf", maxEntries: 0 })).toThrow("power of two");
  });
});
