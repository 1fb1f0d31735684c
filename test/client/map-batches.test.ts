// Many entries at once: batches, walks, JSON, printing and watching.

import { inspect } from "node:util";
import { describe, expect, expectTypeOf } from "vitest";
import { BpfMap } from "../../src/client/map.ts";
import type { HashMap } from "../../src/client/maps/keyed.ts";
import { bytes } from "../../src/codec/bytes.ts";
import { struct } from "../../src/codec/composites.ts";
import { u8, u16, u32, u64 } from "../../src/codec/scalars.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_F_NO_PREALLOC, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { contract } from "../contract/contract.ts";
import { errorOf } from "./error-of.ts";

const hash = (kernel: Kernel, maxEntries = 10_000): HashMap<number, bigint> =>
  BpfMap.create(kernel, { name: "numbers", type: "hash", key: u32, value: u64, maxEntries, flags: BPF_F_NO_PREALLOC });

const numbers = (count: number): [number, bigint][] =>
  Array.from({ length: count }, (_, key) => [key, BigInt(key) * 3n]);

describe("batches", () => {
  contract("many entries are written, walked and removed", (kernel) => {
    using map = hash(kernel);
    expect(map.setMany(numbers(10_000))).toBe(10_000);
    expect(map.count()).toBe(10_000);
    expect(new Map(map)).toEqual(new Map(numbers(10_000)));
    expect(map.deleteMany(numbers(20_000).map(([key]) => key))).toBe(10_000);
    expect([...map]).toEqual([]);
  });

  contract("an array is walked in batches in its order", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 9_000 });
    map.setMany(numbers(9_000));
    expect([...map]).toEqual(numbers(9_000));
    expect([...map.entries({ batch: 1 })]).toEqual(numbers(9_000));
  });

  contract("a per-CPU hash is written and taken in batches", (kernel) => {
    using map = BpfMap.create(kernel, { type: "percpu_hash", key: u32, value: u16, maxEntries: 64 });
    const values = kernel.system.possibleCpus.map((cpu) => cpu + 1);
    map.setMany([
      [1, values],
      [2, values],
    ]);
    expect(new Map(map.takeAll())).toEqual(
      new Map([
        [1, values],
        [2, values],
      ]),
    );
    expect(map.count()).toBe(0);
  });

  contract("taking all leaves nothing, and loses nothing", (kernel) => {
    using map = hash(kernel);
    map.setMany(numbers(10_000));
    expect(new Map(map.takeAll())).toEqual(new Map(numbers(10_000)));
    expect(map.takeAll()).toEqual([]);
  });

  contract("a batch that fails half-way says how many were written", (kernel) => {
    using map = hash(kernel, 5_000);
    const error = errorOf(() => map.setMany(numbers(6_000)));
    expect(error).toMatchObject({ code: "E2BIG", count: 5_000, hint: "the map is full: it has its max_entries, 5000" });
    expect(map.count()).toBe(5_000);
    using array = BpfMap.create(kernel, { type: "array", value: u64, maxEntries: 10 });
    expect(errorOf(() => array.setMany(numbers(12)))).toMatchObject({
      code: "E2BIG",
      count: 10,
      hint: "an array's index is below its max_entries, 10; got 10",
    });
  });

  contract("flags that batches do not have are kept one by one", (kernel) => {
    using map = hash(kernel);
    map.set(7, 0n);
    expect(errorOf(() => map.setMany(numbers(10), BPF_NOEXIST))).toMatchObject({ code: "EEXIST", count: 7 });
    expect(map.get(7)).toBe(0n);
  });

  contract("an entry that does not fit is named by its place", (kernel) => {
    using map = hash(kernel);
    expect(
      errorOf(() =>
        map.setMany([
          [1, 1n],
          [2, -1n],
        ]),
      ),
    ).toMatchObject({ name: "CodecError", path: "[1]" });
    expect(map.count()).toBe(0);
  });

  contract("a map is read page by page", (kernel) => {
    using map = hash(kernel);
    map.setMany(numbers(1_000));
    const all: [number, bigint][] = [];
    let pages = 0;
    for (let page = map.getBatch(100); ; page = map.getBatch(100, page.next)) {
      all.push(...page.entries);
      pages++;
      if (page.next === undefined) break;
    }
    expect(new Map(all)).toEqual(new Map(numbers(1_000)));
    expect(pages).toBeGreaterThan(9);
    expect(errorOf(() => map.getBatch(-1))).toMatchObject({ code: "EINVAL" });
  });

  contract("a walk in batches ends, whatever is deleted and added meanwhile", (kernel) => {
    using map = hash(kernel);
    map.setMany(numbers(1_000));
    const walk = map.entries({ batch: 64 });
    let steps = 0;
    for (const [key] of walk) {
      map.delete(key);
      map.set(key + 1_000, 1n);
      if (++steps > 20_000) break;
    }
    expect(steps).toBeLessThan(20_000);
    expect(walk.skipped).toBe(0);
  });

  contract("a batch grows where a bucket has more entries than it", (kernel) => {
    // Two buckets at most, for two entries in them the map would have.
    using map = BpfMap.create(kernel, { type: "hash", key: u32, value: u32, maxEntries: 2 });
    map.setMany([
      [1, 1],
      [2, 2],
    ]);
    expect([...map.entries({ batch: 2 })]).toHaveLength(2);
    using large = hash(kernel, 4_096);
    large.setMany(numbers(4_096));
    expect([...large.entries({ batch: 2 })]).toHaveLength(4_096);
  });

  contract("clearing a map removes every key", (kernel) => {
    using map = hash(kernel);
    map.setMany(numbers(5_000));
    map.clear();
    expect(map.count()).toBe(0);
  });
});

describe("JSON", () => {
  contract("entries go through JSON and back", (kernel) => {
    const value = struct({ packets: u64, flags: u8, mac: bytes(6) });
    const options = { type: "hash", key: u64, value, maxEntries: 4 } as const;
    using map = BpfMap.create(kernel, options);
    const entry = { packets: 2n ** 63n, flags: 3, mac: Uint8Array.of(1, 2, 3, 4, 5, 6) };
    map.set(5n, entry);
    const text = JSON.stringify(map);
    expect(text).toBe('[["5",{"packets":"9223372036854775808","flags":3,"mac":[1,2,3,4,5,6]}]]');
    using copy = BpfMap.create(kernel, options);
    expect(new Map(copy.fromJSON(JSON.parse(text)))).toEqual(new Map([[5n, entry]]));
    expect(String(errorOf(() => copy.fromJSON({})))).toContain("a map's entries are an array of pairs; got an object");
    expect(errorOf(() => copy.fromJSON([["x", entry]]))).toMatchObject({ name: "CodecError" });
  });

  contract("a map is created with its entries", (kernel) => {
    using ports = BpfMap.fromEntries(
      kernel,
      { type: "hash", key: u16, value: u64 },
      new Map([
        [80, 1n],
        [443, 2n],
      ]),
    );
    expectTypeOf(ports).toEqualTypeOf<HashMap<number, bigint>>();
    expect([ports.maxEntries, ports.get(443)]).toEqual([2, 2n]);
    const tooMany = () => BpfMap.fromEntries(kernel, { type: "hash", key: u16, value: u64, maxEntries: 1 }, numbers(2));
    expect(errorOf(tooMany)).toMatchObject({ code: "E2BIG", count: 1 });
  });
});

describe("printing", () => {
  contract("a map prints as its class, with its first entries", (kernel) => {
    using map = BpfMap.create(kernel, { name: "ports", type: "hash", key: u16, value: u64, maxEntries: 4 });
    map.set(80, 7n);
    expect(inspect(map)).toBe(`HashMap "ports" (hash, id ${map.id}, at most 4 entries) { 80 => 7n }`);
    expect(inspect({ map }, { depth: 0 })).toContain("HashMap");
    using queue = BpfMap.create(kernel, { type: "array", value: u32, maxEntries: 1_000_000 });
    const text = inspect(queue);
    expect(text).toContain("99 => 0,\n  …\n}");
    expect(text).not.toContain("100 =>");
    map.close();
    expect(inspect(map)).toContain("closed");
  });
});

describe("watching", () => {
  contract("what is added, changed and removed is told", async (kernel) => {
    using map = hash(kernel);
    map.set(1, 1n).set(2, 2n);
    const controller = new AbortController();
    const changes = map.watch({ interval: 5, signal: controller.signal });
    map.set(1, 10n).set(3, 3n).delete(2);
    const seen = [];
    for await (const change of changes) {
      seen.push(change);
      if (seen.length === 3) controller.abort();
    }
    expect(seen.sort((a, b) => a.key - b.key)).toEqual([
      { type: "changed", key: 1, value: 10n, previous: 1n },
      { type: "removed", key: 2, value: undefined, previous: 2n },
      { type: "added", key: 3, value: 3n, previous: undefined },
    ]);
  });

  contract("a watch begins with what is there, if asked, and ends with its map", async (kernel) => {
    const map = hash(kernel);
    map.set(1, 1n);
    const changes = map.watch({ interval: 5, initial: true });
    expect((await changes.next()).value).toMatchObject({ type: "added", key: 1, value: 1n });
    map.close();
    expect(await changes.next()).toEqual({ done: true, value: undefined });
    const aborted = AbortSignal.abort();
    using other = hash(kernel);
    expect(await other.watch({ signal: aborted }).next()).toEqual({ done: true, value: undefined });
  });
});
