/** Disposes what was put in, in the opposite order. */
export class Disposables {
  readonly #all: Disposable[] = [];

  use<T extends Disposable>(one: T): T {
    this.#all.push(one);
    return one;
  }

  dispose(): void {
    for (const one of this.#all.reverse()) one[Symbol.dispose]();
  }
}
