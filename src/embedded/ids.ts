// The commands that walk the objects of a kind by their ids: BPF_*_GET_NEXT_ID and BPF_*_GET_FD_BY_ID.
// Linux: bpf_obj_get_next_id in kernel/bpf/syscall.c

import type { BPF_MAP_GET_NEXT_ID } from "../uapi/commands.ts";
import { EINVAL, ENOENT, EPERM } from "../uapi/errno.ts";
import { BPF_F_RDONLY, BPF_F_WRONLY } from "../uapi/flags.ts";
import type { BpfObject, Ids } from "./objects.ts";
import { capable, type KernelState } from "./state.ts";
import type { CommandAttr } from "./syscall.ts";

const INT_MAX = 0x7fff_ffff;

export function getNextId<T extends BpfObject>(
  state: KernelState,
  ids: Ids<T>,
  attr: CommandAttr<typeof BPF_MAP_GET_NEXT_ID>,
): number {
  if (attr.start_id >= INT_MAX) return -EINVAL;
  if (!capable(state, "CAP_SYS_ADMIN")) return -EPERM;
  const id = ids.next(attr.start_id);
  if (id < 0) return id;
  attr.next_id = id;
  return 0;
}

/** A new file descriptor for an object. `access` is BPF_F_RDONLY or BPF_F_WRONLY where it is restricted. */
export function getFdById<T extends BpfObject>(state: KernelState, ids: Ids<T>, id: number, access = 0): number {
  if (access !== 0 && access !== BPF_F_RDONLY && access !== BPF_F_WRONLY) return -EINVAL;
  if (!capable(state, "CAP_SYS_ADMIN")) return -EPERM;
  const object = ids.get(id);
  if (object === undefined) return -ENOENT;
  return state.files.open(object, access !== BPF_F_WRONLY, access !== BPF_F_RDONLY);
}
