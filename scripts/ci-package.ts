// Checks the package as users get it: its face, its command and the README's example without koffi, and a browser
// bundle with nothing of Node in it.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rolldown } from "rolldown";

const root = join(import.meta.dirname, "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const entries = Object.keys(manifest.exports).filter((path) => !path.endsWith(".json"));
const specifiers = entries.map((path) => path.replace(/^\./, manifest.name));

/** What an entry must be able to do wherever it is loaded. */
const smokeTest = `
import { BpfMap, openKernel, u32, u64 } from "${manifest.name}";
const kernel = await openKernel({ kind: "embedded" });
const map = BpfMap.create(kernel, { name: "smoke", type: "array", key: u32, value: u64, maxEntries: 2 });
map.set(1, 1234n);
console.log(kernel.kind, map.get(1));
`;

const directory = mkdtempSync(join(tmpdir(), "skep-package-"));
try {
  const tarball = pack();
  checkFace(tarball);
  install(tarball);
  checkCommand();
  checkReadme();
  checkNode();
  await checkBrowser();
} finally {
  rmSync(directory, { recursive: true });
}

/** Packs dist as it is; what it throws names the command that failed. */
function pack(): string {
  run("npm", ["pack", "--ignore-scripts", "--pack-destination", directory], root);
  return join(directory, readdirSync(directory).find((name) => name.endsWith(".tgz"))!);
}

function checkFace(tarball: string): void {
  run("npx", ["publint", "--strict", tarball], root);
  run("npx", ["attw", "--profile", "esm-only", tarball], root);
  console.log(`package: publint and attw accept ${specifiers.join(", ")}`);
}

/** Unpacks the tarball into a project of its own, with its dependencies but without koffi. */
function install(tarball: string): void {
  const modules = join(directory, "node_modules");
  mkdirSync(join(modules, manifest.name), { recursive: true });
  run("tar", ["-xzf", tarball, "--strip-components=1", "-C", join(modules, manifest.name)], directory);
  for (const name of Object.keys(manifest.dependencies))
    symlinkSync(join(root, "node_modules", name), join(modules, name));
  writeFileSync(join(directory, "package.json"), '{ "type": "module" }');
}

function checkCommand(): void {
  const command = join("node_modules", manifest.name, manifest.bin.skep);
  const lines = run(command, ["demo", "--fast", "--json"], directory).trim().split("\n");
  for (const line of lines) JSON.parse(line);
  console.log(`package: the installed command runs the demo, ${lines.length} lines`);
}

/** The README's example is TypeScript: tsx runs it against the installed package. */
function checkReadme(): void {
  const [, example] = /```ts[^\n]*\n([\s\S]*?)```/.exec(readFileSync(join(root, "README.md"), "utf8")) ?? [];
  if (example === undefined) throw new Error("README.md has no TypeScript example");
  writeFileSync(join(directory, "readme.ts"), example);
  symlinkSync(join(root, "examples"), join(directory, "examples"));
  const output = run(join(root, "node_modules/.bin/tsx"), ["readme.ts"], directory).trim();
  if (!output.includes("packets:")) throw new Error(`the README's example printed no packets, but "${output}"`);
  console.log("package: the README's example runs");
}

/** Every entry can be imported, and the embedded kernel opens without koffi. */
function checkNode(): void {
  const imports = specifiers.map((specifier) => `await import(${JSON.stringify(specifier)});`).join("\n");
  writeFileSync(join(directory, "node.js"), `${imports}\n${smokeTest}`);
  expectEmbedded("Node without koffi", run(process.execPath, ["node.js"], directory));
}

/** The bundle that a browser gets holds no `node:` import and no koffi, and its kernel opens. */
async function checkBrowser(): Promise<void> {
  const imports = specifiers.map((specifier, index) => `export * as entry${index} from ${JSON.stringify(specifier)};`);
  writeFileSync(join(directory, "browser.js"), `${imports.join("\n")}\n${smokeTest}`);
  const bundle = await rolldown({
    input: join(directory, "browser.js"),
    cwd: directory,
    platform: "browser",
    resolve: { conditionNames: ["browser", "import", "default"] },
  });
  const { output } = await bundle.write({ file: join(directory, "bundle.js"), codeSplitting: false });
  for (const chunk of output) {
    if (chunk.type !== "chunk") continue;
    const foreign = [
      ...chunk.imports,
      ...chunk.dynamicImports,
      ...(chunk.code.match(/node:\w+|koffi|\bprocess\.\w+|\bBuffer\b/g) ?? []),
    ];
    if (foreign.length > 0) throw new Error(`the browser bundle reaches ${[...new Set(foreign)].join(", ")}`);
    console.log(
      `package: the browser bundle has ${(chunk.code.length / 1024).toFixed(0)} KiB and nothing of Node in it`,
    );
  }
  expectEmbedded("the browser bundle", run(process.execPath, ["bundle.js"], directory));
}

function expectEmbedded(where: string, output: string): void {
  if (output.trim() !== "embedded 1234n")
    throw new Error(`${where}: expected "embedded 1234n", got "${output.trim()}"`);
  console.log(`package: ${where} opens the embedded kernel`);
}

function run(command: string, args: readonly string[], cwd: string): string {
  try {
    return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")}\n${stdout}${stderr}`);
  }
}
