// The ```ts blocks of a Markdown file as programs: compiled as a reader would, and run with their comments as claims.
//
// A comment behind an expression statement says what the expression is, as Node's console prints it: `map.get(1); // 1234n`; behind a
// console.log, what is printed; and `// throws E2BIG` which error comes. In a claim, … stands for anything. All other comments are prose.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import ts from "typescript";
import { expect } from "vitest";
import type { Kernel } from "../src/kernel/kernel.ts";

export interface Example {
  /** The heading that it stands under, and its line. */
  readonly name: string;
  /** What the block's first line says behind "ts": the one kernel that it is for. */
  readonly only: string | undefined;
  readonly source: string;
}

const root = fileURLToPath(new URL("../", import.meta.url));

/** The blocks of a file, in order. */
export function examplesOf(file: string): Example[] {
  const examples: Example[] = [];
  let heading = file;
  let block: { lines: string[]; only: string | undefined; line: number } | undefined;
  for (const [index, line] of readFileSync(`${root}${file}`, "utf8").split("\n").entries()) {
    const opening = /^```ts(?: (\w+))?$/.exec(line);
    if (block === undefined && opening !== null) block = { lines: [], only: opening[1], line: index + 1 };
    else if (block === undefined) heading = /^#+ (.*)$/.exec(line)?.[1] ?? heading;
    else if (line !== "```") block.lines.push(line);
    else {
      examples.push({
        name: `${file}:${block.line} ${heading}`,
        only: block.only,
        source: `${block.lines.join("\n")}\n`,
      });
      block = undefined;
    }
  }
  return examples;
}

/** What the compiler has to say of sources, all at once, by the project's own options. */
export function compileErrors(sources: ReadonlyMap<string, string>): string[] {
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: ["src/index.ts"] }, ts.sys, root);
  const files = new Map([...sources.values()].map((text, index) => [`${root}docs/example-${index}.ts`, text]));
  const names = [...sources.keys()];
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (path) => files.has(path) || fileExists(path);
  host.readFile = (path) => files.get(path) ?? readFile(path);
  const program = ts.createProgram([...files.keys()], { ...options, noUnusedLocals: false }, host);
  return [...files.keys()].flatMap((path, index) => {
    const file = program.getSourceFile(path)!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ messageText }) => `${names[index]}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`,
    );
  });
}

/** Runs an example on a kernel, which `openKernel` gives it, and holds it to its claims. */
export async function runExample(source: string, kernel: Kernel): Promise<void> {
  const { code, claims } = withClaims(source.replace("using kernel =", "const kernel ="));
  const { outputText } = ts.transpileModule(code, {
    compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 },
  });
  const skep = { ...(await import("../src/index.ts")), openKernel: async () => kernel };
  const modules: Readonly<Record<string, unknown>> = {
    skep,
    "skep/asm": await import("../src/asm/index.ts"),
    "skep/btf": await import("../src/btf/index.ts"),
    "skep/pcap": await import("../src/pcap/index.ts"),
    "skep/uapi": await import("../src/uapi/index.ts"),
  };
  const require = createRequire(import.meta.url);
  const reached = new Set<number>();
  const checker = {
    value(claim: number, value: unknown): void {
      reached.add(claim);
      expectClaim(claims[claim]!, inspect(value));
    },
    printed(claim: number, ...values: unknown[]): void {
      reached.add(claim);
      const texts = values.map((value) => (typeof value === "string" ? value : inspect(value)));
      expectClaim(claims[claim]!, texts.join(" "));
    },
    throws(claim: number, body: () => unknown): void {
      reached.add(claim);
      let code: unknown = "nothing";
      try {
        body();
      } catch (error) {
        code = (error as { code?: unknown }).code ?? (error as Error).name;
      }
      expectClaim(claims[claim]!, `throws ${code}`);
    },
  };
  const run = new AsyncFunction("require", "exports", "claim", outputText);
  await run((name: string) => modules[name] ?? require(name), {}, checker);
  expect(
    claims.filter((_, claim) => !reached.has(claim)),
    "claims that were never reached",
  ).toEqual([]);
}

const AsyncFunction = (async () => {}).constructor as new (
  ...args: string[]
) => (require: (name: string) => unknown, exports: object, claim: object) => Promise<void>;

function expectClaim(claim: string, actual: string): void {
  const line = actual.replaceAll(/\s+/g, " ");
  const pattern = claim.split("…").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!new RegExp(`^${pattern.join(".*")}$`).test(line)) expect(line).toBe(claim);
}

/** The source with each claim as a call of `claim`, and the claims. */
function withClaims(source: string): { code: string; claims: string[] } {
  const file = ts.createSourceFile("example.ts", source, ts.ScriptTarget.ES2022, true);
  const claims: string[] = [];
  const edits: { start: number; end: number; text: string }[] = [];
  const visit = (node: ts.Node): void => {
    const comment = ts.isExpressionStatement(node) ? claimBehind(source, node.end) : undefined;
    if (comment === undefined || !ts.isExpressionStatement(node)) {
      ts.forEachChild(node, visit);
      return;
    }
    const { expression } = node;
    const id = claims.push(comment) - 1;
    const printed = ts.isCallExpression(expression) && expression.expression.getText() === "console.log";
    const text = printed
      ? `claim.printed(${[id, ...expression.arguments.map((argument) => argument.getText())].join(", ")});`
      : comment.startsWith("throws ")
        ? `claim.throws(${id}, () => ${expression.getText()});`
        : `claim.value(${id}, ${expression.getText()});`;
    edits.push({ start: node.getStart(), end: node.end, text });
  };
  visit(file);
  const code = edits.reduceRight((text, edit) => text.slice(0, edit.start) + edit.text + text.slice(edit.end), source);
  return { code, claims };
}

/** The text of the comment that ends a statement's line. */
function claimBehind(source: string, end: number): string | undefined {
  const [range] = ts.getTrailingCommentRanges(source, end) ?? [];
  return range === undefined ? undefined : source.slice(range.pos + "//".length, range.end).trim();
}
