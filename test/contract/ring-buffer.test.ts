// Ring buffers: written by programs, read through mmap, and waited for.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel, Mapping, MmapOptions } from "../../src/kernel/kernel.ts";
import { BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import {
  BPF_RB_AVAIL_DATA,
  BPF_RB_CONS_POS,
  BPF_RB_FORCE_WAKEUP,
  BPF_RB_NO_WAKEUP,
  BPF_RB_PROD_POS,
  BPF_RB_RING_SIZE,
  BPF_RINGBUF_BUSY_BIT,
  BPF_RINGBUF_DISCARD_BIT,
} from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import { BPF_MAP_TYPE_RINGBUF } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, nextKey, remove, set, toU32, toU64 } from "./maps.ts";
import { load, testRun } from "./programs.ts";
import { settled, until } from "./waiting.ts";

const { r0, r1, r2, r3, r4, r6, r10, mov, add, store, exit, call, jump, label, loadMapFd } = asm;
const size = 4096;

const createRing = (kernel: Kernel, bytes = size): number =>
  create(kernel, { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: bytes });

/** Sends `length` bytes of which the first 8 are `value`; returns the helper's result. */
const output = (ring: number, length: number, value: number, flags = 0): asm.Item[] => [
  ...Array.from({ length: Math.ceil(length / 8) }, (_, index) => store("dw", r10, -8 * (index + 1), 0)),
  store("dw", r10, -8 * Math.ceil(length / 8), value),
  loadMapFd(r1, ring),
  mov(r2, r10),
  add(r2, -8 * Math.ceil(length / 8)),
  mov(r3, length),
  mov(r4, flags),
  call(helpers.BPF_FUNC_ringbuf_output),
  exit(),
];

/** Reserves `length` bytes, writes `value` at their start, and ends them with `helper`; returns 1, or 0 where there was no room. */
const reserve = (ring: number, length: number, value: number, helper: number): asm.Item[] => [
  loadMapFd(r1, ring),
  mov(r2, length),
  mov(r3, 0),
  call(helpers.BPF_FUNC_ringbuf_reserve),
  mov(r6, 0),
  jump("jeq", r0, 0, "out"),
  store("w", r0, 0, value),
  mov(r1, r0),
  mov(r2, 0),
  call(helper),
  mov(r6, 1),
  label("out"),
  mov(r0, r6),
  exit(),
];

const query = (ring: number, what: number): asm.Item[] => [
  loadMapFd(r1, ring),
  mov(r2, what),
  call(helpers.BPF_FUNC_ringbuf_query),
  exit(),
];

/** Both mappings of a ring buffer, as readers use them. */
class Reader {
  readonly #pageSize: number;
  readonly #consumer: Mapping;
  readonly #producer: Mapping;

  constructor(kernel: Kernel, ring: number) {
    this.#pageSize = kernel.system.pageSize;
    this.#consumer = mapped(kernel.mmap(ring, { length: this.#pageSize, writable: true }));
    this.#producer = mapped(kernel.mmap(ring, { offset: this.#pageSize, length: this.#pageSize + 2 * size }));
  }

  /** Where the next record will begin. */
  get position(): bigint {
    return toU64(this.#producer.bytes);
  }

  consume(to: bigint): void {
    const { buffer, byteOffset } = this.#consumer.bytes;
    new DataView(buffer, byteOffset).setBigUint64(0, to, true);
  }

  /** The record at a position: the first word of its header, and its bytes. */
  record(position: bigint): { header: number; bytes: Uint8Array } {
    const at = this.#pageSize + Number(position & BigInt(size - 1));
    const header = toU32(this.#producer.bytes.subarray(at));
    const length = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    return { header, bytes: this.#producer.bytes.slice(at + 8, at + 8 + length) };
  }

  [Symbol.dispose](): void {
    this.#consumer.unmap();
    this.#producer.unmap();
  }
}

function mapped(mapping: Mapping | number): Mapping {
  if (typeof mapping === "number") throw new Error(`mmap: ${outcome(mapping)}`);
  return mapping;
}

/** Calls back on readiness of `fd` until disposed. */
function watched(kernel: Kernel, fd: number, callback: () => void): Disposable {
  const watch = kernel.watch(fd, callback);
  if (typeof watch === "number") throw new Error(`watch: ${outcome(watch)}`);
  return watch;
}

contract("a record that a program sends is read behind its header of 8 bytes", (kernel, { open }) => {
  const ring = open(createRing(kernel));
  using reader = new Reader(kernel, ring);
  expect(reader.position).toBe(0n);
  const sent = testRun(kernel, open(load(kernel, output(ring, 12, 0x1234))));
  expect([sent.outcome, sent.retval]).toEqual([0, 0]);
  // 8 bytes of header and 12 of data, rounded up to 8.
  expect(reader.position).toBe(24n);
  const { header, bytes } = reader.record(0n);
  expect(header).toBe(12);
  expect(toU32(bytes)).toBe(0x1234);
});

contract("a record that was reserved and discarded stays, with the discard bit", (kernel, { open }) => {
  const ring = open(createRing(kernel));
  using reader = new Reader(kernel, ring);
  testRun(kernel, open(load(kernel, reserve(ring, 16, 1, helpers.BPF_FUNC_ringbuf_discard))));
  testRun(kernel, open(load(kernel, reserve(ring, 16, 2, helpers.BPF_FUNC_ringbuf_submit))));
  expect(reader.position).toBe(48n);
  expect(reader.record(0n).header >>> 0).toBe((BPF_RINGBUF_DISCARD_BIT | 16) >>> 0);
  expect(reader.record(24n).header).toBe(16);
  expect(toU32(reader.record(24n).bytes)).toBe(2);
});

contract("a full ring buffer refuses records until the reader has consumed", (kernel, { open }) => {
  const ring = open(createRing(kernel));
  using reader = new Reader(kernel, ring);
  const prog = open(load(kernel, reserve(ring, 1016, 7, helpers.BPF_FUNC_ringbuf_submit)));
  // Four records of 1024 bytes would fill the ring, of which one byte stays free.
  const sent = (): number | undefined => testRun(kernel, prog).retval;
  expect([sent(), sent(), sent(), sent()]).toEqual([1, 1, 1, 0]);
  expect(reader.position).toBe(3072n);
  reader.consume(1024n);
  expect([sent(), sent()]).toEqual([1, 0]);
  expect(reader.position).toBe(4096n);
});

contract("a record over the ring's end is read in one piece", (kernel, { open }) => {
  const ring = open(createRing(kernel));
  using reader = new Reader(kernel, ring);
  const prog = open(load(kernel, output(ring, 408, 0x77)));
  // Records of 416 bytes: the tenth begins at 3744 and ends behind the ring's end.
  for (let position = 0n; position < 416n * 25n; position += 416n) {
    expect(testRun(kernel, prog).retval).toBe(0);
    const { header, bytes } = reader.record(position);
    expect([header, toU32(bytes), bytes.subarray(4).every((byte) => byte === 0)]).toEqual([408, 0x77, true]);
    reader.consume(position + 416n);
  }
});

contract("a record that would fill the ring, or more, is refused", (kernel, { open }) => {
  const ring = open(createRing(kernel));
  const sent = (length: number): number | undefined =>
    testRun(kernel, open(load(kernel, reserve(ring, length, 1, helpers.BPF_FUNC_ringbuf_submit)))).retval;
  expect([4096, 4088, 4080].map(sent)).toEqual([0, 0, 1]);
});

contract("ringbuf_output of a full ring is EAGAIN, with unknown flags EINVAL", (kernel, { open }) => {
  const ring = open(createRing(kernel));
  testRun(kernel, open(load(kernel, reserve(ring, 4080, 1, helpers.BPF_FUNC_ringbuf_submit))));
  const sent = (flags: number): number =>
    (testRun(kernel, open(load(kernel, output(ring, 16, 1, flags)))).retval ?? 0) | 0;
  expect([sent(0), sent(BPF_RB_NO_WAKEUP), sent(BPF_RB_FORCE_WAKEUP), sent(4)]).toEqual([-11, -11, -11, -22]);
});

contract("ringbuf_query tells the ring's size, its positions and what is unread", (kernel, { open }) => {
  const ring = open(createRing(kernel));
  using reader = new Reader(kernel, ring);
  const send = open(load(kernel, output(ring, 8, 1)));
  for (let sent = 0; sent < 3; sent++) testRun(kernel, send);
  reader.consume(16n);
  const asked = [BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE, BPF_RB_CONS_POS, BPF_RB_PROD_POS, 9].map(
    (what) => testRun(kernel, open(load(kernel, query(ring, what)))).retval,
  );
  expect(asked).toEqual([32, 4096, 16, 48, 0]);
});

contract("a ring buffer has no elements: ENOTSUPP, and EINVAL for a key where there are none", (kernel, { open }) => {
  const map_fd = open(createRing(kernel));
  expect([
    get(kernel, map_fd, 0),
    set(kernel, map_fd, 0, 0),
    remove(kernel, map_fd, 0),
    nextKey(kernel, map_fd, 0),
  ]).toEqual(new Array(4).fill("EINVAL"));
  const value = new Uint8Array(8);
  expect(outcome(kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd, value }))).toBe("ENOTSUPP");
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, value }))).toBe("ENOTSUPP");
  expect(outcome(kernel.bpf(BPF_MAP_DELETE_ELEM, { map_fd }))).toBe("ENOTSUPP");
  expect(nextKey(kernel, map_fd, undefined)).toBe("ENOTSUPP");
});

contract("the consumer's page may be written, the producer's and the data may not", (kernel, { open }) => {
  const ring = open(createRing(kernel));
  const { pageSize } = kernel.system;
  const mapping = (options: MmapOptions): number | string => {
    const result = kernel.mmap(ring, options);
    if (typeof result === "number") return outcome(result);
    result.unmap();
    return "ok";
  };
  expect(mapping({ length: pageSize, writable: true })).toBe("ok");
  expect(mapping({ length: 2 * pageSize, writable: true })).toBe("EPERM");
  expect(mapping({ offset: pageSize, length: pageSize, writable: true })).toBe("EPERM");
  expect(mapping({ offset: pageSize, length: pageSize })).toBe("ok");
  expect(mapping({ offset: pageSize, length: pageSize + 2 * size })).toBe("ok");
  expect(mapping({ length: 2 * pageSize + 2 * size })).toBe("ok");
  expect(mapping({ length: 3 * pageSize + 2 * size })).toBe("EINVAL");
  expect(mapping({ offset: pageSize + 1, length: pageSize })).toBe("EINVAL");
  expect(mapping({ length: 0 })).toBe("EINVAL");
});

contract(
  "a watch calls back when a record comes, and not in the midst of the run that sends it",
  async (kernel, { open }) => {
    const ring = open(createRing(kernel));
    using reader = new Reader(kernel, ring);
    let calls = 0;
    const watch = watched(kernel, ring, () => {
      calls++;
      reader.consume(reader.position);
    });
    const send = open(load(kernel, output(ring, 8, 1)));
    testRun(kernel, send);
    expect(calls).toBe(0);
    await until(() => calls === 1);
    expect(calls).toBe(1);
    testRun(kernel, send);
    await until(() => calls === 2);
    expect(calls).toBe(2);
    watch[Symbol.dispose]();
    testRun(kernel, send);
    await settled();
    expect(calls).toBe(2);
  },
);

contract("a watch calls back for what was there before it", async (kernel, { open }) => {
  const ring = open(createRing(kernel));
  testRun(kernel, open(load(kernel, output(ring, 8, 1))));
  let calls = 0;
  const watch = watched(kernel, ring, () => calls++);
  await until(() => calls > 0);
  watch[Symbol.dispose]();
  expect(calls).toBeGreaterThan(0);
});

contract("a reader that does not consume is not called without end", async (kernel, { open }) => {
  const ring = open(createRing(kernel));
  let calls = 0;
  const watch = watched(kernel, ring, () => calls++);
  testRun(kernel, open(load(kernel, output(ring, 8, 1))));
  await settled();
  watch[Symbol.dispose]();
  expect(calls).toBeGreaterThan(0);
  expect(calls).toBeLessThan(5);
});

contract("a record with NO_WAKEUP wakes nobody, one with FORCE_WAKEUP does", async (kernel, { open }) => {
  const ring = open(createRing(kernel));
  let calls = 0;
  const watch = watched(kernel, ring, () => calls++);
  testRun(kernel, open(load(kernel, output(ring, 8, 1, BPF_RB_NO_WAKEUP))));
  await settled();
  expect(calls).toBe(0);
  testRun(kernel, open(load(kernel, output(ring, 8, 1, BPF_RB_FORCE_WAKEUP))));
  await until(() => calls > 0);
  watch[Symbol.dispose]();
  expect(calls).toBeGreaterThan(0);
});

contract("a file descriptor that is not open cannot be watched: EBADF", (kernel) => {
  expect(kernel.watch(12345, () => undefined)).toBe(-9);
});
