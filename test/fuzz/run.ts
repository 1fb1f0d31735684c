// npm run fuzz:verifier -- [--maps] [--runs N] [--seed S] [--json]: random programs on the embedded kernel and on the running one.

import { setImmediate } from "node:timers/promises";
import { commandLine, misused } from "../../scripts/command-line.ts";
import { LinuxKernel } from "../../src/linux/kernel.ts";
import { mapTrial } from "./map-trial.ts";
import { compare, kernelsBeside } from "./verifier.ts";

const usage = "npm run fuzz:verifier -- [--maps] [--runs N] [--seed S] [--json]";
const { values } = commandLine(usage, {
  options: {
    runs: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    maps: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const [runs, seed] = [Number(values.runs), Number(values.seed)];
if (!(Number.isInteger(runs) && runs > 0 && Number.isInteger(seed)))
  misused(usage, "--runs and --seed are whole numbers");

using linux = await LinuxKernel.open();
const kernels = kernelsBeside(linux);
const start = performance.now();
const found = { unsound: 0, strict: 0, result: 0 };
let accepted = 0;
for (let run = 0; run < runs; run++) {
  // Lets go of maps whose bytes were looked at.
  await setImmediate();
  const outcome = compare(kernels, seed + run, values.maps ? mapTrial : undefined);
  if (outcome.accepted) accepted++;
  if (outcome.finding === undefined) continue;
  const { kind, detail } = outcome.finding;
  found[kind]++;
  console.error(`seed ${seed + run}: ${kind}: ${detail}`);
}
const differences = found.unsound + found.strict + found.result;
const seconds = Number(((performance.now() - start) / 1000).toFixed(1));
if (values.json) console.log(JSON.stringify({ runs, differences, unsound: found.unsound, seconds }));
else
  console.log(
    `${runs} programs, ${accepted} accepted by both, ${differences} differences, ${found.unsound} unsound, ${seconds} s`,
  );
