// The demo as plain lines, for a log or a pipe.

import { colors } from "./colors.ts";
import type { DemoRecord, Source, Totals } from "./demo.ts";
import { count, grouped } from "./values.ts";

type Of<Type extends DemoRecord["type"]> = Extract<DemoRecord, { readonly type: Type }>;

/** The lines of each kind of record; the last `progress` is left to the summary. */
const lines: { readonly [Type in DemoRecord["type"]]: (record: Of<Type>) => string[] } = {
  loaded: ({ kernel, object, program, maps, packets }) => [
    colors.bold(
      `${program} of ${object}, verified and loaded on the ${kernel} kernel; ${count(packets, "packet")} to replay`,
    ),
    `maps: ${maps.map(({ name, type }) => `${name} (${type})`).join(", ")}`,
  ],
  flow: (record) => [`${at(record.time)}  new flow   ${flowText(record)}`],
  progress: ({ time, totals }) => [`${at(time)}  totals     ${totalsText(totals)}`],
  blocked: (record) => [colors.yellow(`${at(record.time)}  blocklist  ${blockedText(record)}`)],
  pinned: ({ map, path }) => ["", `map ${map} pinned at ${path}`],
  summary: summaryLines,
};

/** What a record has to say, as lines. */
export function linesOf(record: DemoRecord): string[] {
  return (lines[record.type] as (record: DemoRecord) => string[])(record);
}

export function flowText({ protocol, source, sourcePort, destination, destinationPort }: Of<"flow">): string {
  const port = (number: number) => (number === 0 ? "" : `:${number}`);
  return `${protocol.padEnd(4)} ${source}${port(sourcePort)} → ${destination}${port(destinationPort)}`;
}

export function blockedText({ packet, source, flows }: Of<"blocked">): string {
  return `packet ${packet}: ${source} (${count(flows, "flow")}) goes on the blocklist: dropped from now on`;
}

export function totalsText({ packets, bytes, dropped }: Totals): string {
  return `${count(packets, "packet")}, ${count(bytes, "byte")}, ${grouped(dropped)} dropped`;
}

/** A table of sources, most bytes first. */
export function sourceLines(sources: readonly Source[]): string[] {
  const most = Math.max(1, ...sources.map(({ bytes }) => Number(bytes)));
  return [
    colors.dim(`${"source".padEnd(15)} ${"packets".padStart(8)} ${"bytes".padStart(12)}`),
    ...sources.map(({ address, packets, bytes, dropped }) => {
      const bar = "▇".repeat(Math.ceil((Number(bytes) / most) * BAR_WIDTH));
      const blocked = dropped === undefined ? "" : colors.red(` blocked, ${grouped(dropped)} dropped`);
      return `${address.padEnd(15)} ${grouped(packets).padStart(8)} ${grouped(bytes).padStart(12)}  ${colors.cyan(bar)}${blocked}`;
    }),
  ];
}

const BAR_WIDTH = 24;

function summaryLines({ path, totals, flows, sources }: Of<"summary">): string[] {
  return [
    `opened again by its path: ${count(sources.length, "source")}`,
    "",
    ...sourceLines(sources),
    "",
    colors.bold(`${totalsText(totals)}, ${count(flows, "flow")}`),
    `pin ${path} removed`,
  ];
}

const at = (time: number): string => `${time.toFixed(3).padStart(7)} s`;
