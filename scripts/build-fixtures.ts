// Compiles every `*.bpf.c` of test/fixtures and examples to the `.o` beside it, which is committed: nobody needs clang to run the tests.
// Needs clang-19 and libbpf-dev (Debian packages). The same sources give the same bytes on every machine.

import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { arch } from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Objects that are built from one source with further options, by the source. */
const variants: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  "test/fixtures/counter.bpf.c": {
    "counter.v2": ["-mcpu=v2"],
    "counter.v3": ["-mcpu=v3"],
    "counter.v4": ["-mcpu=v4"],
    "counter.stripped": ["-g0"],
  },
  "test/fixtures/extern.bpf.c": { "extern.ksyms": ["-DKSYMS"] },
  "test/fixtures/legacy-maps.bpf.c": {
    "legacy-maps.annotated": ["-DANNOTATED"],
    "legacy-maps.classic": ["-DFIELDS=4"],
    "legacy-maps.long": ["-DFIELDS=7"],
    "legacy-maps.stripped": ["-g0"],
  },
};

const headers = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" }[arch as string] ?? "";
const options = ["-target", "bpf", "-g", "-O2", "-Wall", "-Werror", "-ffile-compilation-dir=."];

for (const source of [...sourcesIn("test/fixtures"), ...sourcesIn("examples")]) {
  const name = basename(source, ".bpf.c");
  for (const [object, extra] of Object.entries({ [name]: [], ...variants[source] })) {
    const output = `${object}.bpf.o`;
    execFileSync(
      "clang-19",
      [...options, ...extra, "-idirafter", `/usr/include/${headers}`, "-c", basename(source), "-o", output],
      { cwd: join(root, dirname(source)), stdio: "inherit" },
    );
    console.log(join(dirname(source), output));
  }
}

/** C sources below a directory, in a fixed order. */
function sourcesIn(directory: string): string[] {
  return readdirSync(join(root, directory), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".bpf.c"))
    .sort()
    .map((path) => join(directory, path));
}
