// The running kernel for a test, which is skipped by name, with the reason, where there is none to be had.

import type { TestContext } from "vitest";
import { LinuxKernel } from "../src/linux/kernel.ts";

/** The running kernel, where it permits bpf(2) to this process. */
export async function openLinux({ skip }: Pick<TestContext, "skip">): Promise<LinuxKernel> {
  const kernel = await LinuxKernel.open().catch((error: Error) => skip(error.message));
  if (!kernel.isPermitted()) skip("bpf(2) is not permitted: it needs CAP_BPF");
  return kernel;
}
