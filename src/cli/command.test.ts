import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { writePcap } from "../pcap/pcap.ts";
import { skep } from "./command.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const flows = join(root, "examples/flows/flows.bpf.o");
const traffic = join(root, "examples/flows/traffic.pcap");

const folder = mkdtempSync(join(tmpdir(), "skep-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** The command in this process, without a terminal. */
async function run(...args: string[]): Promise<{ stdout: string; stderr: string; status: number }> {
  const written = { stdout: "", stderr: "" };
  const stream = (name: keyof typeof written) => ({
    isTTY: false,
    rows: 24,
    write(text: string | Uint8Array) {
      written[name] += text;
      return true;
    },
  });
  const status = await skep(args, { stdout: stream("stdout"), stderr: stream("stderr") });
  return { ...written, status };
}

const ethernet = { data: new Uint8Array(60), timestamp: 0n };

it.each<[what: string, args: () => string[], status: number, message: RegExp]>([
  ["no command", () => [], 2, /^Usage: skep/],
  ["an unknown command", () => ["fly"], 2, /^skep: unknown command 'fly'/],
  [
    "an unknown kernel",
    () => ["demo", "--kernel", "bsd"],
    2,
    /^skep: option '--kernel <kind>' argument 'bsd' is invalid/,
  ],
  ["a missing option", () => ["run", flows], 2, /^skep: required option '--packets <file>' not specified/],
  ["a missing object", () => ["run", "no.o", "--packets", traffic], 1, /^skep: no\.o: there is no such file\n$/],
  ["a missing capture", () => ["run", flows, "--packets", "no"], 1, /^skep: no: there is no such file\n$/],
  ["a directory", () => ["run", folder, "--packets", traffic], 1, /^skep: .*: it is a directory\n$/],
  ["no name", () => ["run", "", "--packets", traffic], 1, /^skep: "": there is no such file\n$/],
  ["an object that is none", () => ["run", traffic, "--packets", traffic], 1, /^skep: traffic\.pcap: .*\n$/],
  ["a capture that is none", () => ["run", flows, "--packets", flows], 1, /^skep: flows\.bpf\.o: is no capture: .*\n$/],
  ["an empty capture", () => ["run", flows, "--packets", file("e", "")], 1, /^skep: e: is empty; .*\n$/],
  [
    "a cut capture",
    () => ["run", flows, "--packets", file("cut.pcap", writePcap([ethernet]).subarray(0, 90))],
    1,
    /^skep: cut\.pcap: packet 1 at offset 24: is cut: it has 60 bytes, 50 are left\n$/,
  ],
  [
    "a capture without Ethernet",
    () => ["run", flows, "--packets", file("raw.pcap", writePcap([ethernet], 101))],
    1,
    /^skep: raw\.pcap: packet 1 has link type 101 \(raw IP\); .*\n$/,
  ],
  [
    "a program that is not there",
    () => ["run", flows, "--packets", traffic, "--program", "x"],
    1,
    /^skep: flows\.bpf\.o: has no program "x"; its programs: watch_flows \(xdp\)\n$/,
  ],
])("%s ends with one clear line and an exit code", async (_, args, status, message) => {
  const result = await run(...args());
  expect(result.stderr).toMatch(message);
  expect(result.stderr).not.toMatch(/^ +at /m);
  expect(result.status).toBe(status);
});

it("run --json prints one object a line", async () => {
  const { stdout, stderr, status } = await run("run", flows, "--packets", traffic, "--json");
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const records = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(records[0]).toMatchObject({ type: "program", program: "watch_flows", kernel: "embedded" });
  expect(records.find(({ type }) => type === "answers")).toMatchObject({ packets: 442 });
});

it("advice names the command's own options", async () => {
  const routing = join(root, "test/fixtures/routing.bpf.o");
  const { stderr, status } = await run("run", routing, "--packets", traffic);
  expect(status).toBe(1);
  expect(stderr).toContain("--kernel linux");
  expect(stderr).not.toContain("openKernel");
});

it("help says what there is", async () => {
  expect(await run("run", "--help")).toMatchObject({ status: 0, stdout: expect.stringContaining("--packets <file>") });
  expect(await run("--version")).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
});

describe("as a process", () => {
  const args = ["--import", "tsx", "src/cli/main.ts"];

  it("demo prints plain lines where the output is no terminal", () => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [...args, "demo"], { cwd: root, encoding: "utf8" });
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    expect(stdout).not.toContain("\x1b");
    expect(stdout).toMatch(/^watch_flows of flows\.bpf\.o/);
    expect(stdout).toMatch(/pin .* removed\n$/);
  });

  it.skipIf(!existsSync("/dev/zero"))("an input without an end is not read for ever", () => {
    const { stderr, status } = spawnSync(process.execPath, [...args, "run", flows, "--packets", "/dev/zero"], {
      cwd: root,
      encoding: "utf8",
    });
    expect({ stderr, status }).toEqual({
      stderr: "skep: /dev/zero: it has more than 1073741824 bytes, the most that are read\n",
      status: 1,
    });
  });

  it.skipIf(!existsSync("/dev/full"))("output that cannot be written is an error", () => {
    const full = openSync("/dev/full", "w");
    const stdio = ["ignore", full, "pipe"] as const;
    const { stderr, status } = spawnSync(process.execPath, [...args, "demo"], { cwd: root, stdio: [...stdio] });
    closeSync(full);
    expect(String(stderr)).toMatch(/^skep: the output cannot be written: ENOSPC.*\n$/);
    expect(status).toBe(1);
  });

  it("a reader that goes away is no error", async () => {
    const child = spawn(process.execPath, [...args, "run", flows, "--packets", traffic], { cwd: root });
    child.stdout.once("data", () => child.stdout.destroy());
    let errors = "";
    child.stderr.on("data", (text) => {
      errors += text;
    });
    const status = await new Promise((resolve) => child.once("close", resolve));
    expect({ errors, status }).toEqual({ errors: "", status: 0 });
  });
});
