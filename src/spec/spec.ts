// An object file as plain data: what reading bytes gives, the same on every host, and what loading takes.

import type { Instruction } from "../asm/instruction.ts";
import type { Btf } from "../btf/btf.ts";

export interface ObjectSpec {
  /** Where it came from, for messages: a file name. */
  readonly name: string;
  readonly license: string;
  /** LINUX_VERSION_CODE of a "version" section; 0 where there is none. */
  readonly kernelVersion: number;
  readonly maps: Readonly<Record<string, MapSpec>>;
  readonly programs: Readonly<Record<string, ProgramSpec>>;
  readonly btf?: Btf;
}

export interface MapSpec {
  /** The name in the object; global data sections keep their section's name, `.rodata`. */
  readonly name: string;
  /** BPF_MAP_TYPE_… */
  readonly type: number;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_… */
  readonly flags: number;
  readonly mapExtra?: bigint;
  readonly numaNode?: number;
  /** BTF type ids of key and value in the object's BTF; absent where it has none. */
  readonly btfKeyTypeId?: number;
  readonly btfValueTypeId?: number;
  /** First content of a map made from global data, one value. */
  readonly contents?: Uint8Array;
  /** Whether to freeze the map once its contents are written (`.rodata`). */
  readonly freeze?: boolean;
  /** LIBBPF_PIN_BY_NAME was asked for. */
  readonly pinByName?: boolean;
  /** Of a map of maps: what each inner map is like. */
  readonly inner?: MapSpec;
  /** First content of a map of maps, or of a program array. */
  readonly values?: readonly InitialValue[];
}

/** A map or a program, by name, in a slot. */
export interface InitialValue {
  readonly index: number;
  readonly name: string;
}

export interface ProgramSpec {
  /** Name of the function. */
  readonly name: string;
  /** Name of the ELF section, `xdp` or `tracepoint/syscalls/sys_enter_openat`. */
  readonly section: string;
  /** BPF_PROG_TYPE_… */
  readonly type: number;
  /** BPF_… attach type; 0 where the section names none. */
  readonly expectedAttachType: number;
  /** BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS. */
  readonly flags: number;
  /** What follows the section's type: `syscalls/sys_enter_openat`. */
  readonly attachTo?: string;
  /** False where the section name begins with `?`. */
  readonly autoload: boolean;
  /** The program and the subprograms it calls, joined, with calls resolved. Map references are left open: see `references`. */
  readonly instructions: readonly Instruction[];
  /** 64-bit immediate loads that name a map: patched when the map's file descriptor is known. */
  readonly references: readonly MapReference[];
  /** Function and line information of BTF.ext, at offsets of the joined instructions. */
  readonly functions: readonly FunctionInfo[];
  readonly lines: readonly LineInfo[];
}

export interface MapReference {
  /** Slot of the 64-bit immediate load. */
  readonly instruction: number;
  readonly map: string;
  /** Byte offset in the map's first value, for global data; absent where the map itself is meant. */
  readonly valueOffset?: number;
}

/** struct bpf_func_info, in slots. */
export interface FunctionInfo {
  readonly instruction: number;
  readonly typeId: number;
}

/** struct bpf_line_info, with strings resolved. */
export interface LineInfo {
  /** Slot. */
  readonly instruction: number;
  readonly file: string;
  /** The line's text. */
  readonly text: string;
  readonly line: number;
  readonly column: number;
  /** As in the object's BTF: offsets in its string section. */
  readonly fileNameOffset: number;
  readonly lineOffset: number;
}
