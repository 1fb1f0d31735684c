// What is the Linux kernel's own, beside the contract that it shares.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openLinux } from "../../test/open-linux.ts";
import { program as assemble, call, exit, loadMapFd, mov, r2, r3 } from "../asm/builder.ts";
import { BpfMap } from "../client/map.ts";
import { BpfProgram } from "../client/program.ts";
import type { Kernel } from "../kernel/kernel.ts";
import * as commands from "../uapi/commands.ts";
import { EFAULT } from "../uapi/errno.ts";
import { BPF_FUNC_get_stackid } from "../uapi/helper-ids.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_RINGBUF } from "../uapi/map-types.ts";
import type { LinuxKernel } from "./kernel.ts";

/** A fact about the running kernel; skipped by name where it cannot be asked. */
const onLinux = (name: string, body: (kernel: LinuxKernel) => void | Promise<void>): void =>
  test(name, async (context) => {
    const kernel = await openLinux(context);
    await body(kernel);
    kernel[Symbol.dispose]();
  });

const createArray = (kernel: Kernel, value_size: number): number =>
  kernel.bpf(commands.BPF_MAP_CREATE, { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size, max_entries: 1 });

onLinux("values of any size go through the same memory, small ones after large ones", (kernel) => {
  const key = new Uint8Array(4);
  for (const size of [8, 5000, 3_000_000, 100, 70_000, 1]) {
    const map_fd = createArray(kernel, size);
    const value = Uint8Array.from({ length: size }, (_, index) => index % 253);
    expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key, value })).toBe(0);
    const read = new Uint8Array(size + 10).fill(99);
    expect(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key, value: read })).toBe(0);
    expect(Buffer.compare(read.subarray(0, size), value)).toBe(0);
    expect([...read.subarray(size)]).toEqual(new Array(10).fill(99));
    kernel.close(map_fd);
  }
});

onLinux("a buffer in the middle of another is what the kernel gets and gives, and no byte beside it", (kernel) => {
  const map_fd = createArray(kernel, 8);
  const key = new Uint8Array(10).subarray(3, 7);
  const around = new Uint8Array(24).fill(1);
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key, value: new Uint8Array(9).fill(5).subarray(1) })).toBe(
    0,
  );
  expect(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key, value: around.subarray(8, 16) })).toBe(0);
  expect([...around]).toEqual([...new Array(8).fill(1), ...new Array(8).fill(5), ...new Array(8).fill(1)]);
  kernel.close(map_fd);
});

onLinux("the same call by typed buffers and by Memory gives the same", (kernel) => {
  const map_fd = createArray(kernel, 8);
  const key = { bytes: new Uint8Array(4) };
  const value = { bytes: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) };
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key, value, flags: 0n })).toBe(0);
  const read = { bytes: new Uint8Array(8) };
  expect(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key, value: read })).toBe(0);
  expect(read).toEqual(value);
  kernel.close(map_fd);
});

onLinux("a stack that is taken into too little room stays", (kernel) => {
  using stacks = BpfMap.create(kernel, { type: "stack_trace", maxEntries: 16, depth: 8 });
  using program = BpfProgram.load(kernel, {
    type: "raw_tracepoint",
    license: "GPL",
    instructions: assemble(loadMapFd(r2, stacks.fd), mov(r3, 0), call(BPF_FUNC_get_stackid), exit()),
  });
  const run = { prog_fd: program.fd, retval: 0 };
  expect(kernel.bpf(commands.BPF_PROG_TEST_RUN, run)).toBe(0);
  const stack = stacks.get(run.retval);
  expect(stack?.length).toBeGreaterThan(0);
  const element = { map_fd: stacks.fd, key: new Uint8Array(Uint32Array.of(run.retval).buffer) };
  const take = (room: number): number =>
    kernel.bpf(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, { ...element, value: new Uint8Array(room) });
  expect(take(63)).toBe(-EFAULT);
  expect(stacks.get(run.retval)).toEqual(stack);
  expect(take(64)).toBe(0);
  expect(stacks.get(run.retval)).toBeUndefined();
});

onLinux("two batches of a hash come through one command each", (kernel) => {
  const map_fd = kernel.bpf(commands.BPF_MAP_CREATE, {
    map_type: BPF_MAP_TYPE_HASH,
    key_size: 4,
    value_size: 8,
    max_entries: 1000,
  });
  const keys = new Uint32Array(1000).map((_, index) => index);
  const values = new BigUint64Array(1000).map((_, index) => BigInt(index) * 3n);
  const written = { map_fd, keys: new Uint8Array(keys.buffer), values: new Uint8Array(values.buffer), count: 1000 };
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_BATCH, written)).toBe(0);
  const read = {
    map_fd,
    out_batch: new Uint8Array(4),
    keys: new Uint8Array(8000),
    values: new Uint8Array(16000),
    count: 2000,
  };
  expect(kernel.bpf(commands.BPF_MAP_LOOKUP_BATCH, read)).toBe(-2);
  expect(read.count).toBe(1000);
  const found = new Uint32Array(read.keys.buffer, 0, 1000);
  expect([...found].sort((a, b) => a - b)).toEqual([...keys]);
  expect(new BigUint64Array(read.values.buffer)[7]).toBe(BigInt(found[7]!) * 3n);
  kernel.close(map_fd);
});

onLinux("a mapping's view outlives the mapping, however often memory is mapped again", (kernel) => {
  const ring = kernel.bpf(commands.BPF_MAP_CREATE, { map_type: BPF_MAP_TYPE_RINGBUF, max_entries: 4096 });
  const views: Uint8Array[] = [];
  for (let turn = 0; turn < 200; turn++) {
    const mapping = kernel.mmap(ring, { length: kernel.system.pageSize, writable: true });
    if (typeof mapping === "number") throw new Error(String(mapping));
    mapping.bytes[8] = turn;
    mapping.unmap();
    views.push(mapping.bytes);
  }
  for (const view of views) expect(view[8]).toBe(0);
  kernel.close(ring);
});

onLinux("the system is told as /proc and /sys tell it", ({ system }) => {
  expect(system.possibleCpus.length).toBeGreaterThan(0);
  expect(system.pageSize).toBeGreaterThanOrEqual(4096);
  expect(system.kernelVersion.major).toBeGreaterThanOrEqual(4);
  expect(system.btf()?.subarray(0, 2)).toEqual(Buffer.of(0x9f, 0xeb));
  expect(system.btf("no_such_module")).toBeUndefined();
});

onLinux("paths outside of a BPF file system are none of it; errors come as numbers", ({ bpffs }) => {
  const directory = mkdtempSync(join(tmpdir(), "skep-linux-"));
  expect(bpffs.contains(directory)).toBe(false);
  expect(bpffs.mount(join(directory, "nowhere"))).toBe(-2);
  expect(bpffs.unmount(directory)).toBe(-22);
  expect(bpffs.readdir(join(directory, "nowhere"))).toBe(-2);
  rmSync(directory, { recursive: true });
});

/** Runs a module of the given text with this directory's kernel.ts as `LinuxKernel`. */
function runModule(text: string): { stdout: string; stderr: string; status: number | null } {
  const directory = mkdtempSync(join(tmpdir(), "skep-linux-"));
  const file = join(directory, "module.mts");
  writeFileSync(
    file,
    `import { LinuxKernel } from ${JSON.stringify(join(import.meta.dirname, "kernel.ts"))};\n${text}`,
  );
  const result = spawnSync(process.execPath, ["--import", "tsx", file], { encoding: "utf8", timeout: 20_000 });
  rmSync(directory, { recursive: true });
  return result;
}

const watchedRing = `
  const kernel = await LinuxKernel.open();
  const ring = kernel.bpf(0, { map_type: ${BPF_MAP_TYPE_RINGBUF}, max_entries: 4096 });
  const watch = kernel.watch(ring, () => {});
  if (typeof watch === "number") throw new Error("watch " + watch);
`;

onLinux("a watch keeps the process alive until it is disposed", () => {
  const started = `${watchedRing} setTimeout(() => { watch[Symbol.dispose](); console.log("disposed"); }, 300);`;
  expect(runModule(started)).toMatchObject({ stdout: "disposed\n", stderr: "", status: 0 });
});

onLinux("disposing of the kernel ends its watches", () => {
  expect(runModule(`${watchedRing} setTimeout(() => kernel[Symbol.dispose](), 50);`)).toMatchObject({
    stderr: "",
    status: 0,
  });
});

test("without koffi the error says how to get it", () => {
  const hidden = `
    import { register } from "node:module";
    register("data:text/javascript," + encodeURIComponent(
      'export const resolve = (name, context, next) => name === "koffi" ? next("no-such-package-at-all", context) : next(name, context);'));
    await LinuxKernel.open().catch((error) => console.log(error.name, error.code, error.message));`;
  const { stdout } = runModule(hidden);
  if (process.platform === "linux") {
    expect(stdout).toBe(
      'LinuxUnavailableError ERR_NO_KOFFI koffi is not installed: bpf(2) is called through it; npm install koffi, or use openKernel({ kind: "embedded" })\n',
    );
  }
});
