// bpf(2): the commands by number, and the two forms in which they are asked for.
// Linux: __sys_bpf in kernel/bpf/syscall.c

import { type Attr, attrs, BPF_ATTR_SIZE, type BpfCommand } from "../uapi/attr.ts";
import * as commands from "../uapi/commands.ts";
import { E2BIG, EINVAL } from "../uapi/errno.ts";
import { decode, decodeOutputs, encode, type Pointer, type Struct, sizeOf, type ValuesOf } from "../uapi/struct.ts";
import { loadBtf } from "./btf.ts";
import { fieldsOf } from "./fields.ts";
import { getFdById, getNextId } from "./ids.ts";
import { getInfo } from "./info.ts";
import { deleteBatch, lookupAndDeleteBatch, lookupBatch, updateBatch } from "./maps/batch.ts";
import { createMap } from "./maps/create.ts";
import {
  deleteElement,
  freezeMap,
  lookupAndDeleteElement,
  lookupElement,
  nextKey,
  updateElement,
} from "./maps/elements.ts";
import { getObject, pinObject } from "./pin.ts";
import { bindMap, loadProgram } from "./program.ts";
import type { KernelState } from "./state.ts";
import { testRun } from "./test-run.ts";

/** What a command's handler is given: every field, as the kernel sees it. It writes its outputs there. */
export type CommandAttr<Command extends BpfCommand> = ValuesOf<(typeof attrs)[Command]>;

type Handler<Command extends BpfCommand> = (state: KernelState, attr: CommandAttr<Command>) => number;

const handlers: { readonly [Command in BpfCommand]?: Handler<Command> } = {
  [commands.BPF_MAP_CREATE]: createMap,
  [commands.BPF_MAP_LOOKUP_ELEM]: lookupElement,
  [commands.BPF_MAP_UPDATE_ELEM]: updateElement,
  [commands.BPF_MAP_DELETE_ELEM]: deleteElement,
  [commands.BPF_MAP_GET_NEXT_KEY]: nextKey,
  [commands.BPF_PROG_LOAD]: loadProgram,
  [commands.BPF_OBJ_PIN]: pinObject,
  [commands.BPF_OBJ_GET]: getObject,
  [commands.BPF_PROG_TEST_RUN]: testRun,
  [commands.BPF_PROG_GET_NEXT_ID]: (state, attr) => getNextId(state, state.programs, attr),
  [commands.BPF_MAP_GET_NEXT_ID]: (state, attr) => getNextId(state, state.maps, attr),
  [commands.BPF_BTF_GET_NEXT_ID]: (state, attr) => getNextId(state, state.btfs, attr),
  [commands.BPF_PROG_GET_FD_BY_ID]: (state, attr) => getFdById(state, state.programs, attr.prog_id),
  [commands.BPF_MAP_GET_FD_BY_ID]: (state, attr) => getFdById(state, state.maps, attr.map_id, attr.open_flags),
  [commands.BPF_BTF_GET_FD_BY_ID]: (state, attr) =>
    attr.open_flags !== 0 ? -EINVAL : getFdById(state, state.btfs, attr.btf_id),
  [commands.BPF_OBJ_GET_INFO_BY_FD]: getInfo,
  [commands.BPF_BTF_LOAD]: loadBtf,
  [commands.BPF_MAP_LOOKUP_AND_DELETE_ELEM]: lookupAndDeleteElement,
  [commands.BPF_MAP_FREEZE]: freezeMap,
  [commands.BPF_MAP_LOOKUP_BATCH]: lookupBatch,
  [commands.BPF_MAP_LOOKUP_AND_DELETE_BATCH]: lookupAndDeleteBatch,
  [commands.BPF_MAP_UPDATE_BATCH]: updateBatch,
  [commands.BPF_MAP_DELETE_BATCH]: deleteBatch,
  [commands.BPF_PROG_BIND_MAP]: bindMap,
};

/** One command with typed fields. */
export function call<Command extends BpfCommand>(state: KernelState, command: Command, attr: Attr<Command>): number {
  switch (command) {
    case commands.BPF_MAP_LOOKUP_ELEM:
      return lookupElement(state, attr as Attr<typeof commands.BPF_MAP_LOOKUP_ELEM>);
    case commands.BPF_MAP_UPDATE_ELEM:
      return updateElement(state, attr as Attr<typeof commands.BPF_MAP_UPDATE_ELEM>);
    case commands.BPF_MAP_DELETE_ELEM:
      return deleteElement(state, attr as Attr<typeof commands.BPF_MAP_DELETE_ELEM>);
    case commands.BPF_MAP_GET_NEXT_KEY:
      return nextKey(state, attr as Attr<typeof commands.BPF_MAP_GET_NEXT_KEY>);
  }
  const struct = attrs[command];
  if (struct === undefined) return -EINVAL;
  const view = new DataView(new ArrayBuffer(BPF_ATTR_SIZE));
  const pointers = encode(struct, attr, view);
  const result = handle(state, command, view, pointers);
  decodeOutputs(struct, view, attr as Record<string, unknown>);
  return result;
}

/** One command with the bytes of union bpf_attr, which is as long as they are. */
export function callRaw(state: KernelState, command: number, bytes: Uint8Array, pointers: readonly Pointer[]): number {
  if (bytes.length > MAX_ATTR_SIZE) return -E2BIG;
  const placed = pointers.filter(({ offset }) => offset + POINTER_SIZE <= bytes.length);
  const given = bytes.slice();
  for (const { offset } of placed) given.fill(0xff, offset, offset + POINTER_SIZE);
  if (given.subarray(BPF_ATTR_SIZE).some((byte) => byte !== 0)) return -E2BIG;
  const union = new Uint8Array(BPF_ATTR_SIZE);
  union.set(given.subarray(0, BPF_ATTR_SIZE));
  const struct: Struct | undefined = attrs[command as BpfCommand];
  if (struct === undefined || union.subarray(sizeOf(struct)).some((byte) => byte !== 0)) return -EINVAL;
  const result = handle(state, command as BpfCommand, new DataView(union.buffer), placed);
  for (const { offset } of placed) union.set(bytes.subarray(offset, offset + POINTER_SIZE), offset);
  bytes.set(union.subarray(0, bytes.length));
  return result;
}

/** An address takes so many bytes, which are not all zero; where the union ends before it does, it is not seen. */
const POINTER_SIZE = 8;

/** A union larger than a page is refused unread. */
const MAX_ATTR_SIZE = 4096;

/** Runs a command on the bytes of the union, and leaves its outputs there. */
function handle(state: KernelState, command: BpfCommand, view: DataView, pointers: readonly Pointer[]): number {
  const struct: Struct = attrs[command];
  const handler = handlers[command] as Handler<never> | undefined;
  if (handler === undefined) return -EINVAL;
  const attr = decode(struct, view, [...pointers, ...danglingPointers(struct, view, pointers)]);
  const result = handler(state, attr as never);
  encode(struct, outputsOf(struct, attr), view);
  return result;
}

/** Addresses that point to nothing the caller has shown: whoever follows them finds no bytes there, EFAULT. */
function danglingPointers(struct: Struct, view: DataView, pointers: readonly Pointer[]): Pointer[] {
  return fieldsOf(struct, "pointer").flatMap(([, [offset]]) => {
    const isNull = view.getUint32(offset, true) === 0 && view.getUint32(offset + 4, true) === 0;
    if (isNull || pointers.some((pointer) => pointer.offset === offset)) return [];
    return [{ offset, direction: "in" as const, bytes: new Uint8Array(0) }];
  });
}

function outputsOf(struct: Struct, values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(fieldsOf(struct, "output").map(([name]) => [name, values[name]]));
}
