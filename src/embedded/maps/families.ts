// The families of maps by their type. A type that is not here is EINVAL, as from a kernel that was built without it.

import {
  BPF_MAP_TYPE_ARENA,
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_LPM_TRIE,
  BPF_MAP_TYPE_LRU_HASH,
  BPF_MAP_TYPE_LRU_PERCPU_HASH,
  BPF_MAP_TYPE_PERCPU_ARRAY,
  BPF_MAP_TYPE_PERCPU_HASH,
  BPF_MAP_TYPE_QUEUE,
  BPF_MAP_TYPE_RINGBUF,
  BPF_MAP_TYPE_STACK,
  BPF_MAP_TYPE_USER_RINGBUF,
} from "../../uapi/map-types.ts";
import { arena } from "./arena.ts";
import { array, perCpuArray } from "./array.ts";
import { bloom } from "./bloom.ts";
import { hash, lruHash, lruPerCpuHash, perCpuHash } from "./hash.ts";
import { lpmTrie } from "./lpm-trie.ts";
import type { MapFamily } from "./map.ts";
import { queue, stack } from "./queue.ts";
import { ringbuf, userRingbuf } from "./ringbuf.ts";

export const families: ReadonlyMap<number, MapFamily> = new Map([
  [BPF_MAP_TYPE_HASH, hash],
  [BPF_MAP_TYPE_ARRAY, array],
  [BPF_MAP_TYPE_PERCPU_HASH, perCpuHash],
  [BPF_MAP_TYPE_PERCPU_ARRAY, perCpuArray],
  [BPF_MAP_TYPE_LRU_HASH, lruHash],
  [BPF_MAP_TYPE_LRU_PERCPU_HASH, lruPerCpuHash],
  [BPF_MAP_TYPE_LPM_TRIE, lpmTrie],
  [BPF_MAP_TYPE_QUEUE, queue],
  [BPF_MAP_TYPE_STACK, stack],
  [BPF_MAP_TYPE_RINGBUF, ringbuf],
  [BPF_MAP_TYPE_BLOOM_FILTER, bloom],
  [BPF_MAP_TYPE_USER_RINGBUF, userRingbuf],
  [BPF_MAP_TYPE_ARENA, arena],
]);
