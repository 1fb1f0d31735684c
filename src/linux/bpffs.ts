// The BPF file system of the running kernel.

import * as fs from "node:fs";
import { dirname } from "node:path";
import type { Bpffs } from "../kernel/kernel.ts";
import { EIO, ENOENT } from "../uapi/errno.ts";
import { cString } from "../uapi/struct.ts";
import type { GuardedSlot } from "./guarded-memory.ts";
import type { Syscalls } from "./syscalls.ts";

/** @param slots memory for the path and the type of a file system */
export function linuxBpffs(syscalls: Syscalls, slots: readonly [GuardedSlot, GuardedSlot]): Bpffs {
  const string = (slot: GuardedSlot, text: string): number => {
    const bytes = cString(text);
    const error = slot.reserve(bytes.length);
    return error < 0 ? 0 : slot.put(bytes);
  };
  return {
    contains(path) {
      const type = attempt(() => fs.statfsSync(path).type);
      if (type === -ENOENT && dirname(path) !== path) return this.contains(dirname(path));
      return type === BPF_FS_MAGIC;
    },
    mount(path) {
      const type = string(slots[1], "bpf");
      return syscalls.mount(type, string(slots[0], path), type, 0, 0);
    },
    unmount: (path) => syscalls.umount2(string(slots[0], path), 0),
    mkdir: (path) => done(() => fs.mkdirSync(path)),
    readdir: (path) =>
      attempt(() =>
        fs
          .readdirSync(path, { withFileTypes: true })
          .map((entry) => ({ name: entry.name, directory: entry.isDirectory() })),
      ),
    unlink: (path) => done(() => fs.unlinkSync(path)),
    rmdir: (path) => done(() => fs.rmdirSync(path)),
    rename: (from, to) => done(() => fs.renameSync(from, to)),
  };
}

/** What statfs(2) calls a BPF file system. */
const BPF_FS_MAGIC = 0xcafe4a11;

const done = (operation: () => void): number =>
  attempt(() => {
    operation();
    return 0;
  });

/** The operation's result, or -errno where it throws. */
function attempt<T>(operation: () => T): T | number {
  try {
    return operation();
  } catch (error) {
    return (error as NodeJS.ErrnoException).errno ?? -EIO;
  }
}
