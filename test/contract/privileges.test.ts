// Without the capability: EPERM.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import { contract, outcome } from "./contract.ts";
import { tryPrivileged } from "./privileged.ts";

/** Attributes that are wrong for everybody are looked at first. */
const expected = {
  "an array": "EPERM",
  "a hash": "EPERM",
  "a ring buffer": "EPERM",
  "stack traces": "EPERM",
  "a map of CPUs with a wrong key": "EPERM",
  "a map of devices": "EPERM",
  "a map of devices with a wrong key": "EINVAL",
  "a map of XDP sockets with a wrong key": "EPERM",
  "a socket filter": "EPERM",
  "a tc classifier": "EPERM",
  "an XDP program": "EPERM",
  BTF: "EPERM",
  "the next map's id": "EPERM",
  "a map by its id": "EPERM",
  "a program by its id": "EPERM",
  "BTF by its id": "EPERM",
  "a wrong attribute": "EINVAL",
};

const named = (results: Record<string, number>): Record<string, number | string> =>
  Object.fromEntries(Object.entries(results).map(([tried, result]) => [tried, outcome(result)]));

contract.on("linux")("without capabilities everything that needs one is EPERM", (_kernel, { skip }) => {
  if (readFileSync("/proc/sys/kernel/unprivileged_bpf_disabled", "utf8").trim() === "0")
    skip("kernel.unprivileged_bpf_disabled is 0");
  const child = fileURLToPath(new URL("privileged.child.ts", import.meta.url));
  const withoutCapabilities = ["--inh-caps=-all", "--bounding-set=-all"];
  const { stdout, stderr, error } = spawnSync(
    "setpriv",
    [...withoutCapabilities, process.execPath, "--import", "tsx", child],
    { encoding: "utf8" },
  );
  if (error) skip("setpriv of util-linux is not installed");
  expect(stderr).toBe("");
  const { permitted, results } = JSON.parse(stdout) as { permitted: boolean; results: Record<string, number> };
  expect(permitted).toBe(false);
  expect(named(results)).toEqual(expected);
});

contract.on("embedded")("without capabilities everything that needs one is EPERM", () => {
  using kernel = new EmbeddedKernel({ capabilities: [] });
  expect(named(tryPrivileged(kernel))).toEqual(expected);
});

contract.on("embedded")("a network program needs CAP_NET_ADMIN beside CAP_BPF", () => {
  using kernel = new EmbeddedKernel({ capabilities: ["CAP_BPF"] });
  const results = named(tryPrivileged(kernel));
  expect(results["an XDP program"]).toBe("EPERM");
  expect(results["a tc classifier"]).toBe("EPERM");
  expect(results["a socket filter"]).toBeTypeOf("number");
});
