// openKernel on Node: the running Linux kernel where it permits bpf(2), else the embedded one.

import { EmbeddedKernel } from "./embedded/kernel.ts";
import type { Kernel } from "./kernel/kernel.ts";
import { checkKind, type OpenOptions } from "./open.ts";

/**
 * Opens a kernel: the running Linux where this process may use bpf(2), else the embedded one.
 *
 * @throws LinuxUnavailableError where `kind` is `"linux"` and there is none: another system, no koffi, no bpf(2); UnsupportedError where
 *   `kind` is neither
 * @example
 * using kernel = await openKernel({ kind: "embedded" });
 */
export async function openKernel({ kind, ...options }: OpenOptions = {}): Promise<Kernel> {
  checkKind(kind);
  if (kind !== "embedded") {
    // A dynamic import: koffi is optional, and loaded only by those who reach for Linux.
    const { LinuxKernel, LinuxUnavailableError } = await import("./linux/kernel.ts");
    try {
      const linux = await LinuxKernel.open();
      if (kind === "linux" || linux.isPermitted()) return linux;
      linux[Symbol.dispose]();
    } catch (error) {
      if (kind === "linux" || !(error instanceof LinuxUnavailableError)) throw error;
    }
  }
  return new EmbeddedKernel(options);
}
