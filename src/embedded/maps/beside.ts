// What maps keep beside their bytes in the machine: whom the addresses in them are of.

import type { EmbeddedMap } from "./map.ts";

/** Something for each map of a family, made when it is first asked for. */
export class Beside<T> {
  readonly #byMap = new WeakMap<EmbeddedMap, T>();
  readonly #make: () => T;

  constructor(make: () => T) {
    this.#make = make;
  }

  of(map: EmbeddedMap): T {
    let kept = this.#byMap.get(map);
    if (kept === undefined) {
      kept = this.#make();
      this.#byMap.set(map, kept);
    }
    return kept;
  }
}
