#!/usr/bin/env node
// What `npx skep` starts.

import { skep } from "./command.ts";

// A reader that went away, `| head` say, is no error: what is left to do is done in silence.
process.stdout.on("error", () => {});

process.exitCode = await skep(process.argv.slice(2), process);
