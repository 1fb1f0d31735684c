// What callers get wrong, and what they hear: nothing is cut off, taken for something else, or left behind.

import { describe, expect } from "vitest";
import { BpfError } from "../../src/client/errors.ts";
import { BpfMap } from "../../src/client/map.ts";
import type { HashMap } from "../../src/client/maps/keyed.ts";
import { PerfBuffer } from "../../src/client/perf-buffer.ts";
import { mountBpffs } from "../../src/client/pins.ts";
import { pollBuffers } from "../../src/client/poll.ts";
import { BpfProgram } from "../../src/client/program.ts";
import { RingBuffer } from "../../src/client/ring-buffer.ts";
import { bytes } from "../../src/codec/bytes.ts";
import { CodecError } from "../../src/codec/codec.ts";
import { struct } from "../../src/codec/composites.ts";
import { u32, u64 } from "../../src/codec/scalars.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_GET_NEXT_KEY, BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_ELEM } from "../../src/uapi/commands.ts";
import { EINVAL, ENOENT, EPERM } from "../../src/uapi/errno.ts";
import { contract } from "../contract/contract.ts";
import { errorOf } from "./error-of.ts";

const hash = (kernel: Kernel): HashMap<number, bigint> =>
  BpfMap.create(kernel, { name: "numbers", type: "hash", key: u32, value: u64, maxEntries: 8 });

/** Options as JavaScript without types may give them. */
const create = (kernel: Kernel, options: object) => BpfMap.create(kernel, options as never) as { close(): void };

describe("creating", () => {
  contract("sizes that options come to are told where they are no u32, and not cut off", (kernel) => {
    const depth = 0x2000_0001;
    expect(errorOf(() => create(kernel, { type: "stack_trace", maxEntries: 1, depth }))).toMatchObject({
      code: "EINVAL",
      hint: "value_size is an integer from 0 to 4294967295; got 4294967304",
    });
    expect(errorOf(() => create(kernel, { type: "ringbuf", maxEntries: 0xffff_ffff }))).toMatchObject({
      hint: "max_entries is an integer from 0 to 4294967295; got 4294967296",
    });
  });

  contract("an arena's address is a u64", (kernel) => {
    for (const address of [2n ** 64n + 4096n, -4096n, 4096, 1.5, "4096"]) {
      const error = errorOf(() => create(kernel, { type: "arena", maxEntries: 1, address }));
      expect(error, String(address)).toMatchObject({
        code: "EINVAL",
        hint: expect.stringContaining("address is a bigint"),
      });
    }
  });

  contract("names, paths and policies of other types are told", (kernel) => {
    const array = { type: "array", value: u64, maxEntries: 1 };
    using map = hash(kernel);
    for (const wrong of [5, null, {}]) {
      expect(
        errorOf(() => create(kernel, { ...array, name: wrong })),
        `name ${wrong}`,
      ).toBeInstanceOf(BpfError);
      expect(
        errorOf(() => create(kernel, { ...array, pin: { path: wrong } })),
        `pin ${wrong}`,
      ).toBeInstanceOf(BpfError);
      expect(
        errorOf(() => BpfMap.open(kernel, wrong as never)),
        `open ${wrong}`,
      ).toBeInstanceOf(BpfError);
      for (const replace of [false, true]) {
        expect(errorOf(() => map.pin(wrong as never, { replace }))).toMatchObject({
          hint: expect.stringMatching(/^a path is a string; got/),
        });
      }
    }
    const pin = { path: "/sys/fs/bpf/policy", policy: "toString" };
    expect(errorOf(() => create(kernel, { ...array, pin }))).toMatchObject({
      hint: expect.stringMatching(/^a policy is .*got "toString"/),
    });
  });

  contract("BTF and codecs that are none are told", (kernel) => {
    const options = { name: "numbers", type: "hash", key: u32, value: u32, maxEntries: 1 };
    for (const btf of [{}, { fd: Number.NaN, keyTypeId: 1, valueTypeId: 1 }]) {
      expect(errorOf(() => create(kernel, { ...options, btf }))).toMatchObject({
        hint: expect.stringMatching(/^btf.fd is an integer/),
      });
    }
    expect(errorOf(() => create(kernel, { ...options, key: "u32" }))).toMatchObject({
      name: "TypeError",
      message: 'map "numbers": key is a codec, such as u32 or struct({ … }); got "u32"',
    });
  });

  contract("a queue has no entries to begin with", (kernel) => {
    // @ts-expect-error a queue is no type of the options
    const body = () => BpfMap.fromEntries(kernel, { type: "queue", value: u32 }, []);
    expect(errorOf(body)).toMatchObject({ code: "ERR_UNSUPPORTED" });
  });
});

describe("objects as elements", () => {
  contract("a file descriptor that is too large is refused, not cut off", (kernel) => {
    using inner = hash(kernel);
    using outer = BpfMap.create(kernel, { type: "array_of_maps", maxEntries: 1, inner });
    expect(errorOf(() => outer.set(0, inner.fd + 2 ** 32))).toBeInstanceOf(CodecError);
    expect(outer.has(0)).toBe(false);
  });

  contract("a program that is none is refused, not taken for no program", (kernel) => {
    using cpus = BpfMap.create(kernel, { type: "cpumap" });
    for (const program of [null, "3", {}, Number.NaN, 1.5]) {
      expect(
        errorOf(() => cpus.set(0, { queueSize: 8, program: program as never })),
        String(program),
      ).toMatchObject({
        name: "CodecError",
        message: expect.stringContaining("is no file descriptor, and has none"),
      });
    }
    expect(cpus.get(0)).toBeUndefined();
  });

  contract("an object of another kernel is refused by name", (kernel) => {
    using other = new EmbeddedKernel();
    using stranger = hash(other);
    using inner = hash(kernel);
    using outer = BpfMap.create(kernel, { type: "array_of_maps", maxEntries: 1, inner });
    const message = `it is an object of another kernel (embedded) than the map, which is on ${kernel.kind}`;
    expect(errorOf(() => outer.set(0, stranger))).toMatchObject({ message });
    expect(errorOf(() => create(kernel, { type: "array_of_maps", maxEntries: 1, inner: stranger }))).toMatchObject({
      message,
    });
  });
});

describe("without capabilities", () => {
  contract.on("embedded")("the error says which one is missing", () => {
    using kernel = new EmbeddedKernel({ capabilities: ["CAP_BPF"] });
    using map = hash(kernel);
    expect(errorOf(() => BpfMap.fromId(kernel, map.id))).toMatchObject({
      code: "EPERM",
      hint: "needs CAP_SYS_ADMIN; run as root or grant it",
    });
  });

  contract.on("embedded")("a file system that is not mounted leaves no directory", () => {
    using kernel = new EmbeddedKernel();
    const { bpffs } = kernel;
    const refusing = Object.assign(Object.create(bpffs), {
      contains: () => false,
      mkdir: () => made.push("mkdir"),
      mount: () => -EPERM,
      rmdir: () => made.pop() && 0,
    });
    const made: string[] = [];
    const refused = new Proxy(kernel, { get: (target, name) => (name === "bpffs" ? refusing : bound(target, name)) });
    expect(errorOf(() => mountBpffs(refused, "/sys/fs/none"))).toMatchObject({ code: "EPERM" });
    expect(made).toEqual([]);
  });
});

describe("reading and writing", () => {
  contract("a view to write to may follow one to read", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 4, mmapable: true });
    const readable = map.view({ writable: false });
    map.view()[0] = 7n;
    expect([readable[0], map.get(0)]).toEqual([7n, 7n]);
  });

  contract("bytes of JSON that are none are refused, not cut off", (kernel) => {
    using map = BpfMap.create(kernel, { type: "hash", key: u32, value: bytes(2), maxEntries: 1 });
    for (const value of [
      [300, 0],
      [-1, 0],
      [1.5, 0],
      ["1", 0],
    ]) {
      expect(
        errorOf(() => map.fromJSON([[1, value]])),
        JSON.stringify(value),
      ).toBeInstanceOf(CodecError);
    }
    expect(map.fromJSON([[1, [3, 4]]]).toJSON()).toEqual([[1, [3, 4]]]);
  });

  contract("a getter in a value may ask the same map", (kernel) => {
    using map = BpfMap.create(kernel, { type: "hash", key: u32, value: struct({ a: u32, b: u32 }), maxEntries: 4 });
    map.set(1, { a: 10, b: 11 });
    map.set(2, {
      a: 20,
      get b() {
        return map.get(1)!.b;
      },
    });
    expect(new Map(map)).toEqual(
      new Map([
        [1, { a: 10, b: 11 }],
        [2, { a: 20, b: 11 }],
      ]),
    );
  });

  contract("a cursor that is none is told", (kernel) => {
    using map = hash(kernel);
    expect(errorOf(() => map.getBatch(1, 5 as never))).toMatchObject({
      message: expect.stringMatching(/^a cursor is the `next`/),
    });
  });

  contract.on("embedded")("a walk goes over all entries of a map without max_entries", (kernel) => {
    const keys = [1, 2, 3];
    const bpf = (command: number, attr: { key: Uint8Array | null; next_key: Uint8Array }): number => {
      if (command === BPF_MAP_LOOKUP_ELEM) return 0;
      if (command !== BPF_MAP_GET_NEXT_KEY) return kernel.bpf(command as never, attr as never);
      const next = keys[attr.key === null ? 0 : keys.indexOf(attr.key[0]!) + 1];
      if (next === undefined) return -ENOENT;
      attr.next_key[0] = next;
      return 0;
    };
    const full = new Proxy(kernel, { get: (target, name) => (name === "bpf" ? bpf : bound(target, name)) });
    using map = BpfMap.create(full, { type: "cgroup_storage", value: u64 });
    expect([...map.keys()].map(({ cgroupId }) => cgroupId)).toEqual([1n, 2n, 3n]);
  });

  contract("a kernel without batches tells maps from programs all the same", (kernel) => {
    const bpf = (command: number, attr: object): number =>
      command === BPF_MAP_LOOKUP_BATCH ? -EINVAL : kernel.bpf(command as never, attr as never);
    const older = new Proxy(kernel, { get: (target, name) => (name === "bpf" ? bpf : bound(target, name)) });
    using map = hash(kernel);
    expect(BpfMap.adopt(older, map.fd).id).toBe(map.id);
    expect(errorOf(() => BpfProgram.adopt(older, map.fd))).toMatchObject({ code: "EINVAL" });
  });

  contract("a watch's interval is one that a timer takes", (kernel) => {
    using map = hash(kernel);
    for (const interval of [2 ** 31, Number.NaN, -1, Number.POSITIVE_INFINITY]) {
      expect(
        errorOf(() => map.watch({ interval })),
        String(interval),
      ).toBeInstanceOf(RangeError);
    }
  });
});

describe("readers and writers", () => {
  contract("a ring is read at its own size", (kernel) => {
    using map = BpfMap.create(kernel, { type: "ringbuf", maxEntries: 8192 });
    for (const size of [0, 100, 4096, 6144, 16384, Number.NaN]) {
      expect(
        errorOf(() => new RingBuffer(kernel, map.fd, size)),
        String(size),
      ).toMatchObject({
        code: "EINVAL",
        hint: `the ring has 8192 bytes; got ${size}`,
      });
    }
  });

  contract("a perf buffer closed after its map leaves the map alone that has its file descriptor now", (kernel) => {
    const events = BpfMap.create(kernel, { type: "perf_event_array" });
    const reader = new PerfBuffer(kernel, events.fd, events.maxEntries);
    const { fd } = events;
    events.close();
    using map = hash(kernel);
    expect(map.fd).toBe(fd);
    map.set(0, 1n).set(1, 1n);
    reader.close();
    expect(map.count()).toBe(2);
  });

  contract(
    "a ring buffer whose map was closed does not wait for the map that has its file descriptor now",
    async (kernel) => {
      const events = BpfMap.create(kernel, { name: "events", type: "ringbuf", maxEntries: 4096 });
      using reader = events.ringBuffer();
      const { fd } = events;
      events.close();
      using other = BpfMap.create(kernel, { type: "ringbuf", maxEntries: 4096 });
      expect(other.fd).toBe(fd);
      await expect(reader.read({ timeout: 1000 })).rejects.toMatchObject({
        code: "EBADF",
        hint: expect.stringMatching(/^the map was closed/),
      });
    },
  );

  contract("a perf buffer's pages and wake-ups are numbers that the kernel can be given", (kernel) => {
    using map = BpfMap.create(kernel, { type: "perf_event_array" });
    for (const pages of [0, 3, -1, 1.5, Number.NaN, 2 ** 52]) {
      const hint = `pages is a power of two from 1 to 1048576; got ${pages}`;
      expect(errorOf(() => map.perfBuffer({ pages }))).toMatchObject({ code: "EINVAL", hint });
    }
    for (const wrong of [-1, 1.5, Number.NaN, 2 ** 32]) {
      for (const option of ["wakeupEvents", "watermark"]) {
        expect(errorOf(() => map.perfBuffer({ [option]: wrong }))).toMatchObject({
          hint: expect.stringMatching(/is an integer from 0/),
        });
      }
    }
  });

  contract("a sample that is no bytes is refused, and takes no room", (kernel) => {
    using map = BpfMap.create(kernel, { type: "user_ringbuf", maxEntries: 4096 });
    using writer = map.userRingBuffer();
    for (const wrong of ["abc", [1n], [1, 2], { length: 3 }, 5, null, undefined]) {
      expect(
        errorOf(() => writer.send(wrong as never)),
        String(wrong),
      ).toBeInstanceOf(CodecError);
    }
    expect(writer.available).toBe(4096);
  });

  contract("where the count of lost records cannot be read, no ring stays mapped", (kernel) => {
    const lost = hash(kernel);
    lost.close();
    using map = BpfMap.create(kernel, { type: "ringbuf", maxEntries: 4096 });
    expect(errorOf(() => map.ringBuffer({ lost }))).toMatchObject({ code: "EBADF" });
  });

  contract("many readers in one poll are no leak of listeners", async (kernel) => {
    const warnings: Error[] = [];
    const note = (warning: Error) => warnings.push(warning);
    process.on("warning", note);
    using map = BpfMap.create(kernel, { type: "ringbuf", maxEntries: 4096 });
    using reader = map.ringBuffer();
    const { signal } = new AbortController();
    expect(await pollBuffers(Array(20).fill(reader), { timeout: 1, signal })).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 1));
    process.off("warning", note);
    expect(warnings).toEqual([]);
  });
});

function bound(target: Kernel, name: string | symbol): unknown {
  const value = Reflect.get(target, name, target);
  return typeof value === "function" ? value.bind(target) : value;
}
