// A BPF file system for as long as the command needs one.

import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BpfError } from "../client/errors.ts";
import type { Kernel } from "../kernel/kernel.ts";

/** Where a BPF file system usually is. */
const USUAL = "/sys/fs/bpf";

export interface ProvidedBpffs extends Disposable {
  readonly path: string;
}

/**
 * The BPF file system at /sys/fs/bpf, or where there is none, one of our own in a temporary directory until it is disposed.
 *
 * @throws BpfError `EPERM` without the permission to mount
 */
export function provideBpffs({ bpffs }: Kernel): ProvidedBpffs {
  if (bpffs.contains(USUAL)) return { path: USUAL, [Symbol.dispose]: () => {} };
  const path = mkdtempSync(join(tmpdir(), "skep-bpf-"));
  const result = bpffs.mount(path);
  if (result < 0) {
    rmdirSync(path);
    throw new BpfError(-result, { syscall: "mount", subject: path });
  }
  return {
    path,
    [Symbol.dispose]() {
      bpffs.unmount(path);
      rmdirSync(path);
    },
  };
}
