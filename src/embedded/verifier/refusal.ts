// How a part of the verifier ends the search: a refusal with its errno, its rule, and Linux's words.

import type { Rule } from "../../diagnosis/rules.ts";
import { EACCES, EINVAL } from "../../uapi/errno.ts";

export class Refusal extends Error {
  /** Positive. */
  readonly errno: number;
  readonly rule: Rule;
  /** Register that held the bad value. */
  readonly register: number | undefined;
  /** Slot, where another than the one that is being executed. */
  readonly instruction: number | undefined;

  /** @param message one or more lines for the log; the last is the reason */
  constructor(errno: number, rule: Rule, message: string, register?: number, instruction?: number) {
    super(message);
    this.errno = errno;
    this.rule = rule;
    this.register = register;
    this.instruction = instruction;
  }
}

/** The access is not allowed: EACCES. */
export function deny(rule: Rule, message: string, register?: number): never {
  throw new Refusal(EACCES, rule, message, register);
}

/** The program is malformed: EINVAL. */
export function reject(rule: Rule, message: string, register?: number, instruction?: number): never {
  throw new Refusal(EINVAL, rule, message, register, instruction);
}
