// Storage that programs have: bpf_get_local_storage, that of the run, and bpf_sk_storage_get and bpf_sk_storage_delete, that of a socket.
// Linux: kernel/bpf/cgroup.c, net/core/bpf_sk_storage.c

import { EINVAL, ENOENT } from "../../uapi/errno.ts";
import { BPF_SK_STORAGE_GET_F_CREATE } from "../../uapi/flags.ts";
import { deleteValue, getOrCreateFrom } from "../maps/local-storage.ts";
import { type HelperEnvironment, wide } from "./environment.ts";

/** Never 0: a run that has no memory for its storage does not begin. */
export function getLocalStorage({ mapsByAddress, state }: HelperEnvironment, map: number): number {
  const held = mapsByAddress.get(map);
  return (held && state.runStorage.get(held)) ?? 0;
}

/** The sockets of test runs are full sockets. */
export const fullSocket = (_env: HelperEnvironment, socket: number): number => socket;

export function socketStorageGet(env: HelperEnvironment, map: number, socket: number, value: number): number {
  const { mapsByAddress, memory, state } = env;
  const held = mapsByAddress.get(map);
  const owner = state.socketsByAddress.get(socket);
  const flags = wide(memory, 3);
  if (held === undefined || owner === undefined || flags > BigInt(BPF_SK_STORAGE_GET_F_CREATE)) return 0;
  const create = flags === BigInt(BPF_SK_STORAGE_GET_F_CREATE);
  return create ? getOrCreateFrom(state, held, owner, value) : (owner.storage.get(held) ?? 0);
}

export function socketStorageDelete({ mapsByAddress, state }: HelperEnvironment, map: number, socket: number): number {
  const held = mapsByAddress.get(map);
  const owner = state.socketsByAddress.get(socket);
  if (held === undefined || owner === undefined) return -EINVAL;
  return deleteValue(state, held, owner) ? 0 : -ENOENT;
}
