// npm's prepare step: builds dist. `npx skep` runs it too, when it first links this checkout into its cache: what is built stays then.

import { execSync } from "node:child_process";
import { existsSync } from "node:fs";

if (process.env.npm_command !== "exec" || !existsSync("dist/cli/main.js"))
  execSync("npm run build", { stdio: "inherit" });
