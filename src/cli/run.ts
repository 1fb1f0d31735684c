// `skep run`: the packet programs of any object, each on its own over all packets of a capture, and what is in the maps then.

import { BpfError } from "../client/errors.ts";
import type { BpfMap } from "../client/map.ts";
import { KeyedMap } from "../client/maps/keyed.ts";
import { RingBufferMap } from "../client/maps/ring-buffer.ts";
import { BpfObject } from "../client/object.ts";
import { type BpfProgram, programTypeName } from "../client/program.ts";
import type { RingBuffer } from "../client/ring-buffer.ts";
import { readObject } from "../elf/object.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Capture } from "../pcap/pcap.ts";
import type { MapSpec, ObjectSpec, ProgramSpec } from "../spec/spec.ts";
import { packetTypes, readAnswer, takesPackets } from "./answers.ts";
import { colors } from "./colors.ts";
import { CliError, type Input } from "./files.ts";
import { count, grouped, hex, isZero, text } from "./values.ts";

/** What a run tells, in turn, for each program. */
export type RunRecord =
  | {
      readonly type: "program";
      readonly program: string;
      readonly section: string;
      readonly programType: string;
      readonly kernel: string;
    }
  /** A record that the program wrote into a ring buffer. */
  | {
      readonly type: "event";
      readonly program: string;
      readonly map: string;
      readonly packet: number;
      readonly bytes: Uint8Array;
    }
  | {
      readonly type: "answers";
      readonly program: string;
      /** Packets that the program has answered. */
      readonly packets: number;
      readonly answers: readonly Answer[];
      /** Packets that the kernel did not take, by the reason. */
      readonly skipped: readonly { readonly reason: string; readonly packets: number }[];
    }
  | {
      readonly type: "map";
      readonly program: string;
      readonly map: string;
      readonly mapType: string;
      readonly maxEntries: number;
      /** Elements, variables or events. */
      readonly entries: number;
    }
  /** For a per-CPU map, `value` has one element for each possible CPU. */
  | {
      readonly type: "element";
      readonly program: string;
      readonly map: string;
      readonly key: unknown;
      readonly value: unknown;
    }
  /** Global data: `map` is its section. */
  | {
      readonly type: "variable";
      readonly program: string;
      readonly map: string;
      readonly name: string;
      readonly value: unknown;
    };

interface Answer {
  /** The program's return value. */
  readonly value: number;
  readonly name?: string;
  readonly packets: number;
}

export interface RunOptions {
  readonly object: Input;
  readonly capture: Capture;
  /** Only the program of this name. */
  readonly program?: string;
}

/** @throws CliError where there is no program to run; what reading, loading and running throw */
export function* run(kernel: Kernel, { object, capture, program }: RunOptions): Generator<RunRecord, void, undefined> {
  const spec = withoutPins(readObject(object.bytes, object.name));
  for (const chosen of choosePrograms(spec, program)) yield* runProgram(kernel, spec, chosen, capture);
}

/** The object with maps of its own, also where it asks for pinned ones, which would outlive the run. */
function withoutPins(spec: ObjectSpec): ObjectSpec {
  const maps = Object.entries(spec.maps).map(([name, map]) => [name, { ...map, pinByName: false }]);
  return { ...spec, maps: Object.fromEntries(maps) };
}

function choosePrograms(spec: ObjectSpec, name: string | undefined): ProgramSpec[] {
  const all = Object.values(spec.programs);
  const there = all.map((program) => `${program.name} (${programTypeName(program.type)})`).join(", ") || "none";
  if (name === undefined) {
    const chosen = all.filter(takesPackets);
    if (chosen.length === 0)
      throw new CliError(`${spec.name}: has no program that takes packets; its programs: ${there}`);
    return chosen;
  }
  const chosen = all.find((program) => program.name === name);
  if (chosen === undefined) throw new CliError(`${spec.name}: has no program "${name}"; its programs: ${there}`);
  if (takesPackets(chosen)) return [chosen];
  throw new CliError(
    `${spec.name}: program "${name}" of section "${chosen.section}" takes no packets; these types do: ${packetTypes.join(", ")}`,
  );
}

/** Loads the object afresh, so that each program begins with the maps as the object declares them. */
function* runProgram(kernel: Kernel, spec: ObjectSpec, program: ProgramSpec, capture: Capture): Generator<RunRecord> {
  using loaded = BpfObject.load(kernel, spec, { programs: [program.name] });
  const { name, section, type } = program;
  yield { type: "program", program: name, section, programType: programTypeName(type), kernel: kernel.kind };

  using readers = new Readers(loaded.maps);
  const answers = new Map<number, number>();
  const skipped = new Map<string, number>();
  for (const [index, { data }] of capture.packets.entries()) {
    const result = answer(loaded.programs[name]!, data);
    if (typeof result === "string") increment(skipped, result);
    else increment(answers, result);
    for (const [map, bytes] of readers.drain()) yield { type: "event", program: name, map, packet: index + 1, bytes };
  }
  yield {
    type: "answers",
    program: name,
    packets: [...answers.values()].reduce((sum, packets) => sum + packets, 0),
    answers: [...answers]
      .map(([value, packets]) => ({ ...readAnswer(type, value), packets }))
      .sort((a, b) => b.packets - a.packets || a.value - b.value),
    skipped: [...skipped].map(([reason, packets]) => ({ reason, packets })),
  };
  for (const mapSpec of Object.values(spec.maps)) {
    yield* dump(name, spec, mapSpec, loaded.maps[mapSpec.name]!, readers);
  }
}

const ETHERNET_HEADER = 14;
/** Bytes of the longest frame that every kernel takes. */
const ETHERNET_FRAME = 1514;

/** The program's return value, or why the kernel does not take the packet. */
function answer(program: BpfProgram, data: Uint8Array): number | string {
  if (data.length < ETHERNET_HEADER) return `shorter than an Ethernet header (${ETHERNET_HEADER} bytes)`;
  try {
    return program.testRun({ data }).returnValue;
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    if (data.length > ETHERNET_FRAME) return `longer than the kernel takes for a program of this type (${error.code})`;
    if (data.length < shortestFrame(data)) return `shorter than its IP header (${error.code})`;
    throw error;
  }
}

/** Bytes that the kernel wants of a frame where its program reads what is behind the Ethernet header. */
function shortestFrame(data: Uint8Array): number {
  const etherType = new DataView(data.buffer, data.byteOffset).getUint16(12);
  return ETHERNET_HEADER + (IP_HEADERS[etherType] ?? 0);
}

/** Bytes of the shortest header, by Ethernet type. */
const IP_HEADERS: Readonly<Record<number, number>> = { 2048: 20, 34525: 40 };

function increment<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** A reader of each ring buffer, emptied after each packet so that none is lost. */
class Readers implements Disposable {
  readonly counts = new Map<string, number>();
  readonly #readers: readonly (readonly [name: string, reader: RingBuffer])[];

  constructor(maps: Readonly<Record<string, BpfMap>>) {
    this.#readers = Object.entries(maps).flatMap(([name, map]) =>
      map instanceof RingBufferMap ? [[name, map.ringBuffer()] as const] : [],
    );
  }

  *drain(): Generator<readonly [map: string, bytes: Uint8Array]> {
    for (const [name, reader] of this.#readers) {
      for (const bytes of reader.drain()) {
        increment(this.counts, name);
        yield [name, bytes];
      }
    }
  }

  [Symbol.dispose](): void {
    for (const [, reader] of this.#readers) reader.close();
  }
}

function* dump(
  program: string,
  object: ObjectSpec,
  spec: MapSpec,
  map: BpfMap,
  readers: Readers,
): Generator<RunRecord> {
  const of = { program, map: spec.name };
  const header = { type: "map", ...of, mapType: map.type, maxEntries: map.maxEntries } as const;
  if (!(map instanceof KeyedMap)) {
    yield { ...header, entries: readers.counts.get(spec.name) ?? 0 };
    return;
  }
  const entries = [...map].sort(([a], [b]) => compareKeys(a, b));
  const variables = isData(spec) ? entries[0]?.[1] : undefined;
  if (variables !== undefined && !(variables instanceof Uint8Array) && object.btf !== undefined) {
    const values = Object.entries(variables as object);
    yield { ...header, entries: values.length };
    for (const [name, value] of values) yield { type: "variable", ...of, name, value };
    return;
  }
  yield { ...header, entries: entries.length };
  for (const [key, value] of entries) yield { type: "element", ...of, key, value };
}

/** Numbers by value, others by their text: a hash has an order of its own, which differs from run to run. */
function compareKeys(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return text(a) < text(b) ? -1 : 1;
}

/** Whether a map was made from a section of global data. */
const isData = (spec: MapSpec): boolean => spec.name.startsWith(".");

/** The lines that a person reads. */
export class RunReport {
  readonly #write: (line: string) => void;
  /** Zero elements of an array that were left out, and of which map. */
  #zeros = 0;
  #array = false;

  constructor(write: (line: string) => void) {
    this.#write = write;
  }

  show(record: RunRecord): void {
    if (record.type !== "element") this.#endElements();
    (this.#lines[record.type] as (record: RunRecord) => void)(record);
  }

  end(): void {
    this.#endElements();
  }

  readonly #lines: { readonly [Type in RunRecord["type"]]: (record: Extract<RunRecord, { type: Type }>) => void } = {
    program: ({ program, section, programType, kernel }) =>
      this.#write(colors.bold(`${program}: ${programType} program of section "${section}", on the ${kernel} kernel`)),
    event: ({ map, packet, bytes }) => this.#write(`  ${map}: packet ${packet}: ${hex(bytes, " ")}`),
    answers: ({ packets, answers, skipped }) => {
      this.#write(`  ${count(packets, "packet")} answered`);
      for (const { value, name, packets } of answers) {
        const answer = name === undefined ? `return value ${value}` : `${name} (${value})`;
        this.#write(`    ${grouped(packets).padStart(10)}  ${answer}`);
      }
      for (const { reason, packets } of skipped) {
        this.#write(colors.yellow(`    ${grouped(packets).padStart(10)}  skipped: ${reason}`));
      }
    },
    map: ({ map, mapType, maxEntries, entries }) => {
      this.#array = arrayTypes.has(mapType);
      const unit =
        mapType === "ringbuf" ? count(entries, "event") : `${grouped(entries)} of ${grouped(maxEntries)} entries`;
      this.#write(`  ${colors.bold(map)} (${mapType}): ${map.startsWith(".") ? count(entries, "variable") : unit}`);
    },
    element: ({ key, value }) => {
      if (this.#array && isZero(value)) this.#zeros++;
      else this.#write(`    ${text(key)}: ${text(value)}`);
    },
    variable: ({ name, value }) => this.#write(`    ${name} = ${text(value)}`),
  };

  #endElements(): void {
    if (this.#zeros > 0) this.#write(colors.dim(`    and ${count(this.#zeros, "element")} of zeros`));
    this.#zeros = 0;
  }
}

const arrayTypes: ReadonlySet<string> = new Set(["array", "percpu_array"]);
