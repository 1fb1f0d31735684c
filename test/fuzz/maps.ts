// Random operations on a map of every type, on the embedded kernel and on the running one side by side, and on a model where
// there is one: the same answers, values and keys.

import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { outcome } from "../contract/contract.ts";
import { type Profile, profiles } from "../contract/map-profiles.ts";
import { type MapCreate, update } from "../contract/maps.ts";
import { World } from "../contract/world.ts";
import { randomNumbers } from "../differential/random-program.ts";
import { type MapModel, modelOf } from "./map-model.ts";

/** An operation that was answered differently. */
export interface Difference {
  readonly map: string;
  readonly operation: string;
  /** Answers by who gave them. */
  readonly answers: Readonly<Record<string, string>>;
}

/** Operations on each new map: then it is closed, and another one made. */
const OPERATIONS_PER_MAP = 500;

/**
 * Does `runs` random operations on maps of a type; ends at the first difference.
 *
 * @param kernels two kernels by name
 */
export function compareMaps(
  kernels: Readonly<Record<string, Kernel>>,
  type: number,
  runs: number,
  seed: number,
): Difference | undefined {
  const profile = profiles.get(type);
  if (profile === undefined) throw new RangeError(`map type ${type} has no profile`);
  const random = randomNumbers(seed);
  for (let done = 0; done < runs; done += OPERATIONS_PER_MAP) {
    // Linux lets go of what a closed map holds only a little later: each map gets things of its own.
    const worlds = Object.entries(kernels).map(([name, kernel]) => ({ name, world: new World(kernel) }));
    const shapes = worlds.map(({ world }) => profile.shapes(world));
    const number = random(shapes[0]!.length);
    const subjects = worlds.map(({ name, world }, index) => {
      const attr = { map_type: type, ...shapes[index]![number] };
      return new Subject(name, world, profile, attr);
    });
    try {
      const difference = compareOn(subjects, Math.min(OPERATIONS_PER_MAP, runs - done), random);
      if (difference !== undefined) return difference;
    } finally {
      for (const subject of subjects) subject.close();
      for (const { world } of worlds) world.close();
    }
  }
  return undefined;
}

function compareOn(
  subjects: readonly Subject[],
  count: number,
  random: (bound: number) => number,
): Difference | undefined {
  const [first] = subjects as [Subject];
  const { attr } = first;
  const model = modelOf(attr, "0".repeat(2 * first.valueSize));
  const bound = 2 * Math.min(attr.max_entries || 4, 8);
  for (let step = 0; step < count; step++) {
    const name = OPERATIONS[random(OPERATIONS.length)]!;
    const [key, value, flags] = [random(bound), random(1000), [0, 0, 0, 1, 2][random(5)]!];
    const answers: Record<string, string> = {};
    for (const subject of subjects) answers[subject.name] = subject.answer(name, key, value, flags);
    if (model !== undefined && name in model) {
      answers["the model"] = modelAnswer(model, name as keyof MapModel, first.key(key), first.value(value), flags);
    }
    if (new Set(Object.values(answers)).size === 1) continue;
    return {
      map: JSON.stringify(attr, plain),
      operation: `step ${step}: ${name} of key ${key}, value ${value}, flags ${flags}`,
      answers,
    };
  }
  return undefined;

  function modelAnswer(model: MapModel, name: keyof MapModel, key: string, value: string, flags: number): string {
    return name === "update" ? model.update(key, value, flags) : model[name](key);
  }
}

const OPERATIONS = [
  "lookup",
  "lookup",
  "update",
  "update",
  "update",
  "delete",
  "take",
  "next key",
  "all keys",
] as const;

/** One kernel's map, and its answers. */
class Subject {
  readonly name: string;
  readonly attr: MapCreate;
  readonly profile: Profile;
  readonly valueSize: number;
  readonly #world: World;
  readonly #fd: number;

  constructor(name: string, world: World, profile: Profile, attr: MapCreate) {
    this.name = name;
    this.attr = attr;
    this.profile = profile;
    this.valueSize = profile.readSize(attr, world);
    this.#world = world;
    this.#fd = world.create(attr);
  }

  key = (number: number): string => textOf(this.profile.key(this.attr, number, this.#world) ?? new Uint8Array(0));
  value = (number: number): string => textOf(this.profile.value(this.attr, number, this.#world));

  answer(operation: (typeof OPERATIONS)[number], key: number, value: number, flags: number): string {
    const { attr, profile } = this;
    const { kernel } = this.#world;
    if (this.#fd < 0) return `no map: ${outcome(this.#fd)}`;
    const target = { map_fd: this.#fd, key: profile.key(attr, key, this.#world) };
    switch (operation) {
      case "lookup":
      case "take": {
        const isLookup = operation === "lookup";
        const room = (isLookup ? profile.asked?.(attr, key) : undefined) ?? new Uint8Array(this.valueSize);
        const command = isLookup ? commands.BPF_MAP_LOOKUP_ELEM : commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM;
        const result = kernel.bpf(command, { ...target, value: room });
        return result < 0 ? String(outcome(result)) : `0 ${profile.shown?.(room, this.#world, attr) ?? textOf(room)}`;
      }
      case "update": {
        const bytes = profile.value(attr, value, this.#world);
        return String(outcome(update(kernel, { ...target, value: bytes, flags })));
      }
      case "delete":
        return String(outcome(kernel.bpf(commands.BPF_MAP_DELETE_ELEM, target)));
      case "next key": {
        const next_key = new Uint8Array(attr.key_size ?? 0);
        const result = kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { ...target, next_key });
        return profile.isOrdered(attr) ? `${outcome(result)} ${textOf(next_key)}` : "in no order";
      }
      case "all keys": {
        const found: string[] = [];
        const next_key = new Uint8Array(attr.key_size ?? 0);
        let from: Uint8Array | null = null;
        while (kernel.bpf(commands.BPF_MAP_GET_NEXT_KEY, { map_fd: this.#fd, key: from, next_key }) === 0) {
          from = next_key.slice();
          found.push(textOf(from));
        }
        return (profile.isOrdered(attr) ? found : found.toSorted()).join(" ");
      }
    }
  }

  close(): void {
    if (this.#fd >= 0) this.#world.kernel.close(this.#fd);
  }
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const plain = (_name: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);
