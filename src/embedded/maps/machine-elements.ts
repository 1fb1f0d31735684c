// The commands on elements of maps whose elements the machine holds.

import { EINVAL, ENOENT } from "../../uapi/errno.ts";
import { BPF_EXIST, BPF_F_LOCK } from "../../uapi/flags.ts";
import type { Operations } from "./map.ts";
import { withoutSpecialFields } from "./special-fields.ts";

export const walk: Operations = {
  lookup({ machine, memory }, map, key, room) {
    const value = machine.mapLookup(map.handle, key);
    if (value === 0) return -ENOENT;
    return map.fields.length === 0 ? value : withoutSpecialFields(memory, map, value, room);
  },
  nextKey: ({ machine }, map, key, next) => machine.mapNextKey(map.handle, key, next),
};

/** Keys that are always there. */
export const fixedElements: Operations = {
  ...walk,
  update: ({ machine }, map, key, value, flags) =>
    (flags & ~BPF_F_LOCK) > BPF_EXIST ? -EINVAL : machine.mapUpdate(map.handle, key, value, flags),
  remove: ({ machine }, map, key) => machine.mapDelete(map.handle, key),
};

/** Keys that come and go. */
export const elements: Operations = {
  ...fixedElements,
  lookupAndDelete({ machine, memory }, map, key, room) {
    const value = machine.mapLookup(map.handle, key);
    if (value === 0) return -ENOENT;
    withoutSpecialFields(memory, map, value, room);
    return machine.mapDelete(map.handle, key);
  },
};

/** The same operations where a value is one for each CPU. */
export const perCpu = (operations: Operations): Operations => ({
  ...operations,
  update: ({ machine }, map, key, values, flags) =>
    flags > BPF_EXIST ? -EINVAL : machine.mapUpdatePerCpu(map.handle, key, values, flags),
});
