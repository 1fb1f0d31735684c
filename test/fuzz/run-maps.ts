// npm run fuzz:maps -- [--runs N] [--seed S] [--type NAME] [--json]: random operations on maps of every type, on both kernels.

import { commandLine, misused } from "../../scripts/command-line.ts";
import { mapTypeName } from "../../src/client/maps/types.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import { LinuxKernel } from "../../src/linux/kernel.ts";
import { profiles } from "../contract/map-profiles.ts";
import { compareMaps } from "./maps.ts";

const usage = "npm run fuzz:maps -- [--runs N] [--seed S] [--type NAME] [--json]";
const { values } = commandLine(usage, {
  options: {
    runs: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    type: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const [runs, seed] = [Number(values.runs), Number(values.seed)];
const chosen = [...profiles.keys()].filter((type) => values.type === undefined || mapTypeName(type) === values.type);
if (!(Number.isInteger(runs) && runs > 0 && Number.isInteger(seed)))
  misused(usage, "--runs and --seed are whole numbers");
if (chosen.length === 0) misused(usage, `there is no map type "${values.type}"`);

using linux = await LinuxKernel.open();
using embedded = new EmbeddedKernel({ cpus: linux.system.possibleCpus.length });
const start = performance.now();
let differences = 0;
for (const type of chosen) {
  const difference = compareMaps({ embedded, linux }, type, runs, seed);
  if (difference === undefined) continue;
  differences++;
  const answers = Object.entries(difference.answers).map(([who, answer]) => `\n  ${who}: ${answer}`);
  console.error(`${mapTypeName(type)} ${difference.map}: ${difference.operation}${answers.join("")}`);
}
const seconds = Number(((performance.now() - start) / 1000).toFixed(1));
if (values.json) console.log(JSON.stringify({ runs: runs * chosen.length, differences, unsound: 0, seconds }));
else
  console.log(
    `${runs} operations on each of ${chosen.length} types, ${differences} types with a difference, ${seconds} s`,
  );
process.exitCode = differences > 0 ? 1 : 0;
