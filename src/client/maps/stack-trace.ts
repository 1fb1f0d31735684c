// BPF_MAP_TYPE_STACK_TRACE: stacks by the ids that bpf_get_stackid gives.
// Linux: kernel/bpf/stackmap.c

import type { Codec } from "../../codec/codec.ts";
import { u32 } from "../../codec/scalars.ts";
import { BPF_F_STACK_BUILD_ID } from "../../uapi/flags.ts";
import type { OpenedMap } from "./handle.ts";
import { DeletableMap } from "./keyed.ts";

/** A place in a file that a process had mapped: struct bpf_stack_build_id. */
export interface StackFrame {
  /** The file's build id; undefined where it has none, and `ip` is known instead. */
  readonly buildId: Uint8Array | undefined;
  /** Bytes from the file's beginning. */
  readonly offset: bigint | undefined;
  readonly ip: bigint | undefined;
}

/** Bytes of an address, and of struct bpf_stack_build_id: s32 status, u8 build_id[20], u64 offset or ip. */
export const ADDRESS_SIZE = 8;
export const BUILD_ID_SIZE = 32;

/**
 * Stacks, the innermost address first. BPF_MAP_TYPE_STACK_TRACE, Linux 4.6. Values cannot be written.
 *
 * @example
 * using stacks = BpfMap.create(kernel, { type: "stack_trace", maxEntries: 1024 });
 * stacks.get(id); // id: what bpf_get_stackid gave the program; addresses
 */
export class StackTraceMap<Frame = bigint> extends DeletableMap<number, Frame[], never> {
  constructor(opened: OpenedMap) {
    const { map_flags, value_size } = opened.info;
    const frames = (map_flags & BPF_F_STACK_BUILD_ID) !== 0 ? buildIds(value_size) : addresses(value_size);
    super(opened, u32, frames as Codec<Frame[]>);
  }
}

/** Addresses up to the first that is 0. */
const addresses = (size: number): Codec<bigint[]> => ({
  ...readOnly(`u64[${size / ADDRESS_SIZE}]`, size),
  decode(view, offset) {
    const found: bigint[] = [];
    for (let at = 0; at < size; at += ADDRESS_SIZE) {
      const address = view.getBigUint64(offset + at, true);
      if (address === 0n) break;
      found.push(address);
    }
    return found;
  },
});

/** enum bpf_stack_build_id_status. */
const BPF_STACK_BUILD_ID_EMPTY = 0;
const BPF_STACK_BUILD_ID_VALID = 1;

const buildIds = (size: number): Codec<StackFrame[]> => ({
  ...readOnly(`struct bpf_stack_build_id[${size / BUILD_ID_SIZE}]`, size),
  decode(view, offset) {
    const found: StackFrame[] = [];
    for (let at = offset; at < offset + size; at += BUILD_ID_SIZE) {
      const status = view.getInt32(at, true);
      if (status === BPF_STACK_BUILD_ID_EMPTY) break;
      const place = view.getBigUint64(at + 24, true);
      const isValid = status === BPF_STACK_BUILD_ID_VALID;
      found.push({
        buildId: isValid ? new Uint8Array(view.buffer, view.byteOffset + at + 4, 20).slice() : undefined,
        offset: isValid ? place : undefined,
        ip: isValid ? undefined : place,
      });
    }
    return found;
  },
});

const readOnly = (name: string, size: number) => ({
  name,
  size,
  align: 8,
  encode() {
    throw new TypeError("the kernel alone writes stacks");
  },
});
