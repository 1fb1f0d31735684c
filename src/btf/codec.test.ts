import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Codec, CodecError } from "../codec/codec.ts";
import { BtfError, type BtfErrorCode, type BtfMember, parseBtf } from "./btf.ts";
import { type BuildableType, buildBtf } from "./build.ts";
import { codecOf } from "./codec.ts";

const int = (name: string, size: number, signed = false): BuildableType => {
  return { kind: "int", name, size, bits: size * 8, offset: 0, signed, char: false, bool: name === "bool" };
};
const member = (name: string, type: number, byteOffset: number): BtfMember => {
  return { name, type, bitOffset: byteOffset * 8, bitSize: 0 };
};
const bits = (name: string, type: number, bitOffset: number, bitSize: number): BtfMember => {
  return { name, type, bitOffset, bitSize };
};
const struct = (name: string, size: number, ...members: BtfMember[]): BuildableType => {
  return { kind: "struct", name, size, members };
};
const union = (name: string, size: number, ...members: BtfMember[]): BuildableType => {
  return { kind: "union", name, size, members };
};
const array = (type: number, length: number): BuildableType => ({
  kind: "array",
  name: "",
  type,
  indexType: U32,
  length,
});

const [U8, U16, U32, U64, S8, S32, CHAR, BOOL, U128] = [1, 2, 3, 4, 5, 6, 7, 8, 9] as const;
const basics: readonly BuildableType[] = [
  int("unsigned char", 1),
  int("unsigned short", 2),
  int("unsigned int", 4),
  int("unsigned long long", 8),
  int("signed char", 1, true),
  int("int", 4, true),
  int("char", 1, true),
  int("bool", 1),
  int("__int128", 16, true),
];
/** The id of the first type that is given to `codec`. */
const FIRST = basics.length + 1;

/** The codec of the last of `types`, which follow the basic ones. */
function codec(...types: BuildableType[]): Codec<unknown> {
  return codecOf(parseBtf(buildBtf([...basics, ...types])), basics.length + types.length);
}

function encoded(of: Codec<unknown>, value: unknown): number[] {
  const bytes = new Uint8Array(of.size).fill(0xaa);
  of.encode(value, new DataView(bytes.buffer), 0);
  return [...bytes];
}

const decoded = (of: Codec<unknown>, bytes: readonly number[]): unknown =>
  of.decode(new DataView(Uint8Array.from(bytes).buffer), 0);

/** Expects that `value` is written as `bytes` and read from them. */
function same(of: Codec<unknown>, value: unknown, bytes: readonly number[]): void {
  expect(encoded(of, value)).toEqual(bytes);
  expect(decoded(of, bytes)).toEqual(value);
}

function failure(action: () => unknown): { code: BtfErrorCode; message: string } {
  try {
    action();
  } catch (error) {
    if (error instanceof BtfError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("ints are numbers, at 64 and 128 bits bigints, bools booleans, pointers bigints", () => {
  const btf = parseBtf(buildBtf([...basics, { kind: "ptr", name: "", type: 0 }]));
  same(codecOf(btf, U16), 513, [1, 2]);
  same(codecOf(btf, S32), -2, [254, 255, 255, 255]);
  same(codecOf(btf, CHAR), -1, [255]);
  same(codecOf(btf, U64), 1n, [1, 0, 0, 0, 0, 0, 0, 0]);
  same(codecOf(btf, U128), -(2n ** 127n), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
  same(codecOf(btf, BOOL), true, [1]);
  same(codecOf(btf, FIRST), 0xffff_8880_0000_0000n, [0, 0, 0, 0, 0x80, 0x88, 0xff, 0xff]);
  expect(codecOf(btf, FIRST).name).toBe("void *");
  expect(() => encoded(codecOf(btf, U128), 2n ** 127n)).toThrow("is not in");
});

test("floats are numbers", () => {
  same(codec({ kind: "float", name: "double", size: 8 }), 1, [0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
});

test("a value of an enum is its name where it has one, and its number where not", () => {
  const color = codec({
    kind: "enum",
    name: "color",
    size: 4,
    signed: true,
    values: [
      { name: "RED", value: -1 },
      { name: "GREEN", value: 2 },
      { name: "VERT", value: 2 },
    ],
  });
  same(color, "RED", [255, 255, 255, 255]);
  same(color, "GREEN", [2, 0, 0, 0]);
  same(color, 7, [7, 0, 0, 0]);
  expect(encoded(color, "VERT")).toEqual([2, 0, 0, 0]);
  expect(() => encoded(color, "BLUE")).toThrow('enum color: "BLUE" is not one of RED, GREEN, VERT');
  const small = codec({ kind: "enum", name: "", size: 1, signed: false, values: [{ name: "A", value: 3 }] });
  same(small, "A", [3]);
  const big = codec({ kind: "enum64", name: "", size: 8, signed: false, values: [{ name: "TOP", value: 2n ** 63n }] });
  same(big, "TOP", [0, 0, 0, 0, 0, 0, 0, 0x80]);
  same(big, 1n, [1, 0, 0, 0, 0, 0, 0, 0]);
});

test("a struct is an object of its members, its padding zero", () => {
  const flow = codec(struct("flow", 16, member("port", U16, 0), member("bytes", U64, 8)));
  same(flow, { port: 80, bytes: 1n }, [80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
  expect([flow.name, flow.size, flow.align]).toEqual(["struct flow", 16, 8]);
  expect(() => encoded(flow, { port: 80 })).toThrow("bytes: unsigned long long: is missing");
  expect(() => encoded(flow, { port: 65536, bytes: 1n })).toThrow("port: u16: 65536 is not in 0 … 65535");
  expect(() => encoded(flow, null)).toThrow("struct flow: null is not an object");
  expect(codec(struct("packed", 5, member("a", U8, 0), member("b", U32, 1))).align).toBe(1);
});

test("bit-fields lie where BTF says, beside their neighbours", () => {
  const fields = codec(
    { kind: "enum", name: "mode", size: 4, signed: false, values: [{ name: "FAST", value: 2 }] },
    struct(
      "fields",
      8,
      bits("a", U32, 0, 3),
      bits("b", S32, 3, 7),
      bits("mode", FIRST, 10, 2),
      bits("c", U64, 12, 41),
      bits("on", BOOL, 53, 1),
    ),
  );
  const value = { a: 5, b: -3, mode: "FAST", c: 2n ** 40n, on: true };
  const word = 5n | (0b1111101n << 3n) | (2n << 10n) | ((2n ** 40n) << 12n) | (1n << 53n);
  same(fields, value, [...new Uint8Array(BigUint64Array.of(word).buffer)]);
  expect(() => encoded(fields, { ...value, a: 8 })).toThrow("a: unsigned int:3: 8 is not in 0 … 7");
  expect(() => encoded(fields, { ...value, b: 64 })).toThrow("b: int:7: 64 is not in -64 … 63");
});

test("bit-fields of old BTF are told by the bits of their int", () => {
  const old: BuildableType = {
    kind: "int",
    name: "unsigned int",
    size: 4,
    bits: 3,
    offset: 0,
    signed: false,
    char: false,
    bool: false,
  };
  const fields = codec(old, struct("old", 4, bits("a", FIRST, 0, 0), bits("b", FIRST, 3, 0)));
  same(fields, { a: 1, b: 7 }, [0b111_001, 0, 0, 0]);
});

test("members of anonymous structs and unions are members of the struct around them", () => {
  const event = codec(
    struct("", 4, member("low", U16, 0), member("high", U16, 2)),
    union("", 4, member("all", U32, 0), member("", FIRST, 0)),
    struct("event", 8, member("id", U32, 0), member("", FIRST + 1, 4)),
  );
  expect(decoded(event, [1, 0, 0, 0, 2, 0, 3, 0])).toEqual({ id: 1, all: 0x30002, low: 2, high: 3 });
  expect(encoded(event, { id: 1, all: 0x30002 })).toEqual([1, 0, 0, 0, 2, 0, 3, 0]);
  expect(encoded(event, { id: 1, low: 2, high: 3 })).toEqual([1, 0, 0, 0, 2, 0, 3, 0]);
  expect(() => encoded(event, { id: 1, low: 2 })).toThrow("high: unsigned short: is missing");
  expect(() => encoded(event, { id: 1 })).toThrow("union {…}: has none of all, low, high");
});

test("a union is read as all its members, and written from one or from those that agree", () => {
  const address = codec(
    array(U8, 4),
    union("address", 8, member("bytes", FIRST, 0), member("word", U32, 0), member("set", BOOL, 4)),
  );
  const bytes = [1, 2, 3, 4, 1, 0, 0, 0];
  const value = decoded(address, bytes);
  expect(value).toEqual({ bytes: [1, 2, 3, 4], word: 0x04030201, set: true });
  expect(encoded(address, value)).toEqual(bytes);
  expect(encoded(address, { word: 1 })).toEqual([1, 0, 0, 0, 0, 0, 0, 0]);
  expect(() => encoded(address, { ...(value as object), word: 1 })).toThrow(
    "union address: bytes, word, set share their bytes and contradict each other; give one of them",
  );
  expect(() => encoded(address, {})).toThrow("union address: has none of bytes, word, set");
  expect(() => encoded(address, { word: -1 })).toThrow("word: u32: -1");
  same(codec(union("nothing", 0)), {}, []);
});

test("arrays have their dimensions in C's order, and flexible ones no elements", () => {
  const matrix = codec(array(U8, 2), array(FIRST, 3));
  same(
    matrix,
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    [1, 2, 3, 4, 5, 6],
  );
  expect(() =>
    encoded(matrix, [
      [1, 2],
      [3, 256],
      [5, 6],
    ]),
  ).toThrow("[1][1]: u8: 256 is not in 0 … 255");
  expect(matrix.name).toBe("unsigned char[3][2]");
  same(
    codec(array(U32, 0), struct("message", 4, member("length", U32, 0), member("data", FIRST, 4))),
    { length: 1, data: [] },
    [1, 0, 0, 0],
  );
});

test("char arrays are strings where they are text, and bytes where not; other bytes are numbers", () => {
  const comm = codec(array(CHAR, 4));
  same(comm, "ab", [97, 98, 0, 0]);
  same(comm, "abcd", [97, 98, 99, 100]);
  same(comm, "é\n", [0xc3, 0xa9, 10, 0]);
  same(comm, [255, 1, 0, 0], [255, 1, 0, 0]);
  same(comm, [1, 0, 0, 0], [1, 0, 0, 0]);
  expect(decoded(comm, [97, 0, 98, 0])).toBe("a");
  expect(() => encoded(comm, "abcde")).toThrow('char[4]: "abcde" has 5 bytes, at most 4 fit');
  same(codec(array(S8, 2)), [-1, 1], [255, 1]);
  same(codec({ kind: "typedef", name: "letter", type: CHAR }, array(FIRST, 2)), "a", [97, 0]);
});

test("a data section is an object of its variables", () => {
  const data = codec(
    { kind: "var", name: "count", type: U64, linkage: "global" },
    { kind: "var", name: "on", type: BOOL, linkage: "static" },
    {
      kind: "datasec",
      name: ".bss",
      size: 16,
      variables: [
        { type: FIRST, offset: 0, size: 8 },
        { type: FIRST + 1, offset: 8, size: 1 },
      ],
    },
  );
  same(data, { count: 1n, on: true }, [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
  expect(data.name).toBe(".bss");
});

test("static variables of two functions keep apart when they have one name", () => {
  const count: BuildableType = { kind: "var", name: "count", type: U8, linkage: "static" };
  const variables = [
    { type: FIRST, offset: 0, size: 1 },
    { type: FIRST + 1, offset: 1, size: 1 },
  ];
  same(codec(count, count, { kind: "datasec", name: ".bss", size: 2, variables }), { count: 1, "count.1": 2 }, [1, 2]);
});

describe("types without values are refused", () => {
  test.each<[string, BuildableType[], BtfErrorCode, string]>([
    [
      "a forward declaration",
      [{ kind: "fwd", name: "hidden", union: false }],
      "ERR_BTF_VALUE",
      "struct hidden (fwd) has no values",
    ],
    [
      "void behind a typedef",
      [{ kind: "typedef", name: "nothing", type: 0 }],
      "ERR_BTF_VALUE",
      "void (void) has no values",
    ],
    ["a function", [{ kind: "func_proto", name: "", returnType: 0, params: [] }], "ERR_BTF_VALUE", "(func_proto)"],
    [
      "a member outside of its struct",
      [struct("s", 4, member("a", U32, 2))],
      "ERR_BTF_VALUE",
      'member "a" of struct s ends outside of its 4 bytes',
    ],
    [
      "two members of one name",
      [struct("s", 8, member("a", U32, 0), member("a", U32, 4))],
      "ERR_BTF_VALUE",
      'struct s has two members "a"',
    ],
    ["a member inside of a byte", [struct("s", 8, bits("a", U32, 3, 0))], "ERR_BTF_VALUE", "begins at bit 3"],
    [
      "a bit-field wider than its type",
      [struct("s", 8, bits("a", U8, 0, 9))],
      "ERR_BTF_VALUE",
      "cannot be a bit-field of 9 bits",
    ],
    ["a struct in itself", [struct("s", 4, member("s", FIRST, 0))], "ERR_BTF_DEPTH", "nested more than 32 deep"],
    ["an array of 4 GiB", [array(U32, 2 ** 30)], "ERR_BTF_SIZE", "4 GiB or more"],
    ["an array of too many values", [array(U8, 2 ** 23)], "ERR_BTF_SIZE", "is made of more than 4194304 values"],
    [
      "a member that is no property",
      [struct("s", 4, member("__proto__", U32, 0))],
      "ERR_BTF_VALUE",
      "cannot be a property",
    ],
    [
      "a data section whose size is not known yet",
      [
        { kind: "var", name: "count", type: U64, linkage: "global" },
        { kind: "datasec", name: ".bss", size: 0, variables: [{ type: FIRST, offset: 0, size: 8 }] },
      ],
      "ERR_BTF_VALUE",
      'variable "count" ends outside of the 0 bytes of ".bss"',
    ],
  ])("%s", (_, types, code, message) => {
    expect(failure(() => codec(...types))).toEqual({ code, message: expect.stringContaining(message) });
  });

  test("structs that share their bytes so often that reading them would not end", () => {
    const doubling = Array.from({ length: 30 }, (_, i) =>
      struct("", 4, member("a", i === 0 ? U32 : FIRST + i - 1, 0), member("b", i === 0 ? U32 : FIRST + i - 1, 0)),
    );
    expect(failure(() => codec(...doubling)).code).toBe("ERR_BTF_SIZE");
  });
});

const vmlinux = "/sys/kernel/btf/vmlinux";

describe.skipIf(!existsSync(vmlinux))(`the running kernel's BTF (${vmlinux})`, () => {
  test("every struct and union has a codec, which writes zeros as it read them", () => {
    const btf = parseBtf(readFileSync(vmlinux));
    let structs = 0;
    for (let id = 1; id < btf.length; id++) {
      const type = btf.type(id);
      if ((type.kind !== "struct" && type.kind !== "union") || type.size > 4096) continue;
      const of = codecOf(btf, id);
      const bytes = encoded(of, decoded(of, new Array(of.size).fill(0)));
      if (bytes.some((byte) => byte !== 0)) expect.fail(`${btf.nameOf(id)} (type ${id}) is not written as zeros`);
      structs++;
    }
    expect(structs).toBeGreaterThan(5000);
  });

  test("struct task_struct and struct __sk_buff are read", () => {
    const btf = parseBtf(readFileSync(vmlinux));
    const task = codecOf(btf, btf.find("task_struct", "struct") as number);
    expect(task.decode(new DataView(new ArrayBuffer(task.size)), 0)).toMatchObject({ pid: 0, comm: "", utime: 0n });
    const skb = codecOf(btf, btf.find("__sk_buff", "struct") as number);
    expect(decoded(skb, new Array(skb.size).fill(1))).toMatchObject({ len: 0x01010101, cb: expect.any(Array) });
  });
});

test("an error in a value is a CodecError", () => {
  expect(() => encoded(codec(struct("s", 4, member("a", U32, 0))), { a: "1" })).toThrow(CodecError);
});
