// BPF_BTF_LOAD: type information that maps and programs refer to.
// Linux: btf_parse in kernel/bpf/btf.c

import { type Btf, BtfError, type BtfMember, type BtfType, parseBtf } from "../btf/btf.ts";
import { headerSize, magic, version } from "../btf/kinds.ts";
import type { BPF_BTF_LOAD } from "../uapi/commands.ts";
import { E2BIG, EFAULT, EINVAL, ENOTSUPP, EPERM } from "../uapi/errno.ts";
import { checkStructs, FieldsRefused } from "./btf-fields.ts";
import { checkLogRequest, writeLog } from "./log.ts";
import { userBytes } from "./memory.ts";
import { References } from "./objects.ts";
import { capable, type KernelState } from "./state.ts";
import type { CommandAttr } from "./syscall.ts";

export interface EmbeddedBtf {
  readonly kind: "btf";
  readonly id: number;
  readonly types: Btf;
  readonly references: References;
}

const MAX_SIZE = 16 * 1024 * 1024;

export function loadBtf(state: KernelState, attr: CommandAttr<typeof BPF_BTF_LOAD>): number {
  if (attr.btf_flags !== 0) return -EINVAL;
  if (!capable(state, "CAP_BPF")) return -EPERM;
  if (attr.btf_size > MAX_SIZE) return -E2BIG;
  const log = { level: attr.btf_log_level, size: attr.btf_log_size, buffer: attr.btf_log_buf };
  const logError = checkLogRequest(log);
  if (logError !== 0) return logError;
  const bytes = userBytes(attr.btf, attr.btf_size);
  if (bytes === undefined) return -EFAULT;
  const types = checkedTypes(bytes.slice());
  const { trueSize, error } = writeLog(log, "reason" in types ? `${types.reason}\n` : "");
  attr.btf_log_true_size = trueSize;
  if (error !== 0) return error;
  if ("reason" in types) return -types.errno;
  const btf = state.btfs.add(
    (id): EmbeddedBtf => ({
      kind: "btf",
      id,
      types,
      references: new References(() => state.btfs.remove(id)),
    }),
  );
  return state.files.open(btf);
}

/** The type of an id with typedefs and modifiers taken off, if its values have `size` bytes. */
export function sizedType({ types }: EmbeddedBtf, id: number, size: number): BtfType | undefined {
  try {
    return types.sizeOf(id) === size ? types.type(types.resolve(id)) : undefined;
  } catch (error) {
    if (error instanceof BtfError) return undefined;
    throw error;
  }
}

/** Whether a type is an integer of so many bits, all of them its own. */
export const isInt = (type: BtfType, bits: number): boolean =>
  type.kind === "int" && type.bits === bits && type.offset === 0;

/** Why BTF is refused: positive errno, and what the log says. */
interface Refusal {
  readonly errno: number;
  readonly reason: string;
}

/** BTF of which every type can be read, or what is wrong with it. */
function checkedTypes(bytes: Uint8Array): Btf | Refusal {
  const refusal = checkHeader(bytes);
  if (refusal !== undefined) return refusal;
  try {
    const btf = parseBtf(bytes);
    for (let id = 1; id < btf.length; id++) {
      const type = btf.type(id);
      if (type.kind === "array" || type.kind === "typedef" || type.kind === "var") btf.resolve(type.type);
      if (type.kind === "struct" && !type.members.every((member) => fits(btf, member, type.size)))
        return { errno: EINVAL, reason: `struct ${type.name}: Member exceeds struct_size` };
    }
    checkStructs(btf);
    return btf;
  } catch (error) {
    if (error instanceof FieldsRefused) return { errno: error.errno, reason: error.message };
    if (error instanceof BtfError) return { errno: EINVAL, reason: error.message };
    throw error;
  }
}

const fits = (btf: Btf, { type, bitOffset, bitSize }: BtfMember, size: number): boolean =>
  bitOffset + (bitSize || 8 * btf.sizeOf(type)) <= 8 * size;

/** The kernel is stricter than readers need to be: sections that it knows, side by side, and the strings at the end. */
function checkHeader(bytes: Uint8Array): Refusal | undefined {
  if (bytes.length < headerSize) return { errno: EINVAL, reason: "btf_header not found" };
  const view = new DataView(bytes.buffer);
  const [length, typeOffset, typeLength, stringOffset, stringLength] = [4, 8, 12, 16, 20].map((at) =>
    view.getUint32(at, true),
  ) as [number, number, number, number, number];
  const foreign = length > headerSize && bytes.subarray(headerSize, length).some((byte) => byte !== 0);
  const rules: readonly (readonly [isBroken: boolean, reason: string, errno?: number])[] = [
    [length < headerSize || length > bytes.length, "btf_header not found"],
    [foreign, "Unsupported btf_header", E2BIG],
    [view.getUint16(0, true) !== magic, "Invalid magic"],
    [view.getUint8(2) !== version, "Unsupported version", ENOTSUPP],
    [view.getUint8(3) !== 0, "Unsupported flags", ENOTSUPP],
    [length === bytes.length, "No data"],
    [typeOffset > bytes.length - length || stringOffset > bytes.length - length, "Invalid section offset"],
    [typeOffset + typeLength > bytes.length - length, "Total section length too long"],
    [typeOffset !== 0, "Unsupported section found"],
    [stringOffset > typeLength, "Section gap found"],
    [stringOffset < typeLength, "Section overlap found"],
    [stringOffset + stringLength > bytes.length - length, "Total section length too long"],
    [stringOffset + stringLength < bytes.length - length, "Unsupported section found"],
    [stringLength === 0 || bytes.at(-1) !== 0 || bytes[length + stringOffset] !== 0, "Invalid string section"],
    [typeLength === 0, "No type found"],
  ];
  const broken = rules.find(([isBroken]) => isBroken);
  return broken && { errno: broken[2] ?? EINVAL, reason: broken[1] };
}
