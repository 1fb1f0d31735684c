// A random map program on one kernel: loaded, run once, and its maps read.

import * as b from "../../src/asm/builder.ts";
import { encodeInstructions } from "../../src/asm/instruction.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_UPDATE_ELEM, BPF_PROG_LOAD, BPF_PROG_TEST_RUN } from "../../src/uapi/commands.ts";
import { BPF_FUNC_tail_call } from "../../src/uapi/helper-ids.ts";
import { BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP } from "../../src/uapi/program-types.ts";
import { functionsOf } from "../contract/functions.ts";
import { u32 } from "../contract/maps.ts";
import { randomNumbers } from "../differential/random-program.ts";
import { FuzzMaps } from "./fuzz-maps.ts";
import { randomMapProgram } from "./random-map-program.ts";
import { lastLine, ringContents, type Trial } from "./verifier.ts";

const PACKET = Uint8Array.from({ length: 64 }, (_, i) => (i * 37 + 11) & 0xff);
const license = new TextEncoder().encode("GPL\0");
/** Out of so many programs, one is changed so that it may be refused. */
const WILD = 3;

export function mapTrial(kernel: Kernel, seed: number): Trial {
  const maps = new FuzzMaps(kernel);
  const random = randomNumbers(seed * 7907);
  const isXdp = random(3) === 0;
  const isTame = random(WILD) > 0;
  const attrOf = (items: readonly b.Item[]) => {
    const insns = encodeInstructions(b.program(...items));
    const program = {
      prog_type: isXdp ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS,
      insns,
      insn_cnt: insns.length / 8,
      license,
    };
    return { ...program, ...functionsOf(kernel, (fd) => maps.open(fd), items) };
  };
  const { instructions } = randomMapProgram(random, maps.of, isXdp, isTame);
  const attr = attrOf(instructions);
  const program = kernel.bpf(BPF_PROG_LOAD, attr);
  return {
    program,
    refusal: () => lastLine(kernel, attr),
    run() {
      // A changed program might go on for very long.
      if (!isTame) return "not run";
      maps.fill();
      const others = maps.has("programs")
        ? tailCalled(maps).map((items) => maps.open(kernel.bpf(BPF_PROG_LOAD, attrOf(items))))
        : [];
      for (const [index, fd] of [...others, program].entries()) {
        const [key, value] = [u32(index), u32(fd)];
        if (maps.has("programs"))
          kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd: maps.of("programs").fd, key, value, flags: 0 });
      }
      const test = { prog_fd: program, data_in: PACKET, data_size_in: PACKET.length, retval: 0 };
      const error = kernel.bpf(BPF_PROG_TEST_RUN, test);
      const ring = maps.has("ringbuf") ? ringContents(kernel, maps.of("ringbuf").fd) : "";
      return `${error} returns ${test.retval}, ${maps.contents()}, ${ring}`;
    },
    close() {
      if (program >= 0) kernel.close(program);
      maps.close();
    },
  };
}

/** Programs that tail calls go to: one ends, one calls itself as long as it may. */
const tailCalled = (maps: FuzzMaps): b.Item[][] => [
  [b.mov(b.r0, 77), b.exit()],
  [b.loadMapFd(b.r2, maps.of("programs").fd), b.mov(b.r3, 1), b.call(BPF_FUNC_tail_call), b.mov(b.r0, 78), b.exit()],
];
