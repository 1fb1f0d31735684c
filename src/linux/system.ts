// What the running system says of itself.

import { readFileSync } from "node:fs";
import { release } from "node:os";
import type { KernelVersion, System } from "../kernel/kernel.ts";
import { EBADF, EINVAL } from "../uapi/errno.ts";

export function linuxSystem(pageSize: number): System {
  return {
    possibleCpus: parseCpuList(readFileSync("/sys/devices/system/cpu/possible", "utf8")),
    pageSize,
    kernelVersion: parseRelease(release()),
    ordersLoads: process.arch === "x64",
    btf: (module = "vmlinux") => readIfThere(`/sys/kernel/btf/${module}`),
  };
}

/** Numbers of a list as the kernel prints it, `0-3,6`. */
export function parseCpuList(list: string): number[] {
  return list
    .trim()
    .split(",")
    .flatMap((range) => {
      const [first, last = first] = range.split("-").map(Number) as [number, number?];
      return Array.from({ length: last! - first + 1 }, (_, index) => first + index);
    });
}

/** A kernel's release, `6.18.44-cloud`, in its numbers; a number that is not there is 0. */
export function parseRelease(text: string): KernelVersion {
  const [major = 0, minor = 0, patch = 0] = (text.match(/^\d+(\.\d+)*/)?.[0] ?? "").split(".").map(Number);
  return { major, minor, patch, release: text };
}

/** What the system says of a map's memory, in bytes; or -errno. */
export function memoryUse(fd: number): number {
  const text = readIfThere(`/proc/self/fdinfo/${fd}`);
  if (text === undefined) return -EBADF;
  const bytes = /^map_type:.*^memlock:\s*(\d+)$/ms.exec(text.toString())?.[1];
  return bytes === undefined ? -EINVAL : Number(bytes);
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
