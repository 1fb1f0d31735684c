// What the client throws, told apart by `code`. A BpfError is made here from an errno and what was asked.

import type { Diagnosis } from "../diagnosis/diagnosis.ts";
import * as commands from "../uapi/commands.ts";
import * as errnos from "../uapi/errno.ts";
import { namesByNumber } from "../uapi/names.ts";

const errnoNames = namesByNumber(errnos);
const commandNames = namesByNumber(commands);

/** What was asked when a call failed. */
export interface Failure {
  /** The call, as `bpf(BPF_MAP_CREATE)`. */
  readonly syscall: string;
  /** The thing it was about: the name of a map or program, or a path; empty where it has none. */
  readonly subject?: string;
  /** What a person should know or do. */
  readonly hint?: string;
}

/** A call of a kernel that failed. After Node's system errors: `code`, `errno` and `syscall`. */
export class BpfError extends Error {
  override readonly name: string = "BpfError";
  /** Name of the error number: `"ENOENT"`. */
  readonly code: string;
  /** Positive error number. */
  readonly errno: number;
  readonly syscall: string;
  readonly hint: string | undefined;
  /** Of a command on many elements: how many it did before it failed. */
  count?: number;

  constructor(errno: number, { syscall, subject, hint }: Failure) {
    const code = errnoNames.get(errno) ?? `errno ${errno}`;
    super(`${syscall}${subject ? ` "${subject}"` : ""}: ${code}${hint === undefined ? "" : `: ${hint}`}`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    this.hint = hint;
  }
}

/** A program that the verifier refused. */
export class VerifierError extends BpfError {
  override readonly name = "VerifierError";
  /** The whole log of the verifier. */
  readonly log: string;
  /** Why, and what to do; from the embedded kernel's verifier. */
  readonly diagnosis: Diagnosis | undefined;

  constructor(errno: number, failure: Failure, log: string, diagnosis?: Diagnosis) {
    super(errno, { ...failure, hint: lastLine(log) });
    this.log = log;
    this.diagnosis = diagnosis;
  }
}

/** Something that skep does not do yet, or that the type at hand cannot do. */
export class UnsupportedError extends Error {
  override readonly name = "UnsupportedError";
  readonly code = "ERR_UNSUPPORTED";
}

/** A map that changed so much while it was walked that the walk would not end. */
export class IterationError extends Error {
  override readonly name = "IterationError";
  readonly code = "ERR_ITERATION_ABORTED";
}

/** The name of a command as messages give it: `bpf(BPF_MAP_CREATE)`. */
export const syscallName = (command: number): string => `bpf(${commandNames.get(command) ?? command})`;

/** The result of a call, or a BpfError where it is negative. */
export function check(result: number, command: number, details: Omit<Failure, "syscall"> = {}): number {
  if (result < 0) throw failed(-result, command, details);
  return result;
}

/** The error of a command that answered -errno. */
export function failed(errno: number, command: number, details: Omit<Failure, "syscall"> = {}): BpfError {
  const hint = details.hint ?? permissionHint(errno, command);
  return new BpfError(errno, { ...details, syscall: syscallName(command), ...(hint === undefined ? {} : { hint }) });
}

function permissionHint(errno: number, command: number): string | undefined {
  if (errno !== errnos.EPERM) return undefined;
  if (command === commands.BPF_PROG_LOAD) {
    return 'needs CAP_BPF, and CAP_NET_ADMIN or CAP_PERFMON by the program\'s type; run as root or grant them, or use openKernel({ kind: "embedded" })';
  }
  if (commandsThatNeedCapBpf.has(command)) {
    return 'needs CAP_BPF; run as root or grant it, or use openKernel({ kind: "embedded" })';
  }
  if (commandsThatNeedCapSysAdmin.has(command)) return "needs CAP_SYS_ADMIN; run as root or grant it";
  return undefined;
}

const commandsThatNeedCapSysAdmin = new Set([
  commands.BPF_MAP_GET_FD_BY_ID,
  commands.BPF_PROG_GET_FD_BY_ID,
  commands.BPF_BTF_GET_FD_BY_ID,
]);
const commandsThatNeedCapBpf = new Set([commands.BPF_MAP_CREATE, commands.BPF_BTF_LOAD]);

/** The last line of a verifier's log that says why, without its statistics. */
function lastLine(log: string): string {
  const lines = log.trimEnd().split("\n");
  const reason = lines.findLast(
    (line) => line !== "" && !/^(processed \d+ insns|verification time|stack depth)/.test(line),
  );
  return reason ?? "the verifier gave no reason";
}
