// Walks over a hash (4 → 8 bytes): in batches and key by key, on both kernels, and the same batches in a C loop (iterate.c).

import { BpfMap } from "../src/client/map.ts";
import type { HashMap } from "../src/client/maps/keyed.ts";
import { u32, u64 } from "../src/codec/scalars.ts";
import type { Kernel } from "../src/kernel/kernel.ts";
import { openKernel } from "../src/open.node.ts";
import { BPF_MAP_LOOKUP_BATCH } from "../src/uapi/commands.ts";
import { ENOENT } from "../src/uapi/errno.ts";
import { compile } from "./compile.ts";
import { Disposables } from "./disposables.ts";
import type { Bench, BenchCase, Contender } from "./measure.ts";

/** Entries of the map that is walked with one command, and of the one that is walked whole. */
const BATCH = 10_000;
const ENTRIES = 100_000;

const C = "c -O2";

const cases: readonly BenchCase[] = (["linux", "embedded"] as const).flatMap((kind) => [
  {
    name: `${kind} batch of ${BATCH}, raw bytes`,
    against: {
      contender: kind === "linux" ? `${C} batch` : `linux batch of ${BATCH}, raw bytes`,
      name: kind === "linux" ? C : "linux",
    },
  },
  { name: `${kind} batch of ${BATCH}, getBatch`, against: { contender: `${C} batch`, name: C } },
  { name: `${kind} ${ENTRIES} entries()`, against: { contender: `${kind} ${ENTRIES} key by key`, name: "key by key" } },
  { name: `${kind} ${ENTRIES} key by key` },
]);

/** Makes the maps of every kernel that there is; disposing closes them. Times are those of one entry. */
export async function openIterate(): Promise<Bench> {
  const contenders: Record<string, Contender> = {};
  const skipped: string[] = [];
  const stack = new Disposables();
  try {
    for (const kind of ["linux", "embedded"] as const) {
      try {
        const map = addKernel(stack.use(await openKernel({ kind })), contenders, stack);
        if (kind === "linux") await addC(map, contenders, stack);
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

/** Adds the walks over a kernel's maps, and returns the map that is read with one command. */
function addKernel(kernel: Kernel, contenders: Record<string, Contender>, stack: Disposables): HashMap<number, bigint> {
  const filled = (entries: number): HashMap<number, bigint> => {
    const map = stack.use(BpfMap.create(kernel, { type: "hash", key: u32, value: u64, maxEntries: entries }));
    map.setMany(Array.from({ length: entries }, (_, key) => [key, BigInt(key)]));
    return map;
  };
  const small = filled(BATCH);
  const large = filled(ENTRIES);
  const attr = {
    map_fd: small.fd,
    in_batch: null,
    out_batch: new Uint8Array(4),
    keys: new Uint8Array(4 * ROOM),
    values: new Uint8Array(8 * ROOM),
    count: 0,
  };
  contenders[`${kernel.kind} batch of ${BATCH}, raw bytes`] = timed(BATCH, () => {
    attr.count = ROOM;
    const result = kernel.bpf(BPF_MAP_LOOKUP_BATCH, attr);
    if (result !== -ENOENT || attr.count !== BATCH) throw new Error(`a batch of ${attr.count} entries: ${result}`);
  });
  contenders[`${kernel.kind} batch of ${BATCH}, getBatch`] = timed(BATCH, () => small.getBatch(ROOM));
  for (const [name, batch] of [
    ["entries()", undefined],
    ["key by key", 1],
  ] as const) {
    contenders[`${kernel.kind} ${ENTRIES} ${name}`] = timed(ENTRIES, () => {
      let sum = 0;
      for (const [key] of large.entries(batch === undefined ? {} : { batch })) sum += key;
      if (sum !== (ENTRIES * (ENTRIES - 1)) / 2) throw new Error(`the sum of the keys is ${sum}`);
    });
  }
  return small;
}

/** Room for more entries than there are, so that one command meets the end. */
const ROOM = BATCH + 1;

function timed(entries: number, body: () => void): Contender {
  return () => {
    const began = performance.now();
    body();
    return ((performance.now() - began) * 1e6) / entries;
  };
}

async function addC(map: BpfMap, contenders: Record<string, Contender>, stack: Disposables): Promise<void> {
  const library = await compile("iterate.c", stack);
  const walk = library.func("double walk(int, uint32_t)");
  contenders[`${C} batch`] = () => {
    const time = walk(map.fd, ROOM);
    if (time < 0) throw new Error("BPF_MAP_LOOKUP_BATCH fails");
    return time / BATCH;
  };
}
