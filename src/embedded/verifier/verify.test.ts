import { describe, expect, test } from "vitest";
import * as asm from "../../asm/builder.ts";
import { printDiagnosis } from "../../diagnosis/diagnosis.ts";
import * as helper from "../../uapi/helper-ids.ts";
import { BPF_ADD, BPF_FETCH, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE } from "../../uapi/insn.ts";
import * as programType from "../../uapi/program-types.ts";
import { type Verdict, type VerifierInput, type VerifierMap, verify } from "./verify.ts";

const { r0, r1, r2, r3, r4, r5, r6, r7, r8, r10 } = asm;

const map = (fields: Partial<VerifierMap>): VerifierMap => ({
  id: 1,
  name: "test",
  type: 1,
  keySize: 4,
  valueSize: 16,
  maxEntries: 8,
  flags: 0,
  frozen: false,
  ...fields,
});
const HASH = 1;
const RECORDS = 2;
const GLOBALS = 3;
const maps: Record<number, VerifierMap> = {
  [HASH]: map({}),
  [RECORDS]: map({ type: 27, keySize: 0, valueSize: 0, maxEntries: 4096 }),
  [GLOBALS]: map({ type: 2, maxEntries: 1, flags: 128, frozen: true, contents: (offset) => BigInt(offset) }),
};

function check(items: readonly asm.Item[], fields: Partial<VerifierInput> = {}): Verdict {
  const instructions = asm.program(...items);
  const named = instructions.flatMap(({ src, imm, opcode }, at) =>
    opcode === 0x18 && (src === BPF_PSEUDO_MAP_FD || src === BPF_PSEUDO_MAP_VALUE) ? [[at, maps[imm]!] as const] : [],
  );
  return verify({
    type: programType.BPF_PROG_TYPE_XDP,
    expectedAttachType: 0,
    flags: 0,
    name: "test",
    gplCompatible: true,
    instructions,
    maps: new Map(named),
    logLevel: 0,
    capabilities: { bpf: true, perfmon: true },
    ...fields,
  });
}
const reason = (...args: Parameters<typeof check>) => {
  const verdict = check(...args);
  return verdict.ok ? "accepted" : verdict.diagnosis.reason;
};

const end = [asm.mov(r0, 0), asm.exit()];
const lookup = [
  asm.store("w", r10, -4, 0),
  asm.mov(r2, r10),
  asm.add(r2, -4),
  asm.loadMapFd(r1, HASH),
  asm.call(helper.BPF_FUNC_map_lookup_elem),
];
const lookedUp = [...lookup, asm.jump("jeq", r0, 0, "end")];
const packet = [asm.load("w", r6, r1, 0), asm.load("w", r7, r1, 4)];
const reserve = [
  asm.loadMapFd(r1, RECORDS),
  asm.mov(r2, 16),
  asm.mov(r3, 0),
  asm.call(helper.BPF_FUNC_ringbuf_reserve),
];

const refused: readonly [name: string, items: readonly asm.Item[], reason: string, fields?: Partial<VerifierInput>][] =
  [
    ["an opcode that is none", [{ opcode: 0xff, dst: 0, src: 0, off: 0, imm: 0 }, asm.exit()], "unknown opcode ff"],
    [
      "a jump out of the program",
      [{ ...asm.goto(""), to: undefined, off: 5 } as asm.Slot, asm.exit()],
      "jump out of range from insn 0 to 6",
    ],
    ["a fall off the end", [asm.mov(r0, 0)], "last insn is not an exit or jmp"],
    ["unreachable code", [asm.goto("end"), asm.mov(r0, 1), asm.label("end"), ...end], "unreachable insn 1"],
    ["a register without a value", [asm.mov(r0, r2), asm.exit()], "R2 !read_ok"],
    ["no return value", [asm.exit()], "R0 !read_ok"],
    ["a write to the frame pointer", [asm.mov(r10, 0), ...end], "frame pointer is read only"],
    ["an argument register after a call", [asm.call(5), asm.mov(r0, r1), asm.exit()], "R1 !read_ok"],
    ["a loop without an end", [asm.mov(r0, 0), asm.label("top"), asm.goto("top")], "infinite loop detected at insn 1"],
    [
      "a missing NULL check",
      [...lookup, asm.load("dw", r1, r0, 0), ...end],
      "R0 invalid mem access 'map_value_or_null'",
    ],
    [
      "an access behind a map value",
      [...lookedUp, asm.load("dw", r1, r0, 9), asm.label("end"), ...end],
      "R0 min value is outside of the allowed memory range",
    ],
    [
      "an index that is not bounded",
      [...lookedUp, asm.load("w", r1, r0, 0), asm.add(r0, r1), asm.load("b", r1, r0, 0), asm.label("end"), ...end],
      "R0 unbounded memory access, make sure to bounds check any such access",
    ],
    [
      "a packet access without check",
      [...packet, asm.load("b", r0, r6, 0), ...end],
      "R6 offset is outside of the packet",
    ],
    [
      "a packet pointer after the packet moved",
      [
        asm.mov(r8, r1),
        ...packet,
        asm.mov(r2, r6),
        asm.add(r2, 14),
        asm.jump("jgt", r2, r7, "end"),
        asm.mov(r1, r8),
        asm.mov(r2, 0),
        asm.call(helper.BPF_FUNC_xdp_adjust_head),
        asm.load("b", r1, r6, 0),
        asm.label("end"),
        ...end,
      ],
      "R6 invalid mem access 'scalar'",
    ],
    [
      "an access below the stack",
      [asm.store("dw", r10, -520, 0), ...end],
      "invalid write to stack R10 off=-520 size=8",
    ],
    ["a misaligned stack access", [asm.store("w", r10, -7, 0), ...end], "misaligned stack access off 0+0+-7 size 4"],
    [
      "a write to a read-only map",
      [asm.loadMapValue(r1, GLOBALS, 0), asm.store("w", r1, 0, 1), ...end],
      "write into map forbidden, value_size=16 off=0 size=4",
    ],
    [
      "an unknown field of the context",
      [asm.load("w", r0, r1, 20), asm.exit()],
      "invalid bpf_context access off=20 size=4",
    ],
    [
      "a context pointer that was moved",
      [asm.add(r1, 4), asm.load("w", r0, r1, 0), asm.exit()],
      "dereference of modified ctx ptr R1 off=4 disallowed",
    ],
    [
      "a record that is not released",
      [...reserve, ...end],
      "BPF_EXIT instruction in main prog would lead to reference leak",
    ],
    [
      "a record that is released twice",
      [
        ...reserve,
        asm.jump("jeq", r0, 0, "end"),
        asm.mov(r6, r0),
        asm.mov(r1, r6),
        asm.mov(r2, 0),
        asm.call(helper.BPF_FUNC_ringbuf_submit),
        asm.mov(r1, r6),
        asm.mov(r2, 0),
        asm.call(helper.BPF_FUNC_ringbuf_submit),
        asm.label("end"),
        ...end,
      ],
      "R1 type=scalar expected=ringbuf_mem",
    ],
    [
      "a wrong argument",
      [asm.mov(r1, 0), asm.mov(r2, r10), asm.call(helper.BPF_FUNC_map_lookup_elem), ...end],
      "R1 type=scalar expected=map_ptr",
    ],
    [
      "a map type that a helper does not take",
      [asm.loadMapFd(r1, HASH), asm.mov(r2, 16), asm.mov(r3, 0), asm.call(helper.BPF_FUNC_ringbuf_reserve), ...end],
      "cannot pass map_type 1 into func bpf_ringbuf_reserve#131",
    ],
    [
      "a helper of another type",
      [asm.call(helper.BPF_FUNC_skb_load_bytes), ...end],
      "program of this type cannot use helper bpf_skb_load_bytes#26",
    ],
    [
      "a GPL helper without the licence",
      [asm.call(helper.BPF_FUNC_trace_printk), ...end],
      "cannot call GPL-restricted function from non-GPL compatible program",
      { gplCompatible: false },
    ],
    ["a division by a zero that is written", [asm.mov(r0, 1), asm.alu64("div", r0, 0), asm.exit()], "div by zero"],
    ["a shift by too much", [asm.mov(r0, 1), asm.alu32("lsh", r0, 32), asm.exit()], "invalid shift 32"],
    ["multiplied pointers", [asm.alu64("mul", r1, 2), ...end], "R1 pointer arithmetic with *= operator prohibited"],
    [
      "a returned address without CAP_PERFMON",
      [asm.mov(r0, r1), asm.exit()],
      "R0 leaks addr as return value",
      { capabilities: { bpf: true, perfmon: false } },
    ],
    [
      "an address as a packet load's index without CAP_PERFMON",
      [asm.mov(r6, r1), { opcode: 0x50, dst: 0, src: 1, off: 0, imm: 0 }, ...end],
      "R1 leaks addr into packet offset",
      { type: programType.BPF_PROG_TYPE_SOCKET_FILTER, capabilities: { bpf: true, perfmon: false } },
    ],
    [
      "a read of any address without CAP_PERFMON",
      [asm.call(helper.BPF_FUNC_probe_read_kernel), ...end],
      "program of this type cannot use helper bpf_probe_read_kernel#113",
      { capabilities: { bpf: true, perfmon: false } },
    ],
    [
      "an uninitialised stack without CAP_PERFMON",
      [asm.load("dw", r0, r10, -8), asm.exit()],
      "invalid read from stack off -8+0 size 8",
      { capabilities: { bpf: true, perfmon: false } },
    ],
    [
      "a helper that overwrites half of a spilled pointer without CAP_PERFMON",
      [
        asm.store("dw", r10, -8, r10),
        asm.mov(r2, 0),
        asm.mov(r3, r10),
        asm.add(r3, -8),
        asm.mov(r4, 4),
        asm.call(helper.BPF_FUNC_xdp_load_bytes),
        asm.load("w", r0, r10, -4),
        asm.exit(),
      ],
      "attempt to corrupt spilled pointer on stack",
      { capabilities: { bpf: true, perfmon: false } },
    ],
    [
      "a spilled packet pointer that is read when the packet has moved, without CAP_PERFMON",
      [
        asm.load("w", r2, r1, 0),
        asm.store("dw", r10, -8, r2),
        asm.mov(r2, 0),
        asm.call(helper.BPF_FUNC_xdp_adjust_head),
        asm.load("dw", r0, r10, -8),
        asm.exit(),
      ],
      "invalid read from stack off -8+0 size 8",
      { capabilities: { bpf: true, perfmon: false } },
    ],
    [
      "a place in the stack that is not known without CAP_PERFMON",
      [
        asm.load("w", r2, r1, 12),
        asm.alu64("and", r2, 7),
        asm.mov(r3, r10),
        asm.add(r3, r2),
        asm.store("b", r3, -8, 0),
        ...end,
      ],
      "R3 variable stack access prohibited for !root, var_off=(0x0; 0x7) off=0",
      { capabilities: { bpf: true, perfmon: false } },
    ],
    [
      "a return value out of range",
      [asm.mov(r0, 2), asm.exit()],
      "At program exit the register R0 has smin=2 smax=2 should have been in [0, 1]",
      { type: programType.BPF_PROG_TYPE_CGROUP_SKB },
    ],
    [
      "a chain of 9 frames that no path takes",
      [
        asm.callLocal("2"),
        asm.callLocal("1"),
        ...end,
        ...[1, 2, 3, 4, 5, 6, 7, 8].flatMap((number) => [
          asm.label(`${number}`),
          asm.mov(r0, number),
          asm.jump("jeq", r0, number, `end ${number}`),
          ...(number < 8 ? [asm.callLocal(`${number + 1}`)] : []),
          asm.label(`end ${number}`),
          asm.exit(),
        ]),
      ],
      "the call stack of 8 frames is too deep !",
    ],
    ["recursion", [asm.label("top"), asm.callLocal("top"), ...end], "the call stack of 9 frames is too deep"],
    [
      "600 bytes of stack in two functions",
      [
        asm.store("dw", r10, -304, 0),
        asm.callLocal("sub"),
        ...end,
        asm.label("sub"),
        asm.store("dw", r10, -304, 0),
        ...end,
      ],
      "combined stack size of 2 calls is 608. Too large",
    ],
    [
      "a stack address returned to the caller",
      [asm.callLocal("sub"), ...end, asm.label("sub"), asm.mov(r0, r10), asm.exit()],
      "cannot return stack pointer to the caller",
    ],
    [
      "an atomic operation on the packet",
      [
        ...packet,
        asm.mov(r2, r6),
        asm.add(r2, 8),
        asm.jump("jgt", r2, r7, "end"),
        asm.mov(r3, 1),
        asm.atomic("dw", BPF_ADD, r6, 0, r3),
        asm.label("end"),
        ...end,
      ],
      "BPF_ATOMIC stores into R6 pkt is not allowed",
    ],
    [
      "a misaligned atomic operation",
      [...lookedUp, asm.mov(r1, 1), asm.atomic("dw", BPF_ADD | BPF_FETCH, r0, 4, r1), asm.label("end"), ...end],
      "misaligned value access off 0+0+4 size 8",
    ],
  ];

describe("is refused with Linux's words:", () => {
  for (const [name, items, words, fields] of refused) {
    test(name, () => expect(reason(items, fields)).toBe(words));
  }
});

const accepted: readonly [name: string, items: readonly asm.Item[]][] = [
  ["a value after its NULL check", [...lookedUp, asm.load("dw", r1, r0, 8), asm.label("end"), ...end]],
  [
    "an index that a mask bounds",
    [
      ...lookedUp,
      asm.load("w", r1, r0, 0),
      asm.alu64("and", r1, 15),
      asm.add(r0, r1),
      asm.load("b", r1, r0, 0),
      asm.label("end"),
      ...end,
    ],
  ],
  [
    "an index that a branch bounds, through a copy",
    [
      ...lookedUp,
      asm.load("dw", r1, r0, 0),
      asm.mov(r2, r1),
      asm.jump("jgt", r2, 15, "end"),
      asm.add(r0, r1),
      asm.load("b", r1, r0, 0),
      asm.label("end"),
      ...end,
    ],
  ],
  [
    "a packet access after its check",
    [
      ...packet,
      asm.mov(r2, r6),
      asm.add(r2, 14),
      asm.jump("jgt", r2, r7, "end"),
      asm.load("h", r1, r6, 12),
      asm.label("end"),
      ...end,
    ],
  ],
  [
    "a variable offset in the packet",
    [
      ...packet,
      asm.mov(r2, r6),
      asm.add(r2, 1),
      asm.jump("jgt", r2, r7, "end"),
      asm.load("b", r3, r6, 0),
      asm.add(r6, r3),
      asm.mov(r2, r6),
      asm.add(r2, 4),
      asm.jump("jgt", r2, r7, "end"),
      asm.load("w", r1, r6, 0),
      asm.label("end"),
      ...end,
    ],
  ],
  [
    "a pointer that was kept on the stack",
    [
      ...lookedUp,
      asm.store("dw", r10, -16, r0),
      asm.load("dw", r1, r10, -16),
      asm.load("dw", r2, r1, 0),
      asm.label("end"),
      ...end,
    ],
  ],
  [
    "a record that is submitted",
    [
      ...reserve,
      asm.jump("jeq", r0, 0, "end"),
      asm.store("dw", r0, 8, 1),
      asm.mov(r1, r0),
      asm.mov(r2, 0),
      asm.call(helper.BPF_FUNC_ringbuf_submit),
      asm.label("end"),
      ...end,
    ],
  ],
  ["a bounded loop", [asm.mov(r0, 0), asm.label("top"), asm.add(r0, 1), asm.jump("jlt", r0, 100, "top"), ...end]],
  [
    "a constant of a frozen map, as an offset",
    [
      ...lookedUp,
      asm.loadMapValue(r1, GLOBALS, 8),
      asm.load("b", r1, r1, 0),
      asm.add(r0, r1),
      asm.load("dw", r2, r0, 0),
      asm.label("end"),
      ...end,
    ],
  ],
  [
    "an array on the stack with a bounded index",
    [
      asm.call(7),
      asm.alu64("and", r0, 7),
      asm.store("dw", r10, -8, 0),
      asm.mov(r1, r10),
      asm.add(r1, -8),
      asm.add(r1, r0),
      asm.load("b", r2, r1, 0),
      ...end,
    ],
  ],
  [
    "a function that writes through a pointer to its caller's stack",
    [
      asm.mov(r1, r10),
      asm.add(r1, -8),
      asm.callLocal("sub"),
      asm.load("dw", r0, r10, -8),
      asm.exit(),
      asm.label("sub"),
      asm.store("dw", r1, 0, 7),
      ...end,
    ],
  ],
  [
    "30 branches that set bits",
    [
      asm.mov(r6, 0),
      ...Array.from({ length: 30 }, (_, bit) => [
        asm.call(7),
        asm.jump("jeq", r0, 0, `${bit}`),
        asm.alu64("or", r6, 1 << bit),
        asm.label(`${bit}`),
      ]).flat(),
      asm.mov(r0, r6),
      asm.exit(),
    ],
  ],
];

describe("is accepted:", () => {
  for (const [name, items] of accepted) {
    test(name, () => expect(reason(items)).toBe("accepted"));
  }
});

test("an explored state covers another only where what was used agrees", () => {
  // r6 is 8 or 64 when the paths meet; only 8 fits into the value.
  const items = (later: number) => [
    ...lookedUp,
    asm.mov(r8, r0),
    asm.call(7),
    asm.mov(r6, 8),
    asm.mov(r4, 0),
    asm.mov(r5, 0),
    asm.jump("jeq", r0, 0, "meet"),
    asm.mov(r6, later),
    asm.label("meet"),
    asm.mov(r7, r6),
    asm.jump("jeq", r8, 0, "end"),
    asm.add(r8, r7),
    asm.load("dw", r1, r8, 0),
    asm.label("end"),
    ...end,
  ];
  expect(reason(items(8))).toBe("accepted");
  expect(reason(items(64))).toBe("R8 min value is outside of the allowed memory range");
});

/** As much as must be walked before the next state is kept. */
const untilKept = (name: string): readonly asm.Item[] => [
  asm.goto(name),
  asm.label(name),
  asm.goto(`${name} again`),
  asm.label(`${name} again`),
  ...Array.from({ length: 8 }, () => asm.mov(r0, 0)),
];

test("an explored state covers another only where as much was added to linked numbers", () => {
  // r4 is r3 + 1 or r3 + later when the paths meet, and at most 9; only r3 + 1 says that r3 + 1 fits into the value.
  const items = (later: number, meet: readonly asm.Item[], met: readonly asm.Item[]) => [
    ...lookedUp,
    asm.mov(r8, r0),
    asm.load("dw", r3, r8, 0),
    asm.mov(r4, r3),
    asm.load("dw", r2, r8, 8),
    asm.mov(r5, later),
    asm.jump("jeq", r2, 0, "other"),
    asm.mov(r5, 1),
    ...untilKept("first"),
    asm.label("other"),
    ...meet,
    ...untilKept("second"),
    asm.goto("there"),
    asm.label("there"),
    ...met,
    asm.jump("jgt", r4, 9, "end"),
    asm.add(r3, 1),
    asm.add(r8, r3),
    asm.load("b", r1, r8, 0),
    asm.label("end"),
    ...end,
  ];
  const sum = [asm.add(r4, r5)];
  for (const [meet, met] of [
    [sum, []],
    [[], sum],
  ] as const) {
    expect(reason(items(1, meet, met))).toBe("accepted");
    expect(reason(items(-20, meet, met))).toBe("R8 min value is outside of the allowed memory range");
  }
});

test("the log is in the kernel's format", () => {
  const verdict = check([asm.mov(r6, r1), asm.load("w", r0, r6, 20), asm.exit()], { logLevel: 1 });
  expect(verdict.log.split("\n")).toEqual([
    "0: R1=ctx() R10=fp0",
    "0: (bf) r6 = r1                       ; R1=ctx() R6=ctx()",
    "1: (61) r0 = *(u32 *)(r6 +20)",
    "invalid bpf_context access off=20 size=4",
    "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0",
    "",
  ]);
});

test("a refusal explains where the bad value was made and which source line used it", () => {
  const lines = [
    { instruction: 0, file: "test.bpf.c", line: 7, column: 1, text: "  value = bpf_map_lookup_elem(&test, &key);" },
    { instruction: 6, file: "test.bpf.c", line: 8, column: 1, text: "  total = *value;" },
  ];
  const verdict = check([...lookup, asm.load("dw", r1, r0, 0), ...end], { lines });
  if (verdict.ok) throw new Error("accepted");
  expect(verdict.errno).toBe(13);
  expect(printDiagnosis(verdict.diagnosis)).toBe(`Verification failed: memory: pointer used without NULL check
Reason: R0 invalid mem access 'map_value_or_null'
At: 6: r1 = *(u64 *)(r0 +0) (test.bpf.c:8: total = *value;)
  R0=map_value_or_null(id=1,map=test,ks=4,vs=16) R10=fp0 fp-8=0000????
Causal path:
  5: call bpf_map_lookup_elem#1: makes R0, map_value_or_null(id=1,map=test,ks=4,vs=16) (test.bpf.c:7: value = bpf_map_lookup_elem(&test, &key);)
Suggestion: Compare the pointer with NULL and use it only where it is not: \`if (!value) return 0;\`.`);
});

test("of a log that grows without measure the end is kept", () => {
  const text = "x".repeat(1 << 21);
  const lines = [1, 2].map((instruction) => ({ instruction, file: "test.bpf.c", line: instruction, column: 1, text }));
  const loop = [asm.label("again"), asm.add(r6, 1), asm.jump("jlt", r6, 200, "again")];
  const { ok, log } = check([asm.mov(r6, 0), ...loop, ...end], { lines, logLevel: 2 });
  expect(ok).toBe(true);
  expect(log.length).toBeLessThan(1 << 27);
  expect(log).toMatch(/\nprocessed 403 insns .*\n$/);
});
