// npm run bench -- NAME [--json] [--rounds N]: measures one part of skep, and prints a table or one JSON object a line.

import { commandLine, misused } from "../scripts/command-line.ts";
import { type Bench, measure } from "./measure.ts";

const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  iterate: async () => (await import("./iterate.ts")).openIterate(),
  machine: async () => (await import("./machine.ts")).openMachine(),
  maps: async () => (await import("./maps.ts")).openMaps(),
  readers: async () => (await import("./readers.ts")).openReaders(),
  scale: async () => (await import("./scale.ts")).openScale(),
};

const usage = `npm run bench -- NAME [--json] [--rounds N]; NAME is one of: ${Object.keys(benches).join(", ")}`;
const { values, positionals } = commandLine(usage, {
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    rounds: { type: "string", default: "15" },
  },
});
const [name = ""] = positionals;
const open = benches[name] ?? misused(usage, `there is no benchmark "${name}"`);
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) misused(usage, `--rounds ${values.rounds} is no number of rounds`);

await using bench = await open();
for (const reason of bench.skipped) console.error(`skipped: ${reason}`);
for (const line of await measure(name, bench, rounds)) {
  if (values.json) {
    console.log(JSON.stringify(line));
  } else {
    const { value, unit, against, ratio } = line;
    const compared = ratio === null ? "" : `${ratio.toFixed(2).padStart(6)} × ${against}`;
    console.log(`${line.case.padEnd(36)} ${value.toFixed(1).padStart(9)} ${unit}  ${compared}`);
  }
}
