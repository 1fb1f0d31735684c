#!/usr/bin/env node
// What `npx skep` starts.

import { skep } from "./command.ts";

// A reader that went away, `| head` say, is no error: what is left to do is done in silence.
let failure: NodeJS.ErrnoException | undefined;
process.stdout.on("error", (error) => {
  failure ??= error;
});
process.once("exit", () => {
  if (failure === undefined || failure.code === "EPIPE") return;
  process.stderr.write(`skep: the output cannot be written: ${failure.message}\n`);
  process.exitCode = 1;
});

process.exitCode = await skep(process.argv.slice(2), process);
