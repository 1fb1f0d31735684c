// What openKernel takes, on every host.

import type { EmbeddedKernelOptions } from "./embedded/kernel.ts";

/** With `kind`, that kernel and no other. The rest is for the embedded kernel. */
export interface OpenOptions extends EmbeddedKernelOptions {
  readonly kind?: "linux" | "embedded";
}
