// Messages from a running program: it writes records into a ring buffer, and this process takes them as they come.
// Run with: npx tsx examples/ring-buffer/ring-buffer.ts [--kernel linux]

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { BpfObject, cstring, type KeyedMap, openKernel, type RingBufferMap, struct, u32 } from "skep";

/** struct event of ring-buffer.bpf.c. */
const event = struct({ length: u32, limit: u32, program: cstring(16) });

const { values } = parseArgs({ options: { kernel: { type: "string", default: "embedded" } } });
using kernel = await openKernel({ kind: values.kernel as "linux" | "embedded" });
using object = BpfObject.load<{ events: RingBufferMap; limits: KeyedMap<number, number> }>(
  kernel,
  await readFile(new URL("ring-buffer.bpf.o", import.meta.url)),
  { name: "ring-buffer.bpf.o" },
);
const { events, limits } = object.maps;
limits.set(0, 500);

using reader = events.ringBuffer({ record: event });
setTimeout(() => {
  for (const length of [100, 600, 500, 1200]) object.programs.long_packets!.testRun({ data: new Uint8Array(length) });
}, 10);

for (let record = await reader.read({ timeout: 2000 }); record; record = await reader.read({ timeout: 100 })) {
  const { program, length, limit } = record;
  console.log(`${program}: a packet of ${length} bytes is longer than ${limit}`);
}
