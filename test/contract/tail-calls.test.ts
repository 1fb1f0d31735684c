// bpf_tail_call: going on with another program, from the main program and from functions, and what keeps it from doing so.

import { expect } from "vitest";
import * as asm from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_MAP_DELETE_ELEM } from "../../src/uapi/commands.ts";
import * as helpers from "../../src/uapi/helper-ids.ts";
import { BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_RINGBUF } from "../../src/uapi/map-types.ts";
import { BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SOCKET_FILTER } from "../../src/uapi/program-types.ts";
import { type Bench, contract, outcome } from "./contract.ts";
import { functionsOf } from "./functions.ts";
import { create, get, set, u32 } from "./maps.ts";
import { load, refusal, testRun } from "./programs.ts";
import { put } from "./references.ts";

const { r0, r1, r2, r3, r6, r7, r10, add, mov, load: ldx, store, exit, call, callLocal, jump, label, loadMapFd } = asm;
const tc = { prog_type: BPF_PROG_TYPE_SCHED_CLS };

const programs = (kernel: Kernel, open: Bench["open"], max_entries = 4): number =>
  open(create(kernel, { map_type: BPF_MAP_TYPE_PROG_ARRAY, value_size: 4, max_entries }));
/** Where it does not go on, r0 is not known. */
const tailCall = (map: number, index: number): asm.Item[] => [
  loadMapFd(r2, map),
  mov(r3, index),
  call(helpers.BPF_FUNC_tail_call),
];
/** The function "function", which tail calls; it returns 3 where that does not go on. */
const functionTo = (map: number, index: number): asm.Item[] => [
  label("function"),
  ...tailCall(map, index),
  mov(r0, 3),
  exit(),
];
/** A program that counts its runs in the first element of an array, then goes on at index 0; 5 where that is over. */
const countedTailCall = (counts: number, map: number): asm.Item[] => [
  mov(r6, r1),
  store("w", r10, -4, 0),
  mov(r2, r10),
  add(r2, -4),
  loadMapFd(r1, counts),
  call(helpers.BPF_FUNC_map_lookup_elem),
  jump("jeq", r0, 0, "out"),
  mov(r1, 1),
  asm.atomic("dw", 0, r0, 0, r1),
  mov(r1, r6),
  ...tailCall(map, 0),
  label("out"),
  mov(r0, 5),
  exit(),
];
/** r0 = the byte 12 of the packet, read behind `items`. */
const readPacketBehind = (items: readonly asm.Item[]): asm.Item[] => [
  ldx("w", r6, r1, 76),
  ldx("w", r7, r1, 80),
  mov(r3, r6),
  add(r3, 14),
  mov(r0, 0),
  jump("jgt", r3, r7, "short"),
  ...items,
  ldx("b", r0, r6, 12),
  label("short"),
];
const returns = (kernel: Kernel, prog: number): number | undefined => testRun(kernel, prog).retval;

contract("a tail call goes on with the program at an index, which sees the same context", (kernel, { open }) => {
  const map = programs(kernel, open);
  const target = open(load(kernel, [ldx("w", r0, r1, 0), add(r0, 1000), exit()], tc));
  expect(put(kernel, map, 2, target)).toBe(0);
  const caller = open(load(kernel, [...tailCall(map, 2), mov(r0, 1), exit()], tc));
  expect(returns(kernel, caller)).toBe(1064);
});

contract("a tail call to an empty or missing index goes on behind it", (kernel, { open }) => {
  const map = programs(kernel, open);
  const target = open(load(kernel, [mov(r0, 9), exit()], tc));
  const at = (index: number): number | undefined =>
    returns(kernel, open(load(kernel, [...tailCall(map, index), mov(r0, 1), exit()], tc)));
  expect(put(kernel, map, 2, target)).toBe(0);
  expect([at(0), at(2), at(3), at(4), at(-1)]).toEqual([1, 9, 1, 1, 1]);
  expect(outcome(kernel.bpf(BPF_MAP_DELETE_ELEM, { map_fd: map, key: u32(2) }))).toBe(0);
  expect(at(2)).toBe(1);
});

contract("only the lower 32 bits of the index count", (kernel, { open }) => {
  const map = programs(kernel, open);
  expect(put(kernel, map, 1, open(load(kernel, [mov(r0, 9), exit()], tc)))).toBe(0);
  const items = [loadMapFd(r2, map), asm.loadImm64(r3, (7n << 32n) | 1n), call(helpers.BPF_FUNC_tail_call)];
  expect(returns(kernel, open(load(kernel, [...items, mov(r0, 1), exit()], tc)))).toBe(9);
});

contract("a run goes on 33 times at most", (kernel, { open }) => {
  const map = programs(kernel, open);
  const counts = open(create(kernel));
  const prog = open(load(kernel, countedTailCall(counts, map), tc));
  expect(put(kernel, map, 0, prog)).toBe(0);
  expect(returns(kernel, prog)).toBe(5);
  expect(get(kernel, counts, 0)).toBe(34n);
  set(kernel, counts, 0, 0);
  expect(returns(kernel, prog)).toBe(5);
  expect(get(kernel, counts, 0)).toBe(34n);
});

contract("a function's tail call returns to its caller what the other program returns", (kernel, { open }) => {
  const map = programs(kernel, open);
  const target = [ldx("w", r0, r1, 0), mov(r6, 7), mov(r7, 7), store("dw", r10, -8, 7), exit()];
  expect(put(kernel, map, 1, open(load(kernel, target, tc)))).toBe(0);
  const items = (index: number): asm.Item[] => [
    mov(r6, 100),
    store("dw", r10, -8, 1000),
    callLocal("function"),
    add(r0, r6),
    ldx("dw", r1, r10, -8),
    add(r0, r1),
    exit(),
    ...functionTo(map, index),
  ];
  const run = (index: number): number | undefined => {
    const program = items(index);
    return returns(kernel, open(load(kernel, program, { ...tc, ...functionsOf(kernel, open, program) })));
  };
  expect([run(1), run(0)]).toEqual([1164, 1103]);
});

contract("functions share the 33 of a run", (kernel, { open }) => {
  const map = programs(kernel, open);
  const counts = open(create(kernel));
  expect(put(kernel, map, 0, open(load(kernel, countedTailCall(counts, map), tc)))).toBe(0);
  const main: asm.Item[] = [
    mov(r6, r1),
    callLocal("function"),
    mov(r1, r6),
    callLocal("function"),
    exit(),
    ...functionTo(map, 0),
  ];
  const prog = open(load(kernel, main, { ...tc, ...functionsOf(kernel, open, main) }));
  expect([returns(kernel, prog), get(kernel, counts, 0)]).toEqual([3, 33n]);
});

contract("a function with a tail call needs type information", (kernel, { open }) => {
  const map = programs(kernel, open);
  const items = [callLocal("function"), exit(), ...functionTo(map, 0)];
  expect(refusal(kernel, items, tc)).toEqual(["EINVAL", "tail_call is not allowed in subprogs without BTF"]);
});

contract("the callers of a function with a tail call use less than 256 bytes of stack", (kernel, { open }) => {
  const map = programs(kernel, open);
  const items = (bytes: number): asm.Item[] => [
    store("dw", r10, -bytes, 0),
    callLocal("function"),
    exit(),
    ...functionTo(map, 0),
  ];
  const refused = (bytes: number): unknown =>
    refusal(kernel, items(bytes), { ...tc, ...functionsOf(kernel, open, items(bytes)) });
  const line = "tail_calls are not allowed when call stack of previous frames is 256 bytes. Too large";
  expect(refused(256)).toEqual(["EACCES", line]);
  expect(refused(240)).toEqual([expect.any(Number), expect.any(String)]);
});

contract("what a function with a tail call returns is not what its own code returns", (kernel, { open }) => {
  const map = programs(kernel, open);
  const items: asm.Item[] = [
    store("dw", r10, -8, 0),
    callLocal("function"),
    mov(r1, r10),
    add(r1, r0),
    ldx("b", r0, r1, 0),
    exit(),
    label("function"),
    ...tailCall(map, 0),
    mov(r0, -8),
    exit(),
  ];
  const [error] = refusal(kernel, items, { ...tc, ...functionsOf(kernel, open, items) });
  expect(error).toBe("EINVAL");
});

contract("behind a tail call r0 is not known, and packet pointers are", (kernel, { open }) => {
  const map = programs(kernel, open);
  expect(refusal(kernel, [...tailCall(map, 0), exit()], tc)).toEqual(["EACCES", "R0 !read_ok"]);
  expect(returns(kernel, open(load(kernel, [...readPacketBehind(tailCall(map, 0)), exit()], tc)))).toBe(0x88);
});

contract("behind a function with a tail call packet pointers are gone", (kernel, { open }) => {
  const map = programs(kernel, open);
  const items = [...readPacketBehind([callLocal("function")]), exit(), ...functionTo(map, 0)];
  const attr = { ...tc, ...functionsOf(kernel, open, items) };
  expect(refusal(kernel, items, attr)).toEqual(["EACCES", "R6 invalid mem access 'scalar'"]);
});

// Linux 6.18 fails at it with EFAULT, "verifier bug".
contract.on("embedded")("refused: a tail call in a callback", (kernel, { open }) => {
  const map = programs(kernel, open);
  const items = [
    store("dw", r10, -8, r1),
    mov(r1, 3),
    asm.loadFunction(r2, "callback"),
    mov(r3, r10),
    add(r3, -8),
    mov(asm.r4, 0),
    call(helpers.BPF_FUNC_loop),
    mov(r0, 0),
    exit(),
    label("callback"),
    ldx("dw", r1, r2, 0),
    ...tailCall(map, 0),
    mov(r0, 0),
    exit(),
  ];
  const attr = { ...tc, ...functionsOf(kernel, open, items) };
  expect(refusal(kernel, items, attr)).toEqual(["EINVAL", "tail_call is not allowed in callbacks"]);
});

contract("a tail call leaves no record behind", (kernel, { open }) => {
  const map = programs(kernel, open);
  const ring = open(create(kernel, { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 }));
  const items = [
    mov(r6, r1),
    loadMapFd(r1, ring),
    mov(r2, 8),
    mov(r3, 0),
    call(helpers.BPF_FUNC_ringbuf_reserve),
    jump("jeq", r0, 0, "out"),
    mov(r1, r6),
    ...tailCall(map, 0),
    label("out"),
    mov(r0, 0),
    exit(),
  ];
  expect(refusal(kernel, items, tc)).toEqual(["EINVAL", "tail_call would lead to reference leak"]);
});

contract("a tail call wants the context, as it came", (kernel, { open }) => {
  const map = programs(kernel, open);
  expect(refusal(kernel, [mov(r1, r10), ...tailCall(map, 0), mov(r0, 0), exit()], tc)).toEqual([
    "EACCES",
    "R1 type=fp expected=ctx",
  ]);
});

contract("programs of one type share a program array", (kernel, { open }) => {
  const map = programs(kernel, open);
  const filter = { prog_type: BPF_PROG_TYPE_SOCKET_FILTER };
  open(load(kernel, [...tailCall(map, 0), mov(r0, 0), exit()], tc));
  expect(outcome(load(kernel, [...tailCall(map, 0), mov(r0, 0), exit()], filter))).toBe("EINVAL");
  expect(put(kernel, map, 0, open(load(kernel, [mov(r0, 0), exit()], filter)))).toBe("EINVAL");
});

contract("a program lives while a program array holds it", (kernel, { open }) => {
  const map = programs(kernel, open);
  const target = load(kernel, [mov(r0, 9), exit()], tc);
  expect(put(kernel, map, 0, target)).toBe(0);
  kernel.close(target);
  const caller = open(load(kernel, [...tailCall(map, 0), mov(r0, 1), exit()], tc));
  expect(returns(kernel, caller)).toBe(9);
});

/** Functions that call each other, of which the last makes a tail call to the program at index 0; each adds 1 to what it gets back. */
function tailCallFrom(map: number, depth: number): asm.Item[] {
  const inner = Array.from({ length: depth }, (_, index) => [
    label(`function ${index}`),
    ...(index + 1 < depth ? [callSubprogram(index + 1)] : [...tailCall(map, 0), mov(r0, 0)]),
    add(r0, 1),
    exit(),
  ]);
  return [callSubprogram(0), add(r0, 1), exit(), ...inner.flat()];
}
const callSubprogram = (index: number): asm.Item => callLocal(`function ${index}`);

contract("each of 33 tail calls may come from as deep as a program may call", (kernel, { open }) => {
  for (const depth of [1, 3, 7]) {
    const map = programs(kernel, open);
    const items = tailCallFrom(map, depth);
    const prog = open(load(kernel, items, { ...tc, ...functionsOf(kernel, open, items) }));
    expect(put(kernel, map, 0, prog)).toBe(0);
    // A function whose tail call goes on does not come to its own addition.
    expect(returns(kernel, prog)).toBe(34 * (depth + 1) - 33);
  }
});

contract("in a function a tail call leaves what is held to the caller", (kernel, { open }) => {
  const ring = open(create(kernel, { map_type: BPF_MAP_TYPE_RINGBUF, key_size: 0, value_size: 0, max_entries: 4096 }));
  const reserve = [loadMapFd(r1, ring), mov(r2, 8), mov(r3, 0), call(helpers.BPF_FUNC_ringbuf_reserve)];
  const submit = [mov(r1, r6), mov(r2, 0), call(helpers.BPF_FUNC_ringbuf_submit)];
  const map = programs(kernel, open);
  const called = [label("function"), ...tailCall(map, 0), mov(r0, 0), exit()];
  const holding = (items: readonly asm.Item[]): asm.Item[] => [
    mov(r7, r1),
    ...reserve,
    jump("jeq", r0, 0, "none"),
    mov(r6, r0),
    mov(r1, r7),
    ...items,
    label("none"),
    mov(r0, 0),
    exit(),
  ];
  const released = [...holding([callLocal("function"), ...submit]), ...called];
  expect(returns(kernel, open(load(kernel, released, { ...tc, ...functionsOf(kernel, open, released) })))).toBe(0);
  const kept = [...holding([callLocal("function")]), ...called];
  const leak = (where: string) => ["EINVAL", `${where} would lead to reference leak`];
  expect(refusal(kernel, kept, { ...tc, ...functionsOf(kernel, open, kept) })).toEqual(
    leak("BPF_EXIT instruction in main prog"),
  );
  const main = holding([...tailCall(map, 0), ...submit]);
  expect(refusal(kernel, main, tc)).toEqual(leak("tail_call"));
});
