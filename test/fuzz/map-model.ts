// What the operations on maps do, as simply as it can be said: the models that kernels are held against.

import { BPF_EXIST, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import type { MapCreate } from "../contract/maps.ts";

/** Keys and values are hexadecimal digits. An answer is "0", "0 value", or the name of an error. */
export interface MapModel {
  lookup(key: string): string;
  update(key: string, value: string, flags: number): string;
  delete(key: string): string;
  /** Looks up and deletes. */
  take(key: string): string;
}

/** The model of a map; undefined for a type whose values are more than bytes. `zero` is the value of an element that nobody wrote. */
export const modelOf = (attr: MapCreate, zero: string): MapModel | undefined =>
  models.get(attr.map_type ?? 0)?.(attr.max_entries ?? 0, attr.key_size ?? 0, zero);

const hash = (capacity: number): MapModel => {
  const entries = new Map<string, string>();
  const lookup = (key: string): string => (entries.has(key) ? `0 ${entries.get(key)}` : "ENOENT");
  const remove = (key: string): string => (entries.delete(key) ? "0" : "ENOENT");
  return {
    lookup,
    update: (key, value, flags) => writeTo(entries, key, value, flags, capacity, "E2BIG"),
    delete: remove,
    take(key) {
      const answer = lookup(key);
      remove(key);
      return answer;
    },
  };
};

const array = (capacity: number, _keySize: number, zero: string): MapModel => {
  const values = new Array<string>(capacity).fill(zero);
  const isThere = (key: string): boolean => indexOf(key) < capacity;
  return {
    lookup: (key) => (isThere(key) ? `0 ${values[indexOf(key)]}` : "ENOENT"),
    update(key, value, flags) {
      if (!isThere(key)) return "E2BIG";
      if (flags === BPF_NOEXIST) return "EEXIST";
      values[indexOf(key)] = value;
      return "0";
    },
    delete: () => "EINVAL",
    take: () => "ENOTSUPP",
  };
};

/** Elements in a row, of which the last one or the first one is read. */
const list =
  (newestFirst: boolean) =>
  (capacity: number): MapModel => {
    const values: string[] = [];
    const read = (): string => (values.length > 0 ? `0 ${values.at(newestFirst ? -1 : 0)}` : "ENOENT");
    return {
      lookup: read,
      update(_key, value, flags) {
        if (flags === BPF_NOEXIST) return "EINVAL";
        if (values.length === capacity) {
          if (flags !== BPF_EXIST) return "E2BIG";
          values.shift();
        }
        values.push(value);
        return "0";
      },
      delete: () => "EINVAL",
      take() {
        const answer = read();
        if (newestFirst) values.pop();
        else values.shift();
        return answer;
      },
    };
  };

/** All prefixes, of which the longest that the key begins with is the answer. */
const trie = (capacity: number, keySize: number): MapModel => {
  const entries = new Map<string, string>();
  const isLong = (key: string): boolean => indexOf(key) > (keySize - 4) * 8;
  return {
    lookup(key) {
      if (isLong(key)) return "ENOENT";
      const bits = prefixOf(key);
      const found = [...entries.keys()].filter((prefix) => bits.startsWith(prefix));
      const longest = found.reduce<string | undefined>(
        (a, b) => (a !== undefined && a.length > b.length ? a : b),
        undefined,
      );
      return longest === undefined ? "ENOENT" : `0 ${entries.get(longest)}`;
    },
    update: (key, value, flags) =>
      isLong(key) ? "EINVAL" : writeTo(entries, prefixOf(key), value, flags, capacity, "ENOSPC"),
    delete: (key) => (isLong(key) ? "EINVAL" : entries.delete(prefixOf(key)) ? "0" : "ENOENT"),
    take: () => "ENOTSUPP",
  };
};

const models: ReadonlyMap<number, (capacity: number, keySize: number, zero: string) => MapModel> = new Map([
  [types.BPF_MAP_TYPE_HASH, hash],
  [types.BPF_MAP_TYPE_ARRAY, array],
  [types.BPF_MAP_TYPE_PERCPU_HASH, hash],
  [types.BPF_MAP_TYPE_PERCPU_ARRAY, array],
  [types.BPF_MAP_TYPE_LRU_HASH, hash],
  [types.BPF_MAP_TYPE_LRU_PERCPU_HASH, hash],
  [types.BPF_MAP_TYPE_LPM_TRIE, trie],
  [types.BPF_MAP_TYPE_QUEUE, list(false)],
  [types.BPF_MAP_TYPE_STACK, list(true)],
]);

function writeTo(
  entries: Map<string, string>,
  key: string,
  value: string,
  flags: number,
  capacity: number,
  full: string,
): string {
  const isOld = entries.has(key);
  if (isOld && flags === BPF_NOEXIST) return "EEXIST";
  if (!isOld && flags === BPF_EXIST) return "ENOENT";
  if (!isOld && entries.size === capacity) return full;
  entries.set(key, value);
  return "0";
}

/** The first four bytes, a little-endian number: an array's index, or the length of a prefix. */
const indexOf = (key: string): number =>
  [3, 2, 1, 0].reduce((number, byte) => number * 256 + Number.parseInt(key.slice(2 * byte, 2 * byte + 2), 16), 0);

/** A prefix as binary digits. */
const prefixOf = (key: string): string =>
  [...key.slice(8)]
    .map((digit) => Number.parseInt(digit, 16).toString(2).padStart(4, "0"))
    .join("")
    .slice(0, indexOf(key));
