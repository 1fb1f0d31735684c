// Which maps a program may name, and which helper goes with which type of map.
// Linux: kernel/bpf/verifier.c, check_map_prog_compatibility, check_map_func_compatibility

import { EBUSY, EPERM } from "../../uapi/errno.ts";
import { BPF_F_SLEEPABLE } from "../../uapi/flags.ts";
import * as id from "../../uapi/helper-ids.ts";
import * as types from "../../uapi/map-types.ts";
import { BPF_PROG_TYPE_SOCKET_FILTER } from "../../uapi/program-types.ts";
import { hasLock } from "./locks.ts";
import { Refusal, reject } from "./refusal.ts";
import type { VerifierInput, VerifierMap } from "./verify.ts";

/** Refuses a map that the program may not use at all. */
export function checkMapOfProgram(
  { type, flags, maps, capabilities }: VerifierInput,
  map: VerifierMap,
  at: number,
): void {
  if (type === BPF_PROG_TYPE_SOCKET_FILTER && hasLock(map)) {
    reject("map-reference", "socket filter progs cannot use bpf_spin_lock yet", undefined, at);
  }
  if (map.type === types.BPF_MAP_TYPE_STRUCT_OPS) {
    reject("map-reference", "bpf_struct_ops map cannot be used in prog", undefined, at);
  }
  if ((flags & BPF_F_SLEEPABLE) !== 0 && !forSleepable.includes(map.type)) {
    const words = "Sleepable programs can only use array, hash, ringbuf and local storage maps";
    reject("map-reference", words, undefined, at);
  }
  if (map.type === types.BPF_MAP_TYPE_ARENA && !capabilities.perfmon) {
    throw new Refusal(EPERM, "privilege", "CAP_BPF and CAP_PERFMON are required to use arena", undefined, at);
  }
  if (map.type === types.BPF_MAP_TYPE_ARENA && !map.hasAddress) {
    reject("map-reference", "arena's user address must be set via map_extra or mmap()", undefined, at);
  }
  const single = oneInProgram.get(map.type);
  if (single === undefined) return;
  for (const other of maps.values()) {
    if (other.type === map.type && other.id !== map.id) {
      throw new Refusal(EBUSY, "map-reference", single, undefined, at);
    }
  }
}

/** Types that programs which may sleep can use. */
const forSleepable: readonly number[] = [
  types.BPF_MAP_TYPE_HASH,
  types.BPF_MAP_TYPE_ARRAY,
  types.BPF_MAP_TYPE_PERCPU_HASH,
  types.BPF_MAP_TYPE_PERCPU_ARRAY,
  types.BPF_MAP_TYPE_LRU_HASH,
  types.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  types.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  types.BPF_MAP_TYPE_HASH_OF_MAPS,
  types.BPF_MAP_TYPE_QUEUE,
  types.BPF_MAP_TYPE_STACK,
  types.BPF_MAP_TYPE_SK_STORAGE,
  types.BPF_MAP_TYPE_RINGBUF,
  types.BPF_MAP_TYPE_INODE_STORAGE,
  types.BPF_MAP_TYPE_TASK_STORAGE,
  types.BPF_MAP_TYPE_USER_RINGBUF,
  types.BPF_MAP_TYPE_CGRP_STORAGE,
  types.BPF_MAP_TYPE_ARENA,
];

const ONE_STORAGE = "only one cgroup storage of each type is allowed";

/** Types of which a program may name one map only, and what is said of more. */
const oneInProgram: ReadonlyMap<number, string> = new Map([
  [types.BPF_MAP_TYPE_CGROUP_STORAGE, ONE_STORAGE],
  [types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, ONE_STORAGE],
  [types.BPF_MAP_TYPE_ARENA, "Only one arena per program"],
]);

/** Whether a helper may be given a map of this type. */
export function goTogether(helper: number, mapType: number): boolean {
  const helpers = helpersOfType.get(mapType);
  const mapTypes = typesOfHelper.get(helper);
  return (!helpers || helpers.includes(helper)) && (!mapTypes || mapTypes.includes(mapType));
}

const perfEvents = [
  id.BPF_FUNC_perf_event_read,
  id.BPF_FUNC_perf_event_output,
  id.BPF_FUNC_perf_event_read_value,
  id.BPF_FUNC_skb_output,
  id.BPF_FUNC_xdp_output,
];
const ringBuffer = [
  id.BPF_FUNC_ringbuf_output,
  id.BPF_FUNC_ringbuf_reserve,
  id.BPF_FUNC_ringbuf_query,
  id.BPF_FUNC_ringbuf_reserve_dynptr,
  id.BPF_FUNC_ringbuf_submit_dynptr,
  id.BPF_FUNC_ringbuf_discard_dynptr,
];
const cgroups = [id.BPF_FUNC_skb_under_cgroup, id.BPF_FUNC_current_task_under_cgroup];
const localStorage = [id.BPF_FUNC_get_local_storage];
const socketMap = [
  id.BPF_FUNC_sk_redirect_map,
  id.BPF_FUNC_sock_map_update,
  id.BPF_FUNC_map_delete_elem,
  id.BPF_FUNC_msg_redirect_map,
  id.BPF_FUNC_sk_select_reuseport,
  id.BPF_FUNC_map_lookup_elem,
];
const socketHash = [
  id.BPF_FUNC_sk_redirect_hash,
  id.BPF_FUNC_sock_hash_update,
  id.BPF_FUNC_map_delete_elem,
  id.BPF_FUNC_msg_redirect_hash,
  id.BPF_FUNC_sk_select_reuseport,
  id.BPF_FUNC_map_lookup_elem,
];
const queue = [id.BPF_FUNC_map_peek_elem, id.BPF_FUNC_map_pop_elem, id.BPF_FUNC_map_push_elem];
const devices = [id.BPF_FUNC_redirect_map, id.BPF_FUNC_map_lookup_elem];
const mapInMap = [id.BPF_FUNC_map_lookup_elem];

/** The only helpers that a type of map goes with; a type that is not here goes with every helper that does not choose. */
const helpersOfType: ReadonlyMap<number, readonly number[]> = new Map([
  [types.BPF_MAP_TYPE_PROG_ARRAY, [id.BPF_FUNC_tail_call]],
  [types.BPF_MAP_TYPE_PERF_EVENT_ARRAY, perfEvents],
  [types.BPF_MAP_TYPE_STACK_TRACE, [id.BPF_FUNC_get_stackid]],
  [types.BPF_MAP_TYPE_CGROUP_ARRAY, cgroups],
  [types.BPF_MAP_TYPE_ARRAY_OF_MAPS, mapInMap],
  [types.BPF_MAP_TYPE_HASH_OF_MAPS, mapInMap],
  [types.BPF_MAP_TYPE_DEVMAP, devices],
  [types.BPF_MAP_TYPE_SOCKMAP, socketMap],
  [types.BPF_MAP_TYPE_CPUMAP, [id.BPF_FUNC_redirect_map]],
  [types.BPF_MAP_TYPE_XSKMAP, devices],
  [types.BPF_MAP_TYPE_SOCKHASH, socketHash],
  [types.BPF_MAP_TYPE_CGROUP_STORAGE, localStorage],
  [types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, [id.BPF_FUNC_sk_select_reuseport]],
  [types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, localStorage],
  [types.BPF_MAP_TYPE_QUEUE, queue],
  [types.BPF_MAP_TYPE_STACK, queue],
  [types.BPF_MAP_TYPE_SK_STORAGE, [id.BPF_FUNC_sk_storage_get, id.BPF_FUNC_sk_storage_delete, id.BPF_FUNC_kptr_xchg]],
  [types.BPF_MAP_TYPE_DEVMAP_HASH, devices],
  [types.BPF_MAP_TYPE_RINGBUF, ringBuffer],
  [
    types.BPF_MAP_TYPE_INODE_STORAGE,
    [id.BPF_FUNC_inode_storage_get, id.BPF_FUNC_inode_storage_delete, id.BPF_FUNC_kptr_xchg],
  ],
  [
    types.BPF_MAP_TYPE_TASK_STORAGE,
    [id.BPF_FUNC_task_storage_get, id.BPF_FUNC_task_storage_delete, id.BPF_FUNC_kptr_xchg],
  ],
  [types.BPF_MAP_TYPE_BLOOM_FILTER, [id.BPF_FUNC_map_peek_elem, id.BPF_FUNC_map_push_elem]],
  [types.BPF_MAP_TYPE_USER_RINGBUF, [id.BPF_FUNC_user_ringbuf_drain]],
  [
    types.BPF_MAP_TYPE_CGRP_STORAGE,
    [id.BPF_FUNC_cgrp_storage_get, id.BPF_FUNC_cgrp_storage_delete, id.BPF_FUNC_kptr_xchg],
  ],
]);

const every = (helpers: readonly number[], mapTypes: readonly number[]): [number, readonly number[]][] =>
  helpers.map((helper) => [helper, mapTypes]);

/** The only types of maps that a helper goes with; a helper that is not here goes with every type that does not choose. */
const typesOfHelper: ReadonlyMap<number, readonly number[]> = new Map([
  ...every([id.BPF_FUNC_tail_call], [types.BPF_MAP_TYPE_PROG_ARRAY]),
  ...every(perfEvents, [types.BPF_MAP_TYPE_PERF_EVENT_ARRAY]),
  ...every(ringBuffer, [types.BPF_MAP_TYPE_RINGBUF]),
  ...every([id.BPF_FUNC_user_ringbuf_drain], [types.BPF_MAP_TYPE_USER_RINGBUF]),
  ...every([id.BPF_FUNC_get_stackid], [types.BPF_MAP_TYPE_STACK_TRACE]),
  ...every(cgroups, [types.BPF_MAP_TYPE_CGROUP_ARRAY]),
  ...every(
    [id.BPF_FUNC_redirect_map],
    [types.BPF_MAP_TYPE_DEVMAP, types.BPF_MAP_TYPE_DEVMAP_HASH, types.BPF_MAP_TYPE_CPUMAP, types.BPF_MAP_TYPE_XSKMAP],
  ),
  ...every(
    [id.BPF_FUNC_sk_redirect_map, id.BPF_FUNC_msg_redirect_map, id.BPF_FUNC_sock_map_update],
    [types.BPF_MAP_TYPE_SOCKMAP],
  ),
  ...every(
    [id.BPF_FUNC_sk_redirect_hash, id.BPF_FUNC_msg_redirect_hash, id.BPF_FUNC_sock_hash_update],
    [types.BPF_MAP_TYPE_SOCKHASH],
  ),
  ...every(localStorage, [types.BPF_MAP_TYPE_CGROUP_STORAGE, types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE]),
  ...every(
    [id.BPF_FUNC_sk_select_reuseport],
    [types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, types.BPF_MAP_TYPE_SOCKMAP, types.BPF_MAP_TYPE_SOCKHASH],
  ),
  ...every([id.BPF_FUNC_map_pop_elem], [types.BPF_MAP_TYPE_QUEUE, types.BPF_MAP_TYPE_STACK]),
  ...every(
    [id.BPF_FUNC_map_peek_elem, id.BPF_FUNC_map_push_elem],
    [types.BPF_MAP_TYPE_QUEUE, types.BPF_MAP_TYPE_STACK, types.BPF_MAP_TYPE_BLOOM_FILTER],
  ),
  ...every(
    [id.BPF_FUNC_map_lookup_percpu_elem],
    [types.BPF_MAP_TYPE_PERCPU_ARRAY, types.BPF_MAP_TYPE_PERCPU_HASH, types.BPF_MAP_TYPE_LRU_PERCPU_HASH],
  ),
  ...every([id.BPF_FUNC_sk_storage_get, id.BPF_FUNC_sk_storage_delete], [types.BPF_MAP_TYPE_SK_STORAGE]),
  ...every([id.BPF_FUNC_inode_storage_get, id.BPF_FUNC_inode_storage_delete], [types.BPF_MAP_TYPE_INODE_STORAGE]),
  ...every([id.BPF_FUNC_task_storage_get, id.BPF_FUNC_task_storage_delete], [types.BPF_MAP_TYPE_TASK_STORAGE]),
  ...every([id.BPF_FUNC_cgrp_storage_get, id.BPF_FUNC_cgrp_storage_delete], [types.BPF_MAP_TYPE_CGRP_STORAGE]),
]);
