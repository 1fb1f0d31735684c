import { existsSync } from "node:fs";
import { expect, it } from "vitest";
import { openLinux } from "../../test/open-linux.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { openKernel } from "../open.node.ts";
import type { Capture } from "../pcap/pcap.ts";
import { type DemoRecord, demo } from "./demo.ts";
import { linesOf } from "./demo-lines.ts";
import { DemoScreen } from "./demo-screen.ts";
import { readFrames, readInput } from "./files.ts";
import { jsonLine } from "./values.ts";

const flows = new URL("../../examples/flows/", import.meta.url);
const options = async () => ({
  object: await readInput(new URL("flows.bpf.o", flows)),
  capture: await readFrames(new URL("traffic.pcap", flows)),
  live: false,
  interval: 1,
});

async function tell(kernel: Kernel): Promise<DemoRecord[]> {
  const records: DemoRecord[] = [];
  for await (const record of demo(kernel, await options())) records.push(record);
  return records;
}

const last = <Type extends DemoRecord["type"]>(records: readonly DemoRecord[], type: Type) =>
  records.findLast((record) => record.type === type) as Extract<DemoRecord, { type: Type }>;

/** What flows.bpf.c ought to count, counted here. */
function expected({ packets }: Capture, blocked: { packet: number; source: string }) {
  const sources = new Map<string, { packets: bigint; bytes: bigint }>();
  const totals = { packets: 0n, bytes: 0n, dropped: 0n };
  for (const [index, { data }] of packets.entries()) {
    totals.packets++;
    totals.bytes += BigInt(data.length);
    if (data[12] !== 0x08 || data[13] !== 0x00) continue;
    const address = data.subarray(26, 30).join(".");
    if (address === blocked.source && index + 1 >= blocked.packet) {
      totals.dropped++;
      continue;
    }
    const { packets, bytes } = sources.get(address) ?? { packets: 0n, bytes: 0n };
    sources.set(address, { packets: packets + 1n, bytes: bytes + BigInt(data.length) });
  }
  return { sources, totals };
}

it("the program's counts are those of the capture, and a blocked source is counted no longer", async () => {
  using kernel = await openKernel({ kind: "embedded" });
  const records = await tell(kernel);
  const blocked = last(records, "blocked");
  expect(blocked).toMatchObject({ source: "10.0.0.66" });
  const { sources, totals } = expected((await options()).capture, blocked);
  const summary = last(records, "summary");
  expect(summary.totals).toEqual(totals);
  expect(totals.dropped).toBeGreaterThan(50n);
  expect(new Map(summary.sources.map(({ address, packets, bytes }) => [address, { packets, bytes }]))).toEqual(sources);
  expect(summary.sources.find(({ address }) => address === blocked.source)?.dropped).toBe(totals.dropped);
  expect(records.filter(({ type }) => type === "flow")).toHaveLength(summary.flows);
});

it("both kernels tell the same", async (context) => {
  using linux = await openLinux(context);
  using embedded = await openKernel({ kind: "embedded" });
  const comparable = (records: readonly DemoRecord[]) =>
    records.map((record) => jsonLine({ ...record, kernel: undefined, path: undefined }));
  expect(comparable(await tell(embedded))).toEqual(comparable(await tell(linux)));
});

it("a demo that is broken off leaves no pin behind", async () => {
  using kernel = await openKernel({ kind: "embedded" });
  for await (const { type } of demo(kernel, await options())) {
    if (type !== "pinned") continue;
    expect(kernel.bpffs.readdir("/sys/fs/bpf")).toHaveLength(1);
    break;
  }
  expect(kernel.bpffs.readdir("/sys/fs/bpf")).toEqual([]);
});

it("a signal ends a demo that waits, and on Linux its own BPF file system goes too", async (context) => {
  using kernel = await openLinux(context);
  const controller = new AbortController();
  const live = { ...(await options()), live: true, interval: 0.1, signal: controller.signal };
  setTimeout(() => controller.abort(), 50);
  const ended = (async () => {
    for await (const _ of demo(kernel, live));
  })();
  await expect(ended).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));

  let path = "";
  for await (const record of demo(kernel, await options())) if (record.type === "pinned") path = record.path;
  expect(path).not.toBe("");
  expect(existsSync(path)).toBe(false);
});

it("lines and screen show what is in the records", async () => {
  using kernel = await openKernel({ kind: "embedded" });
  const records = await tell(kernel);
  const lines = records.flatMap(linesOf).join("\n");
  expect(lines).toContain("watch_flows of flows.bpf.o, verified and loaded on the embedded kernel; 442 packets");
  expect(lines).toContain("sources (hash), ");
  expect(lines).toContain("10.0.0.66 (58 flows) goes on the blocklist");
  expect(lines).toMatch(/10\.0\.0\.3 +90 +122,220/);

  let shown = "";
  const write = (text: string) => {
    shown += text;
    return true;
  };
  {
    using screen = new DemoScreen({ write, rows: 50 });
    for (const record of records) screen.show(record);
  }
  expect(shown.startsWith("\x1b[?25l")).toBe(true);
  expect(shown.endsWith("\x1b[?25h\x1b[?7h")).toBe(true);
  expect(shown).toContain("new flows (");
  expect(shown).toMatch(/10\.0\.0\.66 .* dropped/);
});
