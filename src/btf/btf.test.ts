import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Btf, BtfError, type BtfErrorCode, type BtfTypeOf, parseBtf } from "./btf.ts";
import { type BuildableType, buildBtf } from "./build.ts";
import { codecOf } from "./codec.ts";

const int = (name: string, size: number, signed = false): BuildableType => {
  return { kind: "int", name, size, bits: size * 8, offset: 0, signed, char: false, bool: false };
};
const alias = (kind: "ptr" | "typedef" | "const" | "volatile" | "restrict" | "type_tag", type: number, name = "") => {
  return { kind, name, type } as const;
};

/** At least one type of each kind; their ids stand beside them. */
const everyKind: readonly BuildableType[] = [
  /* 1 */ int("unsigned int", 4),
  /* 2 */ int("char", 1, true),
  /* 3 */ alias("typedef", 1, "u32"),
  /* 4 */ { kind: "array", name: "", type: 2, indexType: 1, length: 16 },
  /* 5 */ {
    kind: "struct",
    name: "flow",
    size: 32,
    members: [
      { name: "port", type: 3, bitOffset: 0, bitSize: 0 },
      { name: "comm", type: 4, bitOffset: 32, bitSize: 0 },
      { name: "next", type: 6, bitOffset: 192, bitSize: 0 },
    ],
  },
  /* 6 */ alias("ptr", 5),
  /* 7 */ alias("const", 5),
  /* 8 */ alias("ptr", 7),
  /* 9 */ alias("volatile", 3),
  /* 10 */ alias("restrict", 8),
  /* 11 */ {
    kind: "union",
    name: "",
    size: 4,
    members: [
      { name: "low", type: 1, bitOffset: 0, bitSize: 3 },
      { name: "all", type: 1, bitOffset: 0, bitSize: 0 },
    ],
  },
  /* 12 */ { kind: "enum", name: "color", size: 4, signed: true, values: [{ name: "RED", value: -1 }] },
  /* 13 */ { kind: "enum64", name: "big", size: 8, signed: false, values: [{ name: "TOP", value: 2n ** 63n }] },
  /* 14 */ { kind: "fwd", name: "hidden", union: true },
  /* 15 */ {
    kind: "func_proto",
    name: "",
    returnType: 1,
    params: [
      { name: "flow", type: 6 },
      { name: "", type: 0 },
    ],
  },
  /* 16 */ { kind: "func", name: "count", type: 15, linkage: "global" },
  /* 17 */ alias("ptr", 15),
  /* 18 */ { kind: "var", name: "total", type: 3, linkage: "static" },
  /* 19 */ { kind: "datasec", name: ".bss", size: 4, variables: [{ type: 18, offset: 0, size: 4 }] },
  /* 20 */ { kind: "float", name: "double", size: 8 },
  /* 21 */ { kind: "decl_tag", name: "hot", type: 5, componentIndex: -1 },
  /* 22 */ alias("type_tag", 5, "user"),
  /* 23 */ { kind: "array", name: "", type: 4, indexType: 1, length: 3 },
  /* 24 */ alias("ptr", 23),
  /* 25 */ alias("ptr", 0),
  /* 26 */ alias("const", 25),
];

const everyByte = buildBtf(everyKind);
const sample = (): Btf => parseBtf(everyByte);
const only = (...types: BuildableType[]): Btf => parseBtf(buildBtf(types));
const changed = (change: (view: DataView) => void): Uint8Array => {
  const bytes = everyByte.slice();
  change(new DataView(bytes.buffer));
  return bytes;
};
const failure = (action: () => unknown): { code: BtfErrorCode; message: string } => {
  try {
    action();
  } catch (error) {
    if (error instanceof BtfError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error("nothing was thrown");
};

test("every kind of type is read as it was built, under its id", () => {
  const btf = sample();
  expect(btf.length).toBe(everyKind.length + 1);
  expect(btf.type(0)).toEqual({ kind: "void", name: "" });
  expect(everyKind.map((_, i) => btf.type(i + 1))).toEqual(everyKind);
});

test("a type is found by name and kind", () => {
  const btf = sample();
  expect(btf.find("flow", "struct")).toBe(5);
  expect(btf.find("flow", "union")).toBeUndefined();
  expect(btf.find("flo", "struct")).toBeUndefined();
  expect(btf.find("color", "enum")).toBe(12);
});

test("the offset of a type is that of its record", () => {
  const btf = sample();
  const view = new DataView(everyByte.buffer);
  expect(btf.string(view.getUint32(btf.offsetOf(5), true))).toBe("flow");
  expect(failure(() => btf.offsetOf(0)).code).toBe("ERR_BTF_ID");
});

test.each([
  [0, "void"],
  [1, "unsigned int"],
  [3, "u32"],
  [4, "char[16]"],
  [5, "struct flow"],
  [6, "struct flow *"],
  [8, "const struct flow *"],
  [10, "const struct flow *restrict"],
  [11, "union {…}"],
  [12, "enum color"],
  [14, "union hidden"],
  [15, "unsigned int (…)"],
  [16, "count"],
  [17, "unsigned int (*)(…)"],
  [23, "char[3][16]"],
  [24, "char (*)[3][16]"],
  [26, "void *const"],
])("type %i is written %s", (id, name) => expect(sample().nameOf(id)).toBe(name));

test("sizes are in bytes, through typedefs, arrays and variables", () => {
  const btf = sample();
  expect([3, 4, 5, 6, 9, 11, 12, 13, 18, 19, 20, 23].map((id) => btf.sizeOf(id))).toEqual([
    4, 16, 32, 8, 4, 4, 4, 8, 4, 4, 8, 48,
  ]);
  for (const id of [0, 14, 15, 16, 21]) expect(failure(() => btf.sizeOf(id)).code).toBe("ERR_BTF_SIZE");
});

describe("bytes that are not BTF are refused", () => {
  test.each<[string, BtfErrorCode, Uint8Array, RegExp]>([
    ["an empty file", "ERR_BTF_HEADER", new Uint8Array(), /0 bytes, it has at least 24/],
    ["another magic", "ERR_BTF_HEADER", changed((view) => view.setUint8(0, 0)), /magic 0xeb00, expected 0xeb9f/],
    ["big-endian BTF", "ERR_BTF_BYTE_ORDER", changed((view) => view.setUint16(0, 0xeb9f)), /big-endian/],
    ["another version", "ERR_BTF_HEADER", changed((view) => view.setUint8(2, 2)), /version 2, expected 1/],
    [
      "a header longer than the file",
      "ERR_BTF_HEADER",
      changed((view) => view.setUint32(4, 2 ** 31, true)),
      /2147483648/,
    ],
    [
      "a type section outside",
      "ERR_BTF_HEADER",
      changed((view) => view.setUint32(12, 0xffff_ffff, true)),
      /type section/,
    ],
    ["a string section outside", "ERR_BTF_HEADER", changed((view) => view.setUint32(20, 9999, true)), /string section/],
    ["types at an odd offset", "ERR_BTF_HEADER", changed((view) => view.setUint32(8, 1, true)), /multiple of 4|type/],
    ["no strings", "ERR_BTF_HEADER", changed((view) => view.setUint32(20, 0, true)), /begin and end with a NUL/],
    [
      "an unknown kind",
      "ERR_BTF_TYPE",
      changed((view) => view.setUint8(24 + 7, 31)),
      /type 1 \(at byte 24\): unknown kind 31/,
    ],
    [
      "a vlen beyond the end",
      "ERR_BTF_TYPE",
      changed((view) => view.setUint16(sample().offsetOf(19) + 4, 0xffff, true)),
      /type 19 .* datasec of 786432 bytes/,
    ],
    ["half a type", "ERR_BTF_TYPE", changed((view) => view.setUint32(12, 20, true)), /4 bytes are left/],
  ])("%s", (_, code, bytes, message) => {
    const error = failure(() => parseBtf(bytes));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test("whichever byte it is cut off at", () => {
    for (let length = 0; length < everyByte.length; length++) failure(() => parseBtf(everyByte.subarray(0, length)));
  });
});

describe("a type that makes no sense is refused when it is asked for", () => {
  test("an id that no type has", () => {
    expect(failure(() => sample().type(27))).toMatchObject({
      code: "ERR_BTF_ID",
      message: expect.stringContaining("27"),
    });
    for (const id of [-1, 1.5, Number.NaN]) expect(failure(() => sample().type(id)).code).toBe("ERR_BTF_ID");
  });

  test("a reference to no type", () => {
    expect(failure(() => only(alias("ptr", 7)).type(1))).toEqual({
      code: "ERR_BTF_ID",
      message: "BTF type 1 (ptr, at byte 24): refers to type 7, the last is 1",
    });
  });

  test("a name outside of the strings", () => {
    const btf = parseBtf(changed((view) => view.setUint32(24, 0xffff, true)));
    expect(failure(() => btf.type(1)).code).toBe("ERR_BTF_STRING");
    for (const offset of [-1, 0xffff, Number.NaN])
      expect(failure(() => btf.string(offset)).code).toBe("ERR_BTF_STRING");
    expect(btf.find("unsigned int", "int")).toBeUndefined();
  });

  test("an int of impossible bits, an enum of impossible size", () => {
    expect(failure(() => only(int("odd", 3)).type(1)).code).toBe("ERR_BTF_TYPE");
    expect(failure(() => only({ kind: "enum", name: "e", size: 3, signed: false, values: [] }).type(1)).code).toBe(
      "ERR_BTF_TYPE",
    );
  });

  test("circles and types nested too deeply", () => {
    expect(failure(() => only(alias("const", 2), alias("typedef", 1, "loop")).resolve(1)).code).toBe("ERR_BTF_DEPTH");
    const array: BuildableType = { kind: "array", name: "", type: 1, indexType: 1, length: 1 };
    expect(failure(() => only(array).sizeOf(1)).code).toBe("ERR_BTF_DEPTH");
    expect(only(array).nameOf(1)).toMatch(/^…/);
    const deep = Array.from({ length: 100_000 }, (_, i) => alias("const", i));
    expect(failure(() => only(...deep).resolve(100_000)).code).toBe("ERR_BTF_DEPTH");
  });

  test("an array of more bytes than there are addresses", () => {
    const array: BuildableType = { kind: "array", name: "", type: 1, indexType: 1, length: 2 ** 32 - 1 };
    const error = failure(() => only(int("int", 4), array).sizeOf(2));
    expect(error).toEqual({ code: "ERR_BTF_SIZE", message: expect.stringContaining("4294967295 elements of 4 bytes") });
  });
});

test("BTF of random changes is read or refused, with BtfError alone, and at once", () => {
  const edit = fc.tuple(fc.nat(everyByte.length - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0xff)));
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 12 }), (edits) => {
      const bytes = everyByte.slice();
      for (const [at, byte] of edits) bytes[at] = byte;
      readEverything(bytes);
    }),
    { numRuns: 1000 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), readEverything));
});

/** Asks everything of every type; any error but BtfError goes through. */
function readEverything(bytes: Uint8Array): void {
  const attempt = (action: () => void) => {
    try {
      action();
    } catch (error) {
      if (!(error instanceof BtfError)) throw error;
    }
  };
  attempt(() => {
    const btf = parseBtf(bytes);
    for (let id = 0; id < btf.length; id++) {
      attempt(() => btf.type(id));
      attempt(() => btf.nameOf(id));
      attempt(() => btf.sizeOf(id));
      attempt(() => {
        const codec = codecOf(btf, id);
        if (codec.size < 65536) codec.decode(new DataView(new ArrayBuffer(codec.size)), 0);
      });
    }
  });
}

const vmlinux = "/sys/kernel/btf/vmlinux";

describe.skipIf(!existsSync(vmlinux))(`the running kernel's BTF (${vmlinux})`, () => {
  const bytes = existsSync(vmlinux) ? readFileSync(vmlinux) : new Uint8Array();

  test("has struct xdp_md as the header gives it", () => {
    const btf = parseBtf(bytes);
    const xdp = btf.type(btf.find("xdp_md", "struct") as number) as BtfTypeOf<"struct">;
    expect(xdp.size).toBe(24);
    expect(xdp.members.slice(0, 2)).toMatchObject([
      { name: "data", bitOffset: 0 },
      { name: "data_end", bitOffset: 32 },
    ]);
    expect(xdp.members.map((member) => btf.nameOf(member.type))).toContain("__u32");
  });

  test("can be read whole, named and written again", () => {
    const btf = parseBtf(bytes);
    const types: BuildableType[] = [];
    for (let id = 1; id < btf.length; id++) {
      types.push(btf.type(id) as BuildableType);
      expect(btf.nameOf(id)).not.toContain("… ");
    }
    const again = parseBtf(buildBtf(types));
    expect(again.length).toBe(btf.length);
    for (let id = 1; id < btf.length; id += 97) expect(again.type(id)).toEqual(btf.type(id));
  });
});
