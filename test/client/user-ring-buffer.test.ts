// The writer of a user ring buffer, and a program that drains it.

import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { RingBufferError } from "../../src/client/ring-buffer.ts";
import { UserRingBuffer } from "../../src/client/user-ring-buffer.ts";
import { CodecError } from "../../src/codec/codec.ts";
import { u64 } from "../../src/codec/scalars.ts";
import type { Kernel, Mapping } from "../../src/kernel/kernel.ts";
import { BPF_MAP_TYPE_USER_RINGBUF } from "../../src/uapi/map-types.ts";
import { type Bench, contract } from "../contract/contract.ts";
import { create } from "../contract/maps.ts";
import { testRun } from "../contract/programs.ts";
import { drainer } from "../contract/user-ringbuf.ts";

const SIZE = 4096;
/** Samples of 8 bytes that fill the ring. */
const FULL = SIZE / 16;

const userRing = (kernel: Kernel, { open }: Bench): number =>
  open(create(kernel, { map_type: BPF_MAP_TYPE_USER_RINGBUF, key_size: 0, value_size: 0, max_entries: SIZE }));

interface Writing {
  readonly kernel: Kernel;
  readonly ring: number;
  readonly writer: UserRingBuffer<bigint>;
  /** Runs a program that takes all: how many samples there were, and their sum. */
  drain(): { samples: number; sum: number };
}

/** A case with a ring of u64, its writer, and a program that drains it. */
const writing = (name: string, body: (bench: Writing) => void | Promise<void>): void =>
  contract(name, async (kernel, bench) => {
    const ring = userRing(kernel, bench);
    using writer = new UserRingBuffer(kernel, ring, SIZE, { record: u64, name: "requests" });
    let program: number | undefined;
    const drain = () => {
      program ??= drainer(kernel, bench, ring);
      const { retval = 0 } = testRun(kernel, program);
      return { samples: retval >> 16, sum: retval & 0xffff };
    };
    await body({ kernel, ring, writer, drain });
  });

describe("UserRingBuffer", () => {
  writing("a program takes what was sent, in order of time", ({ writer, drain }) => {
    expect([writer.send(5n), writer.send(6n), writer.send(7n)]).toEqual([true, true, true]);
    expect(drain()).toEqual({ samples: 3, sum: 18 });
    expect(drain()).toEqual({ samples: 0, sum: 0 });
  });

  writing("a full ring takes no more, and has room again once it is drained", ({ writer, drain }) => {
    for (let round = 0; round < 5; round++) {
      for (let sent = 0; sent < FULL; sent++) expect(writer.send(1n)).toBe(true);
      expect([writer.available, writer.send(1n), writer.reserve(0)]).toEqual([0, false, undefined]);
      expect(drain()).toEqual({ samples: FULL, sum: FULL });
      expect(writer.available).toBe(SIZE);
    }
  });

  writing("samples of odd sizes go on past the end of the ring", ({ writer, drain }) => {
    let sum = 0;
    for (let length = 8; length < 1000; length += 7) {
      const sample = writer.reserve(length);
      expect(sample?.bytes.length).toBe(length);
      sample!.bytes.fill(0);
      sample!.bytes[0] = length & 0xff;
      sample!.submit();
      sum = length & 0xff;
      expect(drain()).toEqual({ samples: 1, sum });
    }
  });

  writing("a reserved sample holds up those behind it until it is submitted", ({ writer, drain }) => {
    const first = writer.reserve(8)!;
    first.bytes.set([9, 0, 0, 0, 0, 0, 0, 0]);
    writer.send(1n);
    expect(drain()).toEqual({ samples: 0, sum: 0 });
    first.submit();
    first.discard();
    expect(drain()).toEqual({ samples: 2, sum: 10 });
  });

  writing("a discarded sample is passed over", ({ writer, drain }) => {
    writer.reserve(8)?.discard();
    {
      using _unfinished = writer.reserve(100);
    }
    writer.send(3n);
    expect(drain()).toEqual({ samples: 1, sum: 3 });
    expect(writer.available).toBe(SIZE);
  });

  writing("write waits for room", async ({ writer, drain }) => {
    while (writer.send(1n));
    const written = writer.write(2n);
    const second = writer.write(3n, { timeout: 5000 });
    await sleep(20);
    expect(drain()).toEqual({ samples: FULL, sum: FULL });
    expect(await Promise.all([written, second])).toEqual([true, true]);
    expect(drain()).toEqual({ samples: 2, sum: 5 });
  });

  writing("write ends with its timeout, its signal, and the writer", async ({ writer }) => {
    while (writer.send(1n));
    expect(await writer.write(2n, { timeout: 10 })).toBe(false);
    expect(await writer.write(2n, { signal: AbortSignal.abort() })).toBe(false);
    expect(await writer.write(2n, { signal: AbortSignal.timeout(10) })).toBe(false);
    const written = writer.write(2n);
    await sleep(5);
    writer.close();
    expect(await written).toBe(false);
    expect([writer.send(1n), writer.available, await writer.write(1n)]).toEqual([false, 0, false]);
  });

  writing("what does not fit is an error that names the sizes", ({ writer }) => {
    expect(() => writer.reserve(SIZE - 7)).toThrow(
      'user ring buffer "requests" of 4096 bytes, at position 0: a sample has at most 4088 bytes; got 4089',
    );
    for (const bytes of [-1, 1.5, Number.NaN, 2 ** 32]) expect(() => writer.reserve(bytes)).toThrow(RingBufferError);
    expect(writer.reserve(SIZE - 8)).toBeDefined();
    expect(() => writer.send(-1n)).toThrow(CodecError);
  });

  writing("a second writer goes on where the first stopped", ({ kernel, ring, writer, drain }) => {
    writer.send(1n);
    writer.close();
    using second = new UserRingBuffer(kernel, ring, SIZE, { record: u64 });
    expect(second.available).toBe(SIZE - 16);
    second.send(2n);
    expect(drain()).toEqual({ samples: 2, sum: 3 });
  });

  writing("a sample that outlives its writer writes nowhere", ({ writer }) => {
    const sample = writer.reserve(8)!;
    writer.close();
    sample.bytes.fill(1);
    sample.submit();
  });

  contract("without a codec a sample is bytes, and a consumer that is ahead is an error", (kernel, bench) => {
    const ring = userRing(kernel, bench);
    const { pageSize } = kernel.system;
    const mapping = kernel.mmap(ring, { offset: pageSize, length: pageSize, writable: true }) as Mapping;
    const producer = new BigInt64Array(mapping.bytes.buffer, mapping.bytes.byteOffset, 1);
    using writer = new UserRingBuffer(kernel, ring, SIZE);
    expect(writer.send(Uint8Array.of(1, 2, 3))).toBe(true);
    expect(writer.available).toBe(SIZE - 16);
    // Whoever comes next takes the position from the shared page.
    producer[0] = -4096n;
    using second = new UserRingBuffer(kernel, ring, SIZE);
    expect(() => second.send(Uint8Array.of(1))).toThrow(RingBufferError);
    producer[0] = 12n;
    using third = new UserRingBuffer(kernel, ring, SIZE);
    expect(() => third.reserve(1)).toThrow(RingBufferError);
    mapping.unmap();
  });
});
