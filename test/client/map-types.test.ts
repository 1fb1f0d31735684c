// Each type of map, as a user meets it: the class it has, and what that can do.

import { describe, expect, expectTypeOf } from "vitest";
import { exit, mov, program, r0 } from "../../src/asm/builder.ts";
import { parseBtf } from "../../src/btf/btf.ts";
import { BpfMap } from "../../src/client/map.ts";
import type { ArrayMap } from "../../src/client/maps/array.ts";
import type { MapHandle } from "../../src/client/maps/handle.ts";
import { HashMap, KeyedMap } from "../../src/client/maps/keyed.ts";
import { QueueMap } from "../../src/client/maps/queue.ts";
import type { ProgramArrayMap } from "../../src/client/maps/references.ts";
import type { StorageMap } from "../../src/client/maps/storage.ts";
import { BpfProgram } from "../../src/client/program.ts";
import { bytes } from "../../src/codec/bytes.ts";
import { array, struct } from "../../src/codec/composites.ts";
import { ipv4Prefix, ipv6Prefix, lpmKey } from "../../src/codec/prefixes.ts";
import { u8, u16, u32, u64 } from "../../src/codec/scalars.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { BPF_EXIST } from "../../src/uapi/flags.ts";
import { contract } from "../contract/contract.ts";
import { errorOf } from "./error-of.ts";

const pass = (kernel: Kernel): BpfProgram =>
  BpfProgram.load(kernel, { type: "xdp", name: "pass", instructions: program(mov(r0, 2), exit()) });

describe("arrays", () => {
  contract("an array's key is u32 unless another is given", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 4 });
    expectTypeOf(map).toEqualTypeOf<ArrayMap<number, bigint, BigUint64Array>>();
    expect(map.set(3, 9n).get(3)).toBe(9n);
    expect(map.has(4)).toBe(false);
    // @ts-expect-error an array's elements cannot be deleted
    expect(map.delete).toBeUndefined();
    // @ts-expect-error nor taken
    expect(map.take).toBeUndefined();
  });

  contract("a view shows what is written to the map, and writes to it", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 600, mmapable: true });
    const view = map.view();
    expectTypeOf(view).toEqualTypeOf<BigUint64Array>();
    expect(view).toBeInstanceOf(BigUint64Array);
    expect(view).toHaveLength(600);
    map.set(599, 7n);
    expect(view[599]).toBe(7n);
    view[1] = 5n;
    expect(map.get(1)).toBe(5n);
  });

  contract("values of 4 bytes stand at each multiple of 8 in a view", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: u32, maxEntries: 3, mmapable: true });
    const view = map.view();
    expectTypeOf(view).toEqualTypeOf<Uint32Array>();
    map.set(2, 22);
    expect(map.stride).toBe(8);
    expect([...view]).toEqual([0, 0, 0, 0, 22, 0]);
  });

  contract("an array of numbers in one value is one typed array", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: array(u16, 8), maxEntries: 1, mmapable: true });
    const view = map.view();
    expectTypeOf(view).toEqualTypeOf<Uint16Array>();
    view[7] = 0xffff;
    expect(map.get(0)).toEqual([0, 0, 0, 0, 0, 0, 0, 0xffff]);
  });

  contract("a view of structs is a DataView", (kernel) => {
    using map = BpfMap.create(kernel, {
      type: "array",
      value: struct({ a: u32, b: u64 }),
      maxEntries: 2,
      mmapable: true,
    });
    const view = map.view();
    expectTypeOf(view).toEqualTypeOf<DataView>();
    map.set(1, { a: 1, b: 2n });
    expect([view.getUint32(16, true), view.getBigUint64(24, true)]).toEqual([1, 2n]);
  });

  contract("a view may be read after its map is closed", (kernel) => {
    const map = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 2, mmapable: true });
    const view = map.view();
    view[0] = 3n;
    map.close();
    expect([0n, 3n]).toContain(view[0]);
    expect(errorOf(() => map.view())).toMatchObject({ code: "EBADF" });
  });

  contract("a view of an array that cannot be mapped says what to do", (kernel) => {
    using map = BpfMap.create(kernel, { name: "plain", type: "array", value: u64, maxEntries: 2 });
    expect(errorOf(() => map.view())).toMatchObject({ message: expect.stringContaining("mmapable: true") });
    using frozen = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 2, mmapable: true });
    frozen.freeze();
    expect(errorOf(() => frozen.view())).toMatchObject({ code: "EPERM" });
    expect([...frozen.view({ writable: false })]).toEqual([0n, 0n]);
  });

  contract("a map with a writable view cannot be frozen", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 2, mmapable: true });
    map.view();
    expect(errorOf(() => map.freeze())).toMatchObject({ code: "EBUSY" });
  });
});

describe("hashes and tries", () => {
  contract("taking a key gives its value and removes it", (kernel) => {
    using map = BpfMap.create(kernel, { type: "hash", key: u32, value: u64, maxEntries: 4 });
    map.set(1, 10n);
    expect([map.take(1), map.take(1)]).toEqual([10n, undefined]);
    expect(map.count()).toBe(0);
  });

  for (const type of ["lru_hash", "lru_percpu_hash", "percpu_hash"] as const) {
    contract(`${type} is a HashMap`, (kernel) => {
      using map = BpfMap.create(kernel, { type, key: u32, value: u32, maxEntries: 64 });
      expect(map).toBeInstanceOf(HashMap);
      const value = type === "lru_hash" ? 5 : kernel.system.possibleCpus.map((cpu) => cpu + 1);
      (map as HashMap<number, unknown>).set(1, value);
      expect([...map]).toEqual([[1, value]]);
      expect(map.take(1)).toEqual(value);
    });
  }

  contract("a trie finds the longest prefix", (kernel) => {
    using map = BpfMap.create(kernel, { type: "lpm_trie", key: ipv4Prefix, value: u32, maxEntries: 8 });
    map.set("10.0.0.0/8", 8).set("10.1.0.0/16", 16).set("0.0.0.0/0", 0);
    expect([map.get("10.1.2.3"), map.get("10.2.0.1/32"), map.get("192.168.0.1")]).toEqual([16, 8, 0]);
    expect(map.delete("10.1.0.0/16")).toBe(true);
    expect(map.get("10.1.2.3")).toBe(8);
    expect([...map.keys()].sort()).toEqual(["0.0.0.0/0", "10.0.0.0/8"]);
    // @ts-expect-error the kernel takes nothing out of a trie
    expect(map.take).toBeUndefined();
  });

  contract("a trie of IPv6 networks, and one of any bytes", (kernel) => {
    using networks = BpfMap.create(kernel, { type: "lpm_trie", key: ipv6Prefix, value: u8, maxEntries: 4 });
    networks.set("2001:db8::/32", 1);
    expect([networks.get("2001:db8::1"), networks.get("2001:db9::1")]).toEqual([1, undefined]);
    using vendors = BpfMap.create(kernel, { type: "lpm_trie", key: lpmKey(bytes(6)), value: u8, maxEntries: 4 });
    vendors.set({ length: 24, data: Uint8Array.of(1, 2, 3, 0, 0, 0) }, 7);
    expect(vendors.get({ length: 48, data: Uint8Array.of(1, 2, 3, 4, 5, 6) })).toBe(7);
  });
});

describe("maps without keys", () => {
  contract("a queue gives back in order, a stack in reverse", (kernel) => {
    using queue = BpfMap.create(kernel, { type: "queue", value: u32, maxEntries: 2 });
    using stack = BpfMap.create(kernel, { type: "stack", value: u32, maxEntries: 2 });
    expectTypeOf(queue).toEqualTypeOf<QueueMap<number>>();
    for (const map of [queue, stack]) map.push(1).push(2);
    expect([queue.peek(), queue.pop(), queue.pop(), queue.pop()]).toEqual([1, 1, 2, undefined]);
    expect([stack.peek(), stack.pop(), stack.pop(), stack.pop()]).toEqual([2, 2, 1, undefined]);
    // @ts-expect-error a queue has no keys
    expect(queue.get).toBeUndefined();
  });

  contract("a full queue says so; with BPF_EXIST the oldest makes room", (kernel) => {
    using queue = BpfMap.create(kernel, { name: "jobs", type: "queue", value: u32, maxEntries: 2 });
    queue.push(1).push(2);
    expect(String(errorOf(() => queue.push(3)))).toContain("E2BIG: the map is full: it has its max_entries, 2");
    queue.push(3, BPF_EXIST);
    expect([...queue.drain()]).toEqual([2, 3]);
  });

  contract("a bloom filter never misses", (kernel) => {
    using filter = BpfMap.create(kernel, { type: "bloom_filter", value: u32, maxEntries: 100, hashes: 3 });
    for (let value = 0; value < 100; value++) filter.add(value);
    expect(Array.from({ length: 100 }, (_, value) => filter.has(value))).not.toContain(false);
    expect(Array.from({ length: 100 }, (_, value) => filter.has(value + 1000))).toContain(false);
    expect(filter.hashes).toBe(3);
    // @ts-expect-error values of a filter cannot be read back
    expect(filter.get).toBeUndefined();
  });
});

describe("maps of references", () => {
  contract("a map of maps gives its inner maps, of the class they have", (kernel) => {
    using outer = BpfMap.create(kernel, {
      type: "hash_of_maps",
      key: u32,
      maxEntries: 4,
      inner: { type: "hash", key: u32, value: u64, maxEntries: 8 },
    });
    using inner = BpfMap.create(kernel, { type: "hash", key: u32, value: u64, maxEntries: 8 });
    inner.set(1, 11n);
    expect(outer.set(5, inner).has(5)).toBe(true);
    expect(outer.idOf(5)).toBe(inner.id);
    using same = outer.get(5)!;
    expectTypeOf(same).toEqualTypeOf<HashMap<number, bigint>>();
    expect(same.get(1)).toBe(11n);
    expect([...outer.ids()]).toEqual([[5, inner.id]]);
    expect(outer.get(6)).toBeUndefined();
    expect([outer.delete(5), outer.delete(5)]).toEqual([true, false]);
  });

  contract("an array of maps is made after a map, and takes only maps like it", (kernel) => {
    using inner = BpfMap.create(kernel, { type: "hash", key: u32, value: u64, maxEntries: 8 });
    using outer = BpfMap.create(kernel, { type: "array_of_maps", maxEntries: 2, inner });
    outer.set(0, inner);
    using same = outer.get(0)!;
    expectTypeOf(same).toEqualTypeOf<HashMap<number, bigint>>();
    expect(same.id).toBe(inner.id);
    using other = BpfMap.create(kernel, { type: "hash", key: u64, value: u64, maxEntries: 8 });
    expect(errorOf(() => outer.set(1, other))).toMatchObject({ code: "EINVAL" });
    expect([...outer.keys()]).toEqual([0]);
  });

  contract("a program array takes programs and shows their ids", (kernel) => {
    using map = BpfMap.create(kernel, { type: "prog_array", maxEntries: 4 });
    expectTypeOf(map).toEqualTypeOf<ProgramArrayMap>();
    using loaded = pass(kernel);
    map.set(2, loaded);
    expect(map.get(2)).toBe(loaded.info.id);
    expect(map.get(0)).toBeUndefined();
    expect([...map]).toEqual([[2, loaded.info.id]]);
    expect(map.delete(2)).toBe(true);
    expect(map.count()).toBe(0);
    expect(errorOf(() => map.set(0, {} as never))).toMatchObject({ name: "CodecError" });
  });

  contract("slots that only programs look into are set and emptied", (kernel) => {
    using events = BpfMap.create(kernel, { name: "events", type: "perf_event_array" });
    expect(events.maxEntries).toBe(kernel.system.possibleCpus.length);
    expect(errorOf(() => events.set(0, 9999))).toMatchObject({ code: "EBADF" });
    expect(events.delete(0)).toBe(false);
    // @ts-expect-error user space cannot read events back
    expect(events.get).toBeUndefined();
    using cgroups = BpfMap.create(kernel, { type: "cgroup_array", maxEntries: 1 });
    expect(errorOf(() => cgroups.set(0, 9999))).toMatchObject({ code: "EBADF" });
    using sockets = BpfMap.create(kernel, { type: "xskmap", maxEntries: 1 });
    expect(sockets.maxEntries).toBe(1);
  });

  contract("a cpumap's targets are structs, with a program where there is one", (kernel) => {
    using map = BpfMap.create(kernel, { type: "cpumap" });
    expect(map.valueSize).toBe(8);
    map.set(0, { queueSize: 16 });
    expect(map.get(0)).toEqual({ queueSize: 16, programId: 0 });
    expect([...map]).toEqual([[0, { queueSize: 16, programId: 0 }]]);
    expect(map.delete(0)).toBe(true);
    using small = BpfMap.create(kernel, { type: "cpumap", programs: false });
    expect(String(errorOf(() => small.set(0, { queueSize: 1, program: 3 })))).toContain("a program needs 8");
  });

  contract("a devmap's targets are network devices", (kernel) => {
    const loopback = 1;
    for (const type of ["devmap", "devmap_hash"] as const) {
      using map = BpfMap.create(kernel, { type, maxEntries: 4 });
      map.set(2, { ifindex: loopback });
      expect(map.get(2)).toEqual({ ifindex: loopback, programId: 0 });
      expect(errorOf(() => map.set(1, { ifindex: 123456 }))).toMatchObject({ code: "EINVAL" });
      expect(map.delete(2)).toBe(true);
      expect(map.get(2)).toBeUndefined();
    }
  });

  contract("socket maps take file descriptors of sockets", (kernel) => {
    using map = BpfMap.create(kernel, { type: "sockmap", maxEntries: 2 });
    using hash = BpfMap.create(kernel, { type: "sockhash", key: u64, maxEntries: 2 });
    using ports = BpfMap.create(kernel, { type: "reuseport_sockarray", maxEntries: 2 });
    expect([map.get(0), hash.get(1n), ports.get(0)]).toEqual([undefined, undefined, undefined]);
    for (const set of [() => map.set(0, 9999), () => hash.set(1n, 9999), () => ports.set(0, 9999)]) {
      expect(errorOf(set)).toMatchObject({ code: "EBADF" });
    }
  });
});

describe("storage", () => {
  contract("local storage needs no BTF of the caller", (kernel) => {
    for (const type of ["sk_storage", "inode_storage", "task_storage", "cgrp_storage"] as const) {
      using map = BpfMap.create(kernel, { type, value: struct({ seen: u64 }) });
      expectTypeOf(map).toEqualTypeOf<StorageMap<{ seen: bigint }>>();
      expect(errorOf(() => map.get(9999))).toMatchObject({ code: "EBADF" });
      // @ts-expect-error owners cannot be walked
      expect(map.entries).toBeUndefined();
    }
  });

  contract.on("linux")("task storage belongs to a task, by its pidfd", (kernel, { skip }) => {
    using map = BpfMap.create(kernel, { type: "inode_storage", value: u64 });
    using owner = BpfMap.create(kernel, { type: "array", value: u32, maxEntries: 1 });
    // Any file has an inode, that of a map too.
    const outcome = errorOf(() => map.set(owner, 5n));
    if (outcome !== undefined) skip(`inode storage cannot be written here: ${outcome}`);
    expect([map.get(owner), map.has(owner), map.delete(owner), map.get(owner)]).toEqual([5n, true, true, undefined]);
  });

  contract("cgroup storage has a struct as key", (kernel) => {
    using map = BpfMap.create(kernel, { type: "cgroup_storage", value: u64 });
    expect(map.get({ cgroupId: 1n, attachType: 0 })).toBeUndefined();
    expect([...map]).toEqual([]);
    using perCpu = BpfMap.create(kernel, { type: "percpu_cgroup_storage", key: u64, value: u64 });
    expect(perCpu.get(1n)).toBeUndefined();
  });
});

describe("other types", () => {
  contract("a stack trace map shows no stack before there is one", (kernel) => {
    using map = BpfMap.create(kernel, { type: "stack_trace", maxEntries: 16, depth: 8 });
    expect(map.valueSize).toBe(64);
    expect(map.get(1)).toBeUndefined();
    expect([...map]).toEqual([]);
    using builds = BpfMap.create(kernel, { type: "stack_trace", maxEntries: 16, depth: 8, buildId: true });
    expect(builds.valueSize).toBe(256);
  });

  contract("an arena is memory of pages", (kernel) => {
    using map = BpfMap.create(kernel, { type: "arena", maxEntries: 4 });
    expect(map.address).toBe(0n);
    const view = map.view();
    expect(map.address % BigInt(kernel.system.pageSize)).toBe(0n);
    expect(map.address > 0n).toBe(true);
    expect(view).toHaveLength(4 * kernel.system.pageSize);
    view[5000] = 7;
    expect(view[5000]).toBe(7);
    expect(map.view()[5000]).toBe(7);
  });

  contract.on("linux")("a struct_ops map needs no BTF of the caller", (kernel, { skip }) => {
    const data = kernel.system.btf();
    if (data === undefined) return skip("the kernel has no BTF of its own");
    const btf = parseBtf(data);
    const valueTypeId = btf.find("bpf_struct_ops_tcp_congestion_ops", "struct");
    if (valueTypeId === undefined) return skip("the kernel takes no TCP congestion control");
    const value = bytes(btf.sizeOf(valueTypeId));
    using map = BpfMap.create(kernel, { type: "struct_ops", valueTypeId, value });
    expect(map.read()).toEqual(new Uint8Array(value.size));
    expect(map.unregister()).toBe(false);
  });

  contract("a user ring buffer is rounded up to pages", (kernel) => {
    using map = BpfMap.create(kernel, { type: "user_ringbuf", maxEntries: 5000 });
    expect(map.maxEntries).toBe(8192);
  });

  contract("a map is opened as what it is where nobody says what it shall be", (kernel, { pins }) => {
    using queue = BpfMap.create(kernel, { type: "queue", value: u32, maxEntries: 2 });
    queue.push(0x01020304);
    queue.pin(`${pins}/q`);
    using opened = BpfMap.open(kernel, `${pins}/q`);
    expectTypeOf(opened).toEqualTypeOf<MapHandle>();
    expect(opened).toBeInstanceOf(QueueMap);
    expect(opened).toBeInstanceOf(BpfMap);
    expect((opened as QueueMap<Uint8Array>).pop()).toEqual(Uint8Array.of(4, 3, 2, 1));
    queue.unpin();
    using adopted = BpfMap.adopt(kernel, kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: queue.id }));
    expect(adopted.type).toBe("queue");
    using byId = BpfMap.fromId(kernel, queue.id, { type: "queue", value: u32 });
    expect(byId.pop()).toBeUndefined();
    expect(errorOf(() => BpfMap.fromId(kernel, 0x7fff_fff0))).toMatchObject({ code: "ENOENT" });
  });

  contract("an option that a type does not have does not compile", (kernel) => {
    // @ts-expect-error a queue has no key
    using queue = BpfMap.create(kernel, { type: "queue", key: u32, value: u32, maxEntries: 2 });
    // @ts-expect-error a hash needs a key
    expect(errorOf(() => BpfMap.create(kernel, { type: "hash", value: u32, maxEntries: 1 }).close())).toBeUndefined();
    expect(queue).not.toBeInstanceOf(KeyedMap);
  });
});
