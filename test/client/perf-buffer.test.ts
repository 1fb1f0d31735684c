// The reader of a perf event array, and programs that send samples into it.

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { PerfBuffer, type PerfBufferOptions } from "../../src/client/perf-buffer.ts";
import { pollBuffers } from "../../src/client/poll.ts";
import { RingBufferError } from "../../src/client/ring-buffer.ts";
import { struct } from "../../src/codec/composites.ts";
import { u32, u64 } from "../../src/codec/scalars.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { PERF_RECORD_LOST, PERF_RECORD_SAMPLE, perfEventMmapPage } from "../../src/uapi/perf-event.ts";
import { type Bench, contract } from "../contract/contract.ts";
import { perfEventArray, sender } from "../contract/perf-samples.ts";
import { until } from "../contract/waiting.ts";
import { copying } from "./copying.ts";

interface Reading extends Bench {
  readonly kernel: Kernel;
  readonly array: number;
  reader<T>(options?: PerfBufferOptions<T>): PerfBuffer<T>;
  /** Sends samples of a u32 and zeros. */
  send(length?: number): number;
}

/** A case with a perf event array, readers that are closed at its end, and a program that sends 77 into it. */
const reading = (name: string, body: (bench: Reading) => void | Promise<void>): void =>
  contract(name, async (kernel, bench) => {
    const array = perfEventArray(kernel, bench);
    const senders = new Map<number, () => number>();
    using stack = new DisposableReaders();
    await body({
      ...bench,
      open: bench.open,
      pins: "",
      kernel,
      array,
      reader: (options) => stack.use(new PerfBuffer(kernel, array, 64, { name: "samples", pages: 1, ...options })),
      send(length = 4) {
        const send = senders.get(length) ?? sender(kernel, bench, array, length, 77);
        senders.set(length, send);
        return send();
      },
    });
  });

class DisposableReaders {
  readonly #readers: Disposable[] = [];

  use<T extends Disposable>(reader: T): T {
    this.#readers.push(reader);
    return reader;
  }

  [Symbol.dispose](): void {
    for (const reader of this.#readers) reader[Symbol.dispose]();
  }
}

const within = <T>(promise: Promise<T>): Promise<T | "late"> =>
  Promise.race([promise, sleep(5000, "late" as const, { ref: false })]);

describe("PerfBuffer", () => {
  reading("drain takes samples with their CPU, and then nothing", ({ kernel, reader, send }) => {
    const samples = reader({ record: u32 });
    for (let sent = 0; sent < 3; sent++) expect(send()).toBe(0);
    expect(samples.available).toBe(48);
    const events = [...samples.drain()];
    expect(events.map(({ record }) => record)).toEqual([77, 77, 77]);
    expect(events.every(({ cpu }) => kernel.system.possibleCpus.includes(cpu))).toBe(true);
    expect([...samples.drain()]).toEqual([]);
    expect([samples.available, samples.readable, samples.lost]).toEqual([0, false, 0]);
  });

  reading("samples go on past the end of the buffer, whatever their size", ({ reader, send }) => {
    const samples = reader<Uint8Array>();
    const lengths = [4, 20, 500, 1004, 60];
    for (let round = 0; round < 40; round++) {
      const length = lengths[round % lengths.length]!;
      expect(send(length)).toBe(0);
      const taken: Uint8Array[] = [];
      expect(samples.drain((record) => taken.push(record))).toBe(1);
      expect(taken[0]).toHaveLength(length);
      expect([taken[0]![0], taken[0]!.subarray(1).every((byte) => byte === 0)]).toEqual([77, true]);
    }
  });

  reading("what finds no room is counted, and told with the next sample that does", ({ reader, send }) => {
    const told: number[] = [];
    const samples = reader({ record: u32, onLost: (count) => told.push(count) });
    let refused = 0;
    // A CPU tells what it has lost with its own next sample: where this thread was moved to another one, all is done again.
    for (let round = 0; round < 20 && samples.lost === 0; round++) {
      let found = 0;
      for (let sent = 0; sent < 3000; sent++) if (send() === 0) found++;
      expect(found).toBeLessThan(2000);
      expect(samples.drain(() => undefined)).toBe(found);
      refused += 3000 - found;
      for (let sent = 0; sent < 50; sent++) {
        send();
        samples.drain(() => undefined);
      }
    }
    expect(samples.lost).toBeGreaterThan(0);
    expect(samples.lost).toBeLessThanOrEqual(refused);
    expect(told.reduce((sum, count) => sum + count, 0)).toBe(samples.lost);
  });

  reading("a sample that the kernel cannot send whole counts as lost", ({ reader, send }) => {
    const samples = reader({ record: u32, pages: 32 });
    expect(send(65_525)).toBe(0);
    expect(send(4)).toBe(0);
    expect([...samples.drain()].map(({ record }) => record)).toEqual([77]);
    expect(samples.lost).toBe(1);
  });

  reading("read waits for a sample, and ends with its timeout, a flush and close", async ({ reader, send }) => {
    const samples = reader({ record: u32 });
    const waiting = samples.read();
    await sleep(20);
    send();
    expect(await within(waiting)).toMatchObject({ record: 77 });
    expect(await within(samples.read({ timeout: 10 }))).toBeUndefined();
    const flushed = samples.read();
    await sleep(5);
    samples.flush();
    expect(await within(flushed)).toBeUndefined();
    const closed = samples.read();
    await sleep(5);
    samples.close();
    expect(await within(closed)).toBeUndefined();
    expect([samples.available, samples.readable, [...samples.drain()].length]).toEqual([0, false, 0]);
  });

  reading("a timeout takes what woke nobody", async ({ reader, send }) => {
    const samples = reader({ record: u32, wakeupEvents: 100 });
    const waiting = samples.read({ timeout: 50 });
    await sleep(5);
    send();
    expect(await within(waiting)).toMatchObject({ record: 77 });
  });

  reading("a listener and an iteration get each sample", async ({ reader, send }) => {
    const samples = reader({ record: u32 });
    const heard: number[] = [];
    const listening = samples.on((record) => heard.push(record));
    for (let sent = 0; sent < 5; sent++) {
      send();
      await sleep(2);
    }
    await until(() => heard.length === 5);
    expect(heard).toEqual([77, 77, 77, 77, 77]);
    listening[Symbol.dispose]();
    const seen: number[] = [];
    const iteration = (async () => {
      for await (const { record } of samples) if (seen.push(record) === 20) samples.close();
    })();
    for (let sent = 0; sent < 20; sent++) send();
    expect(await within(iteration)).toBeUndefined();
    expect(seen).toHaveLength(20);
  });

  reading("a pause loses samples, until it is resumed", ({ reader, send }) => {
    const samples = reader({ record: u32 });
    send();
    samples.pause();
    expect(send()).toBeLessThan(0);
    samples.resume();
    send();
    expect(samples.drain(() => undefined)).toBe(2);
  });

  reading("a closed reader pauses nobody: the kernel gives its file descriptors to others", ({ reader, send }) => {
    const closed = reader();
    closed.close();
    const samples = reader({ record: u32 });
    closed.pause();
    expect(send()).toBe(0);
    expect([...samples.drain()]).toHaveLength(1);
  });

  reading("two readers of two maps are waited for together", async (bench) => {
    const { kernel, reader, send } = bench;
    const first = reader({ record: u32 });
    const other = perfEventArray(kernel, bench);
    using second = new PerfBuffer(kernel, other, 64, { record: u32, pages: 1 });
    const poll = pollBuffers([first, second], { timeout: 5000 });
    await sleep(10);
    sender(kernel, bench, other, 4, 5)();
    expect(await within(poll)).toEqual([second]);
    send();
    expect(await pollBuffers([first, second])).toEqual([first, second]);
  });

  reading("the map lets go of the buffers with the reader", ({ reader, send }) => {
    reader().close();
    // ENOENT: there is no event.
    expect(send()).toBe(-2);
  });

  reading("a sample that is shorter than its codec is an error that names both sizes", ({ reader, send }) => {
    const samples = reader({ record: struct({ a: u64, b: u64 }) });
    send();
    expect(() => samples.drain(() => undefined)).toThrow(
      /perf buffer "samples" of CPU \d+, .*: a sample has 4 bytes; struct needs 16/,
    );
  });

  reading("pages that are no power of two are EINVAL, and nothing stays open", ({ reader }) => {
    expect(() => reader({ pages: 3 })).toThrow("EINVAL");
  });

  reading("pages that say what cannot be end in an error, and resync goes on behind it", (bench) => {
    const { kernel, pages } = copying(bench.kernel);
    using samples = new PerfBuffer(kernel, bench.array, 1, { record: u32, pages: 1 });
    const [page] = pages as [DataView];
    const [data_head] = perfEventMmapPage.data_head;
    const moveHead = (to: bigint): void => page.setBigUint64(data_head, to, true);
    /** Writes a record of 16 bytes at a position, with a raw size. */
    const put = (position: number, type: number, size: number, raw: number): void => {
      page.setUint32(4096 + position, type, true);
      page.setUint16(4096 + position + 6, size, true);
      page.setUint32(4096 + position + 8, raw, true);
      moveHead(BigInt(position + 16));
    };
    for (const absurd of [2n ** 40n, 2n ** 63n, 4n, 4104n]) {
      moveHead(absurd);
      expect(samples.readable).toBe(true);
      expect(() => samples.drain(() => undefined)).toThrow(RingBufferError);
      expect(samples.available).toBeLessThanOrEqual(4096);
      moveHead(0n);
      samples.resync();
    }
    // Where numbers no longer tell one record from the next, a walk would not end.
    moveHead(2n ** 63n);
    samples.resync();
    moveHead(2n ** 63n + 4096n);
    for (let at = 0; at < 4096; at += 16) {
      page.setUint32(4096 + at, PERF_RECORD_SAMPLE, true);
      page.setUint16(4096 + at + 6, 16, true);
      page.setUint32(4096 + at + 8, 4, true);
    }
    expect(() => samples.drain(() => undefined)).toThrow(RingBufferError);
    moveHead(0n);
    samples.resync();
    for (const size of [0, 4, 12, 24, 65528]) {
      put(0, PERF_RECORD_SAMPLE, size, 4);
      expect(() => [...samples.drain()]).toThrow(`a record claims ${size} bytes where 16 were written`);
      moveHead(0n);
      samples.resync();
    }
    put(0, PERF_RECORD_SAMPLE, 16, 0xffff_ffff);
    put(16, 12345, 16, 4);
    put(32, PERF_RECORD_LOST, 16, 4);
    put(48, PERF_RECORD_SAMPLE, 16, 4);
    expect([...samples.drain()]).toEqual([{ cpu: 0, record: 0 }]);
    expect(samples.lost).toBe(1);
  });
});
