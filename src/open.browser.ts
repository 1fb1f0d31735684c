// openKernel where there is no Linux: always the embedded kernel.

import { UnsupportedError } from "./client/errors.ts";
import { EmbeddedKernel } from "./embedded/kernel.ts";
import type { Kernel } from "./kernel/kernel.ts";
import { checkKind, type OpenOptions } from "./open.ts";

/** The embedded kernel. */
export async function openKernel({ kind, ...options }: OpenOptions = {}): Promise<Kernel> {
  checkKind(kind);
  if (kind === "linux")
    throw new UnsupportedError('there is no Linux kernel here; use openKernel({ kind: "embedded" })');
  return new EmbeddedKernel(options);
}
