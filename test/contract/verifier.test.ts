// What a program may not do: the same programs refused with the same error and the same last line.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_FREEZE, BPF_MAP_UPDATE_ELEM } from "../../src/uapi/commands.ts";
import { BPF_F_RDONLY_PROG } from "../../src/uapi/flags.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import { BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_RINGBUF } from "../../src/uapi/map-types.ts";
import {
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_PROG_TYPE_XDP,
} from "../../src/uapi/program-types.ts";
import { contract } from "./contract.ts";
import { create, u32 } from "./maps.ts";
import { load, refusal } from "./programs.ts";

const { r0, r1, r2, r3, r4, r5, r6, r10 } = asm;
const { add, mov, alu32, load: ldx, store, exit, call, jump, jump32, label, loadMapFd } = asm;

/** A hash and an array of 4 elements, of u32 to u64, and a ring buffer, that a program may name. */
interface Maps {
  readonly hash: number;
  readonly array: number;
  readonly ring: number;
}

interface Refusal {
  readonly fact: string;
  readonly type?: number;
  readonly items: (maps: Maps) => readonly asm.Item[];
  readonly error: string;
  /** Of the verifier's log. */
  readonly line: string;
}

/** r0 = the value of key 0 in the hash, or NULL. */
const lookup = ({ hash }: Maps): readonly asm.Item[] => [
  store("w", r10, -4, 0),
  mov(r2, r10),
  add(r2, -4),
  loadMapFd(r1, hash),
  call(helpers.BPF_FUNC_map_lookup_elem),
];

/** r0 = the value of a constant key in the array. */
const lookupConstant = ({ array }: Pick<Maps, "array">, key: number): readonly asm.Item[] => [
  store("w", r10, -8, key),
  mov(r2, r10),
  add(r2, -8),
  loadMapFd(r1, array),
  call(helpers.BPF_FUNC_map_lookup_elem),
];

/** r3 = 32 bits of a value; then a byte of the value is read at r3, if it gets there. */
const readAt = (maps: Maps, ...learn: readonly asm.Item[]): readonly asm.Item[] => [
  ...lookup(maps),
  jump("jeq", r0, 0, "out"),
  ldx("w", r3, r0, 0),
  ...learn,
  add(r0, r3),
  ldx("b", r0, r0, 0),
  label("out"),
  ...finish,
];

/** r0 = 16 bytes reserved in the ring buffer, or NULL. */
const reserve = ({ ring }: Maps): readonly asm.Item[] => [
  loadMapFd(r1, ring),
  mov(r2, 16),
  mov(r3, 0),
  call(helpers.BPF_FUNC_ringbuf_reserve),
];

const finish = [mov(r0, 0), exit()];

const refusals: readonly Refusal[] = [
  { fact: "r0 is not set at exit", items: () => [exit()], error: "EACCES", line: "R0 !read_ok" },
  {
    fact: "a register is read that was never written",
    items: () => [mov(r0, r2), exit()],
    error: "EACCES",
    line: "R2 !read_ok",
  },
  {
    fact: "r1 to r5 are read after a call",
    items: () => [call(helpers.BPF_FUNC_get_prandom_u32), mov(r0, r1), exit()],
    error: "EACCES",
    line: "R1 !read_ok",
  },
  {
    fact: "common bits of two registers decide a jump only where one of them is constant",
    items: () => [
      ldx("b", r6, r1, 0),
      asm.alu64("or", r6, 1),
      jump("jset", r6, r6, "out"),
      mov(r0, r5),
      label("out"),
      ...finish,
    ],
    error: "EACCES",
    line: "R5 !read_ok",
  },
  {
    fact: "r10 is written",
    items: () => [mov(r10, 1), ...finish],
    error: "EACCES",
    line: "frame pointer is read only",
  },
  {
    fact: "a program falls off its end",
    items: () => [mov(r0, 0)],
    error: "EINVAL",
    line: "last insn is not an exit or jmp",
  },
  {
    fact: "an instruction is never reached",
    items: () => [...finish, ...finish],
    error: "EINVAL",
    line: "unreachable insn 2",
  },
  {
    fact: "a jump goes behind the end",
    items: () => [{ opcode: 0x05, dst: 0, src: 0, off: 7, imm: 0 }, exit()],
    error: "EINVAL",
    line: "jump out of range from insn 0 to 8",
  },
  {
    fact: "a jump goes into the middle of a 64-bit immediate",
    items: () => [{ opcode: 0x15, dst: 1, src: 0, off: 1, imm: 0 }, asm.loadImm64(r0, 1n), exit()],
    error: "EINVAL",
    line: "jump into the middle of ldimm64 insn 1",
  },
  {
    fact: "an opcode is unknown",
    items: () => [{ opcode: 0xff, dst: 0, src: 0, off: 0, imm: 0 }, exit()],
    error: "EINVAL",
    line: "unknown opcode ff",
  },
  {
    fact: "a reserved field is not zero",
    items: () => [{ opcode: 0xb7, dst: 0, src: 1, off: 0, imm: 0 }, exit()],
    error: "EINVAL",
    line: "BPF_MOV uses reserved fields",
  },
  {
    fact: "a register has number 11",
    items: () => [{ opcode: 0xb7, dst: 11, src: 0, off: 0, imm: 0 }, exit()],
    error: "EINVAL",
    line: "R11 is invalid",
  },
  {
    fact: "an immediate shift is as wide as its register",
    items: () => [mov(r0, 1), asm.alu64("lsh", r0, 64), exit()],
    error: "EINVAL",
    line: "invalid shift 64",
  },
  {
    fact: "an immediate divisor is zero",
    items: () => [mov(r0, 1), asm.alu64("div", r0, 0), exit()],
    error: "EINVAL",
    line: "div by zero",
  },

  {
    fact: "an array's element of a constant key that is max_entries is not checked for NULL",
    items: (maps) => [...lookupConstant(maps, 4), ldx("dw", r0, r0, 0), exit()],
    error: "EACCES",
    line: "R0 invalid mem access 'map_value_or_null'",
  },
  {
    fact: "half a pointer is stored in the stack",
    items: () => [store("w", r10, -4, r1), ...finish],
    error: "EACCES",
    line: "invalid size of register spill",
  },
  {
    fact: "an index is bounded by a copy to which something was added twice",
    items: (maps) => readAt(maps, mov(r4, r3), add(r4, 1), add(r4, 1), jump("jgt", r4, 3, "out")),
    error: "EACCES",
    line: "R0 unbounded memory access, make sure to bounds check any such access",
  },
  {
    fact: "an index is bounded by a sum in 32 bits that may have wrapped",
    items: (maps) => readAt(maps, alu32("mov", r4, r3), alu32("add", r4, 5), jump32("jgt", r4, 3, "out")),
    error: "EINVAL",
    line: "value 4294967291 makes map_value pointer be out of bounds",
  },
  {
    fact: "an index is bounded by a sum in 32 bits, as one in 64 bits",
    items: (maps) =>
      readAt(maps, mov(r4, r3), add(r4, 1), mov(r5, r3), alu32("add", r5, 1), jump("jgt", r5, 3, "out"), mov(r3, r4)),
    error: "EACCES",
    line: "R0 unbounded memory access, make sure to bounds check any such access",
  },
  {
    fact: "the difference of a linked number and 2^30 is added to a pointer",
    items: (maps) =>
      readAt(maps, mov(r4, r3), add(r4, -(1 << 30)), jump("jgt", r4, 3, "out"), mov(r5, r0), add(r5, r4)),
    error: "EINVAL",
    line: "map_value pointer offset -1073741824 is not allowed",
  },
  {
    fact: "an index of 64 bits is bounded by a sum in 32 bits",
    items: (maps) => readAt(maps, ldx("dw", r3, r0, 0), mov(r4, r3), alu32("add", r4, 1), jump("jgt", r4, 3, "out")),
    error: "EINVAL",
    line: "math between map_value pointer and register with unbounded min value is not allowed",
  },

  {
    fact: "stack is read above the frame",
    items: () => [ldx("dw", r0, r10, 0), exit()],
    error: "EACCES",
    line: "invalid read from stack R10 off=0 size=8",
  },
  {
    fact: "stack is written below 512 bytes",
    items: () => [store("dw", r10, -520, 0), ...finish],
    error: "EACCES",
    line: "invalid write to stack R10 off=-520 size=8",
  },
  {
    fact: "stack is read unaligned",
    items: () => [store("dw", r10, -8, 0), store("dw", r10, -16, 0), ldx("dw", r0, r10, -12), exit()],
    error: "EACCES",
    line: "misaligned stack access off 0+0+-12 size 8",
  },
  {
    fact: "a scalar is used as a pointer",
    items: () => [mov(r1, 8), ldx("dw", r0, r1, 0), exit()],
    error: "EACCES",
    line: "R1 invalid mem access 'scalar'",
  },
  {
    fact: "pointers are multiplied",
    items: () => [mov(r0, r10), asm.alu64("mul", r0, 2), ...finish],
    error: "EACCES",
    line: "R0 pointer arithmetic with *= operator prohibited",
  },
  {
    fact: "pointers are added",
    items: () => [mov(r0, r10), add(r0, r1), ...finish],
    error: "EACCES",
    line: "R0 pointer += pointer prohibited",
  },
  {
    fact: "0 is subtracted from the pointer to a map",
    items: ({ hash }) => [loadMapFd(r1, hash), asm.alu64("sub", r1, 0), ...finish],
    error: "EACCES",
    line: "R1 pointer arithmetic on map_ptr prohibited",
  },

  {
    fact: "a value is read without a NULL check",
    items: (maps) => [...lookup(maps), ldx("dw", r0, r0, 0), exit()],
    error: "EACCES",
    line: "R0 invalid mem access 'map_value_or_null'",
  },
  {
    fact: "a value is read that was compared with a register that is 0, and not with an immediate",
    items: (maps) => [
      mov(r6, 0),
      ...lookup(maps),
      jump("jeq", r0, r6, "out"),
      ldx("dw", r0, r0, 0),
      label("out"),
      ...finish,
    ],
    error: "EACCES",
    line: "R0 invalid mem access 'map_value_or_null'",
  },
  {
    fact: "a value is read where it was found to be NULL",
    items: (maps) => [...lookup(maps), jump("jne", r0, 0, "there"), ldx("dw", r0, r0, 0), label("there"), ...finish],
    error: "EACCES",
    line: "R0 invalid mem access 'scalar'",
  },
  {
    fact: "a value is read behind its end",
    items: (maps) => [...lookup(maps), jump("jeq", r0, 0, "out"), ldx("dw", r0, r0, 8), label("out"), ...finish],
    error: "EACCES",
    line: "R0 min value is outside of the allowed memory range",
  },
  {
    fact: "a value is read before its start",
    items: (maps) => [...lookup(maps), jump("jeq", r0, 0, "out"), ldx("b", r0, r0, -1), label("out"), ...finish],
    error: "EACCES",
    line: "R0 min value is outside of the allowed memory range",
  },
  {
    fact: "a value is read at an unbounded offset",
    items: (maps) => [
      ...lookup(maps),
      jump("jeq", r0, 0, "out"),
      ldx("w", r1, r0, 0),
      add(r0, r1),
      ldx("b", r0, r0, 0),
      label("out"),
      ...finish,
    ],
    error: "EACCES",
    line: "R0 unbounded memory access, make sure to bounds check any such access",
  },

  {
    fact: "packet is read without a bounds check",
    type: BPF_PROG_TYPE_XDP,
    items: () => [ldx("w", r2, r1, 0), ldx("b", r0, r2, 0), exit()],
    error: "EACCES",
    line: "R2 offset is outside of the packet",
  },
  {
    fact: "packet is read behind its bounds check",
    type: BPF_PROG_TYPE_XDP,
    items: () => [
      ldx("w", r2, r1, 0),
      ldx("w", r3, r1, 4),
      mov(r4, r2),
      add(r4, 14),
      mov(r0, 2),
      jump("jgt", r4, r3, "out"),
      ldx("w", r0, r2, 12),
      label("out"),
      exit(),
    ],
    error: "EACCES",
    line: "R2 offset is outside of the packet",
  },
  {
    fact: "context is read behind its end",
    type: BPF_PROG_TYPE_XDP,
    items: () => [ldx("w", r0, r1, 24), exit()],
    error: "EACCES",
    line: "invalid bpf_context access off=24 size=4",
  },
  {
    fact: "context is read unaligned",
    type: BPF_PROG_TYPE_XDP,
    items: () => [ldx("w", r0, r1, 2), exit()],
    error: "EACCES",
    line: "invalid bpf_context access off=2 size=4",
  },
  {
    fact: "context is written",
    type: BPF_PROG_TYPE_XDP,
    items: () => [store("w", r1, 0, 0), ...finish],
    error: "EACCES",
    line: "invalid bpf_context access off=0 size=4",
  },
  {
    fact: "a socket filter reads packet pointers",
    items: () => [ldx("w", r0, r1, 76), exit()],
    error: "EACCES",
    line: "invalid bpf_context access off=76 size=4",
  },

  {
    fact: "a helper is unknown",
    items: () => [call(9999), exit()],
    error: "EINVAL",
    line: "invalid func unknown#9999",
  },
  {
    fact: "a helper is not for this program type",
    items: () => [mov(r2, 0), call(helpers.BPF_FUNC_xdp_adjust_head), exit()],
    error: "EINVAL",
    line: "program of this type cannot use helper bpf_xdp_adjust_head#44",
  },
  {
    fact: "a helper's map is a scalar",
    items: () => [
      mov(r1, 0),
      mov(r2, r10),
      add(r2, -4),
      store("w", r10, -4, 0),
      call(helpers.BPF_FUNC_map_lookup_elem),
      ...finish,
    ],
    error: "EACCES",
    line: "R1 type=scalar expected=map_ptr",
  },
  {
    fact: "a helper's key is a scalar",
    items: ({ hash }) => [loadMapFd(r1, hash), mov(r2, 4), call(helpers.BPF_FUNC_map_lookup_elem), ...finish],
    error: "EACCES",
    line: "R2 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
  },
  {
    fact: "a helper's argument was never set",
    items: ({ hash }) => [loadMapFd(r1, hash), call(helpers.BPF_FUNC_map_lookup_elem), ...finish],
    error: "EACCES",
    line: "R2 !read_ok",
  },
  {
    fact: "a helper does not fit the map's type",
    items: ({ hash }) => [
      store("dw", r10, -8, 0),
      loadMapFd(r1, hash),
      mov(r2, r10),
      add(r2, -8),
      mov(r3, 8),
      mov(r4, 0),
      call(helpers.BPF_FUNC_ringbuf_output),
      ...finish,
    ],
    error: "EINVAL",
    line: "cannot pass map_type 1 into func bpf_ringbuf_output#130",
  },
  {
    fact: "a key is given to a map that has none",
    items: ({ ring }) => [
      store("w", r10, -4, 0),
      mov(r2, r10),
      add(r2, -4),
      loadMapFd(r1, ring),
      call(helpers.BPF_FUNC_map_lookup_elem),
      ...finish,
    ],
    error: "EACCES",
    line: "invalid zero-sized read",
  },
  {
    fact: "a map's file descriptor is not open",
    items: () => [loadMapFd(r1, 12345), ...finish],
    error: "EBADF",
    line: "fd 12345 is not pointing to valid bpf_map",
  },

  {
    fact: "a ring buffer's record is neither submitted nor discarded",
    items: (maps) => [...reserve(maps), ...finish],
    error: "EINVAL",
    line: "BPF_EXIT instruction in main prog would lead to reference leak",
  },
  {
    fact: "a ring buffer's record is submitted without a NULL check",
    items: (maps) => [...reserve(maps), mov(r1, r0), mov(r2, 0), call(helpers.BPF_FUNC_ringbuf_submit), ...finish],
    error: "EACCES",
    line: "R1 type=ringbuf_mem_or_null expected=ringbuf_mem",
  },
  {
    fact: "a ring buffer's record is written after it was submitted",
    items: (maps) => [
      ...reserve(maps),
      jump("jeq", r0, 0, "out"),
      mov(r6, r0),
      mov(r1, r0),
      mov(r2, 0),
      call(helpers.BPF_FUNC_ringbuf_submit),
      store("w", r6, 0, 1),
      label("out"),
      ...finish,
    ],
    error: "EACCES",
    line: "R6 invalid mem access 'scalar'",
  },
  {
    fact: "a ring buffer's record is written behind its end",
    items: (maps) => [
      ...reserve(maps),
      jump("jeq", r0, 0, "out"),
      store("w", r0, 16, 1),
      mov(r1, r0),
      mov(r2, 0),
      call(helpers.BPF_FUNC_ringbuf_discard),
      label("out"),
      ...finish,
    ],
    error: "EACCES",
    line: "R0 min value is outside of the allowed memory range",
  },
  {
    fact: "a ring buffer's record has a size that is not known",
    items: ({ ring }) => [
      call(helpers.BPF_FUNC_get_prandom_u32),
      mov(r2, r0),
      loadMapFd(r1, ring),
      mov(r3, 0),
      call(helpers.BPF_FUNC_ringbuf_reserve),
      ...finish,
    ],
    error: "EACCES",
    line: "R2 is not a known constant'",
  },
  {
    fact: "a record of 2^32 + 8 bytes, of which 32 bits count, is written at 8",
    items: ({ ring }) => [
      loadMapFd(r1, ring),
      asm.loadImm64(r2, (1n << 32n) + 8n),
      mov(r3, 0),
      call(helpers.BPF_FUNC_ringbuf_reserve),
      jump("jeq", r0, 0, "out"),
      store("b", r0, 8, 0),
      label("out"),
      ...finish,
    ],
    error: "EACCES",
    line: "R0 min value is outside of the allowed memory range",
  },

  {
    fact: "a function is called at an address that is none",
    items: () => [{ opcode: 0x85, dst: 0, src: 1, off: 0, imm: 100 }, exit()],
    error: "EINVAL",
    line: "call to invalid destination",
  },
  {
    fact: "functions call one another for ever",
    items: () => [asm.callLocal("f"), exit(), label("f"), asm.callLocal("f"), exit()],
    error: "E2BIG",
    line: "the call stack of 9 frames is too deep",
  },
  {
    fact: "r6 of the caller is read by the callee",
    items: () => [mov(r6, 1), asm.callLocal("f"), exit(), label("f"), mov(r0, r6), exit()],
    error: "EACCES",
    line: "R6 !read_ok",
  },
  {
    fact: "a function returns a pointer to its stack",
    items: () => [asm.callLocal("f"), ...finish, label("f"), mov(r0, r10), exit()],
    error: "EINVAL",
    line: "cannot return stack pointer to the caller",
  },
];

for (const { fact, type = BPF_PROG_TYPE_SOCKET_FILTER, items, error, line } of refusals) {
  contract(`refused: ${fact}`, (kernel, { open }) => {
    expect(refusal(kernel, items(openMaps(kernel, open)), { prog_type: type })).toEqual([error, line]);
  });
}

const accepted: readonly Omit<Refusal, "error" | "line">[] = [
  {
    fact: "an index is bounded by what was added to its copy",
    items: (maps) => readAt(maps, mov(r4, r3), add(r4, 4), jump("jgt", r4, 7, "out"), add(r3, 4)),
  },
  {
    fact: "an index is bounded by what was added to its copy in 32 bits",
    items: (maps) =>
      readAt(maps, alu32("mov", r4, r3), alu32("add", r4, 4), jump32("jgt", r4, 7, "out"), alu32("add", r3, 4)),
  },
  {
    fact: "an index is bounded by its copy less 1 in 32 bits",
    items: (maps) => readAt(maps, alu32("mov", r4, r3), alu32("sub", r4, 1), jump32("jgt", r4, 6, "out")),
  },
  {
    fact: "an index is bounded by another copy to which something else was added",
    items: (maps) =>
      readAt(maps, mov(r4, r3), add(r4, 2), mov(r5, r3), add(r5, 3), jump("jgt", r5, 7, "out"), mov(r3, r4)),
  },
  {
    fact: "a register that was never written is read where 32-bit ranges let no path come",
    items: (maps) => readAt(maps, jump32("jsgt", r3, 1, "out"), jump("jne", r3, 14, "out"), mov(r3, r5)),
  },
  {
    fact: "an array's element of a constant key is used unchecked",
    items: (maps) => [...lookupConstant(maps, 3), ldx("dw", r0, r0, 0), exit()],
  },
  {
    fact: "an array's element of a key that is zero is used unchecked",
    items: (maps) => [
      store("w", r10, -4, 0),
      mov(r2, r10),
      add(r2, -4),
      loadMapFd(r1, maps.array),
      call(helpers.BPF_FUNC_map_lookup_elem),
      ldx("dw", r0, r0, 0),
      exit(),
    ],
  },
  {
    fact: "a value that was checked for NULL is read and written",
    items: (maps) => [
      ...lookup(maps),
      jump("jeq", r0, 0, "out"),
      ldx("dw", r1, r0, 0),
      add(r1, 1),
      store("dw", r0, 0, r1),
      label("out"),
      ...finish,
    ],
  },
  {
    fact: "a packet is read up to its bounds check",
    type: BPF_PROG_TYPE_XDP,
    items: () => [
      ldx("w", r2, r1, 0),
      ldx("w", r3, r1, 4),
      mov(r4, r2),
      add(r4, 14),
      mov(r0, 2),
      jump("jgt", r4, r3, "out"),
      ldx("h", r0, r2, 12),
      label("out"),
      ...finish,
    ],
  },
  {
    fact: "a tc program reads packet pointers",
    type: BPF_PROG_TYPE_SCHED_CLS,
    items: () => [
      ldx("w", r2, r1, 76),
      ldx("w", r3, r1, 80),
      mov(r4, r2),
      add(r4, 1),
      jump("jgt", r4, r3, "out"),
      ldx("b", r5, r2, 0),
      label("out"),
      ...finish,
    ],
  },
  {
    fact: "a ring buffer's record is filled and submitted",
    items: (maps) => [
      ...reserve(maps),
      jump("jeq", r0, 0, "out"),
      store("dw", r0, 8, 1),
      mov(r1, r0),
      mov(r2, 0),
      call(helpers.BPF_FUNC_ringbuf_submit),
      label("out"),
      ...finish,
    ],
  },
  {
    fact: "a pointer is spilled to the stack and filled again",
    items: (maps) => [
      ...lookup(maps),
      store("dw", r10, -16, r0),
      ldx("dw", r1, r10, -16),
      jump("jeq", r1, 0, "out"),
      ldx("dw", r0, r1, 0),
      label("out"),
      ...finish,
    ],
  },
  {
    fact: "a value is read at a bounded offset",
    items: (maps) => [
      ...lookup(maps),
      jump("jeq", r0, 0, "out"),
      ldx("w", r1, r0, 0),
      asm.alu64("and", r1, 7),
      add(r0, r1),
      ldx("b", r0, r0, 0),
      label("out"),
      ...finish,
    ],
  },
  {
    fact: "a number whose bits contradict its range is what the bits tell, on a way that is never taken",
    items: () => [
      ldx("w", r6, r1, 0),
      alu32("and", r6, 0xff00),
      asm.jump("jslt", r6, 4, "out"),
      asm.jump("jsge", r6, 46, "out"),
      store("b", r10, -8, 0),
      mov(r1, r10),
      add(r1, r6),
      ldx("b", r0, r1, -8),
      label("out"),
      ...finish,
    ],
  },
  {
    fact: "a function with arguments is called",
    items: () => [mov(r1, 1), mov(r2, 2), asm.callLocal("f"), exit(), label("f"), mov(r0, r1), add(r0, r2), exit()],
  },
];

for (const { fact, type = BPF_PROG_TYPE_SOCKET_FILTER, items } of accepted) {
  contract(`accepted: ${fact}`, (kernel, { open }) => {
    open(load(kernel, items(openMaps(kernel, open)), { prog_type: type }));
  });
}

// Linux knows the content of an array of one element only, and takes no other that it should know.
contract("a known place of a frozen read-only array of two elements is not read", (kernel, { open }) => {
  const map_fd = open(create(kernel, { max_entries: 2, map_flags: BPF_F_RDONLY_PROG }));
  const text = new TextEncoder().encode("abcdefgh");
  expect(kernel.bpf(BPF_MAP_UPDATE_ELEM, { map_fd, key: u32(1), value: text, flags: 0 })).toBe(0);
  expect(kernel.bpf(BPF_MAP_FREEZE, { map_fd })).toBe(0);
  const second = [...lookupConstant({ array: map_fd }, 1), jump("jeq", r0, 0, "out")];
  const read = [...second, ldx("b", r0, r0, 0), label("out"), ...finish];
  expect(refusal(kernel, read)[0]).toBe("ENOTSUPP");
  const compare = [
    ...second,
    mov(r1, r10),
    add(r1, -8),
    mov(r2, 8),
    mov(r3, r0),
    call(helpers.BPF_FUNC_strncmp),
    label("out"),
    ...finish,
  ];
  expect(refusal(kernel, [store("dw", r10, -8, 0), ...compare])).toEqual([
    "ENOTSUPP",
    "direct value access on string failed",
  ]);
});

function openMaps(kernel: Kernel, open: (result: number) => number): Maps {
  return {
    hash: open(create(kernel, { map_type: BPF_MAP_TYPE_HASH })),
    array: open(create(kernel)),
    ring: open(create(kernel, { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 })),
  };
}
