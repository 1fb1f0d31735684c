// Makes traffic.pcap: eight seconds of a small network with a dozen hosts, one of which scans the others.
// Run with: npx tsx examples/flows/make-traffic.ts

import { writeFileSync } from "node:fs";
import { writePcap } from "../../src/pcap/pcap.ts";

const SEED = 20_260_207;
const START = 1_767_225_600_000_000_000n;
const MILLISECOND = 1_000_000;

const ICMP = 1;
const TCP = 6;
const UDP = 17;

/** Milliseconds since the start, and the packet. */
interface Sent {
  readonly time: number;
  readonly data: Uint8Array;
}

interface Endpoint {
  readonly host: number;
  readonly port: number;
}

const random = generator(SEED);
const between = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));

const SERVERS = [1, 2, 3];
const CLIENTS = [21, 22, 23, 24, 25, 26, 27, 28];
const SCANNER = 66;

const sent: Sent[] = [
  ...CLIENTS.flatMap((client) => [...browse(client), ...resolve(client), ...ping(client)]),
  ...stream(27, 3),
  ...scan(),
  ...arp(),
  ...neighbours(),
];
const packets = sent
  .sort((a, b) => a.time - b.time)
  .map(({ time, data }) => ({ data, timestamp: START + BigInt(Math.round(time * MILLISECOND)) }));
writeFileSync(new URL("traffic.pcap", import.meta.url), writePcap(packets));
console.log(`traffic.pcap: ${packets.length} packets`);

/** Requests of a client to the web server, and its answers. */
function browse(client: number): Sent[] {
  return Array.from({ length: between(1, 3) }, () => {
    const from = { host: client, port: between(32_768, 60_999) };
    const to = { host: 2, port: 443 };
    let time = between(0, 6500);
    return Array.from({ length: between(2, 6) }, () => {
      time += between(5, 250);
      const ask = { time, data: ipv4(TCP, from, to, between(40, 500)) };
      time += between(2, 40);
      return [ask, { time, data: ipv4(TCP, to, from, between(400, 1400)) }];
    }).flat();
  }).flat();
}

/** Questions of a client to the name server. */
function resolve(client: number): Sent[] {
  return Array.from({ length: 2 }, () => {
    const from = { host: client, port: between(32_768, 60_999) };
    const to = { host: 1, port: 53 };
    const time = between(0, 7500);
    return [
      { time, data: ipv4(UDP, from, to, between(24, 60)) },
      { time: time + between(1, 15), data: ipv4(UDP, to, from, between(60, 200)) },
    ];
  }).flat();
}

function ping(client: number): Sent[] {
  if (client % 4 !== 1) return [];
  const [from, to] = [
    { host: client, port: 0 },
    { host: 1, port: 0 },
  ];
  return [0, 1, 2, 3].flatMap((second) => {
    const time = 400 + second * 1000 + client;
    return [
      { time, data: ipv4(ICMP, from, to, 56) },
      { time: time + 1.25, data: ipv4(ICMP, to, from, 56) },
    ];
  });
}

/** A video stream: the largest sender by bytes. */
function stream(client: number, server: number): Sent[] {
  return Array.from({ length: 90 }, (_, index) => ({
    time: 900 + index * 70 + between(0, 20),
    data: ipv4(UDP, { host: server, port: 5004 }, { host: client, port: 40_000 }, 1316),
  }));
}

/** One small packet to each of many ports: a new flow every time. */
function scan(): Sent[] {
  return Array.from({ length: 160 }, (_, index) => {
    const target = { host: SERVERS[index % SERVERS.length]!, port: 20 + index * 7 };
    return { time: 1800 + index * 38 + between(0, 9), data: ipv4(TCP, { host: SCANNER, port: 54_321 }, target, 0) };
  });
}

function arp(): Sent[] {
  return CLIENTS.map((client, index) => {
    const data = ethernet(0x0806, 28, client, 0xff);
    data.set([0, 1, 8, 0, 6, 4, 0, 1, ...mac(client), ...address(client), 0, 0, 0, 0, 0, 0, ...address(1)], 14);
    return { time: 20 + index * 900, data };
  });
}

/** ICMPv6 neighbour solicitations: packets that the program counts but does not look into. */
function neighbours(): Sent[] {
  return CLIENTS.map((client, index) => {
    const data = ethernet(0x86dd, 40 + 24, client, 1);
    const linkLocal = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    data.set([0x60, 0, 0, 0, 0, 24, 58, 255, ...linkLocal, client, ...linkLocal, 1, 135, 0], 14);
    data.set([...linkLocal, 1], 62);
    return { time: 300 + index * 850, data };
  });
}

function ipv4(protocol: number, from: Endpoint, to: Endpoint, payload: number): Uint8Array {
  const header = { [ICMP]: 8, [TCP]: 20, [UDP]: 8 }[protocol]!;
  const length = 20 + header + payload;
  const data = ethernet(0x0800, length, from.host, to.host);
  const view = new DataView(data.buffer, 14);
  data.set([0x45, 0], 14);
  view.setUint16(2, length);
  view.setUint16(4, between(0, 0xffff));
  view.setUint16(6, 0x4000);
  view.setUint8(8, 64);
  view.setUint8(9, protocol);
  data.set([...address(from.host), ...address(to.host)], 26);
  view.setUint16(10, checksum(data.subarray(14, 34)));
  if (protocol === ICMP) {
    view.setUint8(20, to.host === 1 ? 8 : 0);
    return data;
  }
  view.setUint16(20, from.port);
  view.setUint16(22, to.port);
  if (protocol === UDP) {
    view.setUint16(24, header + payload);
  } else {
    view.setUint32(24, between(0, 0x7fffffff));
    view.setUint8(32, 0x50);
    view.setUint8(33, payload === 0 ? 0x02 : 0x18);
    view.setUint16(34, 64_240);
  }
  return data;
}

function ethernet(type: number, length: number, from: number, to: number): Uint8Array {
  const data = new Uint8Array(Math.max(60, 14 + length));
  data.set([...mac(to), ...mac(from), type >> 8, type & 0xff]);
  return data;
}

function mac(host: number): number[] {
  return host === 0xff ? [255, 255, 255, 255, 255, 255] : [2, 0, 0, 0, 0, host];
}

function address(host: number): number[] {
  return [10, 0, 0, host];
}

function checksum(header: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += (header[at]! << 8) | header[at + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Numbers in [0, 1) that are the same for the same seed: a linear congruential generator (Numerical Recipes). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
