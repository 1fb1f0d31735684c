// Performance events: opened, mapped, controlled, and written to by programs.

import { expect } from "vitest";
import type { Kernel, PerfEventAttr, PerfEventRequest } from "../../src/kernel/kernel.ts";
import { BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET_INFO_BY_FD, BPF_OBJ_PIN } from "../../src/uapi/commands.ts";
import * as perf from "../../src/uapi/perf-event.ts";
import { cString } from "../../src/uapi/struct.ts";
import { type Bench, contract, outcome } from "./contract.ts";
import { create, u32 } from "./maps.ts";
import { bpfOutput, perfEventArray, Samples, sender } from "./perf-samples.ts";
import { settled, until } from "./waiting.ts";

const openEvent = (kernel: Kernel, attr: Partial<PerfEventAttr> = {}): number =>
  kernel.perfEventOpen({ cpu: 0, ...bpfOutput, ...attr });

/** The outcome of perf_event_open; what is opened is closed again. */
function opening(kernel: Kernel, attr: Partial<PerfEventAttr>): number | string {
  const result = openEvent(kernel, attr);
  if (result < 0) return outcome(result);
  kernel.close(result);
  return "ok";
}

/** An event for each CPU, in an array. */
function eventsOf(
  kernel: Kernel,
  bench: Bench,
  attr: Partial<PerfEventAttr> = {},
): { array: number; events: number[] } {
  const array = perfEventArray(kernel, bench);
  const events = kernel.system.possibleCpus.map((cpu) => {
    const event = bench.open(openEvent(kernel, { ...attr, cpu }));
    const element = { map_fd: array, key: u32(cpu), value: u32(event) };
    expect(outcome(kernel.bpf(BPF_MAP_UPDATE_ELEM, element))).toBe(0);
    return event;
  });
  return { array, events };
}

const controlAll = (kernel: Kernel, events: readonly number[], request: PerfEventRequest): void => {
  for (const event of events) expect(kernel.perfEventControl(event, request)).toBe(0);
};

contract("a software event is opened on a CPU that there is: EINVAL, and ENOENT for another event", (kernel) => {
  const { length } = kernel.system.possibleCpus;
  expect(opening(kernel, {})).toBe("ok");
  expect(opening(kernel, { disabled: true, wakeup_watermark: 100 })).toBe("ok");
  expect(opening(kernel, { config: perf.PERF_COUNT_SW_DUMMY })).toBe("ok");
  expect([length, 1000, -1].map((cpu) => opening(kernel, { cpu }))).toEqual(["EINVAL", "EINVAL", "EINVAL"]);
  expect([opening(kernel, { config: 12 }), opening(kernel, { type: 99 })]).toEqual(["ENOENT", "ENOENT"]);
});

contract("an event is mapped as a page and 2^n pages of data, as often as wanted with the same", (kernel, { open }) => {
  const { pageSize } = kernel.system;
  const event = open(openEvent(kernel));
  const mmap = (length: number, offset = 0): number | string => {
    const mapping = kernel.mmap(event, { length, offset, writable: true });
    if (typeof mapping === "number") return outcome(mapping);
    mapping.unmap();
    return "ok";
  };
  expect([1, 2, 3, 5, 9].map((pages) => mmap(pages * pageSize))).toEqual(new Array(5).fill("ok"));
  expect([4, 6, 7].map((pages) => mmap(pages * pageSize))).toEqual(new Array(3).fill("EINVAL"));
  expect([mmap(100), mmap(2 * pageSize - 5), mmap(0), mmap(2 * pageSize, pageSize), mmap(pageSize, 5)]).toEqual([
    "ok",
    "ok",
    "EINVAL",
    "EINVAL",
    "EINVAL",
  ]);
  const first = kernel.mmap(event, { length: 3 * pageSize, writable: true });
  expect([mmap(3 * pageSize), mmap(2 * pageSize), mmap(pageSize)]).toEqual(["ok", "EINVAL", "EINVAL"]);
  if (typeof first === "number") throw new Error(`mmap: ${outcome(first)}`);
  const page = new DataView(first.bytes.buffer, first.bytes.byteOffset);
  const { size, data_head, data_tail, data_offset, data_size } = perf.perfEventMmapPage;
  expect(page.getUint32(size[0], true)).toBe(perf.PERF_EVENT_MMAP_PAGE_SIZE);
  expect([data_head, data_tail, data_offset, data_size].map(([at]) => page.getBigUint64(at, true))).toEqual([
    0n,
    0n,
    BigInt(pageSize),
    BigInt(2 * pageSize),
  ]);
  first.unmap();
  expect(mmap(2 * pageSize)).toBe("ok");
});

contract("a buffer of 4 GiB and more has no memory: ENOMEM", (kernel, { open }) => {
  const { pageSize } = kernel.system;
  for (const bytes of [2 ** 32, 2 ** 40]) {
    const mapping = kernel.mmap(open(openEvent(kernel)), { length: pageSize + bytes, writable: true });
    expect(typeof mapping === "number" ? outcome(mapping) : mapping.bytes.length).toBe("ENOMEM");
  }
});

contract(
  "an event is enabled and disabled, and paused while it is mapped; nothing else is: ENOTTY",
  (kernel, { open }) => {
    const event = open(openEvent(kernel));
    const control = (fd: number, request: PerfEventRequest) => outcome(kernel.perfEventControl(fd, request));
    expect([control(event, "enable"), control(event, "disable"), control(event, "pause")]).toEqual([0, 0, "EINVAL"]);
    const mapping = kernel.mmap(event, { length: 2 * kernel.system.pageSize, writable: true });
    expect([control(event, "pause"), control(event, "resume")]).toEqual([0, 0]);
    if (typeof mapping !== "number") mapping.unmap();
    expect([control(open(create(kernel)), "enable"), control(12345, "enable")]).toEqual(["ENOTTY", "EBADF"]);
  },
);

contract("an event is neither pinned nor described: EINVAL", (kernel, { open, pins }) => {
  const bpf_fd = open(openEvent(kernel));
  expect(outcome(kernel.bpf(BPF_OBJ_PIN, { bpf_fd, pathname: cString(`${pins}/event`) }))).toBe("EINVAL");
  const info = new Uint8Array(88);
  expect(outcome(kernel.bpf(BPF_OBJ_GET_INFO_BY_FD, { bpf_fd, info, info_len: info.length }))).toBe("EINVAL");
});

contract("a watch of an event that is not mapped calls back: it is hung up", async (kernel, { open }) => {
  const event = open(openEvent(kernel));
  let calls = 0;
  const watch = kernel.watch(event, () => calls++);
  await until(() => calls > 0);
  if (typeof watch !== "number") watch[Symbol.dispose]();
  expect(calls).toBeGreaterThan(0);
});

contract(
  "a sample has a header of 8 bytes, and its size rounded up to 4 more than a multiple of 8",
  (kernel, bench) => {
    const { array, events } = eventsOf(kernel, bench);
    using samples = new Samples(kernel, events, 32);
    const sent = [0, 1, 4, 5, 12, 13, 65_500, 65_516].map((length) => {
      expect(sender(kernel, bench, array, length, 7)()).toBe(0);
      return samples.take();
    });
    expect(sent).toEqual(
      [4, 4, 4, 12, 12, 20, 65_500, 65_516].map((word) => [
        { type: perf.PERF_RECORD_SAMPLE, misc: perf.PERF_RECORD_MISC_KERNEL, size: word + 12, word },
      ]),
    );
  },
);

contract("the size of a sample with more than 65516 bytes wraps at 64 KiB: nothing useful is left", (kernel, bench) => {
  const { array, events } = eventsOf(kernel, bench);
  using samples = new Samples(kernel, events, 32);
  const total = () => samples.heads.reduce((sum, head) => sum + head, 0);
  const grown = [65_517, 65_524, 65_525, 65_536].map((length) => {
    const before = total();
    expect(sender(kernel, bench, array, length, 7)()).toBe(0);
    return total() - before;
  });
  expect(grown).toEqual([0, 0, 8, 16]);
});

contract("a full buffer refuses samples with ENOSPC and tells of them when there is room again", (kernel, bench) => {
  const { array, events } = eventsOf(kernel, bench);
  using samples = new Samples(kernel, events, 1);
  const send = sender(kernel, bench, array, 20, 7);
  // One byte stays free. The runs may be on several CPUs, each with a buffer of its own.
  const room = Math.ceil(kernel.system.pageSize / 32) - 1;
  let refused = 0;
  for (let sent = 0; sent < 10 * room; sent++) {
    const result = send();
    if (result !== 0) {
      expect(outcome(result)).toBe("ENOSPC");
      refused++;
    }
  }
  expect(Math.max(...samples.heads)).toBe(32 * room);
  const taken = samples.take();
  expect(taken.every(({ type, size }) => type === perf.PERF_RECORD_SAMPLE && size === 32)).toBe(true);
  expect(taken.length + refused).toBe(10 * room);
  let told = 0;
  for (let sent = 0; sent < 50; sent++) {
    expect(send()).toBe(0);
    for (const { type, size, word } of samples.take()) {
      if (type !== perf.PERF_RECORD_LOST) continue;
      expect(size).toBe(24);
      told += word;
    }
  }
  expect(told).toBeGreaterThan(0);
  expect(told).toBeLessThanOrEqual(refused);
  if (taken.length === room) expect(told).toBe(refused);
});

contract(
  "an event that is disabled is EOPNOTSUPP, paused or not mapped ENOSPC, another event EINVAL",
  (kernel, bench) => {
    const { array, events } = eventsOf(kernel, bench);
    const send = sender(kernel, bench, array, 4, 7);
    const sent = (): number | string => outcome(send());
    expect(sent()).toBe("ENOSPC");
    using samples = new Samples(kernel, events, 1);
    expect(sent()).toBe(0);
    controlAll(kernel, events, "disable");
    expect(sent()).toBe("EOPNOTSUPP");
    controlAll(kernel, events, "enable");
    controlAll(kernel, events, "pause");
    expect(sent()).toBe("ENOSPC");
    controlAll(kernel, events, "resume");
    expect(sent()).toBe(0);
    expect(samples.take().map(({ type }) => type)).toContain(perf.PERF_RECORD_SAMPLE);
    const { array: dummies } = eventsOf(kernel, bench, { config: perf.PERF_COUNT_SW_DUMMY });
    expect(outcome(sender(kernel, bench, dummies, 4, 7)())).toBe("EINVAL");
  },
);

for (const [name, attr, expected] of [
  ["wakes for each sample with wakeup_events 1", { wakeup_events: 1 }, 1],
  ["wakes for every third sample with wakeup_events 3", { wakeup_events: 3 }, 3],
  ["wakes behind a watermark", { wakeup_events: 0, wakeup_watermark: 100 }, 4],
  ["wakes when it is more than half full without either", { wakeup_events: 0 }, 65],
] as const) {
  contract(`an event ${name}`, async (kernel, bench) => {
    const { array, events } = eventsOf(kernel, bench, attr);
    using samples = new Samples(kernel, events, 1);
    const send = sender(kernel, bench, array, 20, 7);
    let calls = 0;
    const watches = events.map((event) => kernel.watch(event, () => calls++));
    await settled();
    calls = 0;
    const before = 32 * (expected - 1);
    // Runs on one CPU, as long as nobody moves this thread: the last of them decides.
    let sent = 0;
    while (sent < 400 && samples.heads.every((head) => head < before)) {
      send();
      sent++;
    }
    await settled();
    const early = calls;
    while (calls === 0 && sent < 400) {
      send();
      sent++;
      await settled();
    }
    for (const watch of watches) if (typeof watch !== "number") watch[Symbol.dispose]();
    expect(early).toBe(0);
    expect(Math.max(...samples.heads)).toBe(32 * expected);
  });
}
