// The last lines of a test run: what ran on which kernel, and the sums, in words that a person and a script can read.

import type { Reporter, TestModule } from "vitest/node";

export default class SumsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const states = tests.map((test) => test.result().state);
    const count = (state: string): number => states.filter((each) => each === state).length;
    const broken = modules.filter((module) => module.errors().length > 0).length;

    const cases = tests.filter((test) => test.meta().contract !== undefined);
    const ran = (kind: string): number =>
      cases.filter((test) => test.meta().contract === kind && test.result().state !== "skipped").length;
    const reasons = new Set<string>();
    let skipped = 0;
    for (const test of cases) {
      const result = test.result();
      if (result.state !== "skipped") continue;
      skipped++;
      reasons.add(result.note ?? "no reason given");
    }
    const why = reasons.size > 0 ? ` (${[...reasons].join("; ")})` : "";
    console.log(`contract: ${ran("embedded")} on embedded, ${ran("linux")} on linux, ${skipped} skipped${why}`);
    console.log(`${count("passed")} passed, ${count("failed") + broken} failed, ${count("skipped")} skipped`);
  }
}
