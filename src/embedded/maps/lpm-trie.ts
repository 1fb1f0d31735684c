// BPF_MAP_TYPE_LPM_TRIE: values of prefixes, of which the longest is found.
// Linux: kernel/bpf/lpm_trie.c

import { EINVAL } from "../../uapi/errno.ts";
import {
  BPF_F_NO_PREALLOC,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
} from "../../uapi/flags.ts";
import { fixedElements } from "./machine-elements.ts";
import { KMALLOC_MAX_SIZE, type MapFamily, programAccessIsValid } from "./map.ts";

const FLAGS = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
/** The length of a prefix, a u32, and at least one byte. */
const KEY_MIN = 4 + 1;
const DATA_MAX = 256;
const KEY_MAX = 4 + DATA_MAX;
/** What Linux's node has beside its data and value. */
const NODE_HEADER = 24;
const VALUE_MAX = KMALLOC_MAX_SIZE - DATA_MAX - NODE_HEADER;

export const lpmTrie: MapFamily = {
  checkAllocation({ key_size, value_size, max_entries, map_flags }) {
    const valid =
      max_entries !== 0 &&
      (map_flags & BPF_F_NO_PREALLOC) !== 0 &&
      (map_flags & ~FLAGS) === 0 &&
      programAccessIsValid(map_flags) &&
      key_size >= KEY_MIN &&
      key_size <= KEY_MAX &&
      value_size !== 0 &&
      value_size <= VALUE_MAX;
    return valid ? 0 : -EINVAL;
  },
  memoryNeeded: () => 0,
  checkKeyType: (_attributes, key) => (key.kind === "struct" ? 0 : -EINVAL),
  perCpu: false,
  operations: fixedElements,
  hasDirectValue: false,
};
