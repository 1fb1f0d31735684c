// The families of maps by their type. A type that is not here is EINVAL, as from a kernel that was built without it.

import * as types from "../../uapi/map-types.ts";
import { arena } from "./arena.ts";
import { array, perCpuArray } from "./array.ts";
import { bloom } from "./bloom.ts";
import { cgroupArray } from "./cgroup-array.ts";
import { cgroupStorage, perCpuCgroupStorage } from "./cgroup-storage.ts";
import { cpumap } from "./cpumap.ts";
import { devmap, devmapHash } from "./devmap.ts";
import { hash, lruHash, lruPerCpuHash, perCpuHash } from "./hash.ts";
import { cgroupLocalStorage, inodeStorage, socketStorage, taskStorage } from "./local-storage.ts";
import { lpmTrie } from "./lpm-trie.ts";
import type { MapFamily } from "./map.ts";
import { arrayOfMaps, hashOfMaps } from "./map-in-map.ts";
import { perfEventArray } from "./perf-event-array.ts";
import { progArray } from "./prog-array.ts";
import { queueOrStack } from "./queue.ts";
import { ringbuf, userRingbuf } from "./ringbuf.ts";
import { reuseportSockarray, sockhash, sockmap } from "./sockets.ts";
import { stackTrace } from "./stack-trace.ts";
import { structOps } from "./struct-ops.ts";
import { xskmap } from "./xskmap.ts";

export const families: ReadonlyMap<number, MapFamily> = new Map([
  [types.BPF_MAP_TYPE_HASH, hash],
  [types.BPF_MAP_TYPE_ARRAY, array],
  [types.BPF_MAP_TYPE_PROG_ARRAY, progArray],
  [types.BPF_MAP_TYPE_PERF_EVENT_ARRAY, perfEventArray],
  [types.BPF_MAP_TYPE_PERCPU_HASH, perCpuHash],
  [types.BPF_MAP_TYPE_PERCPU_ARRAY, perCpuArray],
  [types.BPF_MAP_TYPE_STACK_TRACE, stackTrace],
  [types.BPF_MAP_TYPE_CGROUP_ARRAY, cgroupArray],
  [types.BPF_MAP_TYPE_LRU_HASH, lruHash],
  [types.BPF_MAP_TYPE_LRU_PERCPU_HASH, lruPerCpuHash],
  [types.BPF_MAP_TYPE_LPM_TRIE, lpmTrie],
  [types.BPF_MAP_TYPE_ARRAY_OF_MAPS, arrayOfMaps],
  [types.BPF_MAP_TYPE_HASH_OF_MAPS, hashOfMaps],
  [types.BPF_MAP_TYPE_DEVMAP, devmap],
  [types.BPF_MAP_TYPE_SOCKMAP, sockmap],
  [types.BPF_MAP_TYPE_CPUMAP, cpumap],
  [types.BPF_MAP_TYPE_XSKMAP, xskmap],
  [types.BPF_MAP_TYPE_SOCKHASH, sockhash],
  [types.BPF_MAP_TYPE_CGROUP_STORAGE, cgroupStorage],
  [types.BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, reuseportSockarray],
  [types.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, perCpuCgroupStorage],
  [types.BPF_MAP_TYPE_QUEUE, queueOrStack],
  [types.BPF_MAP_TYPE_STACK, queueOrStack],
  [types.BPF_MAP_TYPE_SK_STORAGE, socketStorage],
  [types.BPF_MAP_TYPE_DEVMAP_HASH, devmapHash],
  [types.BPF_MAP_TYPE_STRUCT_OPS, structOps],
  [types.BPF_MAP_TYPE_RINGBUF, ringbuf],
  [types.BPF_MAP_TYPE_INODE_STORAGE, inodeStorage],
  [types.BPF_MAP_TYPE_TASK_STORAGE, taskStorage],
  [types.BPF_MAP_TYPE_BLOOM_FILTER, bloom],
  [types.BPF_MAP_TYPE_USER_RINGBUF, userRingbuf],
  [types.BPF_MAP_TYPE_CGRP_STORAGE, cgroupLocalStorage],
  [types.BPF_MAP_TYPE_ARENA, arena],
]);
