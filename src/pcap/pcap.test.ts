import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CaptureError, readCapture, writePcap } from "./pcap.ts";

const first = Uint8Array.from({ length: 60 }, (_, index) => index);
const second = Uint8Array.from({ length: 43 }, (_, index) => 255 - index);
const packets = [
  { data: first, timestamp: 1_700_000_000_123_456_789n },
  { data: second, timestamp: 1_700_000_001_000_000_001n, originalLength: 1500 },
];

const bytesOf = (packet: { data: Uint8Array }) => Array.from(packet.data);

/** Fields in turn, in one byte order: numbers as u32, pairs as [value, width], bytes as they are. */
function build(little: boolean, fields: readonly (number | readonly [number | bigint, 1 | 2 | 8] | Uint8Array)[]) {
  const parts = fields.map((field) => {
    if (field instanceof Uint8Array) return field;
    const [value, width] = typeof field === "number" ? [field, 4] : field;
    const view = new DataView(new ArrayBuffer(width));
    if (width === 8) view.setBigInt64(0, BigInt(value), little);
    else if (width === 4) view.setUint32(0, Number(value), little);
    else if (width === 2) view.setUint16(0, Number(value), little);
    else view.setUint8(0, Number(value));
    return new Uint8Array(view.buffer);
  });
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)));
}

function pcap(little: boolean, magic: number, fraction: number): Uint8Array {
  return build(little, [magic, [2, 2], [4, 2], 0, 0, 65535, 1, 1_700_000_000, fraction, 60, 60, first]);
}

type Fields = Parameters<typeof build>[1];

function block(little: boolean, type: number, fields: Fields): Uint8Array {
  const content = build(little, fields);
  const padded = new Uint8Array((content.length + 3) & ~3);
  padded.set(content);
  return build(little, [type, padded.length + 12, padded, padded.length + 12]);
}

const section = (little: boolean) => block(little, 0x0a0d0d0a, [0x1a2b3c4d, [1, 2], [0, 2], [-1n, 8]]);
const describeInterface = (little: boolean, linkType = 1, snap = 0, options: Fields = []) =>
  block(little, 1, [[linkType, 2], [0, 2], snap, ...options]);
const enhanced = (little: boolean, number: number, ticks: bigint, data: Uint8Array) =>
  block(little, 6, [number, Number(ticks >> 32n), Number(ticks & 0xffffffffn), data.length, data.length, data]);
const concat = (...parts: Uint8Array[]) => build(true, parts);

describe("pcap", () => {
  it("reads back what it wrote, to the nanosecond", () => {
    const capture = readCapture(writePcap(packets), "x.pcap");
    expect(capture.format).toBe("pcap");
    expect(capture.packets).toEqual([
      { data: first, timestamp: packets[0]!.timestamp, originalLength: 60, linkType: 1, interface: 0 },
      { data: second, timestamp: packets[1]!.timestamp, originalLength: 1500, linkType: 1, interface: 0 },
    ]);
  });

  it.each([
    ["little-endian, microseconds", true, 0xa1b2c3d4, 123_456, 1_700_000_000_123_456_000n],
    ["big-endian, microseconds", false, 0xa1b2c3d4, 123_456, 1_700_000_000_123_456_000n],
    ["little-endian, nanoseconds", true, 0xa1b23c4d, 123_456_789, 1_700_000_000_123_456_789n],
    ["big-endian, nanoseconds", false, 0xa1b23c4d, 123_456_789, 1_700_000_000_123_456_789n],
  ] as const)("reads %s", (_, little, magic, fraction, timestamp) => {
    const [packet] = readCapture(pcap(little, magic, fraction), "x.pcap").packets;
    expect(packet).toMatchObject({ timestamp, originalLength: 60, linkType: 1 });
    expect(bytesOf(packet!)).toEqual(Array.from(first));
  });

  it("a capture without packets is one", () => {
    expect(readCapture(writePcap([]), "x.pcap").packets).toEqual([]);
  });

  it("a packet is a view of the file", () => {
    const bytes = writePcap(packets);
    expect(readCapture(bytes, "x.pcap").packets[0]!.data.buffer).toBe(bytes.buffer);
  });

  it.each([
    [new Uint8Array(0), "x.pcap: is empty; expected a pcap or pcapng file"],
    [new Uint8Array(3), "x.pcap: is cut: a capture begins with 4 bytes of magic, it has 3"],
    [new TextEncoder().encode("#!/bin/sh"), "x.pcap: is no capture: it begins with 0x23212f62;"],
    [writePcap([]).subarray(0, 20), "x.pcap: is cut: the header of a pcap file has 24 bytes, the file 20"],
    [
      writePcap(packets).subarray(0, 24 + 76 + 10),
      "x.pcap: packet 2 at offset 100: is cut: a record header has 16 bytes, 10 are left",
    ],
    [
      writePcap(packets).subarray(0, 24 + 76 + 20),
      "x.pcap: packet 2 at offset 100: is cut: it has 43 bytes, 4 are left",
    ],
    [
      build(true, [writePcap([]), 0, 0, 0xffffffff, 60]),
      "x.pcap: packet 1 at offset 24: says that it has 4294967295 bytes; a captured packet has at most 262144",
    ],
  ])("refuses a damaged file, and says where and how (%#)", (bytes, message) => {
    expect(() => readCapture(bytes, "x.pcap")).toThrow(CaptureError);
    expect(() => readCapture(bytes, "x.pcap")).toThrow(message);
  });
});

describe("pcapng", () => {
  it.each([true, false])("reads sections, interfaces and packets (little-endian: %s)", (little) => {
    const bytes = concat(
      section(little),
      block(little, 0xbad, [1, 2, 3]),
      describeInterface(little),
      describeInterface(little, 101, 0, [
        [9, 2],
        [1, 2],
        [9, 1],
        [0, 1],
        [0, 2],
        [0, 2],
        [0, 2],
      ]),
      enhanced(little, 0, 1_700_000_000_123_456n, first),
      enhanced(little, 1, 1_700_000_000_123_456_789n, second),
    );
    const capture = readCapture(bytes, "x.pcapng");
    expect(capture.format).toBe("pcapng");
    expect(capture.packets).toEqual([
      { data: first, timestamp: 1_700_000_000_123_456_000n, originalLength: 60, linkType: 1, interface: 0 },
      { data: second, timestamp: 1_700_000_000_123_456_789n, originalLength: 43, linkType: 101, interface: 1 },
    ]);
  });

  it("a section has a byte order and interfaces of its own", () => {
    const bytes = concat(
      section(true),
      describeInterface(true),
      enhanced(true, 0, 1n, first),
      section(false),
      describeInterface(false, 113),
      enhanced(false, 0, 2n, second),
    );
    expect(readCapture(bytes, "x").packets.map((packet) => [packet.linkType, packet.interface])).toEqual([
      [1, 0],
      [113, 1],
    ]);
  });

  it.each([
    [0, 5n, 5_000_000_000n],
    [3, 5n, 5_000_000n],
    [12, 5_000n, 5n],
    [0x80 | 10, 512n, 500_000_000n],
  ])("a resolution of %i reads %i ticks as %i ns", (resolution, ticks, timestamp) => {
    const options: Fields = [
      [9, 2],
      [1, 2],
      [resolution, 1],
      [0, 1],
      [0, 2],
    ];
    const bytes = concat(section(true), describeInterface(true, 1, 0, options), enhanced(true, 0, ticks, first));
    expect(readCapture(bytes, "x").packets[0]!.timestamp).toBe(timestamp);
  });

  it("an offset of stamps is added, in seconds", () => {
    const options: Fields = [
      [14, 2],
      [8, 2],
      [100n, 8],
    ];
    const bytes = concat(section(false), describeInterface(false, 1, 0, options), enhanced(false, 0, 7n, first));
    expect(readCapture(bytes, "x").packets[0]!.timestamp).toBe(100_000_007_000n);
  });

  it("reads simple packets, cut at the interface's snap length, and old packet blocks", () => {
    const bytes = concat(
      section(true),
      describeInterface(true, 1, 20),
      block(true, 3, [60, first.subarray(0, 20)]),
      block(true, 2, [[0, 2], [0, 2], 0, 9, 43, 43, second]),
    );
    const [simple, old] = readCapture(bytes, "x").packets;
    expect(simple).toMatchObject({ timestamp: 0n, originalLength: 60 });
    expect(simple!.data).toEqual(first.subarray(0, 20));
    expect(old).toMatchObject({ timestamp: 9000n, data: second });
  });

  it.each([
    [
      concat(section(true), new Uint8Array(5)),
      "x: block 2 at offset 28 (after 0 packets): is cut: a block has at least 12 bytes, 5 are left",
    ],
    [concat(section(true), enhanced(true, 3, 0n, first)), "is of interface 3; the section has described 0 so far"],
    [
      concat(section(true), build(true, [6, 10, 10])),
      "says that it has 10 bytes; a block has a multiple of 4, and at least 12",
    ],
    [concat(section(true), build(true, [6, 4096, 0])), "is cut: it has 4096 bytes, 12 are left"],
    [concat(section(true), build(true, [5, 16, 0, 20])), "has two lengths: 16 at its beginning, 20 at its end"],
    [concat(section(true), block(true, 1, [0])), "has a body of 4 bytes; one of type 1 has at least 8"],
    [build(true, [0x0a0d0d0a, 28, 7, 0, 0, 0, 28]), "has the byte-order magic 0x00000007; expected 0x1a2b3c4d"],
    [
      concat(section(true), describeInterface(true), block(true, 6, [0, 0, 0, 100, 100, first])),
      "x: block 3 at offset 48 (after 0 packets): is cut: it has 100 bytes, 60 are left",
    ],
  ])("refuses a damaged block, and says where and how (%#)", (bytes, message) => {
    expect(() => readCapture(bytes, "x")).toThrow(CaptureError);
    expect(() => readCapture(bytes, "x")).toThrow(message);
  });
});

describe("any bytes", () => {
  const good = concat(
    section(true),
    describeInterface(true, 1, 0, [
      [9, 2],
      [1, 2],
      [9, 1],
      [0, 1],
      [0, 2],
      [0, 2],
      [0, 2],
    ]),
    enhanced(true, 0, 5n, first),
    block(true, 3, [60, first]),
  );
  const readsOrRefuses = (bytes: Uint8Array) => {
    try {
      readCapture(bytes, "x");
    } catch (error) {
      expect(error).toBeInstanceOf(CaptureError);
    }
  };

  it("every cut of a capture is read or refused by a CaptureError", () => {
    for (const whole of [good, writePcap(packets)]) {
      for (let length = 0; length < whole.length; length++) readsOrRefuses(whole.subarray(0, length));
    }
  });

  it("every change of a capture is read or refused by a CaptureError", () => {
    const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.constantFrom(good, writePcap(packets)), changes, (whole, edits) => {
        const bytes = whole.slice();
        for (const [at, value] of edits) bytes[at % bytes.length] = value;
        readsOrRefuses(bytes);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("tcpdump", () => {
  const present = spawnSync("tcpdump", ["--version"]).status === 0;
  it.skipIf(!present)("reads what we write, with the same stamps and bytes (skipped where tcpdump is absent)", () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-pcap-"));
    try {
      const file = join(folder, "x.pcap");
      writeFileSync(file, writePcap(packets));
      const options = ["-r", file, "-tt", "-n", "-xx", "--time-stamp-precision=nano"];
      const { stdout } = spawnSync("tcpdump", options, { encoding: "utf8" });
      expect(stdout).toContain("1700000000.123456789 ");
      expect(stdout).toContain("1700000001.000000001 ");
      const dumped = [...stdout.matchAll(/^\s+0x[0-9a-f]{4}: {2}(.*)$/gm)].map(([, line]) => line!.replaceAll(" ", ""));
      expect(dumped.join("")).toBe([first, second].map((data) => Buffer.from(data).toString("hex")).join(""));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
