// BPF_MAP_TYPE_LPM_TRIE: values of prefixes, of which the longest is found.
// Linux: kernel/bpf/lpm_trie.c

import { EINVAL } from "../../uapi/errno.ts";
import { fixedElements } from "./machine-elements.ts";
import type { MapFamily } from "./map.ts";
import { checkShape } from "./shape.ts";

export const lpmTrie: MapFamily = {
  checkAllocation: checkShape,
  memoryNeeded: () => 0,
  checkKeyType: (_attributes, key) => (key.kind === "struct" ? 0 : -EINVAL),
  perCpu: false,
  operations: fixedElements,
  hasDirectValue: false,
};
