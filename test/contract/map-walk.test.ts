// Every map type, every operation: the embedded kernel answers each case of the walk as the running kernel does.

import { describe, expect, test } from "vitest";
import { mapTypeName } from "../../src/client/maps/types.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import { openLinux } from "../open-linux.ts";
import { profiles } from "./map-profiles.ts";
import { type Answers, walkMapType } from "./map-walk.ts";

describe("the walk over every map type and operation", () => {
  const totals = { cases: 0, succeeded: 0 };

  for (const type of profiles.keys()) {
    test(`${mapTypeName(type)}: both kernels answer alike`, async (context) => {
      using linux = await openLinux(context);
      using embedded = new EmbeddedKernel({ cpus: linux.system.possibleCpus.length });
      const expected = walkMapType(linux, type);
      const answers = walkMapType(embedded, type);
      expect(different(answers, expected)).toEqual([]);
      expect(expected.size).toBeGreaterThanOrEqual(15);
      totals.cases += expected.size;
      totals.succeeded += [...expected.values()].filter((answer) => answer.startsWith("0")).length;
    });
  }

  test("there are enough cases, and enough of them succeed", ({ skip }) => {
    if (totals.cases === 0) skip("the running kernel did not answer");
    const share = totals.succeeded / totals.cases;
    console.log(
      `map walk: ${totals.cases} cases of ${profiles.size} types, ${Math.round(share * 100)} % succeed on Linux`,
    );
    expect(totals.cases).toBeGreaterThan(3000);
    expect(share).toBeGreaterThan(0.4);
  });
});

/** The cases that were answered differently, as sentences. */
function different(answers: Answers, expected: Answers): string[] {
  const names = new Set([...answers.keys(), ...expected.keys()]);
  return [...names]
    .filter((name) => answers.get(name) !== expected.get(name))
    .map((name) => `${name}: ${answers.get(name) ?? "no answer"}, Linux: ${expected.get(name) ?? "no answer"}`);
}
