// Compiles a module of machine/ to WebAssembly.

import { fileURLToPath } from "node:url";
import { main } from "assemblyscript/asc";
import { INITIAL_PAGES, MAX_PAGES } from "../machine/layout.ts";

const options = [
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

/**
 * @param entry the module's path below the project
 * @throws Error with what the compiler says
 */
export async function compileMachine(entry: string): Promise<Uint8Array<ArrayBuffer>> {
  const files = new Map<string, Uint8Array | string>();
  const { error, stderr } = await main([entry, ...options], {
    writeFile: (name, contents) => void files.set(name, contents),
  });
  const wasm = files.get("machine.wasm");
  if (error || !(wasm instanceof Uint8Array)) throw new Error(stderr.toString());
  process.stderr.write(stderr.toString());
  return new Uint8Array(wasm);
}
