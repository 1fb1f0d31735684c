// Maps whose values are file descriptors, for contract cases: what they are written with, and what they show.

import { exit, type Item, mov, r0 } from "../../src/asm/builder.ts";
import { readMapInfo, readProgInfo } from "../../src/client/info.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import type { Attr } from "../../src/uapi/attr.ts";
import * as commands from "../../src/uapi/commands.ts";
import { outcome } from "./contract.ts";
import { toU32, u32 } from "./maps.ts";
import { load } from "./programs.ts";
import { until } from "./waiting.ts";

/** u32 values side by side. */
export const words = (...values: readonly number[]): Uint8Array => new Uint8Array(new Uint32Array(values).buffer);

/** BPF_MAP_UPDATE_ELEM of u32 keys and values of u32 words: file descriptors, and what goes with them. */
export const put = (
  kernel: Kernel,
  map_fd: number,
  key: number,
  value: number | readonly number[],
  flags = 0,
): number | string =>
  outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(key), value: words(...[value].flat()), flags }));

/** BPF_MAP_LOOKUP_ELEM: the value's u32 words, a single one alone; or the error's name. */
export function shown(kernel: Kernel, map_fd: number, key: number, size = 4): number | readonly number[] | string {
  const value = new Uint8Array(size);
  const result = kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd, key: u32(key), value });
  if (result < 0) return String(outcome(result));
  return size === 4 ? toU32(value) : [...new Uint32Array(value.buffer)];
}

/** BPF_MAP_LOOKUP_AND_DELETE_ELEM of a u32 key and value, its outcome. */
export const take = (kernel: Kernel, map_fd: number, key: number): number | string =>
  outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd, key: u32(key), value: new Uint8Array(8) }));

export const mapId = (kernel: Kernel, fd: number): number => readMapInfo(kernel, fd).id;
export const programId = (kernel: Kernel, fd: number): number => readProgInfo(kernel, fd).id;

/** Whether there is still a map, or a program, with this id. */
export const hasMap = (kernel: Kernel, map_id: number): boolean =>
  closes(kernel, kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id }));
export const hasProgram = (kernel: Kernel, prog_id: number): boolean =>
  closes(kernel, kernel.bpf(commands.BPF_PROG_GET_FD_BY_ID, { prog_id }));

/** The smallest program, or as `attr` says. */
export const smallProgram = (
  kernel: Kernel,
  attr: Attr<typeof commands.BPF_PROG_LOAD> = {},
  ...before: Item[]
): number => load(kernel, [...before, mov(r0, 1), exit()], attr);

/** Waits until something holds: Linux frees what maps refer to when it has time. */
export async function eventually(holds: () => boolean): Promise<boolean> {
  await until(holds);
  return holds();
}

function closes(kernel: Kernel, fd: number): boolean {
  if (fd >= 0) kernel.close(fd);
  return fd >= 0;
}
