// Compiles machine/ to WebAssembly and writes it, as base64, to src/embedded/machine.generated.ts.

import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { main } from "assemblyscript/asc";
import { INITIAL_PAGES, MAX_PAGES } from "../machine/layout.ts";

const target = new URL("../src/embedded/machine.generated.ts", import.meta.url);

const options = [
  "machine/index.ts",
  ...["--baseDir", fileURLToPath(new URL("..", import.meta.url)), "--outFile", "machine.wasm"],
  ...["--runtime", "stub", "--use", "abort="],
  ...[
    "--importMemory",
    "--sharedMemory",
    "--initialMemory",
    String(INITIAL_PAGES),
    "--maximumMemory",
    String(MAX_PAGES),
  ],
  ...["--memoryBase", "65536", "--enable", "threads"],
  ...["-O3", "--noAssert"],
];

const files = new Map<string, Uint8Array | string>();
const { error, stderr } = await main(options, {
  writeFile: (name, contents) => void files.set(name, contents),
});
const wasm = files.get("machine.wasm");
process.stderr.write(stderr.toString());
if (error || !(wasm instanceof Uint8Array)) process.exit(1);
const base64 = Buffer.from(wasm).toString("base64");
writeFileSync(
  target,
  `// Built from machine/ by scripts/build-machine.ts.\nexport const machineBase64 = "${base64}";\n`,
);
console.log(`machine: ${wasm.length} bytes`);
