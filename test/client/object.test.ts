// Object files that clang made, loaded and run.

import { readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { UnsupportedError, VerifierError } from "../../src/client/errors.ts";
import type { KeyedMap } from "../../src/client/maps/keyed.ts";
import type { RingBufferMap } from "../../src/client/maps/ring-buffer.ts";
import { BpfObject } from "../../src/client/object.ts";
import { struct } from "../../src/codec/composites.ts";
import { u8, u16, u32, u64 } from "../../src/codec/scalars.ts";
import { readObject } from "../../src/elf/object.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { contract } from "../contract/contract.ts";
import { errorOf } from "./error-of.ts";

const fixture = (name: string): Uint8Array => readFileSync(new URL(`../fixtures/${name}`, import.meta.url));
const open = (kernel: Kernel, name: string) => BpfObject.load(kernel, fixture(name), { name });

/** A UDP packet of `length` bytes from 10.0.0.`host` to port `port`. */
function udp(host: number, port: number, length = 60): Uint8Array {
  const packet = new Uint8Array(length);
  packet.set([0x08, 0x00], 12);
  packet.set([0x45, 0, 0, length - 14, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, host, 10, 0, 0, 1], 14);
  packet.set([0, 99, port >> 8, port & 255], 34);
  return packet;
}

/** struct event, which no map and no function names: clang leaves such a type out of the BTF. */
const event = struct({ address: u32, port: u16, protocol: u8, ttl: u8, length: u64 });

describe("BpfObject", () => {
  for (const name of ["counter.bpf.o", "counter.v2.bpf.o", "counter.v3.bpf.o", "counter.v4.bpf.o"]) {
    contract(`${name}: program and loader exchange messages through its maps, typed by BTF`, (kernel) => {
      using object = open(kernel, name);
      const { sources, totals, events } = object.maps;
      using reader = events!.ringBuffer({ record: event });
      const { count } = object.programs;
      const runs = [udp(2, 53), udp(3, 80, 100), udp(2, 53)].map((data) => count!.testRun({ data }));
      expect(runs.map(({ returnValue }) => returnValue)).toEqual([2, 2, 2]);
      const address = (host: number) => new DataView(Uint8Array.of(10, 0, 0, host).buffer).getUint32(0, true);
      expect(sources!.get(address(2))).toEqual({ packets: 2n, bytes: 120n });
      expect(new Map(sources!).get(address(3))).toEqual({ packets: 1n, bytes: 100n });
      const sum = { packets: 0n, bytes: 0n };
      for (const { packets, bytes } of totals!.get(0)) {
        sum.packets += packets;
        sum.bytes += bytes;
      }
      expect(sum).toEqual({ packets: 3n, bytes: 220n });
      expect([...reader.drain()]).toEqual([
        { address: address(2), port: 53, protocol: 17, ttl: 64, length: 60n },
        { address: address(3), port: 80, protocol: 17, ttl: 64, length: 100n },
      ]);
    });
  }

  contract("a caller may say what an object's maps hold", (kernel) => {
    interface Traffic {
      packets: bigint;
      bytes: bigint;
    }
    type Maps = { sources: KeyedMap<number, Traffic>; events: RingBufferMap };
    using object = BpfObject.load<Maps>(kernel, fixture("counter.bpf.o"), { name: "counter.bpf.o" });
    object.maps.sources.set(1, { packets: 1n, bytes: 2n });
    // @ts-expect-error a key is a number
    expect(() => object.maps.sources.set("1", { packets: 1n, bytes: 2n })).toThrow();
  });

  contract("legacy maps keep their flags, and a map without BTF holds bytes", (kernel) => {
    for (const name of ["legacy-maps.bpf.o", "legacy-maps.long.bpf.o", "legacy-maps.stripped.bpf.o"]) {
      using object = open(kernel, name);
      const { packets, protocols } = object.maps;
      expect([packets!.type, protocols!.type, protocols!.info.map_flags]).toEqual(["array", "hash", 1]);
      object.programs.count_protocols!.testRun({ data: udp(2, 53) });
      expect([...protocols!.keys()]).toHaveLength(1);
      expect(protocols!.keys().next().value).toBeInstanceOf(Uint8Array);
    }
  });

  contract("bpf-to-bpf calls reach subprograms of .text and of the same section", (kernel) => {
    using object = open(kernel, "subprograms.bpf.o");
    for (const program of Object.values(object.programs)) program.testRun({ data: udp(2, 53) });
    using other = open(kernel, "section-subprogram.bpf.o");
    for (const program of Object.values(other.programs)) program.testRun({ data: udp(2, 53) });
    expect(other.maps[".bss"]!.get(0)).toEqual({ longest: 60 });
  });

  contract("only the programs that were chosen are loaded", (kernel) => {
    const load = (programs: string[]) => BpfObject.load(kernel, fixture("sections.bpf.o"), { name: "s.o", programs });
    using object = load(["count_ports", "classify"]);
    expect(Object.keys(object.programs)).toEqual(["count_ports", "classify"]);
    expect(object.programs.classify!.type).toBe("sched_cls");
    expect(errorOf(() => load(["absent"]))).toBeInstanceOf(UnsupportedError);
    expect(errorOf(() => load(["toString"]))).toBeInstanceOf(UnsupportedError);
    expect(String(errorOf(() => load(["absent"])))).toContain('s.o: no program "absent"; its programs: drop_short');
  });

  contract("a map may have any name of C, __proto__ too", (kernel) => {
    const spec = readObject(fixture("counter.bpf.o"), "counter.bpf.o");
    const maps = Object.fromEntries([["__proto__", { ...spec.maps.sources!, name: "__proto__" }]]);
    using object = BpfObject.load(kernel, { ...spec, maps }, { programs: [] });
    expect(Object.keys(object.maps)).toEqual(["__proto__"]);
  });

  contract("a refused program gives the verifier's words, and nothing stays behind", (kernel) => {
    const error = errorOf(() => open(kernel, "no-null-check.bpf.o"));
    expect(error).toBeInstanceOf(VerifierError);
    expect(error).toMatchObject({ code: "EACCES", hint: "R0 invalid mem access 'map_value_or_null'" });
    expect((error as VerifierError).log).toContain("call bpf_map_lookup_elem#1");
  });

  contract("an object that needs what is not there yet is refused by name", (kernel) => {
    expect(String(errorOf(() => open(kernel, "core.bpf.o")))).toContain("CO-RE relocation");
  });

  contract("a codec is found by the name of a type", (kernel) => {
    using object = open(kernel, "counter.bpf.o");
    expect(object.codec("traffic").size).toBe(16);
    expect(String(errorOf(() => object.codec("absent")))).toContain('no codec for type "absent": it has no such type');
  });

  contract("a closed object has closed its maps and programs", (kernel) => {
    const object = open(kernel, "counter.bpf.o");
    object.close();
    expect(errorOf(() => object.maps.sources!.get(1))).toMatchObject({ code: "EBADF" });
    expect(errorOf(() => object.programs.count!.testRun())).toMatchObject({ code: "EBADF" });
  });

  contract("one spec can be loaded often, each time with maps of its own", (kernel) => {
    const spec = readObject(fixture("counter.bpf.o"), "counter.bpf.o");
    using first = BpfObject.load(kernel, spec);
    using second = BpfObject.load(kernel, spec);
    first.programs.count!.testRun({ data: udp(2, 53) });
    expect([[...first.maps.sources!].length, [...second.maps.sources!].length]).toEqual([1, 0]);
  });
});
