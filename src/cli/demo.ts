// `skep demo`: a packet capture is replayed through an XDP program, and the program and this process talk through maps.
// The story is told as records, the same on every kernel; demo-screen.ts, demo-lines.ts and JSON show them.

import { setTimeout as sleep } from "node:timers/promises";
import { BpfMap } from "../client/map.ts";
import type { KeyedMap } from "../client/maps/keyed.ts";
import type { RingBufferMap } from "../client/maps/ring-buffer.ts";
import { BpfObject } from "../client/object.ts";
import { struct } from "../codec/composites.ts";
import { u32, u64 } from "../codec/scalars.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Capture } from "../pcap/pcap.ts";
import { provideBpffs } from "./bpffs.ts";
import type { Input } from "./files.ts";

/** struct counters of flows.bpf.c, and the address they are of. */
export interface Source {
  readonly address: string;
  readonly packets: bigint;
  readonly bytes: bigint;
  /** Packets that the program has dropped since the address is on the blocklist; absent where it is not. */
  readonly dropped?: bigint;
}

/** struct totals of flows.bpf.c, added up over the CPUs. */
export interface Totals {
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly dropped: bigint;
}

/** What happens, in turn. `packet` counts from 1; `time` is seconds of the capture. */
export type DemoRecord =
  | {
      readonly type: "loaded";
      readonly kernel: string;
      readonly object: string;
      readonly program: string;
      readonly maps: readonly { readonly name: string; readonly type: string }[];
      readonly packets: number;
    }
  | {
      readonly type: "flow";
      readonly packet: number;
      readonly time: number;
      readonly protocol: string;
      readonly source: string;
      readonly sourcePort: number;
      readonly destination: string;
      readonly destinationPort: number;
    }
  | {
      readonly type: "blocked";
      readonly packet: number;
      readonly time: number;
      readonly source: string;
      readonly flows: number;
    }
  | {
      readonly type: "progress";
      readonly packet: number;
      readonly time: number;
      readonly totals: Totals;
      readonly sources: readonly Source[];
    }
  | { readonly type: "pinned"; readonly map: string; readonly path: string }
  | {
      readonly type: "summary";
      readonly path: string;
      readonly totals: Totals;
      readonly flows: number;
      /** As read from the pinned map, most bytes first. */
      readonly sources: readonly Source[];
    };

export interface DemoOptions {
  /** flows.bpf.o */
  readonly object: Input;
  readonly capture: Capture;
  /** Whether to wait between packets as long as the capture did. */
  readonly live: boolean;
  /** Seconds of the capture between `progress` records. */
  readonly interval: number;
  /** Ends the demo; what it has made is taken away first. */
  readonly signal?: AbortSignal;
}

/** Before this packet, the source with the most flows goes on the blocklist. */
const BLOCK_AT = 220;

/** struct flow of flows.bpf.c. */
interface Flow {
  readonly source: number;
  readonly destination: number;
  readonly source_port: number;
  readonly destination_port: number;
  readonly protocol: number;
}

interface Counters {
  readonly packets: bigint;
  readonly bytes: bigint;
}

type FlowMaps = {
  readonly sources: KeyedMap<number, Counters>;
  readonly totals: KeyedMap<number, Totals[]>;
  readonly events: RingBufferMap;
  readonly blocklist: KeyedMap<number, bigint>;
};

/** @throws what loading, running and pinning throw; an AbortError when `signal` aborts */
export async function* demo(kernel: Kernel, options: DemoOptions): AsyncGenerator<DemoRecord, void, undefined> {
  const { object, capture, live, interval, signal } = options;
  using loaded = BpfObject.load<FlowMaps>(kernel, object.bytes, { name: object.name });
  const { maps, programs } = loaded;
  const program = programs.watch_flows!;
  yield {
    type: "loaded",
    kernel: kernel.kind,
    object: object.name,
    program: program.name,
    maps: Object.values<BpfMap>(maps).map(({ name, type }) => ({ name, type })),
    packets: capture.packets.length,
  };

  using events = maps.events.ringBuffer({ record: loaded.codec<Flow>("flow") });
  const flowsOf = new Map<number, number>();
  const start = capture.packets[0]?.timestamp ?? 0n;
  const began = performance.now();
  let nextProgress = interval;
  let packet = 0;
  let time = 0;
  for (const { data, timestamp } of capture.packets) {
    packet++;
    time = Number(timestamp - start) / 1e9;
    for (; time >= nextProgress; nextProgress += interval) {
      if (live) await sleep(Math.max(0, began + nextProgress * 1000 - performance.now()), undefined, { signal });
      yield { type: "progress", packet: packet - 1, time: nextProgress, ...readCounters(maps) };
    }
    signal?.throwIfAborted();
    if (packet === BLOCK_AT) {
      const [source, flows] = [...flowsOf].reduce((most, each) => (each[1] > most[1] ? each : most));
      maps.blocklist.set(source, 0n);
      yield { type: "blocked", packet, time, source: address(source), flows };
    }
    program.testRun({ data });
    for (const flow of events.drain()) {
      flowsOf.set(flow.source, (flowsOf.get(flow.source) ?? 0) + 1);
      yield {
        type: "flow",
        packet,
        time,
        protocol: protocolName(flow.protocol),
        source: address(flow.source),
        sourcePort: flow.source_port,
        destination: address(flow.destination),
        destinationPort: flow.destination_port,
      };
    }
  }
  const { totals, sources } = readCounters(maps);
  yield { type: "progress", packet, time, totals, sources };

  const flows = [...flowsOf.values()].reduce((sum, each) => sum + each, 0);
  using bpffs = provideBpffs(kernel);
  const path = `${bpffs.path}/skep_demo_${process.pid}`;
  maps.sources.pin(path);
  let pinned: Source[];
  try {
    yield { type: "pinned", map: "sources", path };
    using again = BpfMap.open(kernel, path, { key: u32, value: struct({ packets: u64, bytes: u64 }) });
    pinned = readSources(again, maps.blocklist);
  } finally {
    kernel.bpffs.unlink(path);
  }
  yield { type: "summary", path, totals, flows, sources: pinned };
}

function readCounters({ totals, sources, blocklist }: FlowMaps): { totals: Totals; sources: Source[] } {
  const sum = { packets: 0n, bytes: 0n, dropped: 0n };
  for (const cpu of totals.get(0) ?? []) {
    sum.packets += cpu.packets;
    sum.bytes += cpu.bytes;
    sum.dropped += cpu.dropped;
  }
  return { totals: sum, sources: readSources(sources, blocklist) };
}

/** Most bytes first, so that the order does not depend on the kernel's hash. */
function readSources(sources: KeyedMap<number, Counters>, blocklist: KeyedMap<number, bigint>): Source[] {
  return [...sources]
    .map(([key, { packets, bytes }]) => {
      const dropped = blocklist.get(key);
      return { address: address(key), packets, bytes, ...(dropped === undefined ? {} : { dropped }) };
    })
    .sort((a, b) => Number(b.bytes - a.bytes) || (a.address < b.address ? -1 : 1));
}

/** The address that lies in a `__be32`, which a little-endian machine reads backwards. */
function address(value: number): string {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24].join(".");
}

const protocolNames: Readonly<Record<number, string>> = { 1: "ICMP", 6: "TCP", 17: "UDP" };

function protocolName(protocol: number): string {
  return protocolNames[protocol] ?? `protocol ${protocol}`;
}
