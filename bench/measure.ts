// Measures contenders in alternated rounds, so that what disturbs one disturbs all, and compares their medians.

/** Does something many times; returns the nanoseconds of one time, or what else its case has as unit. */
export type Contender = () => number | Promise<number>;

export interface Bench extends AsyncDisposable {
  readonly contenders: Readonly<Record<string, Contender>>;
  /** What is printed: each case is a contender, by its name, and what it is compared with. */
  readonly cases: readonly BenchCase[];
  /** What could not be measured here, and why. */
  readonly skipped: readonly string[];
}

export interface BenchCase {
  readonly name: string;
  /** Default: ns. */
  readonly unit?: Unit;
  /** A contender, and what it is called in the output; left out where it is not among them. */
  readonly against?: { readonly contender: string; readonly name: string };
}

/** `x` is a number of times. */
type Unit = "ns" | "ms" | "bytes" | "x";

export interface BenchLine {
  readonly bench: string;
  readonly case: string;
  readonly unit: Unit;
  readonly value: number;
  readonly against: string | null;
  /** Ours / theirs, the median over the rounds: below 1 is better. */
  readonly ratio: number | null;
}

/** Runs all contenders in each of `rounds` rounds, after one that is not counted. */
export async function measure(bench: string, { contenders, cases }: Bench, rounds: number): Promise<BenchLine[]> {
  const times = new Map(Object.keys(contenders).map((name) => [name, [] as number[]]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, contender] of Object.entries(contenders)) {
      const time = await contender();
      if (round > 0) times.get(name)!.push(time);
    }
  }
  return cases
    .filter(({ name }) => times.has(name))
    .map(({ name, unit = "ns", against }) => {
      const ours = times.get(name)!;
      const theirs = against === undefined ? undefined : times.get(against.contender);
      const compared =
        against === undefined || theirs === undefined
          ? { against: null, ratio: null }
          : { against: against.name, ratio: round3(median(theirs.map((time, round) => ours[round]! / time))) };
      return { bench, case: name, unit, value: round3(median(ours)), ...compared };
    });
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const round3 = (value: number): number => Math.round(value * 1000) / 1000;
