import { describe, expect, test } from "vitest";
import * as attach from "../uapi/attach-types.ts";
import { BPF_F_SLEEPABLE, BPF_F_XDP_HAS_FRAGS } from "../uapi/flags.ts";
import * as types from "../uapi/program-types.ts";
import { matchSection, sectionRules } from "./sections.ts";

describe("the table of section names", () => {
  test("has 116 names, each once", () => {
    expect(sectionRules).toHaveLength(116);
    expect(new Set(sectionRules.map((rule) => rule.name)).size).toBe(116);
  });

  test("every name matches itself, and extras where they are allowed", () => {
    for (const rule of sectionRules) {
      expect(matchSection(rule.name)).toEqual({ rule, autoload: true });
      const withExtras = matchSection(`${rule.name}/some/thing`);
      if (rule.extras) expect(withExtras).toEqual({ rule, extras: "some/thing", autoload: true });
      else expect(withExtras).toBeUndefined();
    }
  });

  test("names every program type but UNSPEC", () => {
    const named = new Set(sectionRules.map((rule) => rule.type));
    expect([...named].sort((a, b) => a - b)).toEqual(
      Object.values(types)
        .filter((type) => type !== types.BPF_PROG_TYPE_UNSPEC)
        .sort((a, b) => a - b),
    );
  });
});

describe("matchSection", () => {
  test("tells the programs of one kind apart by their attach type", () => {
    expect(matchSection("cgroup/connect4")?.rule.attachType).toBe(attach.BPF_CGROUP_INET4_CONNECT);
    expect(matchSection("cgroup/connect6")?.rule.attachType).toBe(attach.BPF_CGROUP_INET6_CONNECT);
    expect(matchSection("tc")?.rule.attachType).toBe(0);
    expect(matchSection("tc/ingress")?.rule.attachType).toBe(attach.BPF_TCX_INGRESS);
    expect(matchSection("sk_reuseport/migrate")?.rule.attachType).toBe(attach.BPF_SK_REUSEPORT_SELECT_OR_MIGRATE);
  });

  test("reads flags off the name", () => {
    expect(matchSection("lsm.s/file_open")?.rule).toMatchObject({ flags: BPF_F_SLEEPABLE, attachBtf: true });
    expect(matchSection("syscall")?.rule.flags).toBe(BPF_F_SLEEPABLE);
    expect(matchSection("xdp.frags")?.rule).toMatchObject({ flags: BPF_F_XDP_HAS_FRAGS, attachTypeOptional: false });
    expect(matchSection("xdp")?.rule).toMatchObject({ flags: 0, attachTypeOptional: true });
  });

  test("a leading ? means that the program is not loaded by itself", () => {
    expect(matchSection("?tracepoint/syscalls/sys_enter_openat")).toMatchObject({
      rule: { name: "tracepoint", type: types.BPF_PROG_TYPE_TRACEPOINT },
      extras: "syscalls/sys_enter_openat",
      autoload: false,
    });
  });

  test("does not guess", () => {
    for (const name of ["", "?", "/", "xdp_count", "xdp/count", "XDP", "kprobes/x", "tc/", "??xdp", ".text"]) {
      expect(matchSection(name)).toBeUndefined();
    }
  });
});
