import { expect, test, vi } from "vitest";
import {
  add,
  call,
  exit,
  type Item,
  jump,
  label,
  load as loadFrom,
  loadMapFd,
  loadMapValue,
  mov,
  program,
  r0,
  r1,
  r2,
  r3,
  r4,
  r5,
  r6,
  r10,
  store,
} from "../asm/builder.ts";
import { encodeInstructions } from "../asm/instruction.ts";
import type { Mapping } from "../kernel/kernel.ts";
import * as commands from "../uapi/commands.ts";
import { BPF_F_MMAPABLE, BPF_F_NO_PREALLOC } from "../uapi/flags.ts";
import * as helpers from "../uapi/helper-ids.ts";
import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_CPUMAP,
  BPF_MAP_TYPE_DEVMAP,
  BPF_MAP_TYPE_DEVMAP_HASH,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  BPF_MAP_TYPE_RINGBUF,
  BPF_MAP_TYPE_XSKMAP,
} from "../uapi/map-types.ts";
import { BPF_PROG_TYPE_XDP } from "../uapi/program-types.ts";
import { EmbeddedKernel, type EmbeddedKernelOptions } from "./kernel.ts";

const EPERM = 1;
const ENOENT = 2;
const ENOMEM = 12;
const EMFILE = 24;
const license = new TextEncoder().encode("GPL\0");

function createArray(kernel: EmbeddedKernel, value_size: number, map_flags = 0): number {
  const attr = { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size, max_entries: 1, map_flags };
  return kernel.bpf(commands.BPF_MAP_CREATE, attr);
}

function load(kernel: EmbeddedKernel, ...items: Item[]): number {
  const instructions = program(...items);
  return kernel.bpf(commands.BPF_PROG_LOAD, {
    prog_type: BPF_PROG_TYPE_XDP,
    insns: encodeInstructions(instructions),
    insn_cnt: instructions.length,
    license,
  });
}

function run(kernel: EmbeddedKernel, prog_fd: number): number {
  const attr = { prog_fd, data_in: new Uint8Array(64), data_size_in: 64, retval: 0 };
  expect(kernel.bpf(commands.BPF_PROG_TEST_RUN, attr)).toBe(0);
  return attr.retval;
}

/** An array of one value, all of whose bytes are the same. */
function filled(kernel: EmbeddedKernel, size: number, byte: number): number {
  const map_fd = createArray(kernel, size);
  const value = new Uint8Array(size).fill(byte);
  kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: new Uint8Array(4), value });
  return map_fd;
}

/** What two random numbers and a time come to in a kernel of these options. */
function outcomes(options: EmbeddedKernelOptions): number[] {
  using kernel = new EmbeddedKernel(options);
  const random = load(kernel, call(helpers.BPF_FUNC_get_prandom_u32), exit());
  const time = load(kernel, call(helpers.BPF_FUNC_ktime_get_ns), exit());
  return [run(kernel, random), run(kernel, random), run(kernel, time)];
}

test("with the same seed and clock everything happens again in the same way", () => {
  const clock = { monotonic: () => 1000n, realtime: () => 0n };
  expect(outcomes({ seed: 1, clock })).toEqual(outcomes({ seed: 1, clock }));
  expect(outcomes({ seed: 1, clock })).not.toEqual(outcomes({ seed: 2, clock }));
  expect(outcomes({ clock })[2]).toBe(1000);
});

/** The id that a record of a lost sample has in a new kernel. */
function idOfLost(): bigint {
  using kernel = new EmbeddedKernel({ cpus: 1 });
  const event = kernel.perfEventOpen({ cpu: 0, type: 1, config: 10, sample_type: 1 << 10 });
  const attr = { map_type: BPF_MAP_TYPE_PERF_EVENT_ARRAY, key_size: 4, value_size: 4, max_entries: 1 };
  const map_fd = kernel.bpf(commands.BPF_MAP_CREATE, attr);
  const value = new Uint8Array(Int32Array.of(event).buffer);
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: new Uint8Array(4), value })).toBe(0);
  const prog_fd = load(
    kernel,
    loadMapFd(r2, map_fd),
    mov(r3, 0),
    store("dw", r10, -8, 0),
    mov(r4, r10),
    add(r4, -8),
    mov(r5, 8),
    call(helpers.BPF_FUNC_perf_event_output),
    exit(),
  );
  const { bytes } = kernel.mmap(event, { length: 8192, writable: true }) as Mapping;
  expect(kernel.perfEventControl(event, "pause")).toBe(0);
  run(kernel, prog_fd);
  expect(kernel.perfEventControl(event, "resume")).toBe(0);
  run(kernel, prog_fd);
  // Behind the page that tells of the data and the record's header.
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(4096 + 8, true);
}

test("ids of performance events begin at 1 in each kernel, as records of lost samples show", () => {
  expect([idOfLost(), idOfLost()]).toEqual([1n, 1n]);
});

test("a sample that is longer than a buffer that is only read stays in it", () => {
  using kernel = new EmbeddedKernel({ cpus: 1 });
  const event = kernel.perfEventOpen({ cpu: 0, type: 1, config: 10, sample_type: 1 << 10 });
  const other = kernel.perfEventOpen({ cpu: 0, type: 1, config: 10 });
  const { bytes } = kernel.mmap(event, { length: 8192 }) as Mapping;
  const behind = kernel.mmap(other, { length: 4096 + 65536, writable: true }) as Mapping;
  const attr = { map_type: BPF_MAP_TYPE_PERF_EVENT_ARRAY, key_size: 4, value_size: 4, max_entries: 1 };
  const map_fd = kernel.bpf(commands.BPF_MAP_CREATE, attr);
  const value = new Uint8Array(Int32Array.of(event).buffer);
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: new Uint8Array(4), value })).toBe(0);
  const prog_fd = load(
    kernel,
    loadMapFd(r2, map_fd),
    mov(r3, 0),
    loadMapValue(r4, filled(kernel, 60_000, 0xff), 0),
    mov(r5, 60_000),
    call(helpers.BPF_FUNC_perf_event_output),
    exit(),
  );
  expect(run(kernel, prog_fd)).toBe(0);
  expect(behind.bytes.includes(0xff)).toBe(false);
  expect(bytes.subarray(4096).lastIndexOf(0xff)).toBe(4095);
});

test("maps of devices and XDP sockets need CAP_NET_ADMIN beside CAP_BPF", () => {
  using kernel = new EmbeddedKernel({ capabilities: ["CAP_BPF"] });
  const created = (map_type: number): number =>
    kernel.bpf(commands.BPF_MAP_CREATE, { map_type, key_size: 4, value_size: 4, max_entries: 1 });
  for (const type of [BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_XSKMAP])
    expect(created(type)).toBe(-EPERM);
  expect(created(BPF_MAP_TYPE_CPUMAP)).toBeGreaterThan(0);
});

test("what does not fit the memory limit is ENOMEM, and fits again when something is closed", () => {
  using kernel = new EmbeddedKernel({ memoryLimit: 4 * 1024 * 1024 });
  const first = createArray(kernel, 2 * 1024 * 1024);
  expect(createArray(kernel, 2 * 1024 * 1024)).toBe(-ENOMEM);
  kernel.close(first);
  expect(createArray(kernel, 2 * 1024 * 1024)).toBeGreaterThan(0);
});

test("closing everything gives back all memory", () => {
  using kernel = new EmbeddedKernel();
  const cycle = (): void => {
    const map_fd = createArray(kernel, 100);
    const hash = { map_type: BPF_MAP_TYPE_HASH, key_size: 4, value_size: 8, max_entries: 1000 };
    const hashFd = kernel.bpf(commands.BPF_MAP_CREATE, hash);
    const key = new Uint8Array(4);
    kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key, value: new Uint8Array(100) });
    const fd = load(kernel, loadMapFd(r1, map_fd), mov(r0, 2), exit());
    kernel.close(map_fd);
    expect(run(kernel, fd)).toBe(2);
    for (const open of [hashFd, fd]) kernel.close(open);
  };
  cycle();
  const before = kernel.memoryInUse;
  cycle();
  expect(kernel.memoryInUse).toBe(before);
  expect(kernel.openFds).toBe(0);
});

test("mapped bytes are the map's, and keep their last content when it is gone", () => {
  using kernel = new EmbeddedKernel();
  const map_fd = createArray(kernel, 8, BPF_F_MMAPABLE);
  const mapping = kernel.mmap(map_fd, { length: 8, writable: true }) as Mapping;
  mapping.bytes[0] = 7;
  const value = new Uint8Array(8);
  kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: new Uint8Array(4), value });
  expect(value[0]).toBe(7);
  mapping.unmap();
  kernel.close(map_fd);
  createArray(kernel, 8, BPF_F_MMAPABLE);
  expect(mapping.bytes[0]).toBe(7);
});

test("views of memory stay whole when memory grows", () => {
  using kernel = new EmbeddedKernel();
  const small = createArray(kernel, 8, BPF_F_MMAPABLE);
  const { bytes } = kernel.mmap(small, { length: 8, writable: true }) as Mapping;
  const map_fd = createArray(kernel, 64 * 1024 * 1024);
  const key = new Uint8Array(4);
  const value = new Uint8Array(64 * 1024 * 1024).fill(9);
  expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key, value })).toBe(0);
  bytes[0] = 5;
  kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd: small, key, value });
  expect(value[0]).toBe(5);
});

test("what a program prints is heard", () => {
  const heard: string[] = [];
  using kernel = new EmbeddedKernel({ trace: (text) => heard.push(text) });
  const fd = load(
    kernel,
    store("w", r10, -8, 0x0a642520), // " %d\n"
    store("w", r10, -4, 0),
    mov(r1, r10),
    add(r1, -8),
    mov(r2, 8),
    mov(r3, 42),
    mov(r4, 0),
    call(helpers.BPF_FUNC_trace_printk),
    exit(),
  );
  expect(run(kernel, fd)).toBe(4);
  expect(heard).toEqual([" 42\n"]);
});

/** A kernel, and a program that prints an array's value of `size` bytes as a format. */
function printer(format: string, size: number, trace: (text: string) => void): [EmbeddedKernel, number] {
  const kernel = new EmbeddedKernel({ trace });
  const map_fd = createArray(kernel, size);
  const value = new Uint8Array(size);
  value.set(new TextEncoder().encode(format));
  kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: new Uint8Array(4), value });
  const numbers = [mov(r3, 1), mov(r4, 2), mov(r5, 3)];
  const start = [loadMapValue(r1, map_fd, 0), mov(r2, size), ...numbers];
  return [kernel, load(kernel, ...start, call(helpers.BPF_FUNC_trace_printk), exit())];
}

test.each([
  ["a format of a megabyte", "x".repeat(1_000_000), 1_000_000],
  ["a field of 999999999 characters", "%999999999d", 8_388_607],
])("%s is counted, and printed up to 1023 characters", (_, format, length) => {
  const heard: string[] = [];
  const [kernel, fd] = printer(format, 1 << 20, (text) => heard.push(text));
  expect(run(kernel, fd)).toBe(length);
  expect(heard[0]).toHaveLength(1023);
});

test("what a listener throws does not reach the program that prints", () => {
  const queue = vi.spyOn(globalThis, "queueMicrotask").mockImplementation(() => {});
  const [kernel, fd] = printer("text", 8, () => {
    throw new Error("a listener's own");
  });
  expect(run(kernel, fd)).toBe(4);
  expect(queue.mock.calls[0]?.[0]).toThrow("a listener's own");
  queue.mockRestore();
});

test("a program and its map that are let go while it runs stay as they are until it ends", () => {
  let fds: readonly number[] = [];
  using kernel = new EmbeddedKernel({
    trace() {
      for (const fd of fds) kernel.close(fd);
      // Whatever was freed would be written over.
      for (let size = 8; size < 4096; size += 8) kernel.close(filled(kernel, size, 0xff));
    },
  });
  const before = kernel.memoryInUse;
  const map = filled(kernel, 8, 7);
  const fd = load(
    kernel,
    store("dw", r10, -8, 0),
    mov(r1, r10),
    add(r1, -8),
    mov(r2, 8),
    call(helpers.BPF_FUNC_trace_printk),
    loadMapValue(r1, map, 0),
    loadFrom("b", r0, r1, 0),
    exit(),
  );
  fds = [fd, map];
  expect(run(kernel, fd)).toBe(7);
  expect(kernel.memoryInUse - before).toBeLessThan(16384);
  expect(kernel.bpf(commands.BPF_MAP_GET_NEXT_ID, { start_id: 0 })).toBe(-ENOENT);
});

test("helpers see elements for which memory grew while the program ran", () => {
  using kernel = new EmbeddedKernel();
  const value_size = 60_000;
  const hash = { map_type: BPF_MAP_TYPE_HASH, key_size: 4, value_size, max_entries: 8, map_flags: BPF_F_NO_PREALLOC };
  const map_fd = kernel.bpf(commands.BPF_MAP_CREATE, hash);
  const source = createArray(kernel, value_size);
  const atKey = (key: number) => [store("w", r10, -4, key), mov(r2, r10), add(r2, -4), loadMapFd(r1, map_fd)];
  const insert = (key: number): Item[] => [
    ...atKey(key).flat(),
    loadMapValue(r3, source, 0),
    mov(r4, 0),
    call(helpers.BPF_FUNC_map_update_elem),
  ];
  const fd = load(
    kernel,
    ...[1, 2, 3, 4].flatMap(insert),
    ...atKey(4).flat(),
    call(helpers.BPF_FUNC_map_lookup_elem),
    jump("jeq", r0, 0, "end"),
    store("w", r0, 0, 5),
    mov(r1, r0),
    mov(r2, 0),
    mov(r3, r0),
    mov(r4, 7),
    mov(r5, 0),
    call(helpers.BPF_FUNC_csum_diff),
    label("end"),
    exit(),
  );
  expect(run(kernel, fd)).toBe(5);
});

test("a key that lies in the value of the deleted element that is reused is taken before it is overwritten", () => {
  using kernel = new EmbeddedKernel();
  const hash = { map_type: BPF_MAP_TYPE_HASH, key_size: 4, value_size: 8, max_entries: 1 };
  const map_fd = kernel.bpf(commands.BPF_MAP_CREATE, hash);
  const bytes = (first: number, size: number) => Uint8Array.of(first, ...new Uint8Array(size - 1));
  kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: bytes(1, 4), value: bytes(5, 8) });
  const fd = load(
    kernel,
    store("w", r10, -4, 1),
    store("dw", r10, -16, 9),
    mov(r2, r10),
    add(r2, -4),
    loadMapFd(r1, map_fd),
    call(helpers.BPF_FUNC_map_lookup_elem),
    jump("jeq", r0, 0, "end"),
    mov(r6, r0),
    mov(r2, r10),
    add(r2, -4),
    loadMapFd(r1, map_fd),
    call(helpers.BPF_FUNC_map_delete_elem),
    mov(r2, r6),
    mov(r3, r10),
    add(r3, -16),
    mov(r4, 0),
    loadMapFd(r1, map_fd),
    call(helpers.BPF_FUNC_map_update_elem),
    label("end"),
    exit(),
  );
  run(kernel, fd);
  const value = new Uint8Array(8);
  expect(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: bytes(5, 4), value })).toBe(0);
  expect(value).toEqual(bytes(9, 8));
});

test("a disposed watch is not called, and lets the map go", async () => {
  using kernel = new EmbeddedKernel();
  const attr = { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 };
  const map_fd = kernel.bpf(commands.BPF_MAP_CREATE, attr);
  let calls = 0;
  const watch = kernel.watch(map_fd, () => calls++) as Disposable;
  const fd = load(
    kernel,
    store("dw", r10, -8, 0),
    loadMapFd(r1, map_fd),
    mov(r2, r10),
    add(r2, -8),
    mov(r3, 8),
    mov(r4, 0),
    call(helpers.BPF_FUNC_ringbuf_output),
    exit(),
  );
  run(kernel, fd);
  await Promise.resolve();
  expect(calls).toBe(1);
  run(kernel, fd);
  watch[Symbol.dispose]();
  await Promise.resolve();
  expect(calls).toBe(1);
  for (const open of [map_fd, fd]) kernel.close(open);
  expect(kernel.bpf(commands.BPF_MAP_GET_NEXT_ID, { start_id: 0 })).toBeLessThan(0);
});

test("a kernel whose number of CPUs is out of range is refused", () => {
  expect(() => new EmbeddedKernel({ cpus: 0 })).toThrow("cpus: 0 is not in 1 … 64");
});

test("what finds no file descriptor is given back", () => {
  using kernel = new EmbeddedKernel();
  const first = createArray(kernel, 8);
  const before = kernel.memoryInUse;
  while (kernel.dup(first) >= 0);
  expect(createArray(kernel, 8)).toBe(-EMFILE);
  expect(kernel.memoryInUse).toBe(before);
  kernel.close(first + 1);
  expect(createArray(kernel, 8)).toBe(first + 1);
});
