// The same as my-array.ts with the names of the C library, as it is taught in C.
// Run with: npx tsx examples/my-array/my-array-libbpf.ts [--kernel linux]

import { parseArgs } from "node:util";
import { openKernel } from "skep";
import { libbpf } from "skep/libbpf";
import { BPF_ANY, BPF_MAP_TYPE_ARRAY } from "skep/uapi";

const { values } = parseArgs({ options: { kernel: { type: "string", default: "embedded" } } });
const path = "/sys/fs/bpf/my_array";

using kernel = await openKernel({ kind: values.kernel as "linux" | "embedded" });
const bpf = libbpf(kernel);

const fd = succeed("bpf_create_map", bpf.bpf_create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 100, 0));
succeed("bpf_map_update_elem", bpf.bpf_map_update_elem(fd, new Int32Array([1]), new Int32Array([1234]), BPF_ANY));
succeed("bpf_obj_pin", bpf.bpf_obj_pin(fd, path));

const pinned = succeed("bpf_obj_get", bpf.bpf_obj_get(path));
const value = new Int32Array(1);
succeed("bpf_map_lookup_elem", bpf.bpf_map_lookup_elem(pinned, new Int32Array([1]), value));
console.log(`${path}: [1] = ${value[0]}`);
bpf.close(pinned);
bpf.close(fd);

function succeed(call: string, result: number): number {
  if (result >= 0) return result;
  console.error(`${call}: errno ${bpf.errno}`);
  process.exit(1);
}
