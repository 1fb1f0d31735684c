// Pins: moving, removing, replacing, and what becomes of a map that is pinned already.

import { readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { BpfMap } from "../../src/client/map.ts";
import type { HashMap } from "../../src/client/maps/keyed.ts";
import type { PinPolicy } from "../../src/client/maps/pinned.ts";
import { BpfObject } from "../../src/client/object.ts";
import { mountBpffs } from "../../src/client/pins.ts";
import { u32, u64 } from "../../src/codec/scalars.ts";
import { readObject } from "../../src/elf/object.ts";
import type { DirectoryEntry, Kernel } from "../../src/kernel/kernel.ts";
import { XDP_DROP } from "../../src/uapi/flags.ts";
import { contract } from "../contract/contract.ts";
import { errorOf } from "./error-of.ts";

const hash = (kernel: Kernel, path: string, policy: PinPolicy, maxEntries = 4): HashMap<number, bigint> =>
  BpfMap.create(kernel, { name: "numbers", type: "hash", key: u32, value: u64, maxEntries, pin: { path, policy } });

const namesIn = (kernel: Kernel, directory: string): string[] =>
  (kernel.bpffs.readdir(directory) as DirectoryEntry[]).map(({ name }) => name);

describe("pins", () => {
  contract("a map that is pinned again moves", (kernel, { pins }) => {
    using map = BpfMap.create(kernel, { type: "array", value: u32, maxEntries: 1 });
    map.pin(`${pins}/a`);
    map.pin(`${pins}/b`);
    expect([namesIn(kernel, pins), map.pinPath]).toEqual([["b"], `${pins}/b`]);
    using opened = BpfMap.open(kernel, `${pins}/b`);
    opened.pin(`${pins}/c`);
    expect(namesIn(kernel, pins)).toEqual(["c"]);
    // The first object does not know, and leaves what it no longer has.
    map.unpin();
    expect(namesIn(kernel, pins)).toEqual(["c"]);
    opened.unpin();
    opened.unpin();
    expect(namesIn(kernel, pins)).toEqual([]);
  });

  contract("moving onto another map fails, and both stay", (kernel, { pins }) => {
    using map = BpfMap.create(kernel, { type: "array", value: u32, maxEntries: 1 });
    using other = BpfMap.create(kernel, { type: "array", value: u32, maxEntries: 1 });
    map.pin(`${pins}/a`);
    other.pin(`${pins}/b`);
    expect(errorOf(() => map.pin(`${pins}/b`))).toMatchObject({ code: "EEXIST" });
    expect(namesIn(kernel, pins).sort()).toEqual(["a", "b"]);
    map.pin(`${pins}/b`, { replace: true });
    expect(namesIn(kernel, pins)).toEqual(["b"]);
    // Somebody else's pin is not removed.
    other.unpin();
    using there = BpfMap.open(kernel, `${pins}/b`);
    expect(there.id).toBe(map.id);
    map.unpin();
  });

  contract("a pin outside a BPF file system says what to do", (kernel) => {
    using map = BpfMap.create(kernel, { type: "array", value: u32, maxEntries: 1 });
    expect(errorOf(() => map.pin("/tmp/numbers"))).toMatchObject({
      code: "EPERM",
      hint: expect.stringContaining("mountBpffs()"),
    });
    expect(map.pinPath).toBeUndefined();
  });

  contract("a name with a dot says so", (kernel, { pins }) => {
    using map = BpfMap.create(kernel, { type: "array", value: u32, maxEntries: 1 });
    expect(errorOf(() => map.pin(`${pins}/a.b`))).toMatchObject({
      code: "EPERM",
      hint: "the name of a pin has no dot",
    });
  });

  contract("a BPF file system is mounted where there is none", (kernel, { pins }) => {
    expect(mountBpffs(kernel, pins)).toBe(false);
    expect(errorOf(() => mountBpffs(kernel, "/absent/directory"))).toMatchObject({ code: "ENOENT", syscall: "mkdir" });
    for (const path of [`${pins}\0x`, 5 as never]) {
      expect(errorOf(() => mountBpffs(kernel, path))).toMatchObject({ code: "EINVAL", syscall: "mount" });
    }
  });
});

describe("policies", () => {
  contract("fail: a path that is taken is an error, and no map stays", (kernel, { pins }) => {
    using map = hash(kernel, `${pins}/m`, "fail");
    expect(errorOf(() => hash(kernel, `${pins}/m`, "fail"))).toMatchObject({ code: "EEXIST" });
    map.unpin();
  });

  contract("reuse: the pinned map is used, and entries stay", (kernel, { pins }) => {
    using first = hash(kernel, `${pins}/m`, "reuse");
    first.set(1, 11n);
    using second = hash(kernel, `${pins}/m`, "reuse");
    expect([second.id, second.get(1)]).toEqual([first.id, 11n]);
    first.unpin();
  });

  contract("reuse: each attribute that differs is named", (kernel, { pins }) => {
    using first = hash(kernel, `${pins}/m`, "reuse", 100);
    expect(errorOf(() => hash(kernel, `${pins}/m`, "reuse", 200))).toMatchObject({
      code: "EINVAL",
      hint: "the map pinned there is another: max_entries: 100 pinned, 200 declared",
    });
    const array = { type: "array", value: u32, maxEntries: 100, pin: { path: `${pins}/m`, policy: "reuse" } } as const;
    expect(errorOf(() => BpfMap.create(kernel, array))).toMatchObject({
      hint: "the map pinned there is another: type: hash pinned, array declared; value_size: 8 pinned, 4 declared",
    });
    first.unpin();
  });

  contract("replace: the path leads to the new map", (kernel, { pins }) => {
    using first = hash(kernel, `${pins}/m`, "replace");
    using second = hash(kernel, `${pins}/m`, "replace", 8);
    expect(namesIn(kernel, pins)).toEqual(["m"]);
    using there = BpfMap.open(kernel, `${pins}/m`);
    expect([there.id, first.id === second.id]).toEqual([second.id, false]);
    second.unpin();
  });

  contract("migrate: entries go along into a larger map", (kernel, { pins }) => {
    using first = hash(kernel, `${pins}/m`, "migrate", 4);
    first.setMany([
      [1, 11n],
      [2, 22n],
    ]);
    using second = hash(kernel, `${pins}/m`, "migrate", 8);
    expect(new Map(second)).toEqual(
      new Map([
        [1, 11n],
        [2, 22n],
      ]),
    );
    using there = BpfMap.open(kernel, `${pins}/m`);
    expect([there.id, namesIn(kernel, pins)]).toEqual([second.id, ["m"]]);
    second.unpin();
  });

  contract("migrate: what does not fit leaves the pinned map as it was", (kernel, { pins }) => {
    using first = hash(kernel, `${pins}/m`, "migrate", 4);
    first.setMany([
      [1, 11n],
      [2, 22n],
      [3, 33n],
    ]);
    expect(errorOf(() => hash(kernel, `${pins}/m`, "migrate", 1))).toMatchObject({ code: "E2BIG", count: 1 });
    const wide = {
      type: "hash",
      key: u64,
      value: u64,
      maxEntries: 8,
      pin: { path: `${pins}/m`, policy: "migrate" },
    } as const;
    expect(errorOf(() => BpfMap.create(kernel, wide))).toMatchObject({
      hint: "its entries cannot be migrated: key_size: 4 pinned, 8 declared",
    });
    expect(first.count()).toBe(3);
    expect(namesIn(kernel, pins)).toEqual(["m"]);
    first.unpin();
  });

  contract("a policy that is none is refused by name", (kernel, { pins }) => {
    expect(errorOf(() => hash(kernel, `${pins}/m`, "keep" as never))).toMatchObject({
      hint: 'a policy is "fail", "reuse", "replace" or "migrate"; got "keep"',
    });
  });
});

describe("objects", () => {
  const spec = (maxEntries: number) => {
    const read = readObject(readFileSync("test/fixtures/counter.bpf.o"), "counter.bpf.o");
    const sources = { ...read.maps.sources!, pinByName: true, maxEntries };
    return { ...read, maps: { ...read.maps, sources } };
  };

  contract("maps that are pinned by name are reused, replaced or migrated", (kernel, { pins }) => {
    using first = BpfObject.load(kernel, spec(16), { pinRoot: pins });
    const key = [...first.maps.sources!.keys()];
    expect(key).toEqual([]);
    using again = BpfObject.load(kernel, spec(16), { pinRoot: pins });
    expect(again.maps.sources!.id).toBe(first.maps.sources!.id);
    expect(errorOf(() => BpfObject.load(kernel, spec(32), { pinRoot: pins }))).toMatchObject({
      hint: expect.stringContaining("max_entries: 16 pinned, 32 declared"),
    });
    using larger = BpfObject.load(kernel, spec(32), { pinRoot: pins, pinPolicy: "migrate" });
    expect(larger.maps.sources!.id).not.toBe(first.maps.sources!.id);
    expect(errorOf(() => BpfObject.load(kernel, spec(32), { pinRoot: pins, pinPolicy: "fail" }))).toMatchObject({
      code: "EEXIST",
    });
    larger.maps.sources!.unpin();
    expect(namesIn(kernel, pins)).toEqual([]);
  });

  contract("an object that cannot be loaded leaves no pin", (kernel, { pins }) => {
    const broken = readObject(readFileSync("test/fixtures/no-null-check.bpf.o"), "no-null-check.bpf.o");
    const maps = Object.fromEntries(
      Object.entries(broken.maps).map(([name, map]) => [name, { ...map, pinByName: true }]),
    );
    expect(errorOf(() => BpfObject.load(kernel, { ...broken, maps }, { pinRoot: pins }))).toMatchObject({
      name: "VerifierError",
    });
    expect(namesIn(kernel, pins)).toEqual([]);
  });

  contract("a map of maps that is reused keeps the maps in it", (kernel, { pins }) => {
    const read = readObject(readFileSync("test/fixtures/inner-maps.bpf.o"), "inner-maps.bpf.o");
    const spec = { ...read, maps: { ...read.maps, outer: { ...read.maps.outer!, pinByName: true } } };
    type Outer = { outer: { get(index: number): HashMap<number, bigint>; unpin(): void }; inner: BpfMap };
    using first = BpfObject.load(kernel, spec, { pinRoot: pins });
    using again = BpfObject.load(kernel, spec, { pinRoot: pins });
    using kept = (again.maps as never as Outer).outer.get(0);
    expect(kept.id).toBe((first.maps as never as Outer).inner.id);
    (first.maps as never as Outer).outer.unpin();
    using other = BpfObject.load(kernel, spec, { pinRoot: pins });
    using fresh = (other.maps as never as Outer).outer.get(0);
    expect(fresh.id).toBe((other.maps as never as Outer).inner.id);
    (other.maps as never as Outer).outer.unpin();
  });

  contract("inner maps and what is in a map of maps at first", (kernel) => {
    using object = BpfObject.load(kernel, readFileSync("test/fixtures/inner-maps.bpf.o"), { name: "inner-maps.bpf.o" });
    const { outer, inner } = object.maps as never as {
      outer: { get(index: number): HashMap<number, bigint> };
      inner: BpfMap;
    };
    using same = outer.get(0);
    expect(same.id).toBe(inner.id);
    expect(same.set(1, 2n).get(1)).toBe(2n);
  });

  contract("a program array begins with the programs that its object puts in", (kernel) => {
    using object = BpfObject.load(kernel, readFileSync("test/fixtures/tail-calls.bpf.o"), { name: "tail-calls.bpf.o" });
    expect([...object.maps.jumps!]).toEqual([[2, object.programs.drop!.info.id]]);
    expect(object.programs.jump!.testRun({ data: new Uint8Array(64) }).returnValue).toBe(XDP_DROP);
  });
});
