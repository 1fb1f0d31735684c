// npm run bench -- NAME [--json] [--rounds N]: measures one part of skep, and prints a table or one JSON object a line.

import { parseArgs } from "node:util";
import { type Bench, measure } from "./measure.ts";

const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  iterate: async () => (await import("./iterate.ts")).openIterate(),
  maps: async () => (await import("./maps.ts")).openMaps(),
  readers: async () => (await import("./readers.ts")).openReaders(),
};

const usage = `usage: npm run bench -- NAME [--json] [--rounds N]; NAME is one of: ${Object.keys(benches).join(", ")}`;

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: "boolean", default: false },
        rounds: { type: "string", default: "15" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    console.error(`${(error as Error).message}\n${usage}`);
    process.exit(2);
  }
}

const { values, positionals } = parse();
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const [name = ""] = positionals;
const rounds = Number(values.rounds);
const open = benches[name];
if (open === undefined || !Number.isInteger(rounds) || rounds < 1) {
  console.error(usage);
  process.exit(2);
}

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
