// Reads what my-array.ts has pinned, from another process. Only the running kernel keeps a pin after its process has ended.
// Run with: npx tsx examples/my-array/read-my-array.ts

import { BpfMap, i32, openKernel } from "skep";

using kernel = await openKernel({ kind: "linux" });
using map = BpfMap.open(kernel, "/sys/fs/bpf/my_array", { type: "array", key: i32, value: i32 });
for (const [key, value] of map) {
  if (value !== 0) console.log(`[${key}] = ${value}`);
}
