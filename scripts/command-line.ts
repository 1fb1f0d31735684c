// Command lines of the developers' tools.

import { type ParseArgsConfig, parseArgs } from "node:util";

/** What stands on the command line. `--help` prints the usage and ends the process; what `config` does not know is misuse. */
export function commandLine<T extends ParseArgsConfig>(usage: string, config: T) {
  if (process.argv.slice(2).some((argument) => argument === "--help" || argument === "-h")) {
    console.log(`usage: ${usage}`);
    process.exit(0);
  }
  try {
    return parseArgs(config);
  } catch (error) {
    return misused(usage, (error as Error).message);
  }
}

/** Ends the process with what is wrong with its command line. */
export function misused(usage: string, reason: string): never {
  console.error(`${reason}\nusage: ${usage}`);
  process.exit(2);
}
