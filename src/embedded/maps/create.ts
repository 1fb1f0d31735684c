// BPF_MAP_CREATE. The order of the checks is Linux's.
// Linux: map_create and map_check_btf in kernel/bpf/syscall.c

import type { BPF_MAP_CREATE } from "../../uapi/commands.ts";
import { EFAULT, EINVAL, ENOMEM, EOPNOTSUPP, EPERM } from "../../uapi/errno.ts";
import { BPF_F_NUMA_NODE, BPF_F_RDONLY, BPF_F_TOKEN_FD, BPF_F_WRONLY } from "../../uapi/flags.ts";
import {
  BPF_MAP_TYPE_ARENA,
  BPF_MAP_TYPE_ARRAY,
  BPF_MAP_TYPE_BLOOM_FILTER,
  BPF_MAP_TYPE_HASH,
  BPF_MAP_TYPE_STRUCT_OPS,
} from "../../uapi/map-types.ts";
import { toBigInt } from "../../uapi/struct.ts";
import { type EmbeddedBtf, sizedType } from "../btf.ts";
import type { SpecialField } from "../btf-fields.ts";
import { userBytes } from "../memory.ts";
import { findBtf, notOpen, References } from "../objects.ts";
import { SHA256_SIZE } from "../sha256.ts";
import { capable, type KernelState, whenIdle } from "../state.ts";
import type { CommandAttr } from "../syscall.ts";
import { families } from "./families.ts";
import { type EmbeddedMap, type MapFamily, NUMA_NO_NODE, stride } from "./map.ts";
import { checkSpecialFields, setSpecialFields, specialFields } from "./special-fields.ts";

/** The one node that there is, and none in particular. */
const NUMA_NODES: readonly number[] = [0, NUMA_NO_NODE];

const TYPES_WITH_EXTRA: readonly number[] = [BPF_MAP_TYPE_BLOOM_FILTER, BPF_MAP_TYPE_ARENA];

/** The number of lo. */
const LOOPBACK = 1;

type MapCreate = CommandAttr<typeof BPF_MAP_CREATE>;

export function createMap(state: KernelState, attr: MapCreate): number {
  const { machine, memory } = state;
  if (!typesAreMeant(attr)) return -EINVAL;
  if (attr.map_extra !== 0n && !TYPES_WITH_EXTRA.includes(attr.map_type)) return -EINVAL;
  const access = attr.map_flags & (BPF_F_RDONLY | BPF_F_WRONLY);
  if (access === (BPF_F_RDONLY | BPF_F_WRONLY)) return -EINVAL;
  if ((attr.map_flags & BPF_F_NUMA_NODE) !== 0 && !NUMA_NODES.includes(attr.numa_node)) return -EINVAL;
  const family = families.get(attr.map_type);
  if (family === undefined) return -EINVAL;

  const hasToken = (attr.map_flags & BPF_F_TOKEN_FD) !== 0;
  const asked = { ...attr, map_flags: attr.map_flags & ~BPF_F_TOKEN_FD };
  const error = family.check?.(asked, (capability) => capable(state, capability)) ?? 0;
  if (error !== 0) return error;
  // Nothing in the embedded kernel is a token.
  if (hasToken) return state.files.get(attr.map_token_fd) === undefined ? notOpen(attr.map_token_fd) : -EINVAL;
  if (!capable(state, "CAP_BPF")) return -EPERM;
  if (family.capability !== undefined && !capable(state, family.capability)) return -EPERM;
  if (attr.map_ifindex !== 0) return offloadError(state, attr);
  const innerTemplate = family.innerTemplate?.(state, attr);
  if (typeof innerTemplate === "number") return innerTemplate;
  const allocationError = family.checkAllocation?.(attr, state) ?? 0;
  if (allocationError !== 0) return allocationError;
  const max_entries = family.roundEntries?.(attr, state.cpus) ?? attr.max_entries;
  if (family.memoryNeeded(attr, state.cpus) > state.memoryLimit - machine.bytesInUse()) return -ENOMEM;
  if (!isObjectName(attr.map_name)) return -EINVAL;

  let btf: EmbeddedBtf | undefined;
  let fields: readonly SpecialField[] = [];
  if (attr.btf_value_type_id !== 0) {
    const found = findBtf(state.files, attr.btf_fd);
    if (typeof found === "number") return found;
    const checked = checkBtf(found, family, attr);
    if (typeof checked === "number") return checked;
    btf = found;
    fields = checked;
  }
  const exclusiveHash = readProgramHash(attr);
  if (typeof exclusiveHash === "number") return exclusiveHash;

  const extra = toBigInt(attr.map_extra);
  const handle = machine.mapCreate(
    attr.map_type,
    attr.key_size,
    attr.value_size,
    max_entries,
    attr.map_flags,
    Number(extra & 0xffff_ffffn),
    Number(extra >> 32n),
  );
  if (handle < 0) return handle;
  memory.reach(machine.memory.buffer.byteLength);
  if (!setSpecialFields(machine, memory, handle, fields, attr.value_size)) {
    machine.mapDestroy(handle);
    return -ENOMEM;
  }
  const storage = new References(() => whenIdle(state, () => machine.mapDestroy(handle)));
  storage.take();
  btf?.references.take();
  const map: EmbeddedMap = state.maps.add(
    (id): EmbeddedMap => ({
      kind: "map",
      id,
      name: attr.map_name,
      family,
      references: new References(() => {
        state.maps.remove(id);
        state.mapsByAddress.delete(handle);
        family.destroy?.(state, map);
        storage.drop();
        btf?.references.drop();
      }),
      closed: (file) => family.fileClosed?.(state, map, file),
      userReferences: new References(() => family.leftByUsers?.(state, map)),
      storage,
      handle,
      map_type: attr.map_type,
      key_size: attr.key_size,
      value_size: attr.value_size,
      max_entries,
      map_flags: (attr.map_flags & ~(BPF_F_RDONLY | BPF_F_WRONLY)) | (family.impliedFlags ?? 0),
      map_extra: attr.map_extra,
      userValueSize: family.perCpu ? stride(attr.value_size) * state.cpus : attr.value_size,
      fields,
      innerTemplate,
      exclusiveHash,
      btf,
      btf_key_type_id: attr.btf_key_type_id,
      btf_value_type_id: attr.btf_value_type_id,
      frozen: false,
      writableMappings: 0,
    }),
  );
  state.mapsByAddress.set(handle, map);
  return state.files.open(map, access !== BPF_F_WRONLY, access !== BPF_F_RDONLY);
}

/** Types of the kernel are for struct_ops alone, and a key has a type only where the value has one. */
function typesAreMeant(attr: MapCreate): boolean {
  const { map_type, btf_key_type_id, btf_value_type_id, btf_vmlinux_value_type_id } = attr;
  if (btf_vmlinux_value_type_id === 0) return btf_key_type_id === 0 || btf_value_type_id !== 0;
  return map_type === BPF_MAP_TYPE_STRUCT_OPS && btf_key_type_id === 0 && btf_value_type_id === 0;
}

/** The digest of the only program that may name the map, where there is one; -EINVAL, -EFAULT. */
function readProgramHash({ excl_prog_hash, excl_prog_hash_size }: MapCreate): Uint8Array | undefined | number {
  if (excl_prog_hash === null) return excl_prog_hash_size === 0 ? undefined : -EINVAL;
  if (excl_prog_hash_size !== SHA256_SIZE) return -EINVAL;
  return userBytes(excl_prog_hash, SHA256_SIZE)?.slice() ?? -EFAULT;
}

/** A map in a network device: no device of the embedded kernel takes any. */
function offloadError(state: KernelState, { map_type, map_ifindex }: MapCreate): number {
  if (!capable(state, "CAP_SYS_ADMIN")) return -EPERM;
  const isOffloadable = map_type === BPF_MAP_TYPE_ARRAY || map_type === BPF_MAP_TYPE_HASH;
  return isOffloadable && map_ifindex === LOOPBACK ? -EOPNOTSUPP : -EINVAL;
}

/** Whether a field of 16 bytes holds the name of a map or a program: letters, digits, `_` and `.`, and a NUL behind them. */
export const isObjectName = (name: string): boolean => /^[A-Za-z0-9_.]{0,15}$/.test(name);

/** The special fields of a map's values, or -errno. */
function checkBtf(btf: EmbeddedBtf, family: MapFamily, attr: MapCreate): readonly SpecialField[] | number {
  const key = attr.btf_key_type_id === 0 ? btf.types.type(0) : sizedType(btf, attr.btf_key_type_id, attr.key_size);
  if (key === undefined || (key.kind === "void" && family.checkKeyType === undefined)) return -EINVAL;
  const value = sizedType(btf, attr.btf_value_type_id, attr.value_size);
  if (value === undefined) return -EINVAL;
  const fields = specialFields(btf.types, value);
  const error =
    checkSpecialFields(btf.types, fields, attr) || (family.checkKeyType?.(attr, key, value, btf.types) ?? 0);
  return error === 0 ? fields : error;
}
