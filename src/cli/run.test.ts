import { describe, expect, it, type TestContext } from "vitest";
import { openLinux } from "../../test/open-linux.ts";
import { EmbeddedKernel } from "../embedded/kernel.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Capture } from "../pcap/pcap.ts";
import { readFrames, readInput } from "./files.ts";
import { type RunRecord, RunReport, run } from "./run.ts";

const flows = new URL("../../examples/flows/", import.meta.url);
const examples = new URL("../../examples/", import.meta.url);

const open = async (kind: Kernel["kind"], context: TestContext): Promise<Kernel> =>
  kind === "linux" ? openLinux(context) : new EmbeddedKernel();

const captureOf = (...lengths: number[]): Capture => ({
  name: "x.pcap",
  format: "pcap",
  packets: lengths.map((length) => ({
    data: new Uint8Array(length),
    timestamp: 0n,
    originalLength: length,
    linkType: 1,
    interface: 0,
  })),
});

const only = <Type extends RunRecord["type"]>(records: readonly RunRecord[], type: Type) =>
  records.filter((record) => record.type === type) as Extract<RunRecord, { type: Type }>[];

describe.each(["embedded", "linux"] as const)("on %s", (kind) => {
  it("counts the answers, gives ring buffer records as they come, and dumps the maps", async (context) => {
    using kernel = await open(kind, context);
    const object = await readInput(new URL("flows.bpf.o", flows));
    const records = [...run(kernel, { object, capture: await readFrames(new URL("traffic.pcap", flows)) })];
    expect(records[0]).toEqual({
      type: "program",
      program: "watch_flows",
      section: "xdp",
      programType: "xdp",
      kernel: kind,
    });
    const [answers] = only(records, "answers");
    expect(answers).toMatchObject({
      packets: 442,
      answers: [{ value: 2, name: "XDP_PASS", packets: 442 }],
      skipped: [],
    });
    const maps = new Map(only(records, "map").map(({ map, mapType, entries }) => [map, [mapType, entries]]));
    expect(maps).toEqual(
      new Map<string, [string, number]>([
        ["sources", ["hash", 12]],
        ["totals", ["percpu_array", 1]],
        ["flows", ["hash", only(records, "event").length]],
        ["events", ["ringbuf", only(records, "event").length]],
        ["blocklist", ["hash", 0]],
      ]),
    );
    const totals = only(records, "element").find(({ map }) => map === "totals")!;
    const packets = (totals.value as { packets: bigint }[]).reduce((sum, cpu) => sum + cpu.packets, 0n);
    expect(packets).toBe(442n);
  });

  it("a packet that the kernel does not take is skipped, and the reason told", async (context) => {
    using kernel = await open(kind, context);
    const object = await readInput(new URL("counter/counter.bpf.o", examples));
    const [answers] = only([...run(kernel, { object, capture: captureOf(0, 13, 14, 60, 1_000_000) })], "answers");
    expect(answers).toMatchObject({ packets: 2 });
    expect(answers!.skipped).toMatchObject([
      { reason: "shorter than an Ethernet header (14 bytes)", packets: 2 },
      { reason: expect.stringContaining("longer than the kernel takes"), packets: 1 },
    ]);
  });

  it("so is one that ends before its IP header, where the program type needs that", async (context) => {
    using kernel = await open(kind, context);
    const object = await readInput(new URL("legacy-maps/legacy-maps.bpf.o", examples));
    const capture = captureOf(33, 34);
    for (const { data } of capture.packets) data.set([0x08, 0x00], 12);
    const [answers] = only([...run(kernel, { object, capture })], "answers");
    expect(answers).toMatchObject({
      packets: 1,
      skipped: [{ reason: "shorter than its IP header (EINVAL)", packets: 1 }],
    });
  });

  it("a cgroup_skb program passes or drops", async (context) => {
    using kernel = await open(kind, context);
    const object = await readInput(new URL("../../test/fixtures/cgroup-skb.bpf.o", import.meta.url));
    const records = [...run(kernel, { object, capture: captureOf(60, 200, 60) })];
    expect(only(records, "answers")[0]!.answers).toEqual([
      { value: 1, name: "pass", packets: 2 },
      { value: 0, name: "drop", packets: 1 },
    ]);
  });

  it("a socket filter keeps or drops; a map without BTF is dumped as bytes", async (context) => {
    using kernel = await open(kind, context);
    const object = await readInput(new URL("legacy-maps/legacy-maps.bpf.o", examples));
    const records = [...run(kernel, { object, capture: captureOf(60, 60, 14) })];
    expect(only(records, "answers")[0]!.answers).toEqual([
      { value: 46, name: "keep", packets: 2 },
      { value: 0, name: "drop", packets: 1 },
    ]);
    const elements = only(records, "element").map(({ key, value }) => [
      ...(key as Uint8Array),
      ...(value as Uint8Array),
    ]);
    expect(elements.sort((a, b) => a[0]! - b[0]!)).toEqual([
      [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
      [46, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
    ]);
  });
});

it("each program begins with fresh maps, and one can be chosen by its name", async (context) => {
  using kernel = await open("embedded", context);
  const object = await readInput(new URL("flows.bpf.o", flows));
  const capture = captureOf(60);
  expect(only([...run(kernel, { object, capture, program: "watch_flows" })], "program")).toHaveLength(1);
  expect(() => [...run(kernel, { object, capture, program: "other" })]).toThrow(
    'flows.bpf.o: has no program "other"; its programs: watch_flows (xdp)',
  );
});

it("a report for people leaves out the zeros of arrays and counts them", () => {
  const lines: string[] = [];
  const report = new RunReport((line) => lines.push(line));
  const of = { program: "p", map: "a" };
  report.show({ type: "map", ...of, mapType: "array", maxEntries: 3, entries: 3 });
  for (const [key, value] of [0, 7, 0].entries()) report.show({ type: "element", ...of, key, value });
  report.end();
  expect(lines.slice(1)).toEqual(["    1: 7", "    and 2 elements of zeros"]);
});
