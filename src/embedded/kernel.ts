// The embedded kernel: Linux 6.18's bpf(2) in TypeScript and WebAssembly, for Node and browsers.

import { PAGE_BYTES } from "../../machine/layout.ts";
import type { Diagnosis } from "../diagnosis/diagnosis.ts";
import type {
  Bpffs,
  Kernel,
  Mapping,
  MmapOptions,
  PerfEventAttr,
  PerfEventRequest,
  Readiness,
  System,
} from "../kernel/kernel.ts";
import type { Attr, BpfCommand } from "../uapi/attr.ts";
import { EBADF, EINVAL } from "../uapi/errno.ts";
import type { Pointer } from "../uapi/struct.ts";
import { BpffsTree } from "./bpffs.ts";
import { callHelper } from "./helpers/calls.ts";
import { kernelBtf } from "./kernel-functions.ts";
import { createMachine } from "./machine.ts";
import { mapMemory } from "./mapping.ts";
import { MachineMemory } from "./memory.ts";
import { FileTable, Ids } from "./objects.ts";
import { anonymousInode, type OwnerKind, openOwner, type SocketAttributes } from "./owners.ts";
import { controlPerfEvent, openPerfEvent } from "./perf-events.ts";
import type { Capability, Clock, KernelState } from "./state.ts";
import { call, callRaw } from "./syscall.ts";
import { Watches } from "./watches.ts";

export interface EmbeddedKernelOptions {
  /** Default: all of them. */
  readonly capabilities?: readonly Capability[];
  /** Most bytes that maps and programs take; what goes beyond is ENOMEM. Default: 1 GiB. */
  readonly memoryLimit?: number;
  /** Number of possible CPUs, default 2. Programs run on the first. */
  readonly cpus?: number;
  /** Default: the host's. */
  readonly clock?: Clock;
  /** Of random numbers and hash functions: with the same seed and clock, everything happens again in the same way. Default: 0. */
  readonly seed?: number;
  /** Hears what programs print with bpf_trace_printk and bpf_trace_vprintk, when they print it. What it throws is thrown in a microtask of its own. */
  readonly trace?: (text: string) => void;
}

const DEFAULT_MEMORY_LIMIT = 1024 ** 3;
const ALL_CAPABILITIES: readonly Capability[] = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN"];

/**
 * A kernel of one's own, with memory, file descriptors and a BPF file system that nobody shares.
 *
 * @example
 * using kernel = new EmbeddedKernel();
 * const fd = kernel.bpf(BPF_MAP_CREATE, { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 8, max_entries: 1 });
 */
export class EmbeddedKernel implements Kernel {
  readonly kind = "embedded";
  readonly bpffs: Bpffs;
  readonly system: System;
  readonly #bpffs = new BpffsTree();
  readonly #state: KernelState;
  readonly #watches = new Watches();

  /** @throws RangeError where the host has no room for the memory, or `cpus` is not a number from 1 to 64 */
  constructor(options: EmbeddedKernelOptions = {}) {
    const { capabilities = ALL_CAPABILITIES, memoryLimit = DEFAULT_MEMORY_LIMIT, cpus = 2, seed = 0 } = options;
    if (!(Number.isInteger(cpus) && cpus >= 1 && cpus <= 64)) throw new RangeError(`cpus: ${cpus} is not in 1 … 64`);
    const clock = options.clock ?? hostClock();
    const trace = apart(options.trace ?? (() => {}));
    const machine = createMachine({
      cpus,
      memoryLimit,
      seed,
      helper: (id) => {
        const state = this.#state;
        const { mapsByAddress, running } = state;
        callHelper({ memory, clock, trace, mapsByAddress, state, programType: running?.type ?? 0 }, id);
      },
      wake: (map) => this.#watches.wake(map),
    });
    const memory = new MachineMemory(machine);
    const inode = anonymousInode();
    this.bpffs = this.#bpffs;
    this.#state = {
      machine,
      memory,
      memoryLimit,
      cpus,
      clock,
      capabilities: new Set(capabilities),
      files: new FileTable(),
      maps: new Ids(),
      mapsByAddress: new Map(),
      programs: new Ids(),
      btfs: new Ids(),
      owners: new Set([inode]),
      anonymousInode: inode,
      lastCookie: 0,
      lastPerfEventId: 0,
      bpffs: this.#bpffs,
      running: undefined,
      runStorage: new Map(),
      socketsByAddress: new Map(),
      waiting: [],
      diagnosis: undefined,
    };
    this.system = {
      possibleCpus: Array.from({ length: cpus }, (_, cpu) => cpu),
      pageSize: PAGE_BYTES,
      kernelVersion: { major: 6, minor: 18, patch: 0, release: "6.18.0-skep" },
      // Programs run on the thread that reads.
      ordersLoads: true,
      btf: (module) => (module === undefined ? kernelBtf().slice() : undefined),
    };
  }

  /** How many file descriptors are open. */
  get openFds(): number {
    return this.#state.files.size;
  }

  /** How many objects are pinned. */
  get pins(): number {
    return this.#bpffs.pins;
  }

  /** Bytes that maps, programs and running tests take. */
  get memoryInUse(): number {
    return this.#state.machine.bytesInUse();
  }

  bpf<Command extends BpfCommand>(command: Command, attr: Attr<Command>): number {
    return call(this.#state, command, attr);
  }

  bpfRaw(command: number, attr: Uint8Array, pointers: readonly Pointer[] = []): number {
    return callRaw(this.#state, command, attr, pointers);
  }

  diagnosis(): Diagnosis | undefined {
    return this.#state.diagnosis;
  }

  close(fd: number): number {
    return this.#state.files.close(fd);
  }

  memoryUse(fd: number): number {
    const object = this.#state.files.get(fd)?.object;
    if (object === undefined) return -EBADF;
    return object.kind === "map" ? this.#state.machine.mapMemory(object.handle) : -EINVAL;
  }

  /**
   * Makes something that elements of maps belong to, as a file descriptor for their keys or values: a socket, a file (whose inode counts),
   * a task or a cgroup. On Linux these are the results of socket(2), open(2), pidfd_open(2), and open(2) of a cgroup's directory.
   * The owner, with all that maps hold of it, ends when its last file descriptor is closed.
   *
   * @returns a file descriptor, or -EMFILE
   * @example
   * const fd = kernel.openOwner("socket", { protocol: "tcp", state: "established" });
   */
  openOwner(kind: "socket", socket?: SocketAttributes): number;
  openOwner(kind: OwnerKind): number;
  openOwner(kind: OwnerKind, socket: SocketAttributes = {}): number {
    return openOwner(this.#state, kind, socket);
  }

  /** Another file descriptor of the same object. dup(2); -EBADF where it is not open, -EMFILE. */
  dup(fd: number): number {
    const file = this.#state.files.get(fd);
    return file === undefined ? -EBADF : this.#state.files.open(file.object, file.canRead, file.canWrite);
  }

  mmap(fd: number, options: MmapOptions): Mapping | number {
    return mapMemory(this.#state, fd, options);
  }

  watch(fd: number, callback: () => void, readiness: Readiness = "readable"): Disposable | number {
    return this.#watches.add(this.#state, fd, callback, readiness);
  }

  perfEventOpen(attr: PerfEventAttr): number {
    return openPerfEvent(this.#state, attr, (event) => this.#watches.wake(event));
  }

  perfEventControl(fd: number, request: PerfEventRequest): number {
    return controlPerfEvent(this.#state, fd, request);
  }

  [Symbol.dispose](): void {
    this.#bpffs.clear();
    this.#state.files.clear();
  }
}

/** A listener whose errors do not reach the program that runs. */
const apart =
  (listener: (text: string) => void) =>
  (text: string): void => {
    try {
      listener(text);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };

/** The host's time; what it counts from is the start of the process or the page. */
function hostClock(): Clock {
  const toNanoseconds = (milliseconds: number): bigint => BigInt(Math.round(milliseconds * 1000)) * 1000n;
  return {
    monotonic: () => toNanoseconds(performance.now()),
    realtime: () => toNanoseconds(performance.timeOrigin + performance.now()),
  };
}
