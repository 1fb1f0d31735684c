// What callers give, checked before it is laid out for a kernel, which sees the low bits of a number, and text up to its NUL.

import { shown } from "../codec/codec.ts";
import { EINVAL } from "../uapi/errno.ts";
import { BpfError, syscallName } from "./errors.ts";

/** What an argument is for: the command, or another system call, and the thing it is about. */
type Purpose = ({ readonly command: number } | { readonly syscall: string }) & {
  readonly subject?: string | undefined;
};

const LARGEST_U32 = 0xffff_ffff;
const LARGEST_U64 = 0xffff_ffff_ffff_ffffn;

/** @throws BpfError `EINVAL` where a number is no u32; absent ones are left alone */
export function checkNumbers(numbers: Readonly<Record<string, number | undefined>>, purpose: Purpose): void {
  for (const [name, value] of Object.entries(numbers)) {
    if (value === undefined || (Number.isInteger(value) && value >= 0 && value <= LARGEST_U32)) continue;
    throw invalid(purpose, `${name} is an integer from 0 to ${LARGEST_U32}; got ${value}`);
  }
}

/** @throws BpfError `EINVAL` where an address is no u64; an absent one is left alone */
export function checkAddress(address: unknown, purpose: Purpose): void {
  if (address === undefined || (typeof address === "bigint" && address === BigInt.asUintN(64, address))) return;
  throw invalid(purpose, `address is a bigint from 0n to ${LARGEST_U64}n; got ${shown(address)}`);
}

/**
 * @param what what the text is, for the message: "a path"
 * @throws BpfError `EINVAL` where it is no string, or has a NUL, which would end it early
 */
export function checkText(text: unknown, what: string, purpose: Purpose): asserts text is string {
  if (typeof text !== "string") throw invalid(purpose, `${what} is a string; got ${shown(text)}`);
  const at = text.indexOf("\0");
  if (at >= 0) throw invalid(purpose, `${what} has no NUL; got one at ${at}`);
}

function invalid(purpose: Purpose, hint: string): BpfError {
  const { subject } = purpose;
  const syscall = "command" in purpose ? syscallName(purpose.command) : purpose.syscall;
  const named = typeof subject === "string" ? { subject: subject.replaceAll("\0", "\\0") } : {};
  return new BpfError(EINVAL, { syscall, ...named, hint });
}
