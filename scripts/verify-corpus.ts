// Compares our verifier with recorded verdicts of Linux: npm run verify:corpus -- FILE.jsonl.gz… [--support DIR] [--json] [--list KIND]
// A record is a program with its maps and the verdict, errno and log that a running kernel gave. DIR holds BTF, of which the verifier
// reads what functions there are; what needs more counts as refused by us.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { decodeInstructions, type Instruction, LD_IMM64 } from "../src/asm/instruction.ts";
import { parseBtf } from "../src/btf/btf.ts";
import { families } from "../src/embedded/maps/families.ts";
import { isGplCompatible } from "../src/embedded/program.ts";
import { readFunctions } from "../src/embedded/program-debug-info.ts";
import { type FunctionInfo, type VerifierMap, verify } from "../src/embedded/verifier/verify.ts";
import * as insn from "../src/uapi/insn.ts";
import { commandLine, misused } from "./command-line.ts";

interface MapRecord {
  type: number;
  key_size: number;
  value_size: number;
  max_entries: number;
  flags: number;
  name: string;
  data?: string;
  frozen?: boolean;
  bad_fd?: boolean;
  /** Locks, timers, kptrs in the value. */
  special?: unknown;
  /** Of a map of maps. */
  inner?: MapRecord;
}
interface CorpusRecord {
  id: string;
  class: "plain" | "map_btf" | "kernel";
  caps: string;
  prog_type: number;
  prog_type_name: string;
  expected_attach_type: number;
  prog_flags: number;
  license: string;
  name: string;
  insns: string;
  maps?: MapRecord[];
  fd_array?: (number | null)[];
  btf?: string;
  func_info?: string;
  verdict: "accept" | "reject";
  /** Where Linux decided: `attr` is before the verifier. */
  stage: "attr" | "check" | "verify";
  msg?: string;
}

const usage = "npm run verify:corpus -- FILE.jsonl.gz… [--support DIR] [--json] [--list KIND]";
const { values: options, positionals: files } = commandLine(usage, {
  allowPositionals: true,
  options: {
    support: { type: "string" },
    json: { type: "boolean", default: false },
    list: { type: "string" },
  },
});
if (files.length === 0) misused(usage, "no file of records is named");

interface Tally {
  class: string;
  records: number;
  sameVerdict: number;
  unsound: number;
  strict: number;
  bothRejected: number;
  sameMessage: number;
}
const newTally = (name: string): Tally => ({
  class: name,
  records: 0,
  sameVerdict: 0,
  unsound: 0,
  strict: 0,
  bothRejected: 0,
  sameMessage: 0,
});

const tallies = new Map(["plain", "map_btf", "kernel", "all"].map((name) => [name, newTally(name)]));

/** Blobs of BTF by the name that records have for them, once they are read. */
let blobs: ReadonlyMap<string, string> | undefined;

for (const file of files) {
  for (const record of readLines<CorpusRecord>(file)) {
    if (record.insns === undefined) misused(usage, `${file} holds no recorded programs`);
    // What was refused before the verifier began says nothing about it.
    if (record.stage !== "attr") judge(record);
  }
}
for (const tally of tallies.values()) console.log(options.json ? JSON.stringify(tally) : describe(tally));

function judge(record: CorpusRecord): void {
  const { accepted, reason } = load(record);
  const linux = record.verdict === "accept";
  for (const tally of [tallies.get(record.class)!, tallies.get("all")!]) {
    tally.records++;
    if (accepted === linux) tally.sameVerdict++;
    else if (accepted) tally.unsound++;
    else tally.strict++;
    if (accepted || linux) continue;
    tally.bothRejected++;
    if (reason === lastWords(record.msg ?? "")) tally.sameMessage++;
  }
  const kind =
    accepted === linux ? (accepted || reason === record.msg ? "same" : "message") : accepted ? "unsound" : "strict";
  if (options.list === kind) {
    console.log(
      `${kind} ${record.id} ${record.class} ${record.prog_type_name} ${record.caps}: ours "${reason}", Linux "${record.msg ?? ""}"`,
    );
  }
}

function load(record: CorpusRecord): { accepted: boolean; reason: string } {
  const unsupported = record.maps?.find(
    (map) => !map.bad_fd && (map.special || map.inner?.special || !families.has(map.type)),
  );
  if (unsupported) return { accepted: false, reason: `map type ${unsupported.type} is not in the embedded kernel yet` };
  const instructions = decodeInstructions(Buffer.from(record.insns, "hex"));
  const verdict = verify({
    type: record.prog_type,
    expectedAttachType: record.expected_attach_type,
    flags: record.prog_flags,
    name: record.name,
    gplCompatible: isGplCompatible(record.license),
    instructions,
    maps: mapsBySlot(record, instructions),
    logLevel: 0,
    ...functionsOf(record),
    capabilities: { bpf: /[bs]/.test(record.caps), perfmon: /[ps]/.test(record.caps) },
  });
  return verdict.ok ? { accepted: true, reason: "" } : { accepted: false, reason: verdict.diagnosis.reason };
}

/** What the type information says of the program's functions. */
function functionsOf({ btf, func_info }: CorpusRecord): { functions?: FunctionInfo[] } {
  if (!btf || !func_info) return {};
  blobs ??= readBlobs();
  const hex = blobs.get(btf);
  return hex ? { functions: readFunctions(parseBtf(Buffer.from(hex, "hex")), Buffer.from(func_info, "hex")) } : {};
}

function readBlobs(): ReadonlyMap<string, string> {
  const lines = readLines<{ h: string; hex: string }>(join(options.support ?? dirname(files[0]!), "btf.jsonl.gz"));
  return new Map(lines.map(({ h, hex }) => [h, hex]));
}

/** The JSON of each line of a compressed file. */
function readLines<T>(file: string): T[] {
  try {
    const lines = gunzipSync(readFileSync(file)).toString().split("\n");
    return lines.filter(Boolean).map((line): T => JSON.parse(line));
  } catch (error) {
    return misused(usage, `${file} cannot be read: ${(error as Error).message}`);
  }
}

function mapsBySlot(record: CorpusRecord, instructions: readonly Instruction[]): Map<number, VerifierMap> {
  const maps = record.maps?.map((map, index) => (map.bad_fd ? undefined : toMap(map, index)));
  const bySlot = new Map<number, VerifierMap>();
  instructions.forEach(({ opcode, src, imm }, at) => {
    if (opcode !== LD_IMM64 || src === 0) return;
    const indirect = src === insn.BPF_PSEUDO_MAP_IDX || src === insn.BPF_PSEUDO_MAP_IDX_VALUE;
    const map = maps?.[indirect ? (record.fd_array?.[imm] ?? -1) : imm];
    if (map) bySlot.set(at, map);
  });
  return bySlot;
}

function toMap(map: MapRecord, index: number): VerifierMap {
  const data = map.data === undefined ? undefined : Buffer.from(map.data, "hex");
  return {
    id: index + 1,
    name: map.name,
    type: map.type,
    keySize: map.key_size,
    valueSize: map.value_size,
    maxEntries: map.max_entries,
    flags: map.flags,
    frozen: map.frozen ?? false,
    ...(map.inner ? { inner: toMap(map.inner, -1) } : {}),
    contents: (offset, size) => {
      if (!data) return undefined;
      let value = 0n;
      for (let byte = size - 1; byte >= 0; byte--) value = (value << 8n) | BigInt(data[offset + byte] ?? 0);
      return value;
    },
  };
}

/** The last line of a message that is no dump of registers. */
function lastWords(message: string): string {
  const lines = message.split("\n").filter((line) => line && !/^(cur state|old state|R\d+=|frame\d+:)/.test(line));
  return lines.at(-1) ?? message;
}

function describe({ class: name, records, sameVerdict, unsound, strict, bothRejected, sameMessage }: Tally): string {
  const verdicts = `${sameVerdict} of ${records} the same verdict, ${unsound} unsound, ${strict} strict`;
  return `${name}: ${verdicts}; ${sameMessage} of ${bothRejected} refused by both with the same message`;
}
