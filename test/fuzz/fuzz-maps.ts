// The maps of random programs, each made when a program first names it, filled before a run and read after it.

import { buildBtf } from "../../src/btf/build.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import type { Attr } from "../../src/uapi/attr.ts";
import * as commands from "../../src/uapi/commands.ts";
import { EPERM } from "../../src/uapi/errno.ts";
import { BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED } from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import { int, struct } from "../contract/btf-types.ts";
import { words } from "../contract/references.ts";

const VALUE_SIZE = 32;
export const RING_SIZE = 4096;

type Create = Attr<typeof commands.BPF_MAP_CREATE>;

const keyed = (map_type: number, more: Create = {}): Create => ({
  map_type,
  key_size: 4,
  value_size: VALUE_SIZE,
  max_entries: 8,
  ...more,
});
const sparse = { map_flags: BPF_F_ZERO_SEED | BPF_F_NO_PREALLOC };
const list = (map_type: number): Create => keyed(map_type, { key_size: 0, max_entries: 3 });
const locked = { btf_key_type_id: 1, btf_value_type_id: 4 };
const numbers = (map_type: number): Create => keyed(map_type, { value_size: 4 });

const attributes = {
  globals: keyed(types.BPF_MAP_TYPE_ARRAY, { max_entries: 1 }),
  array: keyed(types.BPF_MAP_TYPE_ARRAY, { max_entries: 6 }),
  hash: keyed(types.BPF_MAP_TYPE_HASH, { map_flags: BPF_F_ZERO_SEED }),
  sparse: keyed(types.BPF_MAP_TYPE_HASH, { ...sparse, max_entries: 6 }),
  lru: keyed(types.BPF_MAP_TYPE_LRU_HASH, { map_flags: BPF_F_ZERO_SEED, max_entries: 512 }),
  percpuHash: keyed(types.BPF_MAP_TYPE_PERCPU_HASH, sparse),
  percpuArray: keyed(types.BPF_MAP_TYPE_PERCPU_ARRAY, { max_entries: 4 }),
  percpuConstant: keyed(types.BPF_MAP_TYPE_PERCPU_ARRAY, { max_entries: 4 }),
  lpm: keyed(types.BPF_MAP_TYPE_LPM_TRIE, { key_size: 8, map_flags: BPF_F_NO_PREALLOC }),
  queue: list(types.BPF_MAP_TYPE_QUEUE),
  stack: list(types.BPF_MAP_TYPE_STACK),
  bloom: list(types.BPF_MAP_TYPE_BLOOM_FILTER),
  arrayOfMaps: numbers(types.BPF_MAP_TYPE_ARRAY_OF_MAPS),
  hashOfMaps: numbers(types.BPF_MAP_TYPE_HASH_OF_MAPS),
  programs: numbers(types.BPF_MAP_TYPE_PROG_ARRAY),
  perf: numbers(types.BPF_MAP_TYPE_PERF_EVENT_ARRAY),
  ringbuf: { map_type: types.BPF_MAP_TYPE_RINGBUF, max_entries: RING_SIZE },
  devmap: numbers(types.BPF_MAP_TYPE_DEVMAP),
  devmapHash: numbers(types.BPF_MAP_TYPE_DEVMAP_HASH),
  cpumap: numbers(types.BPF_MAP_TYPE_CPUMAP),
  lockedArray: keyed(types.BPF_MAP_TYPE_ARRAY, { ...locked, max_entries: 4 }),
  lockedHash: keyed(types.BPF_MAP_TYPE_HASH, { ...locked, ...sparse }),
} satisfies Record<string, Create>;

export type FuzzMapName = keyof typeof attributes;

export interface FuzzMap {
  readonly fd: number;
}

/** The maps of one program on one kernel. */
export class FuzzMaps {
  readonly #kernel: Kernel;
  readonly #maps = new Map<FuzzMapName, FuzzMap>();
  readonly #opened: number[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** The map of a name, which is made when it is first asked for. */
  readonly of = (name: FuzzMapName): FuzzMap => {
    const known = this.#maps.get(name);
    if (known) return known;
    const map = { fd: this.#make(name) };
    this.#maps.set(name, map);
    return map;
  };

  has(name: FuzzMapName): boolean {
    return this.#maps.has(name);
  }

  /** Keeps a file descriptor until `close`. */
  open(fd: number): number {
    if (fd < 0) throw new Error(`a map or its type information could not be made: ${fd}`);
    this.#opened.push(fd);
    return fd;
  }

  /** Puts the first keys into the maps that have keys. */
  fill(): void {
    for (const [name, { fd }] of this.#maps) {
      const values = filled[name];
      for (let key = 0; key < (values ?? 0); key++) this.#update(fd, keyBytes(name, key), this.#value(name, key));
    }
  }

  /** What the maps hold, as text. */
  contents(): string {
    return [...this.#maps].map(([name, { fd }]) => `${name} ${this.#read(name, fd)}`).join(", ");
  }

  close(): void {
    for (const fd of this.#opened.reverse()) this.#kernel.close(fd);
  }

  #make(name: FuzzMapName): number {
    const create = (attr: Create): number => {
      const fd = this.#kernel.bpf(commands.BPF_MAP_CREATE, attr);
      // A seed of zero takes CAP_SYS_ADMIN, without which it is not asked how the program runs.
      const map_flags = (attr.map_flags ?? 0) & ~BPF_F_ZERO_SEED;
      return this.open(fd === -EPERM ? this.#kernel.bpf(commands.BPF_MAP_CREATE, { ...attr, map_flags }) : fd);
    };
    const attr: Create = attributes[name];
    if (attr.btf_value_type_id) {
      const btf = valueTypes();
      const btf_fd = this.open(this.#kernel.bpf(commands.BPF_BTF_LOAD, { btf, btf_size: btf.length }));
      return create({ ...attr, btf_fd });
    }
    if (name !== "arrayOfMaps" && name !== "hashOfMaps") return create(attr);
    const inner = name === "arrayOfMaps" ? attributes.array : attributes.sparse;
    const inners = [create(inner), create(inner)];
    const outer = create({ ...attr, inner_map_fd: inners[0]! });
    // An inner map stands at two keys.
    for (const [key, fd] of [...inners, inners[0]!].entries()) this.#update(outer, keyBytes(name, key), words(fd));
    return outer;
  }

  #update(map_fd: number, key: Uint8Array, value: Uint8Array): void {
    this.#kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key, value, flags: 0 });
  }

  #value(name: FuzzMapName, key: number): Uint8Array {
    const value = Uint8Array.from({ length: VALUE_SIZE }, (_, i) => (key * 51 + i * 7) & 0xff);
    const cpus = isPerCpu(name) ? this.#kernel.system.possibleCpus.length : 1;
    const values = new Uint8Array(VALUE_SIZE * cpus);
    for (let cpu = 0; cpu < cpus; cpu++) values.set(value, cpu * VALUE_SIZE);
    return values;
  }

  #read(name: FuzzMapName, fd: number): string {
    const kernel = this.#kernel;
    if (name === "queue" || name === "stack") {
      const values: string[] = [];
      const value = new Uint8Array(VALUE_SIZE);
      while (kernel.bpf(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd: fd, value, flags: 0 }) === 0)
        values.push(hex(value));
      return values.join(" ");
    }
    if (filled[name] === undefined) return "";
    const elements: string[] = [];
    let key: Uint8Array | null = null;
    for (let steps = 0; steps < 64; steps++) {
      const next_key = new Uint8Array(keyBytes(name, 0).length);
      if (kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { map_fd: fd, key, next_key }) !== 0) break;
      key = next_key;
      const value = this.#value(name, 0);
      kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd: fd, key, value, flags: 0 });
      elements.push(`${hex(key)}=${valueText(name, value)}`);
    }
    return elements.join(" ");
  }
}

/** Keys that a map has before a run. */
const filled: Readonly<Partial<Record<FuzzMapName, number>>> = {
  globals: 1,
  array: 6,
  hash: 5,
  sparse: 4,
  lru: 5,
  percpuHash: 4,
  percpuArray: 4,
  percpuConstant: 4,
  lpm: 5,
  lockedArray: 4,
  lockedHash: 4,
};

const isPerCpu = (name: FuzzMapName): boolean => name.startsWith("percpu");

/** Which CPU the program ran on is not told. */
function valueText(name: FuzzMapName, value: Uint8Array): string {
  const parts: string[] = [];
  const size = isPerCpu(name) ? VALUE_SIZE : value.length;
  for (let at = 0; at < value.length; at += size) parts.push(hex(value.subarray(at, at + size)));
  return [...new Set(parts)].sort().join("|");
}

/** Prefixes get longer with their number. */
const keyBytes = (name: FuzzMapName, key: number): Uint8Array =>
  name === "lpm" ? words(8 * key, 0x10101) : words(key);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Types: 1 u32, 2 u64, 3 the lock, 4 a value with a lock. */
const valueTypes = (): Uint8Array =>
  buildBtf([
    int("u32", 4),
    int("u64", 8),
    struct("bpf_spin_lock", 4, ["val", 1, 0]),
    struct("locked", VALUE_SIZE, ["before", 1, 0], ["lock", 3, 4], ["a", 2, 8], ["b", 2, 16], ["c", 2, 24]),
  ]);
