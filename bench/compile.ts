// C that is measured beside us: compiled, and loaded into this process, so that both loops run on one thread and on one map.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Disposables } from "./disposables.ts";

/**
 * A C file of this folder as a loaded library; `options` are the compiler's.
 *
 * @throws Error where there is no C compiler, or the file does not compile
 */
export async function compile(name: string, stack: Disposables, ...options: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), "skep-bench-"));
  stack.use({ [Symbol.dispose]: () => rmSync(folder, { recursive: true }) });
  const library = join(folder, "bench.so");
  const source = fileURLToPath(new URL(name, import.meta.url));
  const { status, error, stderr } = spawnSync("cc", ["-O2", "-shared", "-fPIC", ...options, "-o", library, source], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(error?.message ?? stderr.trim());
  const { default: koffi } = await import("koffi");
  return koffi.load(library);
}
