// A program that counts, and a hash map that it counts in: keys and values are typed by the object's own BTF.
// Run with: npx tsx examples/counter/counter.ts [--kernel linux]

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { BpfObject, type KeyedMap, openKernel } from "skep";

interface Traffic {
  packets: bigint;
  bytes: bigint;
}

const { values } = parseArgs({ options: { kernel: { type: "string", default: "embedded" } } });
using kernel = await openKernel({ kind: values.kernel as "linux" | "embedded" });
using object = BpfObject.load<{ protocols: KeyedMap<number, Traffic> }>(
  kernel,
  await readFile(new URL("counter.bpf.o", import.meta.url)),
  { name: "counter.bpf.o" },
);

for (const [protocol, length] of [
  [0x0800, 60],
  [0x0800, 1500],
  [0x0806, 60],
] as const) {
  const data = new Uint8Array(length);
  data.set([protocol >> 8, protocol & 0xff], 12);
  object.programs.count!.testRun({ data });
}

const sorted = [...object.maps.protocols].sort(([a], [b]) => a - b);
for (const [protocol, { packets, bytes }] of sorted) {
  console.log(`0x${protocol.toString(16).padStart(4, "0")}: packets ${packets}, bytes ${bytes}`);
}
