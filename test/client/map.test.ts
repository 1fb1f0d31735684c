// BpfMap, as a user meets it.

import { describe, expect, expectTypeOf } from "vitest";
import { exit, mov, program, r0 } from "../../src/asm/builder.ts";
import { BpfError, UnsupportedError } from "../../src/client/errors.ts";
import { BpfMap } from "../../src/client/map.ts";
import type { HashMap } from "../../src/client/maps/keyed.ts";
import { BpfProgram } from "../../src/client/program.ts";
import { ipv4 } from "../../src/codec/bytes.ts";
import { struct } from "../../src/codec/composites.ts";
import { u16, u32, u64 } from "../../src/codec/scalars.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { EBADF, EINVAL } from "../../src/uapi/errno.ts";
import { BPF_EXIST, BPF_F_NO_PREALLOC, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { contract } from "../contract/contract.ts";
import { errorOf } from "./error-of.ts";

const hash = (kernel: Kernel, maxEntries = 4): HashMap<number, bigint> =>
  BpfMap.create(kernel, { name: "numbers", type: "hash", key: u32, value: u64, maxEntries });

describe("BpfMap", () => {
  contract("an array has a zero for each index, and gives back what was set", (kernel) => {
    using map = BpfMap.create(kernel, { name: "my_array", type: "array", key: u32, value: u64, maxEntries: 100 });
    expect(map.set(1, 1234n).get(1)).toBe(1234n);
    expect(map.get(2)).toBe(0n);
    expect(map.get(100)).toBeUndefined();
    expect([map.name, map.type, map.maxEntries]).toEqual(["my_array", "array", 100]);
    expect([...map]).toHaveLength(100);
    expect([...map][1]).toEqual([1, 1234n]);
  });

  contract("a hash behaves like JavaScript's Map", (kernel) => {
    using map = hash(kernel);
    map.set(7, 70n).set(8, 80n);
    expect(map.has(7)).toBe(true);
    expect(map.has(9)).toBe(false);
    expect(map.get(9)).toBeUndefined();
    expect([map.delete(7), map.delete(7)]).toEqual([true, false]);
    expect(new Map(map)).toEqual(new Map([[8, 80n]]));
    expect([...map.keys()]).toEqual([8]);
    expect([...map.values()]).toEqual([80n]);
  });

  contract("update flags are the kernel's", (kernel) => {
    using map = hash(kernel);
    expect(errorOf(() => map.set(1, 1n, BPF_EXIST))).toMatchObject({ code: "ENOENT" });
    map.set(1, 1n, BPF_NOEXIST);
    expect(errorOf(() => map.set(1, 2n, BPF_NOEXIST))).toMatchObject({ code: "EEXIST" });
    expect(map.get(1)).toBe(1n);
  });

  contract("keys and values are structs with C's layout", (kernel) => {
    const flow = struct({ source: ipv4, port: u16 });
    const traffic = struct({ packets: u64, port: u16 });
    using map = BpfMap.create(kernel, {
      type: "hash",
      key: flow,
      value: traffic,
      maxEntries: 2,
      flags: BPF_F_NO_PREALLOC,
    });
    map.set({ source: "10.0.0.1", port: 80 }, { packets: 3n, port: 9 });
    expect([...map]).toEqual([
      [
        { source: "10.0.0.1", port: 80 },
        { packets: 3n, port: 9 },
      ],
    ]);
    expect([map.info.key_size, map.info.value_size]).toEqual([8, 16]);
    expectTypeOf(map.get({ source: "10.0.0.1", port: 80 })).toEqualTypeOf<
      { packets: bigint; port: number } | undefined
    >();
  });

  contract("a per-CPU value is an array with an element for each possible CPU", (kernel) => {
    using map = BpfMap.create(kernel, { type: "percpu_array", key: u32, value: u32, maxEntries: 2 });
    const values = kernel.system.possibleCpus.map((cpu) => cpu + 10);
    map.set(0, values);
    expect(map.get(0)).toEqual(values);
    expect(map.get(1)).toEqual(values.map(() => 0));
    expect(errorOf(() => map.set(0, [1, 2, 3, 4, 5, 6, 7, 8, 9].slice(0, values.length + 1)))).toMatchObject({
      message: `a per-CPU value has one element a possible CPU: ${values.length}; got ${values.length + 1}`,
    });
    expect(map.get(0)).toEqual(values);
  });

  contract("a walk survives that its keys are deleted", (kernel) => {
    using map = hash(kernel, 64);
    for (let key = 0; key < 64; key++) map.set(key, BigInt(key));
    for (const [key] of map) map.delete(key);
    expect([...map]).toEqual([]);
  });

  contract("a walk that changes keep sending back to its start ends with an error", (kernel) => {
    using map = hash(kernel, 8);
    for (let key = 0; key < 8; key++) map.set(key, 0n);
    const walk = map.entries({ batch: 1 });
    const endless = () => {
      for (let steps = 0; steps < 100; steps++) {
        if (walk.next().done) return;
        const keys = [...map.keys()];
        for (const key of keys) map.delete(key);
        for (const key of keys) map.set(key + 8, 0n);
      }
    };
    expect(errorOf(endless)).toMatchObject({ code: "ERR_ITERATION_ABORTED" });
    expect(walk.skipped).toBeGreaterThan(0);
  });

  contract("a walk finds a key by its own bytes, also where they are not what the codec would write", (kernel) => {
    const padded = struct({ a: u16, b: u32 });
    using map = BpfMap.create(kernel, { type: "hash", key: padded, value: u32, maxEntries: 2 });
    const key = Uint8Array.of(1, 0, 0xde, 0xad, 2, 0, 0, 0);
    const value = Uint8Array.of(9, 0, 0, 0);
    expect(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd: map.fd, key, value })).toBe(0);
    expect([...map]).toEqual([[{ a: 1, b: 2 }, 9]]);
  });

  contract("errors name the command, the map, the errno and what to do", (kernel) => {
    using map = hash(kernel, 1);
    map.set(1, 1n);
    const full = errorOf(() => map.set(2, 2n));
    expect(full).toBeInstanceOf(BpfError);
    expect(full).toMatchObject({
      message: 'bpf(BPF_MAP_UPDATE_ELEM) "numbers": E2BIG: the map is full: it has its max_entries, 1',
      code: "E2BIG",
      errno: 7,
      syscall: "bpf(BPF_MAP_UPDATE_ELEM)",
    });
    const create = { name: "events", type: "array", key: u64, value: u64, maxEntries: 1 } as const;
    expect(String(errorOf(() => BpfMap.create(kernel, create)))).toBe(
      'BpfError: bpf(BPF_MAP_CREATE) "events": EINVAL: an array\'s key_size is 4; got 8',
    );
    using array = BpfMap.create(kernel, { ...create, key: u32 });
    expect(String(errorOf(() => array.set(1, 0n)))).toContain("an array's index is below its max_entries, 1; got 1");
  });

  contract("a value that does not fit is refused, and the map keeps its old one", (kernel) => {
    using map = hash(kernel);
    map.set(1, 5n);
    expect(errorOf(() => map.set(1, 2n ** 64n))).toMatchObject({ name: "CodecError" });
    expect(errorOf(() => map.set(-1, 0n))).toMatchObject({ name: "CodecError" });
    expect([...map]).toEqual([[1, 5n]]);
  });

  contract("a closed map says so, and may be closed again", (kernel) => {
    const map = hash(kernel);
    map.close();
    map.close();
    expect(errorOf(() => map.get(1))).toMatchObject({ code: "EBADF", hint: "it is closed" });
  });

  contract("a pinned map is opened by its path, with the codecs that fit it", (kernel, { pins }) => {
    const path = `${pins}/numbers`;
    using map = hash(kernel);
    map.set(1, 11n);
    map.pin(path);
    using again = BpfMap.open(kernel, path, { key: u32, value: u64 });
    expect(again.get(1)).toBe(11n);
    expect(again.info.id).toBe(map.info.id);
    expect(String(errorOf(() => BpfMap.open(kernel, path, { key: u32, value: u32 })))).toContain(
      '"numbers": EINVAL: its values have 8 bytes; u32 has 4',
    );
    expect(String(errorOf(() => BpfMap.open(kernel, path, { type: "ringbuf" })))).toContain(
      'it is a hash; got type "ringbuf"',
    );
    expect(errorOf(() => map.pin(path))).toMatchObject({ code: "EEXIST" });
    expect(kernel.bpffs.unlink(path)).toBe(0);
    expect(errorOf(() => BpfMap.open(kernel, path, { key: u32, value: u64 }))).toMatchObject({ code: "ENOENT" });
    expect(errorOf(() => map.pin("/tmp/numbers"))).toMatchObject({
      code: "EPERM",
      hint: expect.stringContaining("mount -t bpf"),
    });
  });

  contract("a file descriptor that somebody else opened can be adopted", (kernel) => {
    using map = hash(kernel);
    map.set(3, 33n);
    const fd = kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: map.info.id });
    using adopted = BpfMap.adopt(kernel, fd, { key: u32, value: u64 });
    expect(adopted.get(3)).toBe(33n);
    expect(errorOf(() => BpfMap.adopt(kernel, 9999, { key: u32, value: u64 }))).toMatchObject({ code: "EBADFD" });
  });

  contract("only a map's file descriptor can be adopted as one, and no program's as a map's", (kernel) => {
    using map = hash(kernel);
    using pass = BpfProgram.load(kernel, { type: "xdp", instructions: program(mov(r0, 2), exit()) });
    const codecs = { key: u32, value: u64 };
    expect(String(errorOf(() => BpfMap.adopt(kernel, pass.fd, codecs)))).toContain("it is no map's file descriptor");
    expect(String(errorOf(() => BpfProgram.adopt(kernel, map.fd)))).toContain("it is a map's file descriptor");
    // It would be 1, some other file, if the low bits were taken.
    expect(errorOf(() => BpfMap.adopt(kernel, 2 ** 32 + map.fd, codecs))).toMatchObject({ code: "EINVAL" });
    expect(errorOf(() => BpfProgram.adopt(kernel, Number.NaN))).toMatchObject({ code: "EINVAL" });
    expect(map.set(1, 1n).get(1)).toBe(1n);
  });

  contract("a number that is no u32 is refused by name, not cut to its low bits", (kernel) => {
    const create = (options: object) =>
      errorOf(() =>
        BpfMap.create(kernel, { name: "n", type: "hash", key: u32, value: u64, maxEntries: 4, ...options }),
      );
    for (const maxEntries of [Number.NaN, 1.5, -1, 2 ** 32 + 4, Number.POSITIVE_INFINITY]) {
      const message = `bpf(BPF_MAP_CREATE) "n": EINVAL: maxEntries is an integer from 0 to 4294967295; got ${maxEntries}`;
      expect(create({ maxEntries })).toMatchObject({ code: "EINVAL", message });
      expect(create({ type: "ringbuf", maxEntries })).toMatchObject({ code: "EINVAL", message });
    }
    expect(String(create({ flags: 2 ** 32 }))).toContain("flags is an integer");
    using map = hash(kernel);
    expect(errorOf(() => map.set(1, 1n, 2 ** 53))).toMatchObject({ code: "EINVAL" });
    expect(map.has(1)).toBe(false);
  });

  contract("a NUL ends no name and no path early", (kernel, { pins }) => {
    expect(
      errorOf(() => BpfMap.create(kernel, { name: "a\0b", type: "hash", key: u32, value: u32, maxEntries: 1 })),
    ).toMatchObject({ message: `bpf(BPF_MAP_CREATE) "a\\0b": EINVAL: a map's name has no NUL; got one at 1` });
    using map = hash(kernel);
    expect(errorOf(() => map.pin(`${pins}/a\0b`))).toMatchObject({ code: "EINVAL" });
    expect(kernel.bpffs.readdir(pins)).toEqual([]);
    expect(errorOf(() => BpfMap.open(kernel, `${pins}/a\0b`, { key: u32, value: u64 }))).toMatchObject({
      code: "EINVAL",
    });
  });

  contract("a frozen map refuses writes and keeps answering", (kernel) => {
    using map = hash(kernel);
    map.set(1, 1n);
    map.freeze();
    expect(errorOf(() => map.set(1, 2n))).toMatchObject({ code: "EPERM" });
    expect(map.get(1)).toBe(1n);
  });

  contract("a type that is none is refused by name", (kernel) => {
    const options = { name: "q", type: "deque", key: u32, value: u32, maxEntries: 1 };
    const error = errorOf(() => BpfMap.create(kernel, options as never));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(String(error)).toContain('map "q": "deque" is no type of maps');
  });

  contract("a method that a type lacks does not compile", (kernel) => {
    using ring = BpfMap.create(kernel, { type: "ringbuf", maxEntries: 4096 });
    // @ts-expect-error a ring buffer has no keys
    expect(ring.get).toBeUndefined();
    using array = BpfMap.create(kernel, { type: "array", key: u32, value: u32, maxEntries: 1 });
    // @ts-expect-error an array's elements cannot be deleted
    expect(array.delete).toBeUndefined();
  });

  contract("a map tells its id and how much memory it takes", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 1000 });
    expect(map.memory).toBeGreaterThanOrEqual(8000);
    expect(map.memory).toBeLessThan(20_000);
    expect([map.id, map.keySize, map.valueSize]).toEqual([map.info.id, 4, 8]);
    expect(kernel.memoryUse(9999)).toBe(-EBADF);
    using pass = BpfProgram.load(kernel, { type: "xdp", instructions: program(mov(r0, 2), exit()) });
    expect(kernel.memoryUse(pass.fd)).toBe(-EINVAL);
  });
});
