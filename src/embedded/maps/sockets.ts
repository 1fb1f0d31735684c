// BPF_MAP_TYPE_SOCKMAP, SOCKHASH and REUSEPORT_SOCKARRAY: sockets by number or key. They are written as file descriptors
// and read as cookies.
// Linux: net/core/sock_map.c, kernel/bpf/reuseport_array.c

import { E2BIG, EBUSY, EEXIST, EINVAL, ENOENT, ENOSPC, ENOTSUPP, EOPNOTSUPP } from "../../uapi/errno.ts";
import { BPF_EXIST, BPF_F_NO_PREALLOC, BPF_F_ZERO_SEED, BPF_NOEXIST } from "../../uapi/flags.ts";
import {
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
  BPF_MAP_TYPE_SOCKHASH,
  BPF_MAP_TYPE_SOCKMAP,
} from "../../uapi/map-types.ts";
import { type EmbeddedSocket, findSocket } from "../owners.ts";
import type { KernelState } from "../state.ts";
import type { EmbeddedMap, MapAttributes, MapFamily, Operations } from "./map.ts";
import { checkShape } from "./shape.ts";

const COOKIE_SIZE = 8;
const INT_MAX = 0x7fff_ffff;

const operations: Operations = {
  lookup(state, map, key) {
    if (map.value_size !== COOKIE_SIZE) return -ENOSPC;
    return cookieAt(state, map, key) === 0 ? -ENOENT : state.machine.mapLookup(tableOf(state, map), key);
  },
  nextKey(state, map, key, next) {
    const table = tableOf(state, map);
    return table < 0 ? table : state.machine.mapNextKey(table, key, next);
  },
};

export const sockmap: MapFamily = {
  capability: "CAP_NET_ADMIN",
  checkAllocation: checkShape,
  memoryNeeded,
  checkKeyType: () => -ENOTSUPP,
  perCpu: false,
  operations: {
    ...operations,
    update: updateSockmap,
    remove: (state, map, key) => (remove(state, map, key) ? 0 : -EINVAL),
  },
  hasDirectValue: false,
  destroy,
  forget,
};

export const sockhash: MapFamily = {
  ...sockmap,
  operations: {
    ...operations,
    update: updateSockmap,
    remove: (state, map, key) => (remove(state, map, key) ? 0 : -ENOENT),
  },
};

export const reuseportSockarray: MapFamily = {
  check: checkShape,
  memoryNeeded,
  perCpu: false,
  operations: {
    ...operations,
    update: updateReuseport,
    remove(state, map, key) {
      if (indexAt(state, key) >= map.max_entries) return -E2BIG;
      return remove(state, map, key) ? 0 : -ENOENT;
    },
  },
  hasDirectValue: false,
  destroy,
  forget,
};

function memoryNeeded({ max_entries }: MapAttributes): number {
  return max_entries * COOKIE_SIZE;
}

function updateSockmap(state: KernelState, map: EmbeddedMap, key: number, value: number, flags: number): number {
  const socket = socketAt(state, map, value);
  if (typeof socket === "number") return socket;
  if (!sockmapStates[socket.protocol].includes(socket.state)) return -EOPNOTSUPP;
  if (flags > BPF_EXIST) return -EINVAL;
  if (map.map_type === BPF_MAP_TYPE_SOCKMAP && indexAt(state, key) >= map.max_entries) return -E2BIG;
  if (isIn(socket, (other) => other === BPF_MAP_TYPE_REUSEPORT_SOCKARRAY)) return -EBUSY;
  return checkExistence(state, map, key, flags) || put(state, map, key, value, socket);
}

function updateReuseport(state: KernelState, map: EmbeddedMap, key: number, value: number, flags: number): number {
  if (flags > BPF_EXIST) return -EINVAL;
  if (indexAt(state, key) >= map.max_entries) return -E2BIG;
  const socket = socketAt(state, map, value);
  if (typeof socket === "number") return socket;
  const error = checkExistence(state, map, key, flags);
  if (error !== 0) return error;
  if (socket.protocol === "unix") return -ENOTSUPP;
  if (!socket.reusePort || socket.state !== (socket.protocol === "tcp" ? "listening" : "bound")) return -EINVAL;
  // A socket has one owner of its user data: a sockmap, or one element of one array.
  if (isIn(socket, () => true)) return -EBUSY;
  return put(state, map, key, value, socket);
}

/** The states in which sockmaps take a socket. */
const sockmapStates: Readonly<Record<EmbeddedSocket["protocol"], readonly EmbeddedSocket["state"][]>> = {
  tcp: ["listening", "established"],
  udp: ["bound"],
  unix: ["established"],
};

const isIn = (socket: EmbeddedSocket, matches: (mapType: number) => boolean): boolean =>
  [...socket.places.keys()].some(({ map_type }) => matches(map_type));

/** The socket whose file descriptor is a value, or -errno. */
function socketAt(state: KernelState, map: EmbeddedMap, value: number): EmbeddedSocket | number {
  const { view } = state.memory;
  const isWide = map.value_size === COOKIE_SIZE;
  // An array reads 32 bits as an int: -EBADF where it is negative.
  const isArray = map.map_type === BPF_MAP_TYPE_REUSEPORT_SOCKARRAY;
  const fd = view.getUint32(value, true);
  const isTooLarge = fd > INT_MAX && (isWide || !isArray);
  if (isTooLarge || (isWide && view.getUint32(value + 4, true) !== 0)) return -EINVAL;
  return findSocket(state, fd);
}

function checkExistence(state: KernelState, map: EmbeddedMap, key: number, flags: number): number {
  const isThere = cookieAt(state, map, key) !== 0;
  if (isThere) return flags === BPF_NOEXIST ? -EEXIST : 0;
  return flags === BPF_EXIST ? -ENOENT : 0;
}

/** Sets an element; -E2BIG where a hash is full, -ENOMEM. `value` is overwritten at once. */
function put(state: KernelState, map: EmbeddedMap, key: number, value: number, socket: EmbeddedSocket): number {
  const { machine, memory } = state;
  const table = tableOf(state, map);
  if (table < 0) return table;
  const old = cookieAt(state, map, key);
  const error = machine.mapUpdate(table, key, value, 0);
  if (error !== 0) return error;
  memory.reach(machine.memory.buffer.byteLength);
  memory.view.setBigUint64(machine.mapLookup(table, key), BigInt(socket.cookie), true);
  leave(state, map, old);
  socket.places.set(map, (socket.places.get(map) ?? 0) + 1);
  return 0;
}

/** Empties an element. Returns whether there was a socket. */
function remove(state: KernelState, map: EmbeddedMap, key: number): boolean {
  const { machine, memory } = state;
  const cookie = cookieAt(state, map, key);
  if (cookie === 0) return false;
  const table = tableOf(state, map);
  if (map.map_type === BPF_MAP_TYPE_SOCKHASH) machine.mapDelete(table, key);
  else memory.view.setBigUint64(machine.mapLookup(table, key), 0n, true);
  leave(state, map, cookie);
  return true;
}

/** The socket of a cookie is in one element less; 0 is none. */
function leave(state: KernelState, map: EmbeddedMap, cookie: number): void {
  for (const owner of state.owners) {
    if (owner.kind !== "socket" || owner.cookie !== cookie) continue;
    const places = (owner.places.get(map) ?? 0) - 1;
    if (places > 0) owner.places.set(map, places);
    else owner.places.delete(map);
  }
}

function destroy(state: KernelState, map: EmbeddedMap): void {
  for (const owner of state.owners) if (owner.kind === "socket") owner.places.delete(map);
  const table = tables.get(map);
  if (table !== undefined) state.machine.mapDestroy(table);
}

function forget(state: KernelState, map: EmbeddedMap, socket: EmbeddedSocket): void {
  const { machine, memory } = state;
  const table = tableOf(state, map);
  const next = memory.scratch(map.key_size);
  if (next === 0) return;
  const keys: Uint8Array[] = [];
  for (let key = 0; machine.mapNextKey(table, key, next) === 0; key = next) {
    if (cookieAt(state, map, next) === socket.cookie) keys.push(memory.u8.slice(next, next + map.key_size));
  }
  for (const key of keys) {
    memory.u8.set(key, next);
    remove(state, map, next);
  }
}

/**
 * The table of a map: cookies by key, in the machine, made when it is first needed; -ENOMEM.
 * Hashes of sockets have no seed, so their keys come in the same order on every kernel.
 */
function tableOf({ machine, memory }: KernelState, map: EmbeddedMap): number {
  const known = tables.get(map);
  if (known !== undefined) return known;
  const { key_size, max_entries } = map;
  const isHash = map.map_type === BPF_MAP_TYPE_SOCKHASH;
  const table = isHash
    ? machine.mapCreate(BPF_MAP_TYPE_HASH, key_size, COOKIE_SIZE, max_entries, BPF_F_NO_PREALLOC | BPF_F_ZERO_SEED)
    : machine.mapCreate(BPF_MAP_TYPE_ARRAY, key_size, COOKIE_SIZE, max_entries, 0);
  if (table < 0) return table;
  memory.reach(machine.memory.buffer.byteLength);
  tables.set(map, table);
  return table;
}

const tables = new WeakMap<EmbeddedMap, number>();

/** The cookie at a key; 0 where there is none. */
function cookieAt(state: KernelState, map: EmbeddedMap, key: number): number {
  const table = tableOf(state, map);
  const address = table < 0 ? 0 : state.machine.mapLookup(table, key);
  if (address === 0) return 0;
  return state.memory.u32[address / 4] as number;
}

const indexAt = ({ memory }: KernelState, key: number): number => memory.view.getUint32(key, true);
