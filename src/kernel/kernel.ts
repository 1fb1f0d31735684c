// The contract between a kernel and what stands above it: bpf(2), and what a BPF user needs of an operating system beside it.
// The rule of every call: a result >= 0, or -errno; never a throw.

import type { Diagnosis } from "../diagnosis/diagnosis.ts";
import type { Attr, BpfCommand } from "../uapi/attr.ts";
import type { Pointer } from "../uapi/struct.ts";

/** Disposing of an embedded kernel ends it with all that is in it; of the running kernel, file descriptors stay open. */
export interface Kernel extends Disposable {
  readonly kind: "linux" | "embedded";

  /**
   * One command of bpf(2). Fields that the command writes (`next_id`, `retval`, …) are written into `attr`, and buffers in place.
   *
   * A buffer that is shorter than what the kernel reads or writes there is EFAULT.
   *
   * @returns the command's result (often a file descriptor), or -errno
   */
  bpf<Command extends BpfCommand>(command: Command, attr: Attr<Command>): number;

  /**
   * One command of bpf(2) with the raw bytes of union bpf_attr; its size is `attr.length`.
   * The bytes at a pointer's offset are replaced by the address of its bytes; what the kernel writes into the union is written into `attr`.
   */
  bpfRaw(command: number, attr: Uint8Array, pointers?: readonly Pointer[]): number;

  /** Closes a file descriptor. close(2); EBADF where it is not open. */
  close(fd: number): number;

  /**
   * Maps an object's memory. mmap(2), shared.
   * Of a performance event, Linux kills the process (SIGBUS) that writes the data behind the first page, however it is mapped.
   */
  mmap(fd: number, options: MmapOptions): Mapping | number;

  /**
   * Calls back whenever `fd` becomes readable (EPOLLIN) or writable (EPOLLOUT), on the thread that asked, until disposed. epoll(7).
   * A callback may come without cause: look before you read.
   */
  watch(fd: number, callback: () => void, readiness?: Readiness): Disposable | number;

  /**
   * Opens a performance event on a CPU. perf_event_open(2), for every process and closed on exec.
   *
   * @returns a file descriptor, or -errno: ENODEV where the CPU is offline, ENOENT where there is no such event, EINVAL, EACCES
   */
  perfEventOpen(attr: PerfEventAttr): number;

  /** Tells a performance event what to do. ioctl(2). EBADF where `fd` is not open, ENOTTY where it is no performance event. */
  perfEventControl(fd: number, request: PerfEventRequest): number;

  readonly bpffs: Bpffs;
  readonly system: System;

  /** Why the verifier refused the last BPF_PROG_LOAD, where the kernel can say more than its log does. */
  diagnosis?(): Diagnosis | undefined;
}

/** What a watch waits for; `"readable"` where it is not said. */
export type Readiness = "readable" | "writable";

/** Fields of struct perf_event_attr, and the CPU. What is left out is zero. */
export interface PerfEventAttr {
  readonly cpu: number;
  /** PERF_TYPE_… */
  readonly type: number;
  readonly config: number;
  readonly sample_period?: number;
  /** PERF_SAMPLE_… */
  readonly sample_type?: number;
  readonly disabled?: boolean;
  /** Wakes readers after so many samples; 0 with no watermark: when the buffer is half full. */
  readonly wakeup_events?: number;
  /** Wakes readers after so many bytes, in the place of `wakeup_events`. */
  readonly wakeup_watermark?: number;
}

/** PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_DISABLE, and PERF_EVENT_IOC_PAUSE_OUTPUT with 1 and 0. */
export type PerfEventRequest = "enable" | "disable" | "pause" | "resume";

export interface MmapOptions {
  /** Bytes. */
  readonly length: number;
  /** Byte offset in the object, a multiple of the page size. */
  readonly offset?: number;
  readonly writable?: boolean;
  /** Where the mapping would best begin. An arena that has an address is mapped there only. */
  readonly address?: number;
}

/** Memory shared with the kernel. After `unmap`, `bytes` may still be read safely: they are zero or the last content. */
export interface Mapping {
  readonly bytes: Uint8Array;
  /** Address of the first byte, as pointers in an arena hold it. */
  readonly address: number;
  unmap(): void;
}

/** The BPF file system: pins by path. Results as in the kernel contract. */
export interface Bpffs {
  /** Whether `path` lies in a BPF file system. */
  contains(path: string): boolean;
  /** Mounts a BPF file system on an existing directory. mount(2). */
  mount(path: string): number;
  unmount(path: string): number;
  mkdir(path: string): number;
  /** Names in a directory, or -errno. */
  readdir(path: string): readonly DirectoryEntry[] | number;
  /** Removes a pin. unlink(2). */
  unlink(path: string): number;
  rmdir(path: string): number;
  rename(from: string, to: string): number;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly directory: boolean;
}

/** What a BPF user asks about the system. */
export interface System {
  /** Numbers of the possible CPUs; a per-CPU value has one element for each. */
  readonly possibleCpus: readonly number[];
  /** Bytes. */
  readonly pageSize: number;
  readonly kernelVersion: KernelVersion;
  /** Whether loads of memory that another thread writes are seen in their order, as on x86, without saying so each time. */
  readonly ordersLoads: boolean;
  /** BTF of vmlinux, or of a module; undefined where there is none. */
  btf(module?: string): Uint8Array | undefined;
}

export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  readonly release: string;
}
