// Each example runs, on both kernels, and prints what it should.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it, type TestContext } from "vitest";
import { openLinux } from "./open-linux.ts";

const root = fileURLToPath(new URL("../", import.meta.url));

const MY_ARRAY = "/sys/fs/bpf/my_array";

const examples: readonly (readonly [name: string, output: string])[] = [
  ["my-array/my-array", `${MY_ARRAY}: 100 entries, [1] = 1234, [2] = 0\n`],
  ["my-array/my-array-libbpf", `${MY_ARRAY}: [1] = 1234\n`],
  ["counter/counter", "0x0800: packets 2, bytes 1560\n0x0806: packets 1, bytes 60\n"],
  [
    "ring-buffer/ring-buffer",
    "long_packets: a packet of 600 bytes is longer than 500\nlong_packets: a packet of 1200 bytes is longer than 500\n",
  ],
  [
    "legacy-maps/legacy-maps",
    "lengths: hash, 10000 entries, preallocated: false\npackets of 46 bytes: 2\npackets of 1486 bytes: 1\n",
  ],
];

const command = (name: string, options = "") => `"${process.execPath}" --import tsx examples/${name}.ts ${options}`;

function shell(script: string): { stdout: string; stderr: string; status: number | null } {
  const { stdout, stderr, status } = spawnSync("sh", ["-ec", script], { cwd: root, encoding: "utf8" });
  return { stdout, stderr, status };
}

/** Runs a script in a mount namespace of its own, with an empty BPF file system at /sys/fs/bpf: it ends with the script. */
function shellWithBpffs(script: string) {
  const quoted = `mount -t bpf bpf /sys/fs/bpf; ${script}`.replaceAll("'", `'\\''`);
  return shell(`exec unshare --mount sh -ec '${quoted}'`);
}

async function needsLinux(context: TestContext): Promise<void> {
  await openLinux(context);
  if (shellWithBpffs("true").status !== 0) context.skip("no permission to mount a BPF file system");
}

describe("on the embedded kernel", () => {
  it.for(examples)("%s", ([name, output]) => {
    expect(shell(command(name))).toEqual({ stdout: output, stderr: "", status: 0 });
  });
});

describe("on Linux", () => {
  it.for(examples)("%s", async ([name, output], context) => {
    await needsLinux(context);
    expect(shellWithBpffs(command(name, "--kernel linux"))).toEqual({ stdout: output, stderr: "", status: 0 });
  });

  it.for(["my-array/my-array", "my-array/my-array-libbpf"])(
    "another process reads what %s has pinned",
    async (name, context) => {
      await needsLinux(context);
      const script = `${command(name, "--kernel linux")} >/dev/null; ${command("my-array/read-my-array")}`;
      expect(shellWithBpffs(script)).toEqual({ stdout: "[1] = 1234\n", stderr: "", status: 0 });
    },
  );

  it("bpftool reads what my-array has pinned", async (context) => {
    await needsLinux(context);
    if (shell("bpftool version").status !== 0) context.skip("there is no bpftool");
    const dump = `bpftool --json map dump pinned ${MY_ARRAY}`;
    const { stdout, status } = shellWithBpffs(`${command("my-array/my-array", "--kernel linux")} >/dev/null; ${dump}`);
    expect(status).toBe(0);
    const elements: { key: string[]; value: string[] }[] = JSON.parse(stdout);
    expect(elements).toHaveLength(100);
    expect(elements[1]).toEqual({ key: ["0x01", "0x00", "0x00", "0x00"], value: ["0xd2", "0x04", "0x00", "0x00"] });
    expect(elements.filter(({ value }) => value.some((byte) => byte !== "0x00"))).toHaveLength(1);
  });
});
