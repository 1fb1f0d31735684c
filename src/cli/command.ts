// The `skep` command: its options, its output, its exit codes.

import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { VerifierError } from "../client/errors.ts";
import { printDiagnosis } from "../diagnosis/diagnosis.ts";
import { openKernel } from "../open.node.ts";
import { type DemoRecord, demo } from "./demo.ts";
import { linesOf } from "./demo-lines.ts";
import { DemoScreen } from "./demo-screen.ts";
import { readFrames, readInput } from "./files.ts";
import { RunReport, run } from "./run.ts";
import { jsonLine } from "./values.ts";

/** Where the command prints: `process`, or what a test looks into. */
export interface Terminal {
  readonly stdout: Pick<NodeJS.WriteStream, "write" | "isTTY" | "rows">;
  readonly stderr: Pick<NodeJS.WriteStream, "write">;
}

const SUCCESS = 0;
const FAILURE = 1;
const USAGE = 2;
const INTERRUPTED = 130;

/** Runs the command; returns its exit code. */
export async function skep(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await commandOf(terminal).parseAsync(args, { from: "user" });
    return SUCCESS;
  } catch (error) {
    return report(error, terminal);
  }
}

interface CommonOptions {
  readonly kernel: "linux" | "embedded";
  readonly json?: true;
}

/** The root of the package, seen from here and from dist/cli/. */
const root = new URL("../../", import.meta.url);
/** The demo's object file and capture. */
const flows = new URL("examples/flows/", root);

function commandOf({ stdout, stderr }: Terminal): Command {
  const printJson = (record: object) => stdout.write(jsonLine(record));
  const printLines = (lines: readonly string[]) => stdout.write(lines.map((line) => `${line}\n`).join(""));
  const kernelOption = () =>
    new Option("--kernel <kind>", "the kernel to run on: the embedded one, or the running Linux (as root)")
      .choices(["embedded", "linux"])
      .default("embedded");

  const command = new Command("skep")
    .description("eBPF for TypeScript: maps, programs and messages, on the Linux kernel and on an embedded one")
    .version(JSON.parse(readFileSync(new URL("package.json", root), "utf8")).version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: (message, write) => write(message.replace(/^error: /, "skep: ")),
    });

  command
    .command("demo")
    .description(
      "replay a packet capture through an XDP program, and watch the program and this process talk through maps",
    )
    .addOption(kernelOption())
    .option("--json", "print one JSON object a line")
    .option("--fast", "do not wait between packets; so it is too where the output is no terminal")
    .action(async ({ kernel: kind, json, fast }: CommonOptions & { fast?: true }) => {
      const live = stdout.isTTY === true && !json && !fast;
      using interruption = new Interruption();
      const options = {
        object: await readInput(new URL("flows.bpf.o", flows)),
        capture: await readFrames(new URL("traffic.pcap", flows)),
        live,
        interval: live ? 0.1 : 1,
        signal: interruption.signal,
      };
      using kernel = await openKernel({ kind });
      using screen = live ? new DemoScreen(stdout) : undefined;
      const print = json ? printJson : (record: DemoRecord) => printLines(linesOf(record));
      for await (const record of demo(kernel, options)) {
        if (screen) screen.show(record);
        else print(record);
      }
    });

  command
    .command("run")
    .description(
      "run the packet programs of an object file, each on its own, over a capture; then show what is in its maps",
    )
    .argument("<object>", "object file, compiled by clang -target bpf")
    .requiredOption("--packets <file>", "capture of Ethernet frames, pcap or pcapng")
    .option("--program <name>", "run only this program")
    .addOption(kernelOption())
    .option("--json", "print one JSON object a line")
    .addHelpText("after", "\nExample:\n  skep run counter.bpf.o --packets traffic.pcap --program count")
    .action(async (path: string, options: CommonOptions & { packets: string; program?: string }) => {
      const { kernel: kind, packets, program, json } = options;
      const object = await readInput(path);
      const capture = await readFrames(packets);
      using kernel = await openKernel({ kind });
      const report = new RunReport((line) => printLines([line]));
      for (const record of run(kernel, { object, capture, ...(program === undefined ? {} : { program }) })) {
        if (json) printJson(record);
        else report.show(record);
      }
      report.end();
    });

  return command;
}

/** Turns Ctrl-C and a request to end into an abort, so that everything made is taken away first. */
class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #abort = () => this.#controller.abort();
  readonly signal = this.#controller.signal;

  constructor() {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, this.#abort);
  }

  [Symbol.dispose](): void {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, this.#abort);
  }
}

/** Says what went wrong, in one line where it is not the verifier that speaks. */
function report(error: unknown, { stderr }: Terminal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? SUCCESS : USAGE;
  if (error instanceof Error && error.name === "AbortError") return INTERRUPTED;
  const { message, code, stack } = error as NodeJS.ErrnoException;
  const expected = typeof code === "string";
  stderr.write(`skep: ${expected ? "" : "a mistake of skep itself: "}${asOptions(message)}\n`);
  if (error instanceof VerifierError && error.diagnosis)
    stderr.write(`${asOptions(printDiagnosis(error.diagnosis))}\n`);
  if (process.env.DEBUG) stderr.write(`${error instanceof VerifierError ? error.log : ""}${stack}\n`);
  else if (!expected) stderr.write("skep: run it again with DEBUG=1 in the environment to see where\n");
  return FAILURE;
}

/** Advice to call openKernel as the option that does the same here. */
const asOptions = (text: string): string => text.replace(/openKernel\(\{ kind: "(\w+)" \}\)/g, "--kernel $1");
