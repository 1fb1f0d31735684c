// The steps of bpf_user_ringbuf_drain in the machine, over samples as user space writes them, well and badly.

import { expect, test } from "vitest";
import { PAGE_BYTES } from "../../../machine/layout.ts";
import { E2BIG, EAGAIN, EBUSY, EINVAL, ENODATA } from "../../uapi/errno.ts";
import {
  BPF_RB_FORCE_WAKEUP,
  BPF_RB_NO_WAKEUP,
  BPF_RINGBUF_BUSY_BIT,
  BPF_RINGBUF_DISCARD_BIT,
} from "../../uapi/flags.ts";
import { BPF_MAP_TYPE_USER_RINGBUF } from "../../uapi/map-types.ts";
import { createMachine } from "../machine.ts";

function createRing(bytes = PAGE_BYTES) {
  let wakes = 0;
  const machine = createMachine({
    cpus: 1,
    memoryLimit: 2 ** 26,
    seed: 1,
    helper: () => {},
    wake: () => {
      wakes++;
    },
  });
  const map = machine.mapCreate(BPF_MAP_TYPE_USER_RINGBUF, 0, 0, bytes, 0);
  const consumer = machine.mapData(map);
  const producer = consumer + PAGE_BYTES;
  const data = producer + PAGE_BYTES;
  const view = new DataView(machine.memory.buffer);
  return {
    machine,
    map,
    view,
    data,
    consumerAt: () => view.getBigUint64(consumer, true),
    produceTo: (position: bigint | number) => view.setBigUint64(producer, BigInt(position), true),
    consumeTo: (position: bigint | number) => view.setBigUint64(consumer, BigInt(position), true),
    header: (position: number, header: number) => view.setUint32(data + (position % bytes), header, true),
    peek: () => machine.userRingbufPeek(map),
    get wakes() {
      return wakes;
    },
  };
}

test("samples are peeked and released one after the other", () => {
  const ring = createRing();
  expect(ring.peek()).toBe(-ENODATA);
  ring.header(0, 5);
  ring.header(16, 8);
  ring.produceTo(32);
  expect([ring.peek(), ring.machine.userRingbufSampleLength(ring.map)]).toEqual([ring.data + 8, 5]);
  ring.machine.userRingbufRelease(ring.map);
  expect([ring.consumerAt(), ring.peek()]).toEqual([16n, ring.data + 24]);
  ring.machine.userRingbufRelease(ring.map);
  expect([ring.consumerAt(), ring.peek()]).toEqual([32n, -ENODATA]);
});

test("a sample that user space lengthens while it is read is released as it was", () => {
  const ring = createRing();
  ring.header(0, 8);
  ring.produceTo(64);
  ring.peek();
  ring.header(0, 4000);
  ring.machine.userRingbufRelease(ring.map);
  expect(ring.consumerAt()).toBe(16n);
});

test("a busy sample ends the drain, a discarded one is skipped", () => {
  const ring = createRing();
  ring.header(0, 8 | BPF_RINGBUF_BUSY_BIT);
  ring.produceTo(32);
  expect([ring.peek(), ring.consumerAt()]).toEqual([-ENODATA, 0n]);
  ring.header(0, 8 | BPF_RINGBUF_DISCARD_BIT);
  expect([ring.peek(), ring.consumerAt()]).toEqual([-EAGAIN, 16n]);
});

test("positions and lengths that contradict each other are EINVAL and E2BIG", () => {
  const ring = createRing();
  ring.produceTo(12);
  expect(ring.peek()).toBe(-EINVAL);
  ring.header(0, 100);
  ring.produceTo(16);
  expect(ring.peek()).toBe(-EINVAL);
  ring.produceTo(1 << 20);
  ring.header(0, PAGE_BYTES);
  expect(ring.peek()).toBe(-E2BIG);
  ring.header(0, 0x3fff_ffff);
  ring.produceTo(2n ** 40n);
  expect(ring.peek()).toBe(-E2BIG);
  ring.consumeTo(2n ** 64n - 8n);
  expect(ring.peek()).toBe(-ENODATA);
});

test("one drain at a time; its end wakes who waits for room as the flags say", () => {
  const ring = createRing();
  const { machine, map } = ring;
  const wakes = (samples: number, flags: number): number => {
    const before = ring.wakes;
    expect(machine.userRingbufBegin(map, flags)).toBe(0);
    expect(machine.userRingbufBegin(map, flags)).toBe(-EBUSY);
    machine.userRingbufEnd(map, samples, flags);
    return ring.wakes - before;
  };
  expect([wakes(0, 0), wakes(1, 0), wakes(1, BPF_RB_NO_WAKEUP), wakes(0, BPF_RB_FORCE_WAKEUP)]).toEqual([0, 1, 0, 1]);
  expect(machine.userRingbufBegin(map, 4)).toBe(-EINVAL);
});

test("a consumer position that is no multiple of 8, which only its reader could have written, reads some sample", () => {
  const ring = createRing();
  ring.header(0, 5);
  ring.produceTo(64);
  for (let position = 1; position < 8; position++) {
    ring.consumeTo(position);
    expect(ring.peek()).toBe(ring.data + 8);
  }
});
