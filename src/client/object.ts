// A loaded object file: its maps and programs, live.

import type { Btf } from "../btf/btf.ts";
import { codecOf } from "../btf/codec.ts";
import type { Codec } from "../codec/codec.ts";
import { readObject } from "../elf/object.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { ObjectSpec } from "../spec/spec.ts";
import { UnsupportedError } from "./errors.ts";
import { load } from "./load.ts";
import type { BpfMap } from "./map.ts";
import type { ArrayMap } from "./maps/array.ts";
import type { HashMap } from "./maps/keyed.ts";
import type { MapOfMaps } from "./maps/map-of-maps.ts";
import type { PinPolicy } from "./maps/pinned.ts";
import type { BloomFilterMap, QueueMap } from "./maps/queue.ts";
import type { ProgramArrayMap } from "./maps/references.ts";
import type { PerfEventArrayMap, RingBufferMap, UserRingBufferMap } from "./maps/ring-buffer.ts";
import type { BpfProgram } from "./program.ts";

export interface LoadOptions {
  /** The name of the object's file, for messages and for the names of its data maps. */
  readonly name?: string;
  /** The programs to load; those whose section does not begin with "?" where absent. */
  readonly programs?: readonly string[];
  /** Directory of maps that are declared with LIBBPF_PIN_BY_NAME; /sys/fs/bpf where absent. */
  readonly pinRoot?: string;
  /** What to do where one of those is pinned already; `"reuse"` where absent. */
  readonly pinPolicy?: PinPolicy;
}

// biome-ignore lint/suspicious/noExplicitAny: what a map holds is known to the object's BTF, not to TypeScript
type Any = any;
type UntypedMap = ArrayMap<Any, Any, Any> &
  HashMap<Any, Any> &
  MapOfMaps<Any, Any> &
  ProgramArrayMap &
  QueueMap<Any> &
  BloomFilterMap<Any> &
  RingBufferMap<Any> &
  UserRingBufferMap<Any> &
  PerfEventArrayMap<Any>;

/** The maps that a caller expects in an object. Without it each map offers every method, and those that its type lacks are not there at run time. */
export type ObjectMaps = Readonly<Record<string, BpfMap>>;

/**
 * Maps and programs of an object file, by name. `BpfObject.load<{ packets: HashMap<string, Traffic> }>(…)` says what its maps hold.
 */
export class BpfObject<Maps extends ObjectMaps = Readonly<Record<string, UntypedMap>>> implements Disposable {
  readonly spec: ObjectSpec;
  /** Keys and values are typed by the object's BTF; without BTF they are bytes. */
  readonly maps: Maps;
  readonly programs: Readonly<Record<string, BpfProgram>>;

  private constructor(spec: ObjectSpec, maps: Maps, programs: Readonly<Record<string, BpfProgram>>) {
    this.spec = spec;
    this.maps = maps;
    this.programs = programs;
  }

  /**
   * Creates an object's maps and loads its programs. On failure nothing stays behind.
   *
   * @param source the bytes of an object file, or what `readObject` made of them
   * @throws ElfError or BtfError where the bytes are no valid object; UnsupportedError where it needs what is not there yet;
   *   VerifierError where a program is refused; BpfError where a map or a program cannot be made
   * @example
   * using object = BpfObject.load(kernel, await readFile("counter.bpf.o"));
   * for (const [key, value] of object.maps.packets) console.log(key, value);
   */
  static load<Maps extends ObjectMaps = Readonly<Record<string, UntypedMap>>>(
    kernel: Kernel,
    source: Uint8Array | ObjectSpec,
    options: LoadOptions = {},
  ): BpfObject<Maps> {
    const spec = source instanceof Uint8Array ? readObject(source, options.name ?? "object.o") : source;
    const { maps, programs } = load(kernel, spec, options);
    return new BpfObject(spec, maps as Maps, programs);
  }

  /**
   * The codec of a C type of the object, by the name of a struct, union, enum or typedef.
   *
   * @throws UnsupportedError where the object has no BTF or no such type
   */
  codec<T = unknown>(typeName: string): Codec<T> {
    const { btf, name } = this.spec;
    const id = btf === undefined ? undefined : findType(btf, typeName);
    if (btf === undefined || id === undefined) {
      const what = btf === undefined ? "it has no BTF" : "it has no such type";
      throw new UnsupportedError(`${name}: no codec for type "${typeName}": ${what}`);
    }
    return codecOf(btf, id) as Codec<T>;
  }

  /** Closes all maps and programs. */
  close(): void {
    for (const program of Object.values(this.programs)) program.close();
    for (const map of Object.values(this.maps)) map.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const findType = (btf: Btf, name: string): number | undefined =>
  (["struct", "union", "enum", "enum64", "typedef"] as const)
    .map((kind) => btf.find(name, kind))
    .find((id) => id !== undefined);
