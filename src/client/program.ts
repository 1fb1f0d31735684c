// Programs: loaded through the verifier, run on test data, pinned.
// Linux: man 2 bpf, Documentation/bpf/bpf_prog_run.rst

import { encodeInstructions, type Instruction } from "../asm/instruction.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { type Attr, BPF_OBJ_NAME_LEN } from "../uapi/attr.ts";
import * as commands from "../uapi/commands.ts";
import { EINVAL, ENOSPC, ENOTSUPP } from "../uapi/errno.ts";
import { funcInfo, lineInfo, type ProgInfo } from "../uapi/info.ts";
import { type NameOf, namesByNumber, numbersByName } from "../uapi/names.ts";
import * as programTypes from "../uapi/program-types.ts";
import { cString, sizeOf } from "../uapi/struct.ts";
import { checkNumbers, checkText } from "./arguments.ts";
import { failed, syscallName, UnsupportedError, VerifierError } from "./errors.ts";
import { closingOnFailure, Handle } from "./handle.ts";
import { checkIsProgram, readProgInfo } from "./info.ts";
import { openPin } from "./pins.ts";

/** `"xdp"`, `"socket_filter"`, … */
export type ProgramTypeName = NameOf<typeof programTypes, "BPF_PROG_TYPE_">;

const numberOfType = numbersByName(programTypes, "BPF_PROG_TYPE_");
const nameOfType = namesByNumber(programTypes, "BPF_PROG_TYPE_");

export interface ProgramOptions {
  /** A name, or BPF_PROG_TYPE_…. */
  readonly type: ProgramTypeName | number;
  /** At most 15 characters of `[A-Za-z0-9_.]`; a longer one is cut. */
  readonly name?: string;
  readonly instructions: readonly Instruction[];
  /** Decides whether GPL-only helpers may be called. */
  readonly license?: string;
  readonly expectedAttachType?: number;
  /** BPF_F_… of program loading. */
  readonly flags?: number;
  /** LINUX_VERSION_CODE; only kernels before 5.0 look at it. */
  readonly kernelVersion?: number;
  /** The object's BTF and what it says of this program, as records of BTF.ext. */
  readonly btf?: {
    readonly fd: number;
    /** struct bpf_func_info records. */
    readonly functions?: Uint8Array;
    /** struct bpf_line_info records. */
    readonly lines?: Uint8Array;
  };
}

export interface TestRunOptions {
  /** The packet, or other input. */
  readonly data?: Uint8Array;
  /** The context as the program type's struct of the kernel's API, `struct xdp_md` for example. */
  readonly context?: Uint8Array;
  /** How often to run; 1 where absent. */
  readonly repeat?: number;
  /** The CPU to run on; raw tracepoints only. */
  readonly cpu?: number;
  /** BPF_F_TEST_… */
  readonly flags?: number;
}

export interface TestRunResult {
  readonly returnValue: number;
  /** The packet as the program left it. */
  readonly data: Uint8Array;
  /** The context as the program left it; empty where none was given. */
  readonly context: Uint8Array;
  /** Mean nanoseconds of a run. */
  readonly duration: number;
}

const FUNC_INFO_SIZE = sizeOf(funcInfo);
const LINE_INFO_SIZE = sizeOf(lineInfo);
const FIRST_LOG_SIZE = 64 * 1024;
const LARGEST_LOG_SIZE = 64 * 1024 * 1024;
/** Bytes of the shortest packet that a program is run on. */
const ETHERNET_HEADER = 14;
/** A program may make its packet longer, at both ends, by less than this. */
const ROOM_TO_GROW = 4096;

/** A loaded program: a file descriptor and its life. */
export class BpfProgram extends Handle {
  readonly name: string;
  #info: ProgInfo | undefined;

  private constructor(kernel: Kernel, fd: number, name: string) {
    super(kernel, fd);
    this.name = name;
  }

  /**
   * Loads a program. BPF_PROG_LOAD, Linux 3.18. The verifier's log is asked for only when it refuses.
   *
   * @throws VerifierError where the verifier refuses the program; BpfError `EPERM` without the capabilities its type needs,
   *   `EINVAL` where an attribute is wrong, `E2BIG` where the program is too long; UnsupportedError where there is no such type
   * @example
   * using program = BpfProgram.load(kernel, { type: "xdp", instructions: program(mov(r0, XDP_PASS), exit()) });
   */
  static load(kernel: Kernel, options: ProgramOptions): BpfProgram {
    const attr = loadAttr(options);
    const result = kernel.bpf(commands.BPF_PROG_LOAD, attr);
    if (result < 0) throw explainLoad(kernel, options, attr, -result);
    return new BpfProgram(kernel, result, options.name ?? "");
  }

  /** Takes over a program's file descriptor that somebody else opened: it is closed with this object. */
  static adopt(kernel: Kernel, fd: number): BpfProgram {
    checkNumbers({ fd }, { command: commands.BPF_OBJ_GET_INFO_BY_FD });
    checkIsProgram(kernel, fd);
    return new BpfProgram(kernel, fd, readProgInfo(kernel, fd).name);
  }

  /**
   * Opens a program that is pinned at `path`. BPF_OBJ_GET, Linux 4.4.
   *
   * @throws BpfError `ENOENT` where nothing is pinned there
   */
  static open(kernel: Kernel, path: string): BpfProgram {
    const fd = openPin(kernel, path);
    return closingOnFailure(kernel, fd, () => BpfProgram.adopt(kernel, fd));
  }

  /** What the kernel says of the program. BPF_OBJ_GET_INFO_BY_FD, at the first asking. */
  get info(): ProgInfo {
    this.#info ??= readProgInfo(this.kernel, this.fd);
    return this.#info;
  }

  /** The type's name: `"xdp"`. */
  get type(): string {
    return programTypeName(this.info.type);
  }

  /**
   * Runs the program on test data. BPF_PROG_TEST_RUN, Linux 4.12.
   *
   * @throws BpfError `EINVAL` where data is too short for the type (14 bytes for a packet) or too long,
   *   `ENOTSUPP` (524) for a type that has no test runs
   */
  testRun({ data, context, repeat = 1, cpu = 0, flags = 0 }: TestRunOptions = {}): TestRunResult {
    checkNumbers({ repeat, cpu, flags }, { command: commands.BPF_PROG_TEST_RUN, subject: this.name });
    const dataOut = new Uint8Array(data === undefined ? 0 : data.length + ROOM_TO_GROW);
    const contextOut = new Uint8Array(context?.length ?? 0);
    const attr: Attr<typeof commands.BPF_PROG_TEST_RUN> = { prog_fd: this.fd, repeat, cpu, flags };
    if (data !== undefined) {
      Object.assign(attr, {
        data_in: data,
        data_size_in: data.length,
        data_out: dataOut,
        data_size_out: dataOut.length,
      });
    }
    if (context !== undefined) {
      const ctx_size_out = contextOut.length;
      Object.assign(attr, { ctx_in: context, ctx_size_in: context.length, ctx_out: contextOut, ctx_size_out });
    }
    const result = this.kernel.bpf(commands.BPF_PROG_TEST_RUN, attr);
    if (result < 0) {
      const hint = this.#explainTestRun(-result, data?.length);
      throw failed(-result, commands.BPF_PROG_TEST_RUN, {
        subject: this.name,
        ...(hint === undefined ? {} : { hint }),
      });
    }
    return {
      returnValue: attr.retval ?? 0,
      data: dataOut.subarray(0, attr.data_size_out ?? 0),
      context: contextOut.subarray(0, attr.ctx_size_out ?? 0),
      duration: attr.duration ?? 0,
    };
  }

  #explainTestRun(errno: number, length = 0): string | undefined {
    if (errno === ENOTSUPP) return `programs of type ${this.type} have no test runs`;
    if (errno === EINVAL && length < ETHERNET_HEADER) {
      return `data is a packet of at least ${ETHERNET_HEADER} bytes, its Ethernet header; got ${length}`;
    }
    return undefined;
  }
}

/** The name of a BPF_PROG_TYPE_…: `"xdp"`. */
export const programTypeName = (type: number): string =>
  nameOfType.get(type)?.slice("BPF_PROG_TYPE_".length).toLowerCase() ?? `type ${type}`;

type LoadAttr = Attr<typeof commands.BPF_PROG_LOAD>;

function loadAttr(options: ProgramOptions): LoadAttr {
  const { name = "", license = "", expectedAttachType, flags, kernelVersion } = options;
  const { functions, lines } = options.btf ?? {};
  const type = typeof options.type === "number" ? options.type : numberOfType.get(options.type);
  if (type === undefined) throw new UnsupportedError(`program "${name}": ${options.type} is no type of programs`);
  const purpose = { command: commands.BPF_PROG_LOAD, subject: options.name };
  checkText(name, "a program's name", purpose);
  checkText(license, "a license", purpose);
  checkNumbers({ type, expectedAttachType, flags, kernelVersion }, purpose);
  return {
    prog_type: type,
    prog_name: name.slice(0, BPF_OBJ_NAME_LEN - 1),
    insns: encodeInstructions(options.instructions),
    insn_cnt: options.instructions.length,
    license: cString(license),
    expected_attach_type: expectedAttachType ?? 0,
    prog_flags: flags ?? 0,
    kern_version: kernelVersion ?? 0,
    ...(options.btf === undefined ? {} : { prog_btf_fd: options.btf.fd }),
    ...(functions === undefined || functions.length === 0
      ? {}
      : { func_info: functions, func_info_rec_size: FUNC_INFO_SIZE, func_info_cnt: functions.length / FUNC_INFO_SIZE }),
    ...(lines === undefined || lines.length === 0
      ? {}
      : { line_info: lines, line_info_rec_size: LINE_INFO_SIZE, line_info_cnt: lines.length / LINE_INFO_SIZE }),
  };
}

/** Loads again for the verifier's log, in a buffer that grows until all of it fits. */
function explainLoad(kernel: Kernel, options: ProgramOptions, attr: LoadAttr, errno: number): Error {
  const subject = options.name === undefined ? {} : { subject: options.name };
  for (let size = FIRST_LOG_SIZE; size <= LARGEST_LOG_SIZE; size *= 4) {
    const log_buf = new Uint8Array(size);
    const result = kernel.bpf(commands.BPF_PROG_LOAD, { ...attr, log_level: 1, log_size: size, log_buf });
    if (result >= 0) {
      // Accepted this time: the refusal came from something that has passed, memory for example.
      kernel.close(result);
      break;
    }
    if (result === -ENOSPC) continue;
    const log = new TextDecoder().decode(log_buf.subarray(0, log_buf.indexOf(0)));
    if (log.trim() === "") break;
    const failure = { syscall: syscallName(commands.BPF_PROG_LOAD), ...subject };
    return new VerifierError(-result, failure, log, kernel.diagnosis?.());
  }
  const isNameRefused = errno === EINVAL && !/^[\w.]*$/.test(attr.prog_name ?? "");
  return failed(errno, commands.BPF_PROG_LOAD, {
    ...subject,
    ...(isNameRefused ? { hint: `a program's name has letters, digits, "_" and "."; got "${attr.prog_name}"` } : {}),
  });
}
