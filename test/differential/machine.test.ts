// The machine against the running kernel: random programs have the same result, hashes the same order.

import { expect, test } from "vitest";
import { FAULT_NONE, RESULT } from "../../machine/layout.ts";
import { encodeInstructions, type Instruction } from "../../src/asm/instruction.ts";
import { createMachine, type Machine } from "../../src/embedded/machine.ts";
import type { LinuxKernel } from "../../src/linux/kernel.ts";
import {
  BPF_MAP_CREATE,
  BPF_MAP_DELETE_ELEM,
  BPF_MAP_GET_NEXT_KEY,
  BPF_MAP_UPDATE_ELEM,
  BPF_PROG_LOAD,
  BPF_PROG_TEST_RUN,
} from "../../src/uapi/commands.ts";
import { BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH } from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_SOCKET_FILTER } from "../../src/uapi/program-types.ts";
import { openLinux } from "../open-linux.ts";
import { randomNumbers, randomProgram } from "./random-program.ts";

const PROGRAMS = Number(process.env.SKEP_PROGRAMS ?? 200);
const SEED = Number(process.env.SKEP_SEED ?? 1);

test("random programs have the same result on both", async (context) => {
  using linux = await openLinux(context);
  for (let seed = SEED; seed < SEED + PROGRAMS; seed++) {
    const instructions = randomProgram(randomNumbers(seed));
    expect(runOnMachine(instructions), `program of seed ${seed}`).toBe(runOnLinux(linux, instructions));
  }
});

for (const [name, map_type, map_flags] of [
  ["hash", BPF_MAP_TYPE_HASH, BPF_F_ZERO_SEED],
  ["hash without preallocation", BPF_MAP_TYPE_HASH, BPF_F_ZERO_SEED | BPF_F_NO_PREALLOC],
  ["per-CPU hash", BPF_MAP_TYPE_PERCPU_HASH, BPF_F_ZERO_SEED],
] as const) {
  test(`a ${name} has the same results and order on both, for keys of any length`, async (context) => {
    using linux = await openLinux(context);
    const cpus = linux.system.possibleCpus.length;
    const random = randomNumbers(SEED);
    for (let key_size = 1; key_size <= 28; key_size++) {
      const attr = { map_type, key_size, value_size: 8, max_entries: 20, map_flags };
      const maps = [mapOnMachine(attr, cpus), mapOnLinux(linux, attr, cpus)];
      const keys = Array.from({ length: 40 }, () => Uint8Array.from({ length: key_size }, () => random(256)));
      for (let step = 0; step < 120; step++) {
        const key = keys[random(keys.length)]!;
        const remove = random(3) === 0;
        const results = maps.map((map) => (remove ? map.remove(key) : map.update(key)));
        expect(results[0], `step ${step}`).toBe(results[1]);
      }
      const [ours, theirs] = maps.map((map) => map.keys());
      expect(ours).toEqual(theirs);
      for (const map of maps) map.close();
    }
  });
}

interface HashMap {
  update(key: Uint8Array): number;
  remove(key: Uint8Array): number;
  keys(): string[];
  close(): void;
}

interface HashAttr {
  readonly map_type: number;
  readonly key_size: number;
  readonly value_size: number;
  readonly max_entries: number;
  readonly map_flags: number;
}

function mapOnLinux(linux: LinuxKernel, attr: HashAttr, cpus: number): HashMap {
  const map_fd = linux.bpf(BPF_MAP_CREATE, attr);
  expect(map_fd).toBeGreaterThan(0);
  const value = new Uint8Array(8 * cpus);
  return {
    update: (key) => linux.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key, value, flags: 0n }),
    remove: (key) => linux.bpf(BPF_MAP_DELETE_ELEM, { map_fd, key }),
    keys() {
      const keys: string[] = [];
      const next_key = new Uint8Array(attr.key_size);
      for (let key: Uint8Array | null = null; linux.bpf(BPF_MAP_GET_NEXT_KEY, { map_fd, key, next_key }) === 0; ) {
        key = next_key.slice();
        keys.push(key.join());
      }
      return keys;
    },
    close: () => void linux.close(map_fd),
  };
}

function mapOnMachine(attr: HashAttr, cpus: number): HashMap {
  const machine = machineOf(cpus);
  const map = machine.mapCreate(attr.map_type, attr.key_size, attr.value_size, attr.max_entries, attr.map_flags);
  const at = machine.allocate(attr.key_size);
  const next = machine.allocate(attr.key_size);
  const values = machine.allocateZeroed(attr.value_size * cpus);
  const bytes = (address: number) => new Uint8Array(machine.memory.buffer, address, attr.key_size);
  const keyAt = (key: Uint8Array) => {
    bytes(at).set(key);
    return at;
  };
  const update = attr.map_type === BPF_MAP_TYPE_PERCPU_HASH ? machine.mapUpdatePerCpu : machine.mapUpdate;
  return {
    update: (key) => update(map, keyAt(key), values, 0),
    remove: (key) => machine.mapDelete(map, keyAt(key)),
    keys() {
      const keys: string[] = [];
      for (let key = 0; machine.mapNextKey(map, key, next) === 0; ) {
        keys.push(bytes(next).join());
        key = keyAt(bytes(next));
      }
      return keys;
    },
    close: () => machine.mapDestroy(map),
  };
}

function runOnLinux(linux: LinuxKernel, instructions: readonly Instruction[]): number {
  const log_buf = new Uint8Array(1 << 16);
  const attr = {
    prog_type: BPF_PROG_TYPE_SOCKET_FILTER,
    insns: encodeInstructions(instructions),
    insn_cnt: instructions.length,
    license: new TextEncoder().encode("GPL\0"),
  };
  const prog_fd = linux.bpf(BPF_PROG_LOAD, attr);
  if (prog_fd < 0) {
    linux.bpf(BPF_PROG_LOAD, { ...attr, log_level: 1, log_buf, log_size: log_buf.length });
    throw new Error(`refused with ${prog_fd}: ${new TextDecoder().decode(log_buf).slice(-1000)}`);
  }
  const run = { prog_fd, data_in: new Uint8Array(64), data_size_in: 64, repeat: 1, retval: 0 };
  const result = linux.bpf(BPF_PROG_TEST_RUN, run);
  linux.close(prog_fd);
  if (result < 0) throw new Error(`the test run failed with ${result}`);
  return run.retval;
}

function runOnMachine(instructions: readonly Instruction[]): number {
  const machine = machineOf(1);
  const bytes = encodeInstructions(instructions);
  const at = machine.allocate(bytes.length);
  new Uint8Array(machine.memory.buffer).set(bytes, at);
  const program = machine.programLoad(at, instructions.length);
  expect(machine.programRun(program, 0, 0)).toBe(FAULT_NONE);
  machine.programFree(program);
  machine.free(at);
  return new DataView(machine.memory.buffer).getUint32(RESULT, true);
}

const machines = new Map<number, Machine>();

function machineOf(cpus: number): Machine {
  let machine = machines.get(cpus);
  if (machine === undefined) {
    machine = createMachine({ cpus, memoryLimit: 8 << 20, seed: 1, helper() {}, wake() {} });
    machines.set(cpus, machine);
  }
  return machine;
}
