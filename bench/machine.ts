// The machine's own array and hash (10,000 entries), called in a WebAssembly loop, against C in the same design (machine.c).

import { INITIAL_PAGES } from "../machine/layout.ts";
import { compileMachine } from "../scripts/compile-machine.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH } from "../src/uapi/map-types.ts";
import { compile } from "./compile.ts";
import { Disposables } from "./disposables.ts";
import type { Bench, BenchCase, Contender } from "./measure.ts";

const ENTRIES = 10_000;
/** Calls that are timed at once, and how often in a round: the median counts, as other processes may take the CPU. */
const CALLS = 50_000;
const SLICES = 40;
/** Steps through the keys in an order that no cache line predicts; prime to ENTRIES. */
const STRIDE = 7919;
/** Pages of 64 KiB that memory may grow to. */
const MEMORY_PAGES = 1024;

const C = "c -O2";
const operations = ["lookup", "update"] as const;
const maps = [
  { name: "array", c: "array", type: BPF_MAP_TYPE_ARRAY, keySize: 4 },
  { name: "hash, keys of 4 bytes", c: "hash", type: BPF_MAP_TYPE_HASH, keySize: 4 },
  { name: "hash, keys of 16 bytes", c: "hash", type: BPF_MAP_TYPE_HASH, keySize: 16 },
] as const;

const cases: readonly BenchCase[] = maps.flatMap(({ name }) =>
  operations.map((operation) => ({
    name: `${operation}, ${name}`,
    against: { contender: `${C} ${operation}, ${name}`, name: C },
  })),
);

/** Compiles the loops; disposing removes what was compiled. */
export async function openMachine(): Promise<Bench> {
  const contenders: Record<string, Contender> = {};
  const skipped: string[] = [];
  const stack = new Disposables();
  await addMachine(contenders);
  try {
    await addC(contenders, stack);
  } catch (error) {
    skipped.push(`${C}: ${(error as Error).message}`);
  }
  return { contenders, cases, skipped, [Symbol.asyncDispose]: async () => stack.dispose() };
}

interface Loops {
  initialize(cpus: number, pageLimit: number, seed: number): void;
  allocate(bytes: number): number;
  mapCreate(type: number, keySize: number, valueSize: number, maxEntries: number, flags: number): number;
  lookupLoop(map: number, key: number, entries: number, calls: number, stride: number): number;
  updateLoop(map: number, key: number, value: number, entries: number, calls: number, stride: number): number;
}

async function addMachine(contenders: Record<string, Contender>): Promise<void> {
  const wasm = await compileMachine("machine/loops.ts");
  const memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum: MEMORY_PAGES, shared: true });
  const imports = { env: { memory }, imports: { helper: () => {}, wake: () => {} } };
  const instance = await WebAssembly.instantiate(new WebAssembly.Module(wasm), imports);
  const loops = instance.exports as unknown as Loops;
  loops.initialize(2, MEMORY_PAGES, 1);
  const key = loops.allocate(16);
  const value = loops.allocate(8);
  new Uint8Array(memory.buffer).fill(0, key, key + 16);
  for (const { name, type, keySize } of maps) {
    const map = loops.mapCreate(type, keySize, 8, ENTRIES, 0);
    if (loops.updateLoop(map, key, value, ENTRIES, ENTRIES, 1) !== 0) throw new Error(`${name}: cannot be filled`);
    contenders[`lookup, ${name}`] = timed(() => loops.lookupLoop(map, key, ENTRIES, CALLS, STRIDE));
    contenders[`update, ${name}`] = timed(() => loops.updateLoop(map, key, value, ENTRIES, CALLS, STRIDE));
  }
}

const timed = (loop: () => void): Contender =>
  medianOf(() => {
    const began = performance.now();
    loop();
    return ((performance.now() - began) * 1e6) / CALLS;
  });

const medianOf =
  (slice: () => number): Contender =>
  () => {
    const times = Array.from({ length: SLICES }, slice);
    return times.sort((a, b) => a - b)[SLICES >> 1]!;
  };

async function addC(contenders: Record<string, Contender>, stack: Disposables): Promise<void> {
  const loaded = await compile("machine.c", stack);
  const createTable = loaded.func("void *table_create(uint32_t, uint32_t)");
  const createArray = loaded.func("void *array_create(uint32_t)");
  for (const { name, c, keySize } of maps) {
    const map = c === "hash" ? createTable(ENTRIES, keySize) : createArray(ENTRIES);
    for (const operation of operations) {
      const symbol = c === "hash" ? `hash_${operation}_${keySize}` : `array_${operation}`;
      const loop = loaded.func(`double ${symbol}(void *, uint32_t, uint32_t, uint32_t)`);
      contenders[`${C} ${operation}, ${name}`] = medianOf(() => loop(map, ENTRIES, CALLS, STRIDE));
    }
  }
}
