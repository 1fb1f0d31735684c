// The running Linux kernel, by bpf(2).

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
import { type Attr, attrs, BPF_ATTR_SIZE, type BpfCommand } from "../uapi/attr.ts";
import {
  BPF_BTF_LOAD,
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_LOOKUP_AND_DELETE_ELEM,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_UPDATE_ELEM,
  BPF_OBJ_GET_INFO_BY_FD,
  BPF_PROG_LOAD,
} from "../uapi/commands.ts";
import { EAGAIN, EFAULT, EINVAL, ENOMEM, ENOSYS, EPERM } from "../uapi/errno.ts";
import { mapRules } from "../uapi/map-rules.ts";
import { decodeOutputs, encode, type Memory, type Pointer, type Struct } from "../uapi/struct.ts";
import { ArgumentMemory } from "./argument-memory.ts";
import { linuxBpffs } from "./bpffs.ts";
import { GuardedSlot } from "./guarded-memory.ts";
import { mapObject } from "./mapping.ts";
import { controlPerfEvent, openPerfEvent } from "./perf-event.ts";
import { LinuxUnavailableError, openSyscalls, type Syscalls } from "./syscalls.ts";
import { linuxSystem, memoryUse } from "./system.ts";
import { watch } from "./watch.ts";

export { LinuxUnavailableError };

/**
 * The running kernel, for the thread that opened it. Buffers are copied to memory of our own for each call and back,
 * where a page that nobody may touch follows each of them: a buffer that is too short is EFAULT, said by the kernel.
 */
export class LinuxKernel implements Kernel {
  readonly kind = "linux";
  readonly bpffs: Bpffs;
  readonly system: System;
  readonly #syscalls: Syscalls;
  readonly #arguments: ArgumentMemory;
  /** The map element commands have memory of their own: their attributes, a key, and a value or the next key. */
  readonly #elementAttr: GuardedSlot;
  readonly #elementWords: Uint32Array;
  readonly #keySlot: GuardedSlot;
  readonly #otherSlot: GuardedSlot;
  readonly #watches = new Set<Disposable>();

  private constructor({ syscalls, arguments: memory, elementAttr }: ThreadMemory) {
    this.#syscalls = syscalls;
    this.#arguments = memory;
    this.#elementAttr = elementAttr;
    this.#keySlot = memory.slot(0);
    this.#otherSlot = memory.slot(1);
    const { buffer, byteOffset, length } = elementAttr.bytes;
    this.#elementWords = new Uint32Array(buffer, byteOffset + length - ELEMENT_ATTR_SIZE, ELEMENT_ATTR_SIZE / 4);
    this.bpffs = linuxBpffs(syscalls, [memory.slot(0), memory.slot(1)]);
    this.system = linuxSystem(syscalls.pageSize);
  }

  /**
   * Opens the running kernel. Whether it permits anything to this process is told by `isPermitted`.
   *
   * @throws LinuxUnavailableError `ERR_NOT_LINUX`, `ERR_NO_KOFFI`, or `ENOSYS` where there is no bpf(2)
   */
  static async open(): Promise<LinuxKernel> {
    const syscalls = await openSyscalls();
    threadMemory ??= {
      syscalls,
      arguments: new ArgumentMemory(syscalls),
      elementAttr: new GuardedSlot(syscalls),
    };
    const kernel = new LinuxKernel(threadMemory);
    if (kernel.#probe() === -ENOSYS) {
      throw new LinuxUnavailableError("ENOSYS", "this kernel has no bpf(2); run on one with CONFIG_BPF_SYSCALL");
    }
    return kernel;
  }

  /** Whether this process may use bpf(2) as one with CAP_BPF does; asks the kernel without making anything. */
  isPermitted(): boolean {
    return this.#probe() !== -EPERM;
  }

  bpf<Command extends BpfCommand>(command: Command, attr: Attr<Command>): number {
    switch (command) {
      case BPF_MAP_LOOKUP_ELEM: {
        const { map_fd, key, value, flags = 0 } = attr as Attr<typeof BPF_MAP_LOOKUP_ELEM>;
        if (isKey(key) && isBytes(value) && isWord(flags))
          return this.#element(command, map_fd, key, value, flags, true);
        break;
      }
      case BPF_MAP_LOOKUP_AND_DELETE_ELEM: {
        const { map_fd, key, value, flags = 0 } = attr as Attr<typeof BPF_MAP_LOOKUP_AND_DELETE_ELEM>;
        const room = value instanceof Uint8Array ? value : (value?.bytes ?? NO_ROOM);
        if (isKey(key) && isWord(Number(flags))) return this.#take(map_fd, key, room, Number(flags));
        break;
      }
      case BPF_MAP_UPDATE_ELEM: {
        const { map_fd, key, value, flags = 0 } = attr as Attr<typeof BPF_MAP_UPDATE_ELEM>;
        if (isKey(key) && isBytes(value) && isWord(flags))
          return this.#element(command, map_fd, key, value, flags, false);
        break;
      }
      case BPF_MAP_DELETE_ELEM: {
        const { map_fd, key } = attr as Attr<typeof BPF_MAP_DELETE_ELEM>;
        if (isBytes(key)) return this.#element(command, map_fd, key, undefined, 0, false);
        break;
      }
      case BPF_MAP_GET_NEXT_KEY: {
        const { map_fd, key, next_key } = attr as Attr<typeof BPF_MAP_GET_NEXT_KEY>;
        if (isBytes(key) && isBytes(next_key)) return this.#element(command, map_fd, key, next_key, 0, true);
        break;
      }
    }
    const struct: Struct | undefined = attrs[command];
    if (struct === undefined) return -EINVAL;
    const bytes = new Uint8Array(BPF_ATTR_SIZE);
    const view = new DataView(bytes.buffer);
    const result = this.bpfRaw(command, bytes, encode(struct, attr, view));
    decodeOutputs(struct, view, attr);
    return result;
  }

  bpfRaw(command: number, attr: Uint8Array, pointers: readonly Pointer[] = []): number {
    const memory: Memory = { bytes: attr, pointers };
    const address = this.#arguments.put(memory);
    if (address < 0) return address;
    let result = this.#syscalls.bpf(command, address, attr.length);
    for (let retry = 1; command === BPF_PROG_LOAD && result === -EAGAIN && retry < LOAD_ATTEMPTS; retry++) {
      result = this.#syscalls.bpf(command, address, attr.length);
    }
    this.#arguments.take(memory);
    return result;
  }

  close(fd: number): number {
    return this.#syscalls.close(fd);
  }

  memoryUse(fd: number): number {
    return memoryUse(fd);
  }

  mmap(fd: number, options: MmapOptions): Mapping | number {
    return mapObject(this.#syscalls, fd, options);
  }

  watch(fd: number, callback: () => void, readiness: Readiness = "readable"): Disposable | number {
    const watching = watch(this.#syscalls, this.#arguments.slot(0), fd, callback, readiness);
    if (typeof watching === "number") return watching;
    this.#watches.add(watching);
    return {
      [Symbol.dispose]: () => {
        this.#watches.delete(watching);
        watching[Symbol.dispose]();
      },
    };
  }

  perfEventOpen(attr: PerfEventAttr): number {
    return openPerfEvent(this.#syscalls, this.#arguments.slot(0), attr);
  }

  perfEventControl(fd: number, request: PerfEventRequest): number {
    return controlPerfEvent(this.#syscalls, fd, request);
  }

  /** Ends the watches; file descriptors and mappings stay. */
  [Symbol.dispose](): void {
    for (const watch of this.#watches) watch[Symbol.dispose]();
    this.#watches.clear();
  }

  /** BTF_LOAD of nothing: the kernel asks for CAP_BPF first, and then refuses. */
  #probe(): number {
    return this.bpf(BPF_BTF_LOAD, {});
  }

  /**
   * BPF_MAP_LOOKUP_AND_DELETE_ELEM. The kernel takes an element out and then finds that its value has no room, and the element
   * is lost: so it is looked at first, and where there is no room, it stays.
   */
  #take(fd: number | undefined, key: Uint8Array | null | undefined, value: Uint8Array, flags: number): number {
    const command = BPF_MAP_LOOKUP_AND_DELETE_ELEM;
    const looked = this.#element(BPF_MAP_LOOKUP_ELEM, fd, key, value, flags, false);
    if (looked !== -EFAULT || !this.#isTaker(fd)) return this.#element(command, fd, key, value, flags, true);
    // With a key that is not there to be read, the kernel says what it checks before, and takes nothing: EINVAL where there are no keys.
    const refused = this.#element(command, fd, UNREADABLE, value, flags, false);
    return refused === -EINVAL ? -EFAULT : refused;
  }

  /** Whether elements can be taken out of a map. */
  #isTaker(fd: number | undefined): boolean {
    const info = new Uint8Array(4);
    const result = this.bpf(BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: fd ?? 0, info_len: info.length, info });
    const rules = result < 0 ? undefined : mapRules.get(new DataView(info.buffer).getUint32(0, true));
    return rules !== undefined && rules.refused.take === undefined;
  }

  /** A command on one element, without allocations. `other` is the value, or the next key; `isOut` tells whether the kernel writes it. */
  #element(
    command: number,
    fd: number | undefined,
    key: Uint8Array | null | undefined,
    other: Uint8Array | undefined,
    flags: number,
    isOut: boolean,
  ): number {
    const keySlot = this.#keySlot;
    const otherSlot = this.#otherSlot;
    if (keySlot.reserve(key?.length ?? 0) < 0) return -ENOMEM;
    if (other !== undefined && otherSlot.reserve(other.length) < 0) return -ENOMEM;
    const keyAddress = key ? keySlot.put(key) : 0;
    const otherAddress = other === undefined ? 0 : otherSlot.put(other);
    const words = this.#elementWords;
    words[0] = fd ?? 0;
    words[2] = keyAddress;
    words[3] = keyAddress / 2 ** 32;
    words[4] = otherAddress;
    words[5] = otherAddress / 2 ** 32;
    words[6] = flags;
    const result = this.#syscalls.bpf(command, this.#elementAttr.end - ELEMENT_ATTR_SIZE, ELEMENT_ATTR_SIZE);
    if (isOut && result >= 0) otherSlot.take(other!);
    return result;
  }
}

/** What the kernels that one thread has opened share; it stays until the thread ends. */
interface ThreadMemory {
  readonly syscalls: Syscalls;
  readonly arguments: ArgumentMemory;
  readonly elementAttr: GuardedSlot;
}
let threadMemory: ThreadMemory | undefined;

/** map_fd, key, value or next_key, flags. */
const ELEMENT_ATTR_SIZE = 32;

/** PROG_LOAD may answer EAGAIN where a signal came during verification; libbpf gives it five attempts too. */
const LOAD_ATTEMPTS = 5;

const NO_ROOM = new Uint8Array(0);
/** A key of no bytes: behind it nobody may read. */
const UNREADABLE = new Uint8Array(0);

const isKey = (key: unknown): key is Uint8Array | null | undefined => key === null || key === undefined || isBytes(key);
const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array;
const isWord = (value: number | bigint): value is number => typeof value === "number" && value >>> 0 === value;
