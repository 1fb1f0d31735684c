// A map of 100 ints, with 1234 under key 1, pinned where another process finds it.
// Run with: npx tsx examples/my-array/my-array.ts [--kernel linux]

import { parseArgs } from "node:util";
import { BpfMap, i32, openKernel } from "skep";

const { values } = parseArgs({ options: { kernel: { type: "string", default: "embedded" } } });
const path = "/sys/fs/bpf/my_array";

using kernel = await openKernel({ kind: values.kernel as "linux" | "embedded" });
using map = BpfMap.create(kernel, { name: "my_array", type: "array", key: i32, value: i32, maxEntries: 100 });
map.set(1, 1234);
map.pin(path);

// On Linux the pin stays, for read-my-array.ts and for `bpftool map dump pinned /sys/fs/bpf/my_array`.
using pinned = BpfMap.open(kernel, path, { type: "array", key: i32, value: i32 });
console.log(`${path}: ${pinned.maxEntries} entries, [1] = ${pinned.get(1)}, [2] = ${pinned.get(2)}`);
