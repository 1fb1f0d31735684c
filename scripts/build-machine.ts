// Compiles machine/ to WebAssembly and writes it, as base64, to src/embedded/machine.generated.ts.

import { writeFileSync } from "node:fs";
import { compileMachine } from "./compile-machine.ts";

const target = new URL("../src/embedded/machine.generated.ts", import.meta.url);

const wasm = await compileMachine("machine/index.ts");
const base64 = Buffer.from(wasm).toString("base64");
writeFileSync(
  target,
  `// Built from machine/ by scripts/build-machine.ts.\nexport const machineBase64 = "${base64}";\n`,
);
console.log(`machine: ${wasm.length} bytes`);
