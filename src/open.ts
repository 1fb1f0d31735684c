// What openKernel takes, on every host.

import { UnsupportedError } from "./client/errors.ts";
import type { EmbeddedKernelOptions } from "./embedded/kernel.ts";

const kinds = ["linux", "embedded"] as const;

/** With `kind`, that kernel and no other. The rest is for the embedded kernel. */
export interface OpenOptions extends EmbeddedKernelOptions {
  readonly kind?: (typeof kinds)[number];
}

/** @throws UnsupportedError where there is no kernel of that kind */
export function checkKind(kind: OpenOptions["kind"]): void {
  if (kind === undefined || kinds.includes(kind)) return;
  throw new UnsupportedError(`there is no kernel "${kind}"; these are: ${kinds.join(", ")}`);
}
