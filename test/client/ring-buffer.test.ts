// The reader of a ring buffer, and programs that write into it.

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { add, call, exit, loadMapFd, mov, program, r0, r1, r2, r3, r4, r10, store } from "../../src/asm/builder.ts";
import { BpfMap } from "../../src/client/map.ts";
import type { RingBufferMap } from "../../src/client/maps/ring-buffer.ts";
import { pollBuffers } from "../../src/client/poll.ts";
import { BpfProgram } from "../../src/client/program.ts";
import { RingBuffer, RingBufferError } from "../../src/client/ring-buffer.ts";
import { struct } from "../../src/codec/composites.ts";
import { u8, u16, u32, u64 } from "../../src/codec/scalars.ts";
import type { Kernel, Mapping } from "../../src/kernel/kernel.ts";
import { BPF_FUNC_ringbuf_output } from "../../src/uapi/helper-ids.ts";
import { contract } from "../contract/contract.ts";
import { until } from "../contract/waiting.ts";
import { copying } from "./copying.ts";

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
  readonly kernel: Kernel;
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
    await body({ kernel, ring, program, reader });
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

  reading("drain with a callback gives each record, and tells how many there were", ({ program, reader }) => {
    run(program, 200);
    expect(reader.available).toBe(200 * 16);
    const seen: number[] = [];
    expect(reader.drain((record) => seen.push(record))).toBe(200);
    expect(seen).toEqual(new Array(200).fill(77));
    expect([reader.drain(() => undefined), reader.available, reader.readable]).toEqual([0, 0, false]);
  });

  reading("a callback that throws loses its record and no other", ({ program, reader }) => {
    run(program, 3);
    expect(() =>
      reader.drain(() => {
        throw new Error("no");
      }),
    ).toThrow("no");
    expect([...reader.drain()]).toEqual([77, 77]);
  });

  reading("a callback may close the reader, and read from it", ({ program, reader }) => {
    run(program, 5);
    const seen: (number | undefined)[] = [];
    reader.drain((record) => {
      seen.push(record, ...[...reader.drain()].slice(0, 1));
      reader.close();
    });
    expect(seen).toEqual([77, 77]);
    expect([reader.closed, reader.available, reader.readable, reader.resync()]).toEqual([true, 0, false, 0]);
  });

  contract("views of a struct are read in place, and are over with the callback", (kernel) => {
    const record = struct({ low: u16, start: u8, bits: u8, rest: struct({}) });
    using ring = BpfMap.create(kernel, { name: "events", type: "ringbuf", maxEntries: SIZE, record });
    using program = writer(kernel, ring);
    using reader = ring.ringBuffer();
    run(program, 300);
    let kept: { low: number; start: number } | undefined;
    let sum = 0;
    const records = reader.drainViews((view) => {
      kept = view;
      sum += view.low + view.start + view.bits;
    });
    expect([records, sum]).toEqual([SIZE / 16 - 1, 77 * (SIZE / 16 - 1)]);
    expect(() => kept!.low).toThrow(RangeError);
    using numbers = ring.ringBuffer({ record: u32 });
    using bytes = new RingBuffer(kernel, ring.fd, SIZE);
    run(program);
    expect(numbers.drainViews((value) => expect(value).toBe(77))).toBe(1);
    run(program);
    // It began behind the last record, and finds the one that the other took too.
    expect(bytes.drainViews((value) => expect([...value]).toEqual([77, 0, 0, 0]))).toBe(2);
  });

  reading("a listener gets each record as it comes, until it is disposed", async ({ program, reader }) => {
    const seen: number[] = [];
    const listening = reader.on((record) => seen.push(record));
    run(program, 3);
    await until(() => seen.length === 3);
    run(program, 2);
    await until(() => seen.length === 5);
    listening[Symbol.dispose]();
    listening[Symbol.dispose]();
    run(program);
    await sleep(10);
    expect(seen).toEqual([77, 77, 77, 77, 77]);
  });

  reading("an error of a listener ends it and is told", async ({ program, reader }) => {
    const errors: unknown[] = [];
    let calls = 0;
    reader.on(
      () => {
        calls++;
        throw new Error("no");
      },
      (error) => errors.push((error as Error).message),
    );
    run(program, 2);
    await until(() => errors.length > 0);
    run(program, 2);
    await sleep(10);
    expect([calls, errors]).toEqual([1, ["no"]]);
  });

  reading("closing the reader ends its listeners", async ({ program, reader }) => {
    let calls = 0;
    reader.on(() => {
      if (++calls === 2) reader.close();
    });
    run(program, 5);
    await until(() => calls === 2);
    run(program);
    await sleep(10);
    expect(calls).toBe(2);
  });

  reading("a leased record keeps its room until it is released", ({ program, reader }) => {
    run(program, 3);
    const first = reader.lease()!;
    const second = reader.lease()!;
    expect([first.position, first.record, [...first.bytes], second.position]).toEqual([0, 77, [77, 0, 0, 0], 16]);
    expect([...reader.drain()]).toEqual([77]);
    expect(reader.lease()).toBeUndefined();
    run(program, 1000);
    // The ring was full but for the three records, and has no room for more while the first is held.
    expect(reader.drain(() => undefined)).toBe(SIZE / 16 - 1 - 3);
    second.release();
    run(program);
    expect(reader.available).toBe(0);
    first.release();
    first.release();
    expect(() => first.bytes).toThrow(RingBufferError);
    expect(() => second.record).toThrow("the lease was released");
    run(program, 2);
    expect([...reader.drain()]).toEqual([77, 77]);
  });

  reading("releasing a lease wakes those who wait for what came meanwhile", async ({ program, reader }) => {
    run(program);
    const lease = reader.lease()!;
    const record = reader.read();
    await sleep(5);
    run(program);
    lease.release();
    expect(await within(record)).toBe(77);
  });

  reading("a lease that outlives its reader is over", ({ program, reader }) => {
    run(program);
    const lease = reader.lease()!;
    reader.close();
    lease.release();
    expect(() => lease.bytes).toThrow(RingBufferError);
  });

  reading("several readers are waited for together", async ({ kernel, ring, program, reader }) => {
    using other = BpfMap.create(kernel, { type: "ringbuf", maxEntries: SIZE });
    using idle = other.ringBuffer();
    expect(await pollBuffers([idle, reader], { timeout: 10 })).toEqual([]);
    expect(await pollBuffers([idle, reader], { signal: AbortSignal.abort() })).toEqual([]);
    const poll = pollBuffers([idle, reader], { timeout: 5000 });
    await sleep(5);
    run(program);
    expect(await within(poll)).toEqual([reader]);
    expect(await pollBuffers([idle, reader])).toEqual([reader]);
    expect([...reader.drain()]).toEqual([77]);
    const aborted = pollBuffers([idle, reader], { signal: AbortSignal.timeout(10) });
    expect(await within(aborted)).toEqual([]);
    const closed = pollBuffers([ring.ringBuffer({ signal: AbortSignal.timeout(10) }), idle]);
    expect(await within(closed)).toEqual([]);
  });

  reading("a signal ends one wait and not the reader", async ({ program, reader }) => {
    expect(await within(reader.read({ signal: AbortSignal.timeout(10) }))).toBeUndefined();
    expect(await within(reader.wait({ signal: AbortSignal.abort() }))).toBe(false);
    run(program);
    expect(await reader.read({ signal: AbortSignal.abort() })).toBe(77);
  });

  contract("records that a program counts as lost are told from the reader's opening on", (kernel) => {
    using ring = BpfMap.create(kernel, { type: "ringbuf", maxEntries: SIZE });
    using counter = BpfMap.create(kernel, { type: "percpu_array", key: u32, value: u64, maxEntries: 1 });
    const cpus = kernel.system.possibleCpus.length;
    counter.set(0, new Array(cpus).fill(2n));
    using reader = ring.ringBuffer({ lost: counter });
    expect(reader.lost).toBe(0);
    counter.set(0, new Array(cpus).fill(5n));
    expect(reader.lost).toBe(3 * cpus);
    using other = ring.ringBuffer();
    expect(other.lost).toBeUndefined();
  });

  contract("memory that says what cannot be ends in an error, and resync goes on behind it", async (real) => {
    using ring = BpfMap.create(real, { name: "events", type: "ringbuf", maxEntries: SIZE });
    const { kernel, pages } = copying(real);
    using reader = new RingBuffer(kernel, ring.fd, SIZE, { record: u32, name: "events" });
    const rest = pages[1]!;
    const producer = (position: bigint): void => rest.setBigUint64(0, position, true);
    const header = (at: number, word: number): void => rest.setUint32(4096 + at, word, true);
    for (const absurd of [2n ** 63n, 2n ** 40n, BigInt(SIZE) + 8n, 4n]) {
      producer(absurd);
      expect(reader.readable).toBe(true);
      expect(() => reader.drain(() => undefined)).toThrow(RingBufferError);
      await expect(reader.read({ timeout: 1 })).rejects.toThrow(`the producer is at ${Number(absurd)}`);
      producer(0n);
      reader.resync();
    }
    for (const length of [17, 4096, 0x3fff_ffff]) {
      producer(24n);
      header(0, length);
      expect(() => [...reader.drain()]).toThrow(
        `ring buffer "events" of 4096 bytes, at position 0: a record claims ${length} bytes where 24 were written`,
      );
      producer(0n);
      reader.resync();
    }
    // Busy for ever: a wait ends with its time.
    producer(48n);
    header(0, 0x8000_0010);
    header(24, 0x10);
    rest.setUint32(4096 + 32, 55, true);
    expect([reader.readable, await reader.read({ timeout: 5 }), reader.available]).toEqual([false, undefined, 48]);
    expect(await pollBuffers([reader], { timeout: 5 })).toEqual([]);
    header(0, 0x4000_0010);
    expect([...reader.drain()]).toEqual([55]);
  });

  contract("a consumer position ahead of the producer is an error", (kernel) => {
    using ring = BpfMap.create(kernel, { type: "ringbuf", maxEntries: SIZE });
    using program = writer(kernel, ring);
    const page = kernel.mmap(ring.fd, { length: 4096, writable: true }) as Mapping;
    new DataView(page.bytes.buffer, page.bytes.byteOffset).setBigUint64(0, 64n, true);
    using reader = ring.ringBuffer({ record: u32 });
    expect(() => reader.drain(() => undefined)).toThrow("at position 64: the producer is at 0");
    expect(reader.resync()).toBe(0);
    run(program);
    expect([...reader.drain()]).toEqual([77]);
    page.unmap();
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
