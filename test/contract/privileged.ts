// What needs a capability, each tried once.

import { exit, mov, r0 } from "../../src/asm/builder.ts";
import { encodeInstructions } from "../../src/asm/instruction.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_CPUMAP,
  BPF_MAP_TYPE_DEVMAP,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_RINGBUF,
  BPF_MAP_TYPE_STACK_TRACE,
  BPF_MAP_TYPE_XSKMAP,
} from "../../src/uapi/map-types.ts";
import {
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_PROG_TYPE_XDP,
} from "../../src/uapi/program-types.ts";
import { cString } from "../../src/uapi/struct.ts";

/** The results, by what was tried. */
export function tryPrivileged(kernel: Kernel): Record<string, number> {
  const insns = encodeInstructions([mov(r0, 0), exit()]);
  const license = cString("GPL");
  const map = (map_type: number, key_size: number, value_size: number): number =>
    kernel.bpf(commands.BPF_MAP_CREATE, { map_type, key_size, value_size, max_entries: 4096 });
  const prog = (prog_type: number): number =>
    kernel.bpf(commands.BPF_PROG_LOAD, { prog_type, insns, insn_cnt: 2, license });
  return {
    "an array": map(BPF_MAP_TYPE_ARRAY, 4, 8),
    "a hash": map(BPF_MAP_TYPE_HASH, 4, 8),
    "a ring buffer": map(BPF_MAP_TYPE_RINGBUF, 0, 0),
    "stack traces": map(BPF_MAP_TYPE_STACK_TRACE, 4, 8),
    "a map of CPUs with a wrong key": map(BPF_MAP_TYPE_CPUMAP, 3, 4),
    "a map of devices": map(BPF_MAP_TYPE_DEVMAP, 4, 4),
    "a map of devices with a wrong key": map(BPF_MAP_TYPE_DEVMAP, 3, 4),
    "a map of XDP sockets with a wrong key": map(BPF_MAP_TYPE_XSKMAP, 3, 4),
    "a socket filter": prog(BPF_PROG_TYPE_SOCKET_FILTER),
    "a tc classifier": prog(BPF_PROG_TYPE_SCHED_CLS),
    "an XDP program": prog(BPF_PROG_TYPE_XDP),
    BTF: kernel.bpf(commands.BPF_BTF_LOAD, {}),
    "the next map's id": kernel.bpf(commands.BPF_MAP_GET_NEXT_ID, {}),
    "a map by its id": kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: 1 }),
    "a program by its id": kernel.bpf(commands.BPF_PROG_GET_FD_BY_ID, { prog_id: 1 }),
    "BTF by its id": kernel.bpf(commands.BPF_BTF_GET_FD_BY_ID, { btf_id: 1 }),
    "a wrong attribute": map(BPF_MAP_TYPE_ARRAY, 3, 8),
  };
}
