// The log that BPF_PROG_LOAD and BPF_BTF_LOAD write into the caller's buffer.
// Linux: kernel/bpf/log.c

import { EFAULT, EINVAL, ENOSPC } from "../uapi/errno.ts";
import { BPF_LOG_FIXED, BPF_LOG_LEVEL1, BPF_LOG_LEVEL2, BPF_LOG_STATS } from "../uapi/flags.ts";
import { bytesAt, type UserPointer } from "./memory.ts";

/** What a caller asks for. */
export interface LogRequest {
  /** BPF_LOG_… */
  readonly level: number;
  /** Bytes. */
  readonly size: number;
  readonly buffer: UserPointer;
}

const LEVELS = BPF_LOG_LEVEL1 | BPF_LOG_LEVEL2 | BPF_LOG_STATS | BPF_LOG_FIXED;
const MAX_SIZE = 0xffff_ffff >>> 2;

/** 0, or -EINVAL where level, buffer and size contradict each other. */
export function checkLogRequest({ level, size, buffer }: LogRequest): number {
  const hasBuffer = bytesAt(buffer) !== undefined;
  const valid = hasBuffer === size > 0 && !(hasBuffer && level === 0) && (level & ~LEVELS) === 0 && size <= MAX_SIZE;
  return valid ? 0 : -EINVAL;
}

/**
 * Writes a log, with a NUL behind it. Where it is too long, its end is kept; with BPF_LOG_FIXED its beginning.
 *
 * @returns the bytes that the whole log takes, and 0, -ENOSPC where it was too long, or -EFAULT
 */
export function writeLog({ level, size, buffer }: LogRequest, log: string): { trueSize: number; error: number } {
  if (level === 0 || log === "") return { trueSize: 0, error: 0 };
  const text = new TextEncoder().encode(log);
  const trueSize = text.length + 1;
  const target = bytesAt(buffer);
  if (target === undefined) return { trueSize, error: 0 };
  const kept = Math.min(text.length, size - 1);
  if (target.length < kept + 1) return { trueSize, error: -EFAULT };
  const start = (level & BPF_LOG_FIXED) === 0 ? text.length - kept : 0;
  target.set(text.subarray(start, start + kept));
  target[kept] = 0;
  return { trueSize, error: trueSize > size ? -ENOSPC : 0 };
}
