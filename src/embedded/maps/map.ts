// A map, and what a family of maps says of itself. The elements lie in the machine's memory.

import { PAGE_BYTES } from "../../../machine/layout.ts";
import type { Btf, BtfType } from "../../btf/btf.ts";
import type { MmapOptions, Readiness } from "../../kernel/kernel.ts";
import type { EmbeddedBtf } from "../btf.ts";
import type { SpecialField } from "../btf-fields.ts";
import type { MachineMemory } from "../memory.ts";
import type { File, References } from "../objects.ts";
import type { EmbeddedSocket } from "../owners.ts";
import type { Capability, KernelState } from "../state.ts";

/** Fields of BPF_MAP_CREATE that a family looks at. */
export interface MapAttributes {
  readonly map_type: number;
  readonly key_size: number;
  readonly value_size: number;
  readonly max_entries: number;
  readonly map_flags: number;
  readonly map_extra: number | bigint;
  readonly numa_node: number;
  readonly inner_map_fd: number;
  readonly btf_key_type_id: number;
  readonly btf_value_type_id: number;
  readonly btf_vmlinux_value_type_id: number;
  readonly value_type_btf_obj_fd: number;
}

/** No memory node in particular. */
export const NUMA_NO_NODE = 0xffff_ffff;

/** One family of maps: what it allows. A result is 0, or -errno. */
export interface MapFamily {
  /** Checks made before the caller's right to create maps is. */
  check?(attributes: MapAttributes, capable: (capability: Capability) => boolean): number;
  /** What the caller needs beside CAP_BPF. */
  readonly capability?: Capability;
  /** Checks that Linux leaves to the allocation, behind the caller's right. */
  checkAllocation?(attributes: MapAttributes, state: KernelState): number;
  /** What max_entries becomes; absent: it stays. */
  roundEntries?(attributes: MapAttributes, cpus: number): number;
  /** Of maps of maps: what the maps in it are like, or -errno. Asked before checkAllocation. */
  innerTemplate?(state: KernelState, attributes: MapAttributes): InnerTemplate | number;
  /** Flags that every map of the family has. */
  readonly impliedFlags?: number;
  /** Fewest bytes that the map takes; where they are not there, creating is ENOMEM. */
  memoryNeeded(attributes: MapAttributes, cpus: number): number;
  /** What the BTF type of a key may be, beyond its size; absent: any type. */
  checkKeyType?(attributes: MapAttributes, key: BtfType, value: BtfType, btf: Btf): number;
  /** Whether a value is one for each CPU. */
  readonly perCpu: boolean;
  /** What the commands on elements do; those that are absent are refused as the rules of the type say. */
  readonly operations: Operations;
  /** Whether the batch commands read it bucket by bucket; absent: key by key. */
  readonly hasBuckets?: boolean;
  /** Whether a program may hold the address of the first value; ENOTSUPP otherwise. */
  readonly hasDirectValue: boolean;
  /** Bytes of its contents, which a frozen map tells the hash of; absent: it has none. */
  hashedBytes?(map: EmbeddedMap): number;
  /** Whether this part of the map's memory may be mapped; absent: ENOTSUPP. */
  checkMapping?(map: EmbeddedMap, offset: number, length: number, writable: boolean, state: KernelState): number;
  /** Whether it may be mapped where the caller wants it, which is asked before the caller's rights are. */
  checkPlace?(state: KernelState, map: EmbeddedMap, options: MmapOptions): number;
  /** Whether readers find something, or writers room; absent: a file descriptor cannot be watched. */
  isReady?(map: EmbeddedMap, readiness: Readiness, data: number, memory: MachineMemory): boolean;
  /** A file descriptor of the map is closed. */
  fileClosed?(state: KernelState, map: EmbeddedMap, file: File): void;
  /** Neither a file descriptor nor a pin is left; programs may still use the map. */
  leftByUsers?(state: KernelState, map: EmbeddedMap): void;
  /** Lets go of what the elements refer to: the map is no more. */
  destroy?(state: KernelState, map: EmbeddedMap): void;
  /** Removes a socket that was closed. */
  forget?(state: KernelState, map: EmbeddedMap, socket: EmbeddedSocket): void;
}

/**
 * The commands on elements. `key` and `value` are addresses of copies of the caller's bytes: `value` of the map's userValueSize.
 * Where a key is not there, the result is -ENOENT.
 */
export interface Operations {
  /** A lookup reads the value that it is given, and writes none: its result is 0 where the value is there. */
  readonly looksForValue?: boolean;
  /** Address of the value as the command shows it: in the map, or in `room`, which has userValueSize bytes. */
  lookup?(state: KernelState, map: EmbeddedMap, key: number, room: number): number;
  /** `file` is what the map was named by. */
  update?(state: KernelState, map: EmbeddedMap, key: number, value: number, flags: number, file: File): number;
  remove?(state: KernelState, map: EmbeddedMap, key: number): number;
  /** Writes the key behind `key` to `next`; the first one where `key` is 0. */
  nextKey?(state: KernelState, map: EmbeddedMap, key: number, next: number): number;
  /** Takes an element out and leaves its value in `room`. */
  lookupAndDelete?(state: KernelState, map: EmbeddedMap, key: number, room: number): number;
}

/** An operation that is there only to be refused. */
export const refuse = (errno: number) => (): number => -errno;

/** What the maps in a map of maps are like. */
export type InnerTemplate = Pick<
  EmbeddedMap,
  "map_type" | "key_size" | "value_size" | "max_entries" | "map_flags" | "fields"
>;

export interface EmbeddedMap
  extends Omit<MapAttributes, "numa_node" | "inner_map_fd" | "btf_vmlinux_value_type_id" | "value_type_btf_obj_fd"> {
  readonly kind: "map";
  readonly id: number;
  readonly name: string;
  readonly family: MapFamily;
  readonly references: References;
  /** File descriptors and pins. */
  readonly userReferences: References;
  /** Is told when one of its files is closed. */
  closed(file: File): void;
  /** What keeps its memory: the map itself, and those who hold bytes of it. */
  readonly storage: References;
  /** Its address in the machine, which programs hold as a map pointer. */
  readonly handle: number;
  /** Bytes of a value as commands see it: those of all CPUs in a per-CPU map. */
  readonly userValueSize: number;
  /** What of a value belongs to the kernel, in the order of offsets. */
  readonly fields: readonly SpecialField[];
  /** Of a map of maps. */
  readonly innerTemplate: InnerTemplate | undefined;
  /** SHA-256 of the only program that may name it. */
  readonly exclusiveHash: Uint8Array | undefined;
  readonly btf: EmbeddedBtf | undefined;
  readonly btf_key_type_id: number;
  readonly btf_value_type_id: number;
  frozen: boolean;
  /** How many mappings may write; while there are any, it cannot be frozen. */
  writableMappings: number;
}

/** Bytes from one element of an array, or one CPU's value, to the next. */
export const stride = (valueSize: number): number => Math.ceil(valueSize / 8) * 8;

/** Bytes of whole pages. */
export const wholePages = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
