// What all maps have in common, whatever their type: what the kernel says of them, and their life.
// Linux: man 2 bpf, Documentation/bpf/maps.rst

import type { Kernel } from "../../kernel/kernel.ts";
import { BPF_MAP_FREEZE } from "../../uapi/commands.ts";
import type { MapInfo } from "../../uapi/info.ts";
import { BpfError } from "../errors.ts";
import { Handle } from "../handle.ts";
import { failure } from "./elements.ts";
import { type Inspect, type InspectOptions, inspectMap } from "./inspect.ts";
import { type MapTypeName, mapTypeName } from "./types.ts";

/** A map's file descriptor, and what the kernel says of it. */
export interface OpenedMap {
  readonly kernel: Kernel;
  readonly fd: number;
  readonly info: MapInfo;
  /** Where it is pinned, if it was opened there. */
  readonly path?: string;
}

/** A live map of any type. */
export abstract class MapHandle extends Handle {
  /** What the kernel says of the map. BPF_OBJ_GET_INFO_BY_FD, at creation or opening. */
  readonly info: MapInfo;

  protected constructor({ kernel, fd, info, path }: OpenedMap) {
    super(kernel, fd, path);
    this.info = info;
  }

  /** The name the kernel has for it; empty where it has none. */
  get name(): string {
    return this.info.name;
  }

  /** The type's name: `"array"`. */
  get type(): MapTypeName {
    return mapTypeName(this.info.type);
  }

  /** The number by which the system knows the map, until its last holder lets it go. */
  get id(): number {
    return this.info.id;
  }

  /** Elements; of a ring buffer bytes, of an arena pages. */
  get maxEntries(): number {
    return this.info.max_entries;
  }

  /** Bytes of a key; 0 where the type has none. */
  get keySize(): number {
    return this.info.key_size;
  }

  /** Bytes of a value; of a per-CPU type those of one CPU. */
  get valueSize(): number {
    return this.info.value_size;
  }

  /** Bytes of memory that the map takes now. Linux: "memlock" of /proc/self/fdinfo, with all elements since 6.4. */
  get memory(): number {
    const bytes = this.kernel.memoryUse(this.fd);
    if (bytes < 0) throw new BpfError(-bytes, { syscall: "read", subject: this.name });
    return bytes;
  }

  /**
   * Makes the map read-only for user space, for ever; programs go on writing. BPF_MAP_FREEZE, Linux 5.2.
   *
   * @throws BpfError `EBUSY` while it is mapped writable or written to; `ENOTSUPP` for struct_ops, and where values have timers or kptrs;
   *   `EPERM` where it was opened for reading only
   */
  freeze(): void {
    const result = this.kernel.bpf(BPF_MAP_FREEZE, { map_fd: this.fd });
    if (result < 0) throw failure(this, result, { command: BPF_MAP_FREEZE });
  }

  /** What `console.log` prints in Node: the map's class, type, name and sizes, and its first entries where it has some. */
  [Symbol.for("nodejs.util.inspect.custom")](depth: number, options: InspectOptions, inspect: Inspect): string {
    return inspectMap(this, this.inspected(), depth, options, inspect);
  }

  /** The entries that `console.log` prints; undefined where the type has none to show. */
  protected inspected(): Iterable<readonly [unknown, unknown]> | undefined {
    return undefined;
  }
}
