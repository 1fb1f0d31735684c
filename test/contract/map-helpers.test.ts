// Which helper may be given which type of map: every pair, and the words with which the others are refused.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import * as types from "../../src/uapi/map-types.ts";
import { namesByNumber } from "../../src/uapi/names.ts";
import { BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP } from "../../src/uapi/program-types.ts";
import { contract } from "./contract.ts";
import { profiles } from "./map-profiles.ts";
import { refusal } from "./programs.ts";
import { World } from "./world.ts";

const { r0, r1, r2, r3, r4, r5, r10, add, mov, store, exit, call, loadMapFd } = asm;
type Register = Parameters<typeof mov>[0];

/** Zeroed memory of 64 bytes, for keys and values. */
const memory = (register: Register): asm.Item[] => [mov(register, r10), add(register, -64)];
const zeroed = Array.from({ length: 8 }, (_, index) => store("dw", r10, -8 * (index + 1), 0));

/** The arguments of each helper for a map. */
const argumentsOf: Readonly<Record<string, (map: number) => asm.Item[]>> = {
  map_lookup_elem: (map) => [loadMapFd(r1, map), ...memory(r2)],
  map_update_elem: (map) => [loadMapFd(r1, map), ...memory(r2), ...memory(r3), mov(r4, 0)],
  map_delete_elem: (map) => [loadMapFd(r1, map), ...memory(r2)],
  map_lookup_percpu_elem: (map) => [loadMapFd(r1, map), ...memory(r2), mov(r3, 0)],
  map_push_elem: (map) => [loadMapFd(r1, map), ...memory(r2), mov(r3, 0)],
  map_pop_elem: (map) => [loadMapFd(r1, map), ...memory(r2)],
  map_peek_elem: (map) => [loadMapFd(r1, map), ...memory(r2)],
  tail_call: (map) => [loadMapFd(r2, map), mov(r3, 0)],
  redirect_map: (map) => [loadMapFd(r1, map), mov(r2, 0), mov(r3, 0)],
  perf_event_output: (map) => [loadMapFd(r2, map), mov(r3, 0), ...memory(r4), mov(r5, 8)],
  ringbuf_output: (map) => [loadMapFd(r1, map), ...memory(r2), mov(r3, 8), mov(r4, 0)],
  ringbuf_query: (map) => [loadMapFd(r1, map), mov(r2, 0)],
  skb_under_cgroup: (map) => [loadMapFd(r2, map), mov(r3, 0)],
  current_task_under_cgroup: (map) => [loadMapFd(r1, map), mov(r2, 0)],
};

const elements = ["map_lookup_elem", "map_update_elem", "map_delete_elem"];
const perCpu = [...elements, "map_lookup_percpu_elem"];
const queue = ["map_push_elem", "map_pop_elem", "map_peek_elem"];
const devices = ["map_lookup_elem", "redirect_map"];

/** The helpers that each type goes with. */
const accepted: readonly (readonly [type: number, helpers: readonly string[]])[] = [
  [types.BPF_MAP_TYPE_HASH, elements],
  [types.BPF_MAP_TYPE_ARRAY, elements],
  [types.BPF_MAP_TYPE_PROG_ARRAY, ["tail_call"]],
  [types.BPF_MAP_TYPE_PERF_EVENT_ARRAY, ["perf_event_output"]],
  [types.BPF_MAP_TYPE_PERCPU_HASH, perCpu],
  [types.BPF_MAP_TYPE_PERCPU_ARRAY, perCpu],
  [types.BPF_MAP_TYPE_STACK_TRACE, []],
  [types.BPF_MAP_TYPE_CGROUP_ARRAY, ["skb_under_cgroup", "current_task_under_cgroup"]],
  [types.BPF_MAP_TYPE_LRU_HASH, elements],
  [types.BPF_MAP_TYPE_LRU_PERCPU_HASH, perCpu],
  [types.BPF_MAP_TYPE_LPM_TRIE, elements],
  [types.BPF_MAP_TYPE_ARRAY_OF_MAPS, ["map_lookup_elem"]],
  [types.BPF_MAP_TYPE_HASH_OF_MAPS, ["map_lookup_elem"]],
  [types.BPF_MAP_TYPE_DEVMAP, devices],
  [types.BPF_MAP_TYPE_CPUMAP, ["redirect_map"]],
  [types.BPF_MAP_TYPE_XSKMAP, devices],
  [types.BPF_MAP_TYPE_CGROUP_STORAGE, []],
  [types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, []],
  [types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, []],
  [types.BPF_MAP_TYPE_QUEUE, queue],
  [types.BPF_MAP_TYPE_STACK, queue],
  [types.BPF_MAP_TYPE_SK_STORAGE, []],
  [types.BPF_MAP_TYPE_DEVMAP_HASH, devices],
  [types.BPF_MAP_TYPE_RINGBUF, ["ringbuf_output", "ringbuf_query"]],
  [types.BPF_MAP_TYPE_INODE_STORAGE, []],
  [types.BPF_MAP_TYPE_TASK_STORAGE, []],
  [types.BPF_MAP_TYPE_BLOOM_FILTER, ["map_push_elem", "map_peek_elem"]],
  [types.BPF_MAP_TYPE_USER_RINGBUF, []],
  [types.BPF_MAP_TYPE_CGRP_STORAGE, []],
];

const typeNames = namesByNumber(types, "BPF_MAP_TYPE_");
const ids = new Map([...namesByNumber(helpers, "BPF_FUNC_")].map(([id, name]) => [name, id]));
const idOf = (helper: string): number => ids.get(`BPF_FUNC_${helper}`)!;
const takesKey = (helper: string): boolean => perCpu.includes(helper);
const takesValue = (helper: string): boolean => queue.includes(helper);
const writes = (helper: string): boolean => /update|delete|push|pop/.test(helper);
const isDevices = (type: number): boolean =>
  type === types.BPF_MAP_TYPE_DEVMAP || type === types.BPF_MAP_TYPE_DEVMAP_HASH;

/** The line with which a helper is refused that does not go with a map. */
function refused(type: number, helper: string, { key_size = 0, value_size = 0 }): string {
  if (takesKey(helper) && key_size === 0) return "invalid zero-sized read";
  if (takesValue(helper) && value_size === 0) return "invalid zero-sized read";
  // Programs only read a device map: its flags say so.
  if (isDevices(type) && writes(helper)) return "write into map forbidden";
  if (helper === "tail_call") return "expected prog array map for tail call";
  return `cannot pass map_type ${type} into func bpf_${helper}#${idOf(helper)}`;
}

for (const [type, expected] of accepted) {
  const name = typeNames.get(type)!.replace("BPF_MAP_TYPE_", "").toLowerCase();
  contract(`programs use ${name} with ${expected.join(", ") || "none of these helpers"}`, (kernel, { open }) => {
    const world = new World(kernel);
    const attr = { ...profiles.get(type)!.shapes(world)[0]!, map_type: type };
    for (const [helper, args] of Object.entries(argumentsOf)) {
      // The first program that uses a device map says which type of program may.
      const map = open(world.create(attr));
      const prog_type = helper === "redirect_map" ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS;
      const [error, line] = refusal(kernel, [...zeroed, ...args(map), call(idOf(helper)), mov(r0, 0), exit()], {
        prog_type,
      });
      if (expected.includes(helper)) expect(error, `${helper}: ${line}`).toBeGreaterThan(0);
      else expect(line.replace(/processed .*/, ""), helper).toBe(refused(type, helper, attr));
    }
    world.close();
  });
}
