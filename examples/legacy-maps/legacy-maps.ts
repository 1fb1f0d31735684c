// An object whose map is declared with SEC("maps"): it has no BTF, so keys and values are bytes.
// Run with: npx tsx examples/legacy-maps/legacy-maps.ts [--kernel linux]

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { BpfObject, type KeyedMap, openKernel } from "skep";
import { BPF_F_NO_PREALLOC } from "skep/uapi";

const { values } = parseArgs({ options: { kernel: { type: "string", default: "embedded" } } });
using kernel = await openKernel({ kind: values.kernel as "linux" | "embedded" });
using object = BpfObject.load<{ lengths: KeyedMap<Uint8Array, Uint8Array> }>(
  kernel,
  await readFile(new URL("legacy-maps.bpf.o", import.meta.url)),
  { name: "legacy-maps.bpf.o" },
);
const { lengths } = object.maps;
const preallocated = (lengths.info.map_flags & BPF_F_NO_PREALLOC) === 0;
console.log(`${lengths.name}: ${lengths.type}, ${lengths.maxEntries} entries, preallocated: ${preallocated}`);

for (const length of [60, 60, 1500]) object.programs.count_lengths!.testRun({ data: new Uint8Array(length) });

const counted = [...lengths].map(([key, value]) => [number(key), number(value)] as const).sort(([a], [b]) => a - b);
for (const [length, packets] of counted) console.log(`packets of ${length} bytes: ${packets}`);

/** A little-endian number. */
function number(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}
