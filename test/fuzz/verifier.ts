// Random programs on the embedded kernel and on the running one: the same verdict, and where both accept, the same result,
// packet and maps. A program without addresses in its results is one that is accepted without CAP_PERFMON too.

import { encodeInstructions, type Instruction } from "../../src/asm/instruction.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import {
  BPF_MAP_CREATE,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
  BPF_PROG_LOAD,
  BPF_PROG_TEST_RUN,
} from "../../src/uapi/commands.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_RINGBUF } from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP } from "../../src/uapi/program-types.ts";
import { randomNumbers } from "../differential/random-program.ts";
import { type FuzzMaps, randomPacketProgram, VALUE_SIZE } from "./random-packet-program.ts";

export interface Finding {
  readonly seed: number;
  /** `unsound`: accepted by the embedded kernel, refused by Linux; `strict`: the other way round; `result`: run differently. */
  readonly kind: "unsound" | "strict" | "result";
  readonly detail: string;
}

export interface Outcome {
  readonly accepted: boolean;
  readonly finding?: Finding;
}

/** The kernels that are compared; memory of WebAssembly is too dear for new ones each time. */
export interface Kernels {
  readonly linux: Kernel;
  readonly embedded: Kernel;
  /** The embedded kernel without CAP_PERFMON. */
  readonly cautious: Kernel;
}

const MEMORY_LIMIT = 1 << 28;

export const kernelsBeside = (linux: Kernel): Kernels => ({
  linux,
  embedded: new EmbeddedKernel({ memoryLimit: MEMORY_LIMIT }),
  cautious: new EmbeddedKernel({ memoryLimit: MEMORY_LIMIT, capabilities: ["CAP_BPF", "CAP_NET_ADMIN"] }),
});

/** Compares the program of one seed on both kernels. */
export function compare({ linux, embedded, cautious }: Kernels, seed: number, trial: MakeTrial = packetTrial): Outcome {
  const [ours, theirs] = [trial(embedded, seed), trial(linux, seed)];
  try {
    const accepted = ours.program >= 0 && theirs.program >= 0;
    if (ours.program >= 0 !== theirs.program >= 0) {
      const refusal = ours.program < 0 ? ours.refusal() : theirs.refusal();
      // Linux may fail at a program that it has verified, and says so: that is no verdict.
      if (refusal.startsWith("verifier bug: ")) return { accepted };
      return { accepted, finding: { seed, kind: ours.program < 0 ? "strict" : "unsound", detail: refusal } };
    }
    if (!accepted) return { accepted };
    const [mine, yours] = [ours.run(), theirs.run()];
    const check = trial(cautious, seed);
    const comparable = check.program >= 0;
    check.close();
    const differs = comparable ? mine !== yours : mine.split(" ")[0] !== yours.split(" ")[0];
    return differs
      ? { accepted, finding: { seed, kind: "result", detail: firstDifference(mine, yours) } }
      : { accepted };
  } finally {
    ours.close();
    theirs.close();
  }
}

function firstDifference(mine: string, yours: string): string {
  const theirs = yours.split(", ");
  const at = mine.split(", ").findIndex((part, index) => part !== theirs[index]);
  return `${mine.split(", ")[at]} but on Linux ${theirs[at]}`;
}

/** A random program on one kernel. */
export interface Trial {
  /** File descriptor, or -errno. */
  readonly program: number;
  /** Last line of the log. */
  refusal(): string;
  /** What a run did, as text that begins with its errno. */
  run(): string;
  close(): void;
}

/** Loads the program of a seed. */
export type MakeTrial = (kernel: Kernel, seed: number) => Trial;

const KEYS = 10;
const RING_SIZE = 4096;
const PAGE = 4096;
const PACKET = Uint8Array.from({ length: 80 }, (_, i) => (i * 37 + 11) & 0xff);
const license = new TextEncoder().encode("GPL\0");

export function programOf(seed: number, maps: FuzzMaps): { readonly isXdp: boolean; readonly code: Instruction[] } {
  const random = randomNumbers(seed * 7919);
  const [isXdp, wild] = [random(3) > 0, random(2) === 0];
  return { isXdp, code: randomPacketProgram(random, maps, isXdp, wild) };
}

function packetTrial(kernel: Kernel, seed: number): Trial {
  const value = { key_size: 4, value_size: VALUE_SIZE };
  const maps = {
    globals: kernel.bpf(BPF_MAP_CREATE, { ...value, map_type: BPF_MAP_TYPE_ARRAY, max_entries: 1 }),
    array: kernel.bpf(BPF_MAP_CREATE, { ...value, map_type: BPF_MAP_TYPE_ARRAY, max_entries: 8 }),
    hash: kernel.bpf(BPF_MAP_CREATE, { ...value, map_type: BPF_MAP_TYPE_HASH, max_entries: 6 }),
    ringbuf: kernel.bpf(BPF_MAP_CREATE, { map_type: BPF_MAP_TYPE_RINGBUF, max_entries: RING_SIZE }),
  };
  const { isXdp, code } = programOf(seed, maps);
  const attr = {
    prog_type: isXdp ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS,
    insns: encodeInstructions(code),
    insn_cnt: code.length,
    license,
  };
  const program = kernel.bpf(BPF_PROG_LOAD, attr);
  return {
    program,
    refusal: () => lastLine(kernel, attr),
    run() {
      fill(kernel, maps);
      const data_out = new Uint8Array(256);
      const run = { data_in: PACKET, data_size_in: PACKET.length, data_out, data_size_out: data_out.length, retval: 0 };
      const test = { prog_fd: program, ...run };
      const error = kernel.bpf(BPF_PROG_TEST_RUN, test);
      const packet = hex(data_out.subarray(0, test.data_size_out));
      return `${error} returns ${test.retval}, packet ${packet}, ${contents(kernel, maps)}`;
    },
    close() {
      for (const fd of [program, ...Object.values(maps)]) if (fd >= 0) kernel.close(fd);
    },
  };
}

/** Why a program is refused. */
export function lastLine(kernel: Kernel, attr: object): string {
  const log_buf = new Uint8Array(1 << 20);
  const again = kernel.bpf(BPF_PROG_LOAD, { ...attr, log_level: 1, log_size: log_buf.length, log_buf });
  if (again >= 0) kernel.close(again);
  const text = new TextDecoder().decode(log_buf.slice(0, log_buf.indexOf(0)));
  return text.trim().split("\n").slice(-4, -1).join(" | ");
}

const keyOf = (key: number): Uint8Array => Uint8Array.of(key, 0, 0, 0);

function fill(kernel: Kernel, { globals, array, hash }: FuzzMaps): void {
  for (const [map_fd, count] of [
    [globals, 1],
    [array, 8],
    [hash, 4],
  ] as const) {
    for (let key = 0; key < count; key++) {
      const value = Uint8Array.from({ length: VALUE_SIZE }, (_, i) => (key * 51 + i * 7) & 0xff);
      kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: keyOf(key), value, flags: 0n });
    }
  }
}

function contents(kernel: Kernel, maps: FuzzMaps): string {
  const parts: string[] = [];
  for (const name of ["globals", "array", "hash"] as const) {
    for (let key = 0; key < KEYS; key++) {
      const value = new Uint8Array(VALUE_SIZE);
      const error = kernel.bpf(BPF_MAP_LOOKUP_ELEM, { map_fd: maps[name], key: keyOf(key), value });
      if (error === 0) parts.push(`${name}[${key}] ${hex(value)}`);
    }
  }
  return `${parts.join(", ")}, ${ringContents(kernel, maps.ringbuf)}`;
}

/** The records, without the words of their headers that tell pages. */
export function ringContents(kernel: Kernel, fd: number): string {
  const mapping = kernel.mmap(fd, { offset: PAGE, length: PAGE + 2 * RING_SIZE });
  if (typeof mapping === "number") return `ring buffer ${mapping}`;
  const bytes = mapping.bytes.slice();
  mapping.unmap();
  const view = new DataView(bytes.buffer);
  const end = view.getUint32(0, true);
  const records: string[] = [];
  for (let at = 0; at < end; ) {
    const length = view.getUint32(PAGE + at, true);
    const size = length & 0x3fff_ffff;
    records.push(
      `${length.toString(16)}:${length >>> 30 ? "" : hex(bytes.subarray(PAGE + at + 8, PAGE + at + 8 + size))}`,
    );
    at += (size + 15) & ~7;
  }
  return `ring ${records.join(" ")}`;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
