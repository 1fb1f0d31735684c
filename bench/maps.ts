// Lookup and update in a hash map (4 → 8 bytes, 10,000 entries): from JavaScript and from a BPF program, on both kernels,
// and the same system calls in a C loop (maps.c).

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
import { BpfProgram } from "../src/client/program.ts";
import { u32, u64 } from "../src/codec/scalars.ts";
import type { Kernel } from "../src/kernel/kernel.ts";
import { openKernel } from "../src/open.node.ts";
import { BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM } from "../src/uapi/commands.ts";
import { BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem } from "../src/uapi/helper-ids.ts";
import { compile } from "./compile.ts";
import { Disposables } from "./disposables.ts";
import type { Bench, BenchCase, Contender } from "./measure.ts";

const ENTRIES = 10_000;
/** Calls in a round, from JavaScript and from C. */
const CALLS = 20_000;
/** Helper calls in one run of the program, and runs in a round. */
const HELPER_CALLS = 64;
const RUNS = 2_000;
/** Steps through the keys in an order that no cache line predicts; prime to ENTRIES. */
const STRIDE = 7919;

const operations = ["lookup", "update"] as const;
type Operation = (typeof operations)[number];

const C = "c -O2";

const cases: readonly BenchCase[] = operations.flatMap((operation) => [
  { name: `linux ${operation}, raw bytes`, against: { contender: `${C} ${operation}`, name: C } },
  { name: `linux ${operation}, BpfMap`, against: { contender: `${C} ${operation}`, name: C } },
  { name: `embedded ${operation}, raw bytes`, against: { contender: `linux ${operation}, raw bytes`, name: "linux" } },
  { name: `embedded ${operation}, BpfMap`, against: { contender: `linux ${operation}, BpfMap`, name: "linux" } },
  { name: `linux ${operation}, program` },
  { name: `embedded ${operation}, program`, against: { contender: `linux ${operation}, program`, name: "linux" } },
]);

/** Makes the maps and programs of every kernel that there is; disposing closes them. */
export async function openMaps(): Promise<Bench> {
  const contenders: Record<string, Contender> = {};
  const skipped: string[] = [];
  const maps = new Map<Kernel["kind"], BpfMap>();
  const stack = new Disposables();
  try {
    for (const kind of ["linux", "embedded"] as const) {
      try {
        const kernel = stack.use(await openKernel({ kind }));
        maps.set(kind, addKernel(kernel, contenders, stack));
      } catch (error) {
        skipped.push(`${kind}: ${(error as Error).message}`);
      }
    }
    try {
      const map = maps.get("linux");
      if (map !== undefined) await addC(map, contenders, stack);
    } catch (error) {
      skipped.push(`${C}: ${(error as Error).message}`);
    }
    // What is compared runs close together.
    const byOperation = operations.flatMap((operation) =>
      Object.entries(contenders).filter(([name]) => name.includes(operation)),
    );
    return {
      contenders: Object.fromEntries(byOperation),
      cases,
      skipped,
      [Symbol.asyncDispose]: async () => stack.dispose(),
    };
  } catch (error) {
    stack.dispose();
    throw error;
  }
}

/** Adds what a kernel does with a map of its own, and returns the map. */
function addKernel(kernel: Kernel, contenders: Record<string, Contender>, stack: Disposables): BpfMap {
  const map = stack.use(
    BpfMap.create(kernel, { name: "bench", type: "hash", key: u32, value: u64, maxEntries: ENTRIES }),
  );
  for (let key = 0; key < ENTRIES; key++) map.set(key, BigInt(key));

  const key = new Uint32Array(1);
  const bytes = { map_fd: map.fd, key: new Uint8Array(key.buffer), value: new Uint8Array(8), flags: 0 };
  contenders[`${kernel.kind} lookup, raw bytes`] = repeat((at) => {
    key[0] = at;
    kernel.bpf(BPF_MAP_LOOKUP_ELEM, bytes);
  });
  contenders[`${kernel.kind} update, raw bytes`] = repeat((at) => {
    key[0] = at;
    kernel.bpf(BPF_MAP_UPDATE_ELEM, bytes);
  });
  contenders[`${kernel.kind} lookup, BpfMap`] = repeat((at) => map.get(at));
  contenders[`${kernel.kind} update, BpfMap`] = repeat((at) => map.set(at, 1n));

  const data = new Uint8Array(64);
  for (const operation of operations) {
    const code = program(...callsOf(operation, map.fd), mov(r0, 0), exit());
    const loaded = stack.use(BpfProgram.load(kernel, { type: "socket_filter", name: operation, instructions: code }));
    contenders[`${kernel.kind} ${operation}, program`] = () => {
      const began = performance.now();
      loaded.testRun({ data, repeat: RUNS });
      return ((performance.now() - began) * 1e6) / (RUNS * HELPER_CALLS);
    };
  }
  return map;
}

/** Calls `body` with key after key. */
function repeat(body: (key: number) => void): Contender {
  return () => {
    const began = performance.now();
    for (let call = 0, key = 0; call < CALLS; call++) {
      body(key);
      key = (key + STRIDE) % ENTRIES;
    }
    return ((performance.now() - began) * 1e6) / CALLS;
  };
}

function callsOf(operation: Operation, fd: number): Item[] {
  return Array.from({ length: HELPER_CALLS }, (_, index) => [
    store("w", r10, -4, (index * STRIDE) % ENTRIES),
    ...loadMapFd(r1, fd),
    mov(r2, r10),
    add(r2, -4),
    ...(operation === "lookup"
      ? [call(BPF_FUNC_map_lookup_elem)]
      : [store("dw", r10, -16, 1), mov(r3, r10), add(r3, -16), mov(r4, 0), call(BPF_FUNC_map_update_elem)]),
  ]);
}

async function addC(map: BpfMap, contenders: Record<string, Contender>, stack: Disposables): Promise<void> {
  const library = await compile("maps.c", stack);
  for (const operation of operations) {
    const loop = library.func(`double ${operation}(int, uint32_t, uint32_t, uint32_t)`);
    contenders[`${C} ${operation}`] = () => loop(map.fd, ENTRIES, CALLS, STRIDE);
  }
}
