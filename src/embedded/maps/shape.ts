// Sizes and flags of a new map, and commands that it has not: what Linux says of them by the rules of its type. 0, or -errno.

import { EINVAL, ENOTSUPP } from "../../uapi/errno.ts";
import { BPF_F_NUMA_NODE, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG } from "../../uapi/flags.ts";
import { checkSize, type MapOperation, type MapRules, mapRules } from "../../uapi/map-rules.ts";
import { type MapAttributes, NUMA_NO_NODE } from "./map.ts";

/** Flags and sizes. Where several are wrong, -EINVAL comes first. */
export const checkShape = (attributes: MapAttributes): number =>
  worst(checkFlags(attributes), checkElement(attributes), checkEntries(attributes));

/** Flags that the type does not take or cannot do without, or that leave programs no access. */
export function checkFlags({ map_type, map_flags }: MapAttributes): number {
  const { flags, requiredFlags } = rulesOf(map_type);
  const isAllowed =
    (map_flags & ~flags) === 0 && (map_flags & requiredFlags) === requiredFlags && programAccessIsValid(map_flags);
  return isAllowed ? 0 : -EINVAL;
}

/** Sizes of keys and values. */
export function checkElement({ map_type, key_size, value_size }: MapAttributes): number {
  const { keySize, valueSize, elementSize } = rulesOf(map_type);
  return worst(
    checkSize(keySize, key_size),
    checkSize(valueSize, value_size),
    elementSize === undefined ? 0 : checkSize(elementSize, key_size + value_size),
  );
}

export const checkEntries = ({ map_type, max_entries }: MapAttributes): number =>
  checkSize(rulesOf(map_type).maxEntries, max_entries);

/** Whether the map is to lie on one memory node. */
export const isOnNode = ({ map_flags, numa_node }: MapAttributes): boolean =>
  (map_flags & BPF_F_NUMA_NODE) !== 0 && numa_node !== NUMA_NO_NODE;

/** The answer to a command that the type has not. */
export const refusal = ({ map_type }: Pick<MapAttributes, "map_type">, operation: MapOperation): number =>
  -(rulesOf(map_type).refused[operation] ?? ENOTSUPP);

/** Whether the type has a command. */
export const hasOperation = ({ map_type }: Pick<MapAttributes, "map_type">, operation: MapOperation): boolean =>
  rulesOf(map_type).refused[operation] === undefined;

const rulesOf = (type: number): MapRules => mapRules.get(type) as MapRules;

/** Whether the flags leave programs some access. */
const programAccessIsValid = (flags: number): boolean =>
  (flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) !== (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG);

const worst = (...errors: readonly number[]): number => (errors.includes(-EINVAL) ? -EINVAL : Math.min(...errors));
