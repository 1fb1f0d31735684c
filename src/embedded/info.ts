// BPF_OBJ_GET_INFO_BY_FD: what the kernel tells of a map, a program or BTF.
// Linux: bpf_obj_get_info_by_fd in kernel/bpf/syscall.c

import { PAGE_BYTES } from "../../machine/layout.ts";
import { encodeInstructions, INSTRUCTION_SIZE } from "../asm/instruction.ts";
import type { BPF_OBJ_GET_INFO_BY_FD } from "../uapi/commands.ts";
import { E2BIG, EBADFD, EFAULT, EINVAL, EPERM } from "../uapi/errno.ts";
import { btfInfo, mapInfo, progInfo } from "../uapi/info.ts";
import { decode, encode, type Memory, type Struct, sizeOf, type ValuesOf } from "../uapi/struct.ts";
import type { EmbeddedBtf } from "./btf.ts";
import { fieldsOf } from "./fields.ts";
import type { EmbeddedMap } from "./maps/map.ts";
import { bytesAt } from "./memory.ts";
import type { BpfObject } from "./objects.ts";
import { isOwner } from "./owners.ts";
import type { EmbeddedProgram } from "./program.ts";
import { FUNC_INFO_SIZE, LINE_INFO_SIZE } from "./program-debug-info.ts";
import { SHA256_SIZE, sha256 } from "./sha256.ts";
import { capable, type KernelState } from "./state.ts";
import type { CommandAttr } from "./syscall.ts";

type Attr = CommandAttr<typeof BPF_OBJ_GET_INFO_BY_FD>;

export function getInfo(state: KernelState, attr: Attr): number {
  const object = state.files.get(attr.bpf_fd)?.object;
  if (object === undefined) return -EBADFD;
  if (object.kind === "perf event" || isOwner(object)) return -EINVAL;
  return describers[object.kind](state, object as never, attr);
}

type Describe<T extends BpfObject> = (state: KernelState, object: T, attr: Attr) => number;

const describers: { readonly [Kind in BpfObject["kind"]]: Describe<Extract<BpfObject, { kind: Kind }>> } = {
  map: (state, map, attr) =>
    exchange(attr, mapInfo, (asked) => {
      const hash_size = tellHash(state, map, asked);
      return hash_size < 0 ? hash_size : { ...mapValues(map), hash_size };
    }),
  program: (state, program, attr) => exchange(attr, progInfo, (asked) => programValues(state, program, asked)),
  btf: (_state, btf, attr) => exchange(attr, btfInfo, (asked) => btfValues(btf, asked)),
};

/** Reads the info struct that the caller prepared, and writes what there is to tell over it, as much as the caller has room for. */
function exchange<S extends Struct>(
  attr: Attr,
  struct: S,
  describe: (asked: ValuesOf<S>) => Partial<ValuesOf<S>> | number,
): number {
  const size = Math.ceil(sizeOf(struct) / 8) * 8;
  if (attr.info_len > PAGE_BYTES) return -E2BIG;
  const memory: Memory | null = attr.info instanceof Uint8Array ? { bytes: attr.info } : attr.info;
  const length = Math.min(attr.info_len, size);
  const bytes = bytesAt(memory);
  if (attr.info_len > 0 && (bytes === undefined || bytes.length < attr.info_len)) return -EFAULT;
  if (bytes?.subarray(size, attr.info_len).some((byte) => byte !== 0)) return -E2BIG;
  const view = new DataView(new ArrayBuffer(size));
  const info = new Uint8Array(view.buffer);
  if (bytes !== undefined) info.set(bytes.subarray(0, length));
  const values = describe(decode(struct, view, memory?.pointers));
  if (typeof values === "number") return values;
  const addresses = info.slice();
  info.fill(0);
  copyAddresses(struct, addresses, info);
  encode(struct, values, view);
  bytes?.set(info.subarray(0, length));
  attr.info_len = length;
  return 0;
}

/** The caller's pointers stay in the struct as they were. */
function copyAddresses(struct: Struct, from: Uint8Array, to: Uint8Array): void {
  for (const [, [offset]] of fieldsOf(struct, "pointer")) to.set(from.subarray(offset, offset + 8), offset);
}

/** Gives the SHA-256 of a frozen map's contents where it is asked for: its size, or -errno. */
function tellHash({ machine, memory }: KernelState, map: EmbeddedMap, asked: ValuesOf<typeof mapInfo>): number {
  if (asked.hash === null) return asked.hash_size === 0 ? 0 : -EINVAL;
  if (map.family.hashedBytes === undefined || asked.hash_size !== SHA256_SIZE) return -EINVAL;
  if (!map.frozen) return -EPERM;
  const data = machine.mapData(map.handle);
  const hash = sha256(memory.u8.slice(data, data + map.family.hashedBytes(map)));
  return copyPart(asked.hash, hash, SHA256_SIZE) ? SHA256_SIZE : -EFAULT;
}

function mapValues(map: EmbeddedMap): Partial<ValuesOf<typeof mapInfo>> {
  return {
    type: map.map_type,
    id: map.id,
    key_size: map.key_size,
    value_size: map.value_size,
    max_entries: map.max_entries,
    map_extra: map.map_extra,
    map_flags: map.map_flags,
    name: map.name,
    btf_id: map.btf?.id ?? 0,
    btf_key_type_id: map.btf_key_type_id,
    btf_value_type_id: map.btf_value_type_id,
  };
}

function programValues(
  state: KernelState,
  program: EmbeddedProgram,
  asked: ValuesOf<typeof progInfo>,
): Partial<ValuesOf<typeof progInfo>> | number {
  if ((asked.nr_func_info || asked.func_info_rec_size) && asked.func_info_rec_size !== FUNC_INFO_SIZE) return -EINVAL;
  if ((asked.nr_line_info || asked.line_info_rec_size) && asked.line_info_rec_size !== LINE_INFO_SIZE) return -EINVAL;
  const instructions = encodeInstructions(program.translated);
  const mayRead = capable(state, "CAP_BPF");
  const mapIds = new Uint8Array(new Uint32Array(program.maps.map(({ id }) => id)).buffer);
  const copies: [Memory | Uint8Array | null, Uint8Array, count: number, size: number][] = [
    [asked.map_ids, mapIds, asked.nr_map_ids, 4],
  ];
  if (mayRead) {
    copies.push(
      [asked.xlated_prog_insns, instructions, asked.xlated_prog_len, 1],
      [asked.func_info, program.functionInfo, asked.nr_func_info, FUNC_INFO_SIZE],
      [asked.line_info, program.lineInfo, asked.nr_line_info, LINE_INFO_SIZE],
      [asked.prog_tags, program.tag, asked.nr_prog_tags, program.tag.length],
    );
  }
  if (!copies.every(([to, from, count, size]) => copyPart(to, from, count * size))) return -EFAULT;
  return {
    type: program.type,
    id: program.id,
    tag: program.tag,
    xlated_prog_len: mayRead ? program.translated.length * INSTRUCTION_SIZE : 0,
    load_time: program.loadTime,
    nr_map_ids: program.maps.length,
    name: program.name,
    gpl_compatible: program.gplCompatible ? 1 : 0,
    btf_id: program.btf?.id ?? 0,
    func_info_rec_size: FUNC_INFO_SIZE,
    nr_func_info: mayRead ? program.functionInfo.length / FUNC_INFO_SIZE : 0,
    line_info_rec_size: LINE_INFO_SIZE,
    nr_line_info: mayRead ? program.lineInfo.length / LINE_INFO_SIZE : 0,
    jited_line_info_rec_size: 8,
    nr_prog_tags: mayRead ? 1 : 0,
    verified_insns: program.verifiedInstructions,
  };
}

function btfValues(
  { id, types }: EmbeddedBtf,
  asked: ValuesOf<typeof btfInfo>,
): Partial<ValuesOf<typeof btfInfo>> | number {
  if (!copyPart(asked.btf, types.bytes, asked.btf_size)) return -EFAULT;
  // BTF that user space loaded has no name: an empty string, which still needs room for its NUL.
  if ((asked.name !== null) !== asked.name_len > 0) return -EINVAL;
  if (asked.name !== null && !copyPart(asked.name, new Uint8Array(1), 1)) return -EFAULT;
  return { btf_size: types.bytes.length, id, name_len: 0 };
}

/** Copies the first bytes to where the caller has room for `room` of them. Returns false (EFAULT) where it has not. */
function copyPart(to: Memory | Uint8Array | null, from: Uint8Array, room: number): boolean {
  const count = Math.min(from.length, room);
  if (count === 0) return true;
  const target = bytesAt(to);
  if (target === undefined || target.length < count) return false;
  target.set(from.subarray(0, count));
  return true;
}
