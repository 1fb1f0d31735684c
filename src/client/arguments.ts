// What callers give, checked before it is laid out for a kernel, which sees the low bits of a number, and text up to its NUL.

import { EINVAL } from "../uapi/errno.ts";
import { BpfError, syscallName } from "./errors.ts";

/** What an argument is for: the command, and the thing it is about. */
interface Purpose {
  readonly command: number;
  readonly subject?: string | undefined;
}

const LARGEST_U32 = 0xffff_ffff;

/** @throws BpfError `EINVAL` where a number is no u32; absent ones are left alone */
export function checkNumbers(numbers: Readonly<Record<string, number | undefined>>, purpose: Purpose): void {
  for (const [name, value] of Object.entries(numbers)) {
    if (value === undefined || (Number.isInteger(value) && value >= 0 && value <= LARGEST_U32)) continue;
    throw invalid(purpose, `${name} is an integer from 0 to ${LARGEST_U32}; got ${value}`);
  }
}

/**
 * @param what what the text is, for the message: "a path"
 * @throws BpfError `EINVAL` where it has a NUL, which would end it early
 */
export function checkText(text: string, what: string, purpose: Purpose): void {
  const at = text.indexOf("\0");
  if (at >= 0) throw invalid(purpose, `${what} has no NUL; got one at ${at}`);
}

function invalid({ command, subject }: Purpose, hint: string): BpfError {
  const named = subject === undefined ? {} : { subject: subject.replaceAll("\0", "\\0") };
  return new BpfError(EINVAL, { syscall: syscallName(command), ...named, hint });
}
