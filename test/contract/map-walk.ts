// A walk over the operations of a map type: every command with edge sizes, flags and buffers, and what a kernel answers, as text.
// The same walk on two kernels gives two lists that can be compared.

import { readMapInfo } from "../../src/client/info.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import type { Attr, BpfCommand } from "../../src/uapi/attr.ts";
import * as commands from "../../src/uapi/commands.ts";
import * as flags from "../../src/uapi/flags.ts";
import { outcome } from "./contract.ts";
import { type Profile, profiles } from "./map-profiles.ts";
import { type MapCreate, update } from "./maps.ts";
import { World } from "./world.ts";

/** Answers by case: `"array of 4 | lookup: key 1"` to `"0 01020304"`, or to the name of an error. */
export type Answers = ReadonlyMap<string, string>;

/** Asks a kernel every case of a map type. */
export function walkMapType(kernel: Kernel, type: number): Answers {
  const profile = profiles.get(type);
  if (profile === undefined) throw new RangeError(`map type ${type} has no profile`);
  const world = new World(kernel);
  const walk = new Walk(kernel, world, profile);
  try {
    for (const [index, shape] of profile.shapes(world).entries()) {
      const attr = { map_type: type, ...shape };
      if (index === 0) walk.creations(attr);
      if (!profile.isInert) {
        walk.rounds(attr);
        walk.batches(attr);
      }
      if (index === 0) {
        walk.edges(attr);
        walk.batchEdges(attr);
      }
      if (index === 0 || ((shape.map_flags ?? 0) & flags.BPF_F_MMAPABLE) !== 0) {
        walk.access(attr);
        walk.mappings(attr);
      }
    }
    return walk.answers;
  } finally {
    world.close();
  }
}

const SIZES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 32, 40, 64, 255, 256, 260, 261, 264, 512, 1016, 1024];
const VALUE_SIZES = [...SIZES, 1032, 4096, 32768, 32769, 65536];
const ENTRIES = [0, 1, 2, 3, 4, 5, 7, 8, 100, 1000, 4095, 4096, 8192, 12288, 65536];
const EXTRAS = [1n, 3n, 5n, 15n, 16n, 4096n, 1n << 32n];

class Walk {
  readonly answers = new Map<string, string>();
  readonly #kernel: Kernel;
  readonly #world: World;
  readonly #profile: Profile;
  #place = "";

  constructor(kernel: Kernel, world: World, profile: Profile) {
    this.#kernel = kernel;
    this.#world = world;
    this.#profile = profile;
  }

  /** BPF_MAP_CREATE: one attribute after the other away from those of a valid map. */
  creations(attr: MapCreate): void {
    this.#place = "";
    const create = (name: string, change: MapCreate): void => {
      const fd = this.#world.create({ ...attr, ...change });
      this.#note(`create: ${name}`, fd < 0 ? String(outcome(fd)) : `0 ${this.#describe(fd)}`);
      if (fd >= 0) this.#kernel.close(fd);
    };
    create("as it should be", {});
    for (const key_size of SIZES) create(`key_size ${key_size}`, { key_size });
    for (const value_size of VALUE_SIZES) create(`value_size ${value_size}`, { value_size });
    for (const max_entries of ENTRIES) create(`max_entries ${max_entries}`, { max_entries });
    const base = attr.map_flags ?? 0;
    for (let bit = 0; bit < 22; bit++) create(`flag 1 << ${bit}`, { map_flags: (base ^ (1 << bit)) >>> 0 });
    create("both access flags", { map_flags: base | flags.BPF_F_RDONLY | flags.BPF_F_WRONLY });
    create("both program access flags", { map_flags: base | flags.BPF_F_RDONLY_PROG | flags.BPF_F_WRONLY_PROG });
    create("every flag", { map_flags: 0xffff_ffff });
    for (const extra of EXTRAS) create(`map_extra ${extra}`, { map_extra: extra });
    for (const numa_node of [0, 1, 1000, 0xffff_ffff]) {
      create(`node ${numa_node}`, { numa_node });
      create(`node ${numa_node} with its flag`, { numa_node, map_flags: base | flags.BPF_F_NUMA_NODE });
    }
    create("an interface", { map_ifindex: 1 });
    create("a key type without a value type", { btf_key_type_id: 1, btf_value_type_id: 0 });
    create("types of no BTF", { btf_fd: 9999, btf_key_type_id: 1, btf_value_type_id: 1 });
    create("a value type of the kernel", { btf_vmlinux_value_type_id: 1 });
    create("an inner map", { inner_map_fd: this.#world.innerMap(0) });
    create("an inner map that is not open", { inner_map_fd: 9999 });
    create("no inner map", { inner_map_fd: 0 });
    create("a token that is none", { map_token_fd: 9999 });
    for (const map_name of ["a", "A_b.9", "fifteen_letters", "with space", "dash-ed"])
      create(`name ${map_name}`, { map_name });
  }

  /** The commands on one element as they are meant: filling, reading, overwriting, walking, deleting. */
  rounds(attr: MapCreate): void {
    const fd = this.#open(attr);
    if (fd === undefined) return;
    this.#note("info: new", `0 ${this.#describe(fd)}`);
    this.#nextKeys(fd, attr, "of an empty map");
    const capacity = this.#capacity(attr);
    const numbers = Array.from({ length: capacity }, (_, number) => number);
    for (const round of [0, 1, 2, 3]) {
      const flag = round === 1 ? flags.BPF_EXIST : round === 3 ? flags.BPF_NOEXIST : flags.BPF_ANY;
      for (const number of numbers) {
        this.#update(fd, attr, `${number} in round ${round}`, number, 10 * round + number, flag);
        this.#lookup(fd, attr, `${number} in round ${round}`, number);
      }
      for (const number of numbers) this.#lookup(fd, attr, `${number} at the end of round ${round}`, number);
      this.#nextKeys(fd, attr, `in round ${round}`);
      if (round < 2) continue;
      for (const number of numbers.filter((each) => each % 2 === 0))
        this.#delete(fd, attr, `${number} in round ${round}`, number);
      for (const number of numbers.filter((each) => each % 2 === 1))
        this.#take(fd, attr, `${number} in round ${round}`, number);
      this.#nextKeys(fd, attr, `behind deleting in round ${round}`);
    }
    for (const number of [...numbers, capacity]) this.#update(fd, attr, `filling with ${number}`, number, number, 0);
    for (const number of [...numbers, capacity]) this.#lookup(fd, attr, `${number} of a full map`, number);
    this.#update(fd, attr, "another key of a full map, EXIST", capacity + 3, 1, flags.BPF_EXIST);
    this.#update(fd, attr, "another key of a full map, NOEXIST", capacity + 3, 1, flags.BPF_NOEXIST);
    this.#update(fd, attr, "an old key of a full map", 1, 98, 0);
    this.#lookup(fd, attr, "an old key of a full map that was written", 1);
    for (const number of numbers.slice(0, 4)) this.#take(fd, attr, `${number} of a full map`, number);
    this.#nextKeys(fd, attr, "at the end");
    this.#note("info: used", `0 ${this.#describe(fd)}`);
    this.#ask("freeze: a used map", commands.BPF_MAP_FREEZE, { map_fd: fd });
    for (const number of numbers) this.#lookup(fd, attr, `${number} of a frozen map`, number);
    this.#kernel.close(fd);
  }

  /** The commands on one element with every flag, without buffers, on a map that is frozen or closed. */
  edges(attr: MapCreate): void {
    const fd = this.#open(attr);
    if (fd === undefined) return;
    this.#lookup(fd, attr, "key 1 of an empty map", 1);
    this.#delete(fd, attr, "key 1 of an empty map", 1);
    this.#take(fd, attr, "key 1 of an empty map", 1);
    for (const flag of UPDATE_FLAGS) {
      this.#update(fd, attr, `key 1, flags ${flag}`, 1, 10 + Number(BigInt(flag) & 0xffn), flag);
      this.#lookup(fd, attr, `key 1 behind flags ${flag}`, 1);
      this.#update(fd, attr, `key 2, flags ${flag}`, 2, 20 + Number(BigInt(flag) & 0xffn), flag);
      this.#lookup(fd, attr, `key 2 behind flags ${flag}`, 2);
      this.#delete(fd, attr, `key 2 behind flags ${flag}`, 2);
    }
    for (const flag of LOOKUP_FLAGS) {
      this.#lookup(fd, attr, `key 1, flags ${flag}`, 1, flag);
      this.#take(fd, attr, `key 1, flags ${flag}`, 1, flag);
      this.#lookup(fd, attr, `key 1 behind taking with flags ${flag}`, 1);
      this.#update(fd, attr, `key 1 again behind flags ${flag}`, 1, 30, 0);
    }
    this.#buffers(fd, attr);
    this.#ask("freeze: first", commands.BPF_MAP_FREEZE, { map_fd: fd });
    this.#ask("freeze: again", commands.BPF_MAP_FREEZE, { map_fd: fd });
    this.#update(fd, attr, "frozen", 1, 5, 0);
    this.#delete(fd, attr, "frozen", 1);
    this.#take(fd, attr, "frozen", 1);
    this.#lookup(fd, attr, "frozen", 1);
    this.#nextKeys(fd, attr, "frozen");
    this.#kernel.close(fd);
    this.#lookup(fd, attr, "closed", 1);
    this.#update(fd, attr, "closed", 1, 1, 0);
    this.#delete(fd, attr, "closed", 1);
    this.#take(fd, attr, "closed", 1);
    this.#ask("next key: closed", commands.BPF_MAP_GET_NEXT_KEY, {
      map_fd: fd,
      key: null,
      next_key: new Uint8Array(8),
    });
    this.#ask("freeze: closed", commands.BPF_MAP_FREEZE, { map_fd: fd });
    this.#ask("lookup: of a program", commands.BPF_MAP_LOOKUP_ELEM, {
      map_fd: this.#world.program(0),
      key: new Uint8Array(8),
      value: new Uint8Array(8),
    });
  }

  /** The four batch commands, as they are meant. */
  batches(attr: MapCreate): void {
    const batch = this.#batch(attr);
    if (batch === undefined) return;
    const { all, update, remove, read, LOOKUP, TAKE } = batch;
    for (const round of [0, 1, 2]) {
      update(`two in round ${round}`, all.slice(0, 2));
      update(`one that is there and a new one in round ${round}`, all.slice(1, 3));
      read(LOOKUP, `some in round ${round}`, 20);
      update(`all in round ${round}`, all);
      read(LOOKUP, `all in round ${round}`, 20);
      remove(`some in round ${round}`, all.slice(1, 3));
      read(LOOKUP, `behind deleting in round ${round}`, 20);
      if (round > 0) read(TAKE, `all in round ${round}`, 20);
      read(LOOKUP, `at the end of round ${round}`, 20);
    }
    batch.close();
  }

  /** The four batch commands with every flag, short buffers, too much and too little. */
  batchEdges(attr: MapCreate): void {
    const batch = this.#batch(attr);
    if (batch === undefined) return;
    const { all, update, remove, read, LOOKUP, TAKE } = batch;
    const capacity = all.length;
    for (const command of [LOOKUP, TAKE]) {
      read(command, "of an empty map", 10);
      read(command, "nothing", 0);
    }
    update("nothing", []);
    remove("nothing", []);
    update("one more than there is room for", [...all, capacity]);
    for (const elem_flags of BATCH_FLAGS) {
      update(`elem_flags ${elem_flags}`, all.slice(0, 1), { elem_flags });
      remove(`elem_flags ${elem_flags}`, [capacity + 5], { elem_flags });
      for (const command of [LOOKUP, TAKE]) read(command, `elem_flags ${elem_flags}`, 1, { elem_flags });
    }
    update("all again", all);
    for (const batchFlags of [1, 1n << 40n]) {
      update(`flags ${batchFlags}`, all.slice(0, 1), { flags: batchFlags });
      remove(`flags ${batchFlags}`, [capacity + 5], { flags: batchFlags });
      for (const command of [LOOKUP, TAKE]) read(command, `flags ${batchFlags}`, 20, { flags: batchFlags });
    }
    update("all once more", all);
    read(LOOKUP, "all", 20);
    read(LOOKUP, "behind the end", 20, { in_batch: new Uint8Array(batch.positionSize).fill(0x7f) });
    read(LOOKUP, "keys without room", 20, { keys: new Uint8Array(0) });
    read(LOOKUP, "values without room", 20, { values: new Uint8Array(0) });
    read(LOOKUP, "a position without room", 20, { out_batch: new Uint8Array(0) });
    read(LOOKUP, "a position that is too short", 20, { in_batch: new Uint8Array(1) });
    if (this.#isOrdered(attr)) {
      const out_batch = new Uint8Array(batch.positionSize);
      read(LOOKUP, "the first", 2, { out_batch });
      read(LOOKUP, "those behind the first", 20, { in_batch: out_batch });
    }
    remove("some", all.slice(1, 3));
    remove("one that is gone, then one that is there", [1, 0]);
    remove("keys that are too short", all, { keys: new Uint8Array(1) });
    update("keys that are too short", all, { keys: new Uint8Array(1) });
    update("values that are too short", all, { values: new Uint8Array(1) });
    read(TAKE, "all", 20);
    read(LOOKUP, "behind taking all", 20);
    batch.close();
    update("closed", all);
    remove("closed", all);
    for (const command of [LOOKUP, TAKE]) read(command, "closed", 1);
  }

  /** What file descriptors that only read or only write may do. */
  access(attr: MapCreate): void {
    this.#goTo(attr);
    for (const [name, flag] of [
      ["read-only", flags.BPF_F_RDONLY],
      ["write-only", flags.BPF_F_WRONLY],
    ] as const) {
      const fd = this.#world.create({ ...attr, map_flags: (attr.map_flags ?? 0) | flag });
      this.#note(`access: ${name}`, String(outcome(Math.min(0, fd))));
      if (fd < 0) continue;
      this.#lookup(fd, attr, name, 1);
      this.#update(fd, attr, name, 1, 1, 0);
      this.#delete(fd, attr, name, 1);
      this.#take(fd, attr, name, 1);
      this.#nextKeys(fd, attr, name);
      const room = new Uint8Array(4096);
      const batch = { map_fd: fd, keys: room, values: room, out_batch: room };
      this.#ask(`lookup batch: ${name}`, commands.BPF_MAP_LOOKUP_BATCH, { ...batch, count: 1 });
      this.#ask(`take batch: ${name}`, commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH, { ...batch, count: 1 });
      this.#ask(`update batch: ${name}`, commands.BPF_MAP_UPDATE_BATCH, { ...batch, count: 0 });
      this.#ask(`delete batch: ${name}`, commands.BPF_MAP_DELETE_BATCH, { ...batch, count: 0 });
      this.#map(fd, `${name}, to read`, { length: 4096 });
      this.#map(fd, `${name}, to write`, { length: 4096, writable: true });
      this.#ask(`freeze: ${name}`, commands.BPF_MAP_FREEZE, { map_fd: fd });
      this.#kernel.close(fd);
    }
  }

  /** mmap(2). */
  mappings(attr: MapCreate): void {
    const fd = this.#open(attr);
    if (fd === undefined) return;
    for (const writable of [false, true]) {
      for (const length of [1, 4096, 8192, 12288, 65536])
        for (const offset of [0, 4096, 8192]) {
          this.#map(fd, `${length} bytes at ${offset}${writable ? ", to write" : ""}`, { length, offset, writable });
        }
      this.#map(fd, `nothing${writable ? ", to write" : ""}`, { length: 0, writable });
      this.#map(fd, `an odd offset${writable ? ", to write" : ""}`, { length: 4096, offset: 100, writable });
    }
    this.#ask("freeze: behind the mappings", commands.BPF_MAP_FREEZE, { map_fd: fd });
    this.#map(fd, "frozen, to read", { length: 4096 });
    this.#map(fd, "frozen, to write", { length: 4096, writable: true });
    this.#kernel.close(fd);
  }

  /** A map and the batch commands on it; undefined where it cannot be made. */
  #batch(attr: MapCreate) {
    const fd = this.#open(attr);
    if (fd === undefined) return undefined;
    const keySize = attr.key_size ?? 0;
    const valueSize = this.#valueSize(attr);
    const joined = (numbers: readonly number[], each: (number: number) => Uint8Array | null): Uint8Array =>
      Uint8Array.from(numbers.flatMap((number) => [...(each(number) ?? [])]));
    const keysOf = (numbers: readonly number[]): Uint8Array => joined(numbers, (number) => this.#key(attr, number));
    const valuesOf = (numbers: readonly number[]): Uint8Array => joined(numbers, (number) => this.#value(attr, number));
    const update = (name: string, numbers: readonly number[], change: object = {}): void => {
      const batch = { map_fd: fd, count: numbers.length, keys: keysOf(numbers), values: valuesOf(numbers), ...change };
      this.#ask(`update batch: ${name}`, commands.BPF_MAP_UPDATE_BATCH, batch, () => `count ${batch.count}`);
    };
    const remove = (name: string, numbers: readonly number[], change: object = {}): void => {
      const batch = { map_fd: fd, count: numbers.length, keys: keysOf(numbers), ...change };
      this.#ask(`delete batch: ${name}`, commands.BPF_MAP_DELETE_BATCH, batch, () => `count ${batch.count}`);
    };
    const LOOKUP = commands.BPF_MAP_LOOKUP_BATCH;
    const TAKE = commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH;
    const positionSize = Math.max(4, keySize);
    const read = (command: typeof LOOKUP | typeof TAKE, name: string, count: number, change: object = {}): void => {
      const out_batch = new Uint8Array(positionSize);
      const keys = new Uint8Array(count * keySize);
      const values = new Uint8Array(count * valueSize);
      const batch = { map_fd: fd, in_batch: null, out_batch, keys, values, count, ...change };
      this.#ask(`${command === LOOKUP ? "lookup" : "take"} batch: ${name}`, command, batch, () => {
        const found = Array.from({ length: Math.min(count, batch.count) }, (_, index) => {
          const key = hex(keys.subarray(index * keySize, (index + 1) * keySize));
          const value = values.subarray(index * valueSize, (index + 1) * valueSize);
          return `${key}=${this.#shown(attr, value)}`;
        });
        return `count ${batch.count}: ${this.#inOrder(attr, found).join(" ")}`;
      });
    };
    const all = Array.from({ length: this.#capacity(attr) }, (_, number) => number);
    return { all, update, remove, read, LOOKUP, TAKE, positionSize, close: () => this.#kernel.close(fd) } as const;
  }

  #map(fd: number, name: string, options: { length: number; offset?: number; writable?: boolean }): void {
    const mapping = this.#kernel.mmap(fd, options);
    this.#note(`mmap: ${name}`, typeof mapping === "number" ? String(outcome(mapping)) : "0");
    if (typeof mapping !== "number") mapping.unmap();
  }

  /** Buffers that are missing or too short. */
  #buffers(map_fd: number, attr: MapCreate): void {
    const key = this.#key(attr, 1);
    const value = this.#value(attr, 1);
    const short = (bytes: Uint8Array | null): Uint8Array => (bytes ?? new Uint8Array(0)).slice(1);
    const next_key = new Uint8Array(attr.key_size ?? 0);
    const { BPF_MAP_LOOKUP_ELEM: look, BPF_MAP_UPDATE_ELEM: update, BPF_MAP_DELETE_ELEM: remove } = commands;
    const { BPF_MAP_GET_NEXT_KEY: next } = commands;
    this.#ask("update: for buffers", update, { map_fd, key, value });
    this.#ask("lookup: without a key", look, { map_fd, key: null, value: this.#room(attr) });
    this.#ask("lookup: a short key", look, { map_fd, key: short(key), value: this.#room(attr) });
    this.#ask("lookup: without a value", look, { map_fd, key, value: null });
    this.#ask("lookup: a short value", look, { map_fd, key, value: short(this.#room(attr)) });
    this.#ask("update: without a key", update, { map_fd, key: null, value });
    this.#ask("update: a short key", update, { map_fd, key: short(key), value });
    this.#ask("update: without a value", update, { map_fd, key, value: null });
    this.#ask("update: a short value", update, { map_fd, key, value: short(value) });
    this.#ask("delete: without a key", remove, { map_fd, key: null });
    this.#ask("delete: a short key", remove, { map_fd, key: short(key) });
    this.#ask("next key: a short key", next, { map_fd, key: short(key), next_key });
    this.#ask("next key: without room", next, { map_fd, key: null, next_key: null });
    this.#ask("next key: short room", next, { map_fd, key: null, next_key: short(next_key) });
    const long = Uint8Array.from([...(key ?? []), 1, 2, 3]);
    if (key !== null) this.#ask("lookup: a longer key", look, { map_fd, key: long, value: this.#room(attr) });
    this.#ask("lookup: a key for a map without keys", look, { map_fd, key: long, value: this.#room(attr) });
    this.#ask("update: a key for a map without keys", update, { map_fd, key: long, value });
    this.#ask("delete: a key for a map without keys", remove, { map_fd, key: long });
  }

  #lookup(map_fd: number, attr: MapCreate, name: string, number: number, flag: number | bigint = 0): void {
    const value = this.#profile.asked?.(attr, number) ?? this.#room(attr);
    const lookup = { map_fd, key: this.#key(attr, number), value, flags: flag };
    this.#ask(`lookup: ${name}`, commands.BPF_MAP_LOOKUP_ELEM, lookup, () => this.#shown(attr, value));
  }

  #take(map_fd: number, attr: MapCreate, name: string, number: number, flag: number | bigint = 0): void {
    const value = this.#room(attr);
    const take = { map_fd, key: this.#key(attr, number), value, flags: flag };
    this.#ask(`take: ${name}`, commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, take, () => this.#shown(attr, value));
  }

  #update(map_fd: number, attr: MapCreate, name: string, number: number, value: number, flag: number | bigint): void {
    this.#ask(`update: ${name}`, commands.BPF_MAP_UPDATE_ELEM, {
      map_fd,
      key: this.#key(attr, number),
      value: this.#value(attr, value),
      flags: flag,
    });
  }

  #delete(map_fd: number, attr: MapCreate, name: string, number: number): void {
    this.#ask(`delete: ${name}`, commands.BPF_MAP_DELETE_ELEM, { map_fd, key: this.#key(attr, number) });
  }

  /** The first key, all keys, and what is behind a key that is not there. */
  #nextKeys(map_fd: number, attr: MapCreate, name: string): void {
    const next_key = new Uint8Array(attr.key_size ?? 0);
    const found: string[] = [];
    const first = this.#kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { map_fd, key: null, next_key });
    let result = first;
    for (let steps = 0; result >= 0 && steps < 20; steps++) {
      const key = next_key.slice();
      found.push(hex(key));
      result = this.#kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { map_fd, key, next_key });
    }
    this.#note(`next key: first, ${name}`, first < 0 ? String(outcome(first)) : "0");
    this.#note(
      `next key: all, ${name}`,
      `${found.length > 0 ? "0" : ""} ${this.#inOrder(attr, found).join(" ")} ${outcome(result)}`.trim(),
    );
    const behind = { map_fd, key: this.#key(attr, 77), next_key };
    this.#ask(`next key: behind one that is not there, ${name}`, commands.BPF_MAP_GET_NEXT_KEY, behind, () =>
      this.#isOrdered(attr) ? hex(next_key) : "",
    );
  }

  #open(attr: MapCreate): number | undefined {
    this.#goTo(attr);
    const fd = this.#world.create(attr);
    if (fd < 0) {
      if (!this.answers.has(`${this.#place} | create: this map`)) this.#note("create: this map", String(outcome(fd)));
      return undefined;
    }
    return fd;
  }

  /** Cases are about this map from now on. */
  #goTo({ map_type: _, ...attr }: MapCreate): void {
    this.#place = Object.entries(attr)
      .filter(([name]) => !name.endsWith("_fd"))
      .map(([name, value]) => `${name} ${value}`)
      .join(", ");
  }

  #describe(fd: number): string {
    const { key_size, value_size, max_entries, map_flags, map_extra, name } = readMapInfo(this.#kernel, fd);
    return `key ${key_size} value ${value_size} entries ${max_entries} flags ${map_flags} extra ${map_extra} ${name}`.trim();
  }

  #ask<Command extends BpfCommand>(
    name: string,
    command: Command,
    attr: Attr<Command>,
    shown: () => string = () => "",
  ): void {
    const result =
      command === commands.BPF_MAP_UPDATE_ELEM ? update(this.#kernel, attr) : this.#kernel.bpf(command, attr);
    const isBatch = name.includes(" batch: ");
    this.#note(name, `${outcome(result)} ${result >= 0 || isBatch ? shown() : ""}`.trim());
  }

  #note(name: string, answer: string): void {
    const whole = `${this.#place} | ${name}`;
    if (this.answers.has(whole)) throw new Error(`two cases are called "${whole}"`);
    this.answers.set(whole, answer);
  }

  #capacity = (attr: MapCreate): number => Math.min(attr.max_entries || 4, 6);
  #key = (attr: MapCreate, number: number): Uint8Array | null => this.#profile.key(attr, number, this.#world);
  #value = (attr: MapCreate, number: number): Uint8Array => this.#profile.value(attr, number, this.#world);
  #valueSize = (attr: MapCreate): number => this.#profile.readSize(attr, this.#world);
  #room = (attr: MapCreate): Uint8Array => new Uint8Array(this.#valueSize(attr));
  #shown = (attr: MapCreate, bytes: Uint8Array): string =>
    this.#profile.shown?.(bytes, this.#world, attr) ?? hex(bytes);
  #isOrdered = (attr: MapCreate): boolean => this.#profile.isOrdered(attr);
  #inOrder = (attr: MapCreate, found: readonly string[]): readonly string[] =>
    this.#isOrdered(attr) ? found : found.toSorted();
}

const UPDATE_FLAGS = [0, 1, 2, 3, 4, 5, 6, 8, 16, 1n << 32n, (1n << 32n) | 4n, 1n << 63n];
const LOOKUP_FLAGS = [0, 1, 2, 4, 5, 8, 1n << 32n];
const BATCH_FLAGS = [1, 2, 4, 5, 8, 1n << 32n];

/** Bytes as hexadecimal digits, long ones shortened by their sum. */
function hex(bytes: Uint8Array): string {
  if (bytes.length <= 64) return Buffer.from(bytes).toString("hex");
  const sum = bytes.reduce((total, byte, index) => (total + byte * (index + 1)) % 0xffff_fffb, 0);
  return `${bytes.length} bytes, sum ${sum}`;
}
