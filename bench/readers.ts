// Event readers: draining a full ring or perf buffer of 24-byte records, and waking up for one record,
// compared with C that drains as libbpf does and waits with epoll (readers.c).

import {
  add,
  call,
  exit,
  type Item,
  loadMapFd,
  mov,
  program,
  r0,
  r1,
  r2,
  r3,
  r4,
  r10,
  store,
} from "../src/asm/builder.ts";
import { BpfMap } from "../src/client/map.ts";
import type { RingBufferMap } from "../src/client/maps/ring-buffer.ts";
import { BpfProgram } from "../src/client/program.ts";
import { RingBuffer } from "../src/client/ring-buffer.ts";
import type { Infer } from "../src/codec/codec.ts";
import { struct } from "../src/codec/composites.ts";
import { u32, u64 } from "../src/codec/scalars.ts";
import type { Kernel } from "../src/kernel/kernel.ts";
import { openKernel } from "../src/open.node.ts";
import { BPF_FUNC_ktime_get_ns, BPF_FUNC_ringbuf_output } from "../src/uapi/helper-ids.ts";
import { compile } from "./compile.ts";
import { Disposables } from "./disposables.ts";
import type { Bench, BenchCase, Contender } from "./measure.ts";

/** Bytes of the ring; a record takes 32. */
const SIZE = 1 << 20;
const RECORDS = SIZE / 32 - 1;
/** Records that are waited for in a round, and microseconds between them. */
const WAKES = 100;
const INTERVAL = 500;

/** struct event of readers.c. */
const event = struct({ time: u64, pid: u32, size: u32, number: u32, flags: u32 });
/** The same with its time in two halves: what it costs less is what a bigint costs. */
const halves = struct({ time: u32, timeHigh: u32, pid: u32, size: u32, number: u32, flags: u32 });

const C = "c -O2";

const cases: readonly BenchCase[] = [
  ...["drainViews", "drain, decoded", "drain, decoded without u64", "drain, bytes"].flatMap((name) => [
    { name: `linux ${name}`, against: { contender: `${C} drain`, name: C } },
    { name: `embedded ${name}`, against: { contender: `linux ${name}`, name: "linux" } },
  ]),
  { name: `${C} drain` },
  ...["on", "for await"].map((name) => ({
    name: `linux wake-up, ${name}`,
    against: { contender: `${C} wake-up`, name: `${C}, epoll` },
  })),
  { name: `${C} wake-up` },
];

/** Makes the rings and programs of every kernel that there is; disposing closes them. */
export async function openReaders(): Promise<Bench> {
  const contenders: Record<string, Contender> = {};
  const skipped: string[] = [];
  const stack = new Disposables();
  try {
    for (const kind of ["linux", "embedded"] as const) {
      try {
        const kernel = stack.use(await openKernel({ kind }));
        addDrains(kernel, contenders, stack);
        if (kind === "linux")
          await addC(kernel, contenders, stack).catch((error) => skipped.push(`${C}: ${error.message}`));
      } catch (error) {
        skipped.push(`${kind}: ${(error as Error).message}`);
      }
    }
    return { contenders, cases, skipped, [Symbol.asyncDispose]: async () => stack.dispose() };
  } catch (error) {
    stack.dispose();
    throw error;
  }
}

type Event = { time: bigint; pid: number; size: number; number: number; flags: number };

interface Parts {
  readonly ring: RingBufferMap<Event>;
  readonly sender: BpfProgram;
}

/** A ring and a program that sends into it; each contender has its own. */
function makeParts(kernel: Kernel, stack: Disposables): Parts {
  const ring = stack.use(BpfMap.create(kernel, { name: "bench", type: "ringbuf", maxEntries: SIZE, record: event }));
  const sender = stack.use(
    BpfProgram.load(kernel, { type: "socket_filter", name: "sender", instructions: program(...sending(ring.fd)) }),
  );
  return { ring, sender };
}

/** Sends an event with the time and some numbers. */
const sending = (ring: number): Item[] => [
  call(BPF_FUNC_ktime_get_ns),
  store("dw", r10, -24, r0),
  store("dw", r10, -16, 7),
  store("dw", r10, -8, 9),
  loadMapFd(r1, ring),
  mov(r2, r10),
  add(r2, -24),
  mov(r3, 24),
  mov(r4, 0),
  call(BPF_FUNC_ringbuf_output),
  mov(r0, 0),
  exit(),
];

const fill = ({ sender }: Parts): void => {
  sender.testRun({ data: new Uint8Array(64), repeat: RECORDS + 1 });
};

function addDrains(kernel: Kernel, contenders: Record<string, Contender>, stack: Disposables): void {
  const add = (name: string, makeDrain: (ring: RingBufferMap<Event>) => () => number): void => {
    const parts = makeParts(kernel, stack);
    const drain = makeDrain(parts.ring);
    contenders[`${kernel.kind} ${name}`] = () => {
      fill(parts);
      const began = performance.now();
      const count = drain();
      const time = (performance.now() - began) * 1e6;
      if (count !== RECORDS || total === 0) throw new Error(`${count} records, not ${RECORDS}`);
      return time / count;
    };
  };
  let total = 0;
  add("drainViews", (ring) => {
    const reader = stack.use(ring.ringBuffer());
    const sum = (record: Readonly<Event>) => {
      total += record.pid + record.size + record.number;
    };
    return () => reader.drainViews(sum);
  });
  add("drain, decoded", (ring) => {
    const reader = stack.use(ring.ringBuffer());
    const sum = (record: Event) => {
      total += record.pid + record.size + record.number;
    };
    return () => reader.drain(sum);
  });
  add("drain, decoded without u64", (ring) => {
    const reader = stack.use(ring.ringBuffer({ record: halves }));
    const sum = (record: Infer<typeof halves>) => {
      total += record.pid + record.size + record.number;
    };
    return () => reader.drain(sum);
  });
  add("drain, bytes", (ring) => {
    const reader = stack.use(new RingBuffer(kernel, ring.fd, SIZE));
    const sum = (record: Uint8Array) => {
      total += record[8]!;
    };
    return () => reader.drain(sum);
  });
}

/** Compiles readers.c and loads it into this process, so that both wait for the same ring and the same producer. */
async function addC(kernel: Kernel, contenders: Record<string, Contender>, stack: Disposables): Promise<void> {
  const parts = makeParts(kernel, stack);
  const { ring, sender } = parts;
  const loaded = await compile("readers.c", stack, "-pthread");
  const drain = loaded.func("double drain(int, uint32_t)");
  const start = loaded.func("void start(int, uint32_t, uint32_t)");
  const waitFor = loaded.func("void wait_for(int, uint32_t, uint32_t, _Out_ double *)");
  contenders[`${C} drain`] = () => {
    fill(parts);
    return drain(ring.fd, SIZE);
  };
  contenders[`${C} wake-up`] = () => {
    const times = new Float64Array(WAKES);
    start(sender.fd, WAKES, INTERVAL);
    waitFor(ring.fd, SIZE, WAKES, times);
    return median(times);
  };
  contenders["linux wake-up, on"] = async () => {
    using reader = ring.ringBuffer();
    const times: number[] = [];
    await new Promise<void>((resolve, reject) => {
      reader.on(({ time }) => {
        times.push(Number(process.hrtime.bigint() - time));
        if (times.length === WAKES) resolve();
      }, reject);
      start(sender.fd, WAKES, INTERVAL);
    });
    return median(times);
  };
  contenders["linux wake-up, for await"] = async () => {
    using reader = ring.ringBuffer();
    const times: number[] = [];
    start(sender.fd, WAKES, INTERVAL);
    for await (const { time } of reader) {
      times.push(Number(process.hrtime.bigint() - time));
      if (times.length === WAKES) break;
    }
    return median(times);
  };
}

const median = (values: ArrayLike<number>): number => Array.from(values).sort((a, b) => a - b)[values.length >> 1]!;
