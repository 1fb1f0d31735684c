// BpfProgram, as a user misuses it.

import { expect } from "vitest";
import { exit, mov, program, r0 } from "../../src/asm/builder.ts";
import { BpfProgram, type ProgramOptions } from "../../src/client/program.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { contract } from "../contract/contract.ts";

const load = (kernel: Kernel, options: object = {}): BpfProgram => {
  const pass: ProgramOptions = { type: "xdp", name: "pass", instructions: program(mov(r0, 2), exit()) };
  return BpfProgram.load(kernel, { ...pass, ...options });
};

contract("what a program is loaded with is checked by name", (kernel) => {
  expect(() => load(kernel, { type: "bogus" })).toThrow('program "pass": bogus is no type of programs');
  expect(() => load(kernel, { type: -1 })).toThrow("EINVAL: type is an integer from 0 to 4294967295; got -1");
  expect(() => load(kernel, { flags: 2 ** 32 })).toThrow("EINVAL: flags is an integer from 0 to 4294967295");
  expect(() => load(kernel, { license: "GPL\0" })).toThrow("EINVAL: a license has no NUL; got one at 3");
  expect(() => load(kernel, { name: "zähle" })).toThrow('has letters, digits, "_" and "."; got "zähle"');
});

contract("a repetition that is no u32 is refused, not run four billion times", (kernel) => {
  using pass = load(kernel);
  const data = new Uint8Array(64);
  for (const repeat of [-1, 1.5, Number.NaN, 2 ** 32]) {
    expect(() => pass.testRun({ data, repeat })).toThrow(`repeat is an integer from 0 to 4294967295; got ${repeat}`);
  }
  expect(pass.testRun({ data, repeat: 2 }).returnValue).toBe(2);
});

contract("a packet that is too short is refused with both lengths", (kernel) => {
  using pass = load(kernel);
  const message = "EINVAL: data is a packet of at least 14 bytes, its Ethernet header; got";
  expect(() => pass.testRun({ data: new Uint8Array(13) })).toThrow(`${message} 13`);
  expect(() => pass.testRun()).toThrow(`${message} 0`);
});

contract("a test run gives the packet and the context as the program left them", (kernel) => {
  using pass = load(kernel);
  const data = Uint8Array.from({ length: 64 }, (_, index) => index);
  const context = new Uint8Array(24);
  new DataView(context.buffer).setUint32(4, 64, true);
  expect(pass.testRun({ data, context })).toMatchObject({ returnValue: 2, data, context });
});
