// The low-level names of libbpf, with C's contract: -1 and an errno. For those who port C.
// libbpf: src/bpf.h; man 2 bpf

import { encodeInstructions, type Instruction } from "../asm/instruction.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { Attr, BpfCommand } from "../uapi/attr.ts";
import * as commands from "../uapi/commands.ts";
import { cString } from "../uapi/struct.ts";

type MapCreateOptions = Omit<
  Attr<typeof commands.BPF_MAP_CREATE>,
  "map_type" | "map_name" | "key_size" | "value_size" | "max_entries"
>;
type ProgLoadOptions = Omit<
  Attr<typeof commands.BPF_PROG_LOAD>,
  "prog_type" | "prog_name" | "license" | "insns" | "insn_cnt"
>;
type TestRunOptions = Omit<Attr<typeof commands.BPF_PROG_TEST_RUN>, "prog_fd">;

/**
 * libbpf's functions on a kernel. Each returns a result >= 0, or -1 and sets `errno`.
 * What C takes by address is a view of its bytes here: `new Int32Array([1])` for `&key`.
 */
export interface Libbpf {
  /** The positive error number of the last call that failed; a call that succeeds leaves it. */
  readonly errno: number;

  bpf_create_map(type: number, keySize: number, valueSize: number, maxEntries: number, mapFlags: number): number;
  bpf_map_create(
    type: number,
    name: string | null,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    options?: MapCreateOptions,
  ): number;
  bpf_map_update_elem(fd: number, key: ArrayBufferView, value: ArrayBufferView, flags: number | bigint): number;
  /** Writes the value into `value`, which has room for it: for a per-CPU map, for all CPUs. */
  bpf_map_lookup_elem(fd: number, key: ArrayBufferView, value: ArrayBufferView): number;
  bpf_map_lookup_elem_flags(fd: number, key: ArrayBufferView, value: ArrayBufferView, flags: number | bigint): number;
  bpf_map_lookup_and_delete_elem(fd: number, key: ArrayBufferView, value: ArrayBufferView): number;
  bpf_map_delete_elem(fd: number, key: ArrayBufferView): number;
  /** Writes the key behind `key`, or the first where that is null; ENOENT behind the last. */
  bpf_map_get_next_key(fd: number, key: ArrayBufferView | null, nextKey: ArrayBufferView): number;
  bpf_map_freeze(fd: number): number;
  bpf_obj_pin(fd: number, pathname: string): number;
  bpf_obj_get(pathname: string): number;
  /** Writes the kernel's info struct into `info`. */
  bpf_obj_get_info_by_fd(fd: number, info: ArrayBufferView): number;
  bpf_prog_load(
    type: number,
    name: string | null,
    license: string,
    instructions: readonly Instruction[],
    options?: ProgLoadOptions,
  ): number;
  /** Runs a program; results (`retval`, `duration`, sizes) are written into `options`. */
  bpf_prog_test_run_opts(fd: number, options: TestRunOptions): number;
  bpf_btf_load(btf: ArrayBufferView, options?: Omit<Attr<typeof commands.BPF_BTF_LOAD>, "btf" | "btf_size">): number;
  /** The next id goes into `next[0]`; ENOENT behind the last. */
  bpf_prog_get_next_id(startId: number, next: Uint32Array): number;
  bpf_map_get_next_id(startId: number, next: Uint32Array): number;
  bpf_btf_get_next_id(startId: number, next: Uint32Array): number;
  bpf_prog_get_fd_by_id(id: number): number;
  bpf_map_get_fd_by_id(id: number): number;
  bpf_btf_get_fd_by_id(id: number): number;
  close(fd: number): number;
}

/**
 * libbpf's low-level functions on a kernel.
 *
 * @example
 * const { bpf_create_map, bpf_map_update_elem, bpf_obj_pin } = libbpf(kernel);
 * const fd = bpf_create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 100, 0);
 * bpf_map_update_elem(fd, new Int32Array([1]), new Int32Array([1234]), BPF_ANY);
 * bpf_obj_pin(fd, "/sys/fs/bpf/my_array");
 */
export function libbpf(kernel: Kernel): Libbpf {
  let errno = 0;
  const settle = (result: number): number => {
    if (result >= 0) return result;
    errno = -result;
    return -1;
  };
  const bpf = <Command extends BpfCommand>(command: Command, attr: Attr<Command>): number =>
    settle(kernel.bpf(command, attr));
  const nextId =
    (
      command:
        | typeof commands.BPF_PROG_GET_NEXT_ID
        | typeof commands.BPF_MAP_GET_NEXT_ID
        | typeof commands.BPF_BTF_GET_NEXT_ID,
    ) =>
    (startId: number, next: Uint32Array): number => {
      const attr = { start_id: startId, next_id: 0 };
      const result = bpf(command, attr);
      if (result >= 0) next[0] = attr.next_id;
      return result;
    };

  return {
    get errno() {
      return errno;
    },
    bpf_create_map: (type, keySize, valueSize, maxEntries, mapFlags) =>
      bpf(commands.BPF_MAP_CREATE, {
        map_type: type,
        key_size: keySize,
        value_size: valueSize,
        max_entries: maxEntries,
        map_flags: mapFlags,
      }),
    bpf_map_create: (type, name, keySize, valueSize, maxEntries, options = {}) =>
      bpf(commands.BPF_MAP_CREATE, {
        ...options,
        map_type: type,
        map_name: name ?? "",
        key_size: keySize,
        value_size: valueSize,
        max_entries: maxEntries,
      }),
    bpf_map_update_elem: (fd, key, value, flags) =>
      bpf(commands.BPF_MAP_UPDATE_ELEM, { map_fd: fd, key: bytesOf(key), value: bytesOf(value), flags }),
    bpf_map_lookup_elem: (fd, key, value) =>
      bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd: fd, key: bytesOf(key), value: bytesOf(value) }),
    bpf_map_lookup_elem_flags: (fd, key, value, flags) =>
      bpf(commands.BPF_MAP_LOOKUP_ELEM, { map_fd: fd, key: bytesOf(key), value: bytesOf(value), flags }),
    bpf_map_lookup_and_delete_elem: (fd, key, value) =>
      bpf(commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM, { map_fd: fd, key: bytesOf(key), value: bytesOf(value) }),
    bpf_map_delete_elem: (fd, key) => bpf(commands.BPF_MAP_DELETE_ELEM, { map_fd: fd, key: bytesOf(key) }),
    bpf_map_get_next_key: (fd, key, nextKey) =>
      bpf(commands.BPF_MAP_GET_NEXT_KEY, {
        map_fd: fd,
        key: key === null ? null : bytesOf(key),
        next_key: bytesOf(nextKey),
      }),
    bpf_map_freeze: (fd) => bpf(commands.BPF_MAP_FREEZE, { map_fd: fd }),
    bpf_obj_pin: (fd, pathname) => bpf(commands.BPF_OBJ_PIN, { bpf_fd: fd, pathname: cString(pathname) }),
    bpf_obj_get: (pathname) => bpf(commands.BPF_OBJ_GET, { pathname: cString(pathname) }),
    bpf_obj_get_info_by_fd: (fd, info) =>
      bpf(commands.BPF_OBJ_GET_INFO_BY_FD, { bpf_fd: fd, info_len: info.byteLength, info: bytesOf(info) }),
    bpf_prog_load: (type, name, license, instructions, options = {}) =>
      bpf(commands.BPF_PROG_LOAD, {
        ...options,
        prog_type: type,
        prog_name: name ?? "",
        license: cString(license),
        insns: encodeInstructions(instructions),
        insn_cnt: instructions.length,
      }),
    bpf_prog_test_run_opts: (fd, options) => {
      const attr = Object.assign(options, { prog_fd: fd });
      return bpf(commands.BPF_PROG_TEST_RUN, attr);
    },
    bpf_btf_load: (btf, options = {}) =>
      bpf(commands.BPF_BTF_LOAD, { ...options, btf: bytesOf(btf), btf_size: btf.byteLength }),
    bpf_prog_get_next_id: nextId(commands.BPF_PROG_GET_NEXT_ID),
    bpf_map_get_next_id: nextId(commands.BPF_MAP_GET_NEXT_ID),
    bpf_btf_get_next_id: nextId(commands.BPF_BTF_GET_NEXT_ID),
    bpf_prog_get_fd_by_id: (id) => bpf(commands.BPF_PROG_GET_FD_BY_ID, { prog_id: id }),
    bpf_map_get_fd_by_id: (id) => bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: id }),
    bpf_btf_get_fd_by_id: (id) => bpf(commands.BPF_BTF_GET_FD_BY_ID, { btf_id: id }),
    close: (fd) => settle(kernel.close(fd)),
  };
}

const bytesOf = (buffer: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
