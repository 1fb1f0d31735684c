// A hash of u32 to u64 without preallocation, filled with 10,000,000 entries: what that takes, and what an operation costs there
// and with 10,000 entries; on the embedded kernel and on the running one.

import { readFileSync } from "node:fs";
import { BpfMap } from "../src/client/map.ts";
import { u32, u64 } from "../src/codec/scalars.ts";
import { EmbeddedKernel } from "../src/embedded/kernel.ts";
import type { Kernel } from "../src/kernel/kernel.ts";
import { openKernel } from "../src/open.node.ts";
import {
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_BATCH,
  BPF_MAP_UPDATE_ELEM,
} from "../src/uapi/commands.ts";
import { BPF_F_NO_PREALLOC } from "../src/uapi/flags.ts";
import { Disposables } from "./disposables.ts";
import type { Bench, BenchCase, Contender } from "./measure.ts";

const SMALL = 10_000;
const LARGE = 10_000_000;
const BATCH = 10_000;
/** Operations in a round, timed so many at once. */
const CALLS = 20_000;
const SLICE = 500;
/** Steps through the keys; prime to both numbers of entries. */
const STRIDE = 7919;

const operations = ["lookup", "update", "delete and insert"] as const;
type Operation = (typeof operations)[number];

const linux = "linux";

const cases: readonly BenchCase[] = [
  { name: "embedded create", unit: "ms", against: { contender: "linux create", name: linux } },
  { name: "embedded fill", unit: "ms", against: { contender: "linux fill", name: linux } },
  { name: "embedded memory", unit: "bytes", against: { contender: "linux memory", name: linux } },
  ...operations.flatMap((operation): BenchCase[] => [
    { name: `embedded ${operation}, ${SMALL}`, against: { contender: `linux ${operation}, ${SMALL}`, name: linux } },
    { name: `embedded ${operation}, ${LARGE}`, against: { contender: `linux ${operation}, ${LARGE}`, name: linux } },
    // What cache misses add: both kernels wait for as much memory.
    {
      name: `embedded ${operation}, added`,
      against: { contender: `linux ${operation}, added`, name: linux },
    },
    {
      name: `embedded ${operation}, growth`,
      unit: "x",
      against: { contender: `linux ${operation}, growth`, name: linux },
    },
    // What is left of it without the nanoseconds that cache misses add on Linux: to stay below 3.
    { name: `embedded ${operation}, growth beyond cache misses`, unit: "x" },
  ]),
  { name: "embedded destroy", unit: "ms" },
];

/** Fills the maps of every kernel that there is; disposing closes them. */
export async function openScale(): Promise<Bench> {
  const contenders: Record<string, Contender> = {};
  const skipped: string[] = [];
  const times: { [Kind in Kernel["kind"]]?: Times } = {};
  const stack = new Disposables();
  try {
    for (const kind of ["embedded", "linux"] as const) {
      try {
        times[kind] = addKernel(stack.use(await openKernel({ kind })), contenders, stack);
      } catch (error) {
        skipped.push(`${kind}: ${(error as Error).message}`);
      }
    }
    const { embedded, linux } = times;
    if (embedded !== undefined && linux !== undefined) {
      for (const operation of operations) {
        const [ours, theirs] = [embedded[operation], linux[operation]];
        contenders[`embedded ${operation}, growth beyond cache misses`] = () =>
          (ours.large - (theirs.large - theirs.small)) / ours.small;
      }
    }
    return { contenders, cases, skipped, [Symbol.asyncDispose]: async () => stack.dispose() };
  } catch (error) {
    stack.dispose();
    throw error;
  }
}

/** Nanoseconds of an operation in the last round, in the small and in the large map. */
type Times = Record<Operation, { small: number; large: number }>;

/** Adds what a kernel does with maps of its own; what the operations took is found in the result after each round. */
function addKernel(kernel: Kernel, contenders: Record<string, Contender>, stack: Disposables): Times {
  const { kind } = kernel;
  const add = (name: string, value: number): void => {
    contenders[`${kind} ${name}`] = () => value;
  };
  const small = stack.use(create(kernel, SMALL));
  fill(kernel, small, SMALL);

  const before = kernel instanceof EmbeddedKernel ? kernel.memoryInUse : 0;
  const [creating, large] = timed(() => stack.use(create(kernel, LARGE)));
  const [filling] = timed(() => fill(kernel, large, LARGE));
  add("create", creating);
  add("fill", filling);
  add("memory", kernel instanceof EmbeddedKernel ? kernel.memoryInUse - before : reportedMemory(large.fd));

  const times = {} as Times;
  for (const operation of operations) {
    const bodies = bodyOf(kernel, operation);
    const last = { small: 0, large: 0 };
    times[operation] = last;
    contenders[`${kind} ${operation}, ${SMALL}`] = () => (last.small = repeat(bodies(small.fd), SMALL));
    contenders[`${kind} ${operation}, ${LARGE}`] = () => (last.large = repeat(bodies(large.fd), LARGE));
    contenders[`${kind} ${operation}, added`] = () => last.large - last.small;
    contenders[`${kind} ${operation}, growth`] = () => last.large / last.small;
  }
  // Linux frees behind the caller's back.
  if (!(kernel instanceof EmbeddedKernel)) return times;
  const another = create(kernel, LARGE);
  fill(kernel, another, LARGE);
  const [destroying] = timed(() => another.close());
  add("destroy", destroying);
  return times;
}

const create = (kernel: Kernel, maxEntries: number): BpfMap =>
  BpfMap.create(kernel, { name: "scale", type: "hash", key: u32, value: u64, maxEntries, flags: BPF_F_NO_PREALLOC });

/** Writes the keys 0 to entries - 1 by the batch. */
function fill(kernel: Kernel, { fd }: BpfMap, entries: number): void {
  const keys = new Uint32Array(BATCH);
  const values = new BigUint64Array(BATCH);
  const bytes = { keys: new Uint8Array(keys.buffer), values: new Uint8Array(values.buffer) };
  for (let first = 0; first < entries; first += BATCH) {
    for (let index = 0; index < BATCH; index++) keys[index] = first + index;
    const result = kernel.bpf(BPF_MAP_UPDATE_BATCH, { map_fd: fd, ...bytes, count: BATCH });
    if (result !== 0) throw new Error(`${kernel.kind}: filling a map of ${entries} stopped at ${first}: ${result}`);
  }
}

function bodyOf(kernel: Kernel, operation: Operation): (map_fd: number) => (key: number) => void {
  return (map_fd) => {
    const key = new Uint32Array(1);
    const attr = { map_fd, key: new Uint8Array(key.buffer), value: new Uint8Array(8), flags: 0 };
    return (at) => {
      key[0] = at;
      if (operation === "lookup") kernel.bpf(BPF_MAP_LOOKUP_ELEM, attr);
      else {
        if (operation !== "update") kernel.bpf(BPF_MAP_DELETE_ELEM, attr);
        kernel.bpf(BPF_MAP_UPDATE_ELEM, attr);
      }
    };
  };
}

/** Nanoseconds of a call, the median of slices, as other processes may take the CPU in some. Every round begins at another key. */
function repeat(body: (key: number) => void, entries: number): number {
  let key = Math.floor(Math.random() * entries);
  const slices = Array.from({ length: CALLS / SLICE }, () => {
    const [milliseconds] = timed(() => {
      for (let call = 0; call < SLICE; call++) {
        body(key);
        key = (key + STRIDE) % entries;
      }
    });
    return (milliseconds * 1e6) / SLICE;
  });
  return slices.sort((a, b) => a - b)[slices.length >> 1]!;
}

function timed<T>(body: () => T): [milliseconds: number, result: T] {
  const began = performance.now();
  const result = body();
  return [performance.now() - began, result];
}

/** What Linux says that a map takes. */
function reportedMemory(fd: number): number {
  return Number(/^memlock:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1]);
}
