import { expect, test } from "vitest";
import { LinuxKernel } from "../../src/linux/kernel.ts";
import { mapTrial } from "./map-trial.ts";
import { compare, kernelsBeside } from "./verifier.ts";

const PROGRAMS = 80;

test.for([
  ["of packets", undefined],
  ["of maps", mapTrial],
] as const)(
  "what the embedded kernel accepts, Linux accepts, and both run it alike: programs %s",
  async ([, trial], context) => {
    using linux = await LinuxKernel.open().catch((error: Error) => context.skip(error.message));
    if (!linux.isPermitted()) context.skip("bpf(2) is not permitted: it needs CAP_BPF");
    const kernels = kernelsBeside(linux);
    const outcomes = Array.from({ length: PROGRAMS }, (_, seed) => compare(kernels, seed, trial));
    expect(outcomes.filter(({ accepted }) => accepted).length).toBeGreaterThan(PROGRAMS / 2);
    expect(outcomes.filter(({ finding }) => finding && finding.kind !== "strict")).toEqual([]);
  },
);
