// The BPF file system: objects by path.

import { expect } from "vitest";
import { exit, mov, r0 } from "../../src/asm/builder.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import { BPF_OBJ_GET, BPF_OBJ_PIN } from "../../src/uapi/commands.ts";
import { BPF_F_RDONLY, BPF_F_WRONLY } from "../../src/uapi/flags.ts";
import { cString } from "../../src/uapi/struct.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, set } from "./maps.ts";
import { load, testRun } from "./programs.ts";

const pin = (kernel: Kernel, bpf_fd: number, path: string): number | string =>
  outcome(kernel.bpf(BPF_OBJ_PIN, { bpf_fd, pathname: cString(path) }));

const openPin = (kernel: Kernel, path: string, file_flags = 0): number =>
  kernel.bpf(BPF_OBJ_GET, { pathname: cString(path), file_flags });

contract("a pinned map outlives its file descriptor, and is opened by its path", (kernel, { open, pins }) => {
  const path = `${pins}/map`;
  const first = create(kernel);
  expect(pin(kernel, first, path)).toBe(0);
  set(kernel, first, 1, 1234);
  kernel.close(first);
  const second = open(openPin(kernel, path));
  expect(get(kernel, second, 1)).toBe(1234n);
  expect(kernel.bpffs.unlink(path)).toBe(0);
  expect(get(kernel, second, 1)).toBe(1234n);
  expect(outcome(openPin(kernel, path))).toBe("ENOENT");
});

contract("a pinned program runs", (kernel, { open, pins }) => {
  const path = `${pins}/program`;
  const prog = load(kernel, [mov(r0, 5), exit()]);
  expect(pin(kernel, prog, path)).toBe(0);
  kernel.close(prog);
  expect(testRun(kernel, open(openPin(kernel, path))).retval).toBe(5);
  expect(kernel.bpffs.unlink(path)).toBe(0);
});

contract("a path that is taken is EEXIST, for a pin and for a directory", (kernel, { open, pins }) => {
  const map = open(create(kernel));
  const path = `${pins}/taken`;
  expect(pin(kernel, map, path)).toBe(0);
  expect(pin(kernel, map, path)).toBe("EEXIST");
  expect(outcome(kernel.bpffs.mkdir(path))).toBe("EEXIST");
  expect(pin(kernel, map, pins)).toBe("EEXIST");
  expect(kernel.bpffs.unlink(path)).toBe(0);
});

contract("one map may have two pins", (kernel, { open, pins }) => {
  const map = open(create(kernel));
  expect(pin(kernel, map, `${pins}/one`)).toBe(0);
  expect(pin(kernel, map, `${pins}/two`)).toBe(0);
  expect(kernel.bpffs.unlink(`${pins}/one`)).toBe(0);
  open(openPin(kernel, `${pins}/two`));
  expect(kernel.bpffs.unlink(`${pins}/two`)).toBe(0);
});

contract("a name with a dot is EPERM", (kernel, { open, pins }) => {
  const map = open(create(kernel));
  expect(pin(kernel, map, `${pins}/a.b`)).toBe("EPERM");
  expect(outcome(kernel.bpffs.mkdir(`${pins}/a.b`))).toBe("EPERM");
});

contract("a directory that is not there is ENOENT, a pin in its place ENOTDIR", (kernel, { open, pins }) => {
  const map = open(create(kernel));
  expect(pin(kernel, map, `${pins}/nowhere/map`)).toBe("ENOENT");
  expect(outcome(openPin(kernel, `${pins}/nowhere`))).toBe("ENOENT");
  expect(pin(kernel, map, `${pins}/map`)).toBe(0);
  expect(pin(kernel, map, `${pins}/map/inner`)).toBe("ENOTDIR");
  expect(outcome(openPin(kernel, `${pins}/map/inner`))).toBe("ENOTDIR");
  expect(kernel.bpffs.unlink(`${pins}/map`)).toBe(0);
});

contract("a directory cannot be opened as an object: EACCES", (kernel, { pins }) => {
  expect(kernel.bpffs.mkdir(`${pins}/directory`)).toBe(0);
  expect(outcome(openPin(kernel, `${pins}/directory`))).toBe("EACCES");
  expect(kernel.bpffs.rmdir(`${pins}/directory`)).toBe(0);
});

contract("outside of a BPF file system nothing is pinned: EPERM", (kernel, { open }) => {
  const map = open(create(kernel));
  expect(pin(kernel, map, "/tmp/skep-is-not-a-bpf-file-system")).toBe("EPERM");
  expect(kernel.bpffs.contains("/tmp/skep-is-not-a-bpf-file-system")).toBe(false);
});

contract("a path is in the BPF file system whether something stands there or not", (kernel, { pins }) => {
  expect(kernel.bpffs.contains(pins)).toBe(true);
  expect(kernel.bpffs.contains(`${pins}/not/there`)).toBe(true);
  expect(kernel.bpffs.contains("/")).toBe(false);
});

contract("a path without a NUL, and no path, are EFAULT", (kernel, { open, pins }) => {
  const bpf_fd = open(create(kernel));
  expect(outcome(kernel.bpf(BPF_OBJ_PIN, { bpf_fd, pathname: new TextEncoder().encode(`${pins}/map`) }))).toBe(
    "EFAULT",
  );
  expect(outcome(kernel.bpf(BPF_OBJ_PIN, { bpf_fd }))).toBe("EFAULT");
  expect(outcome(kernel.bpf(BPF_OBJ_GET, {}))).toBe("EFAULT");
});

contract("an empty path is ENOENT", (kernel, { open }) => {
  expect(pin(kernel, open(create(kernel)), "")).toBe("ENOENT");
  expect(outcome(openPin(kernel, ""))).toBe("ENOENT");
});

contract("what is not open cannot be pinned, and flags are refused: EINVAL", (kernel, { open, pins }) => {
  expect(pin(kernel, 12345, `${pins}/map`)).toBe("EINVAL");
  const bpf_fd = open(create(kernel));
  const pathname = cString(`${pins}/map`);
  expect(outcome(kernel.bpf(BPF_OBJ_PIN, { bpf_fd, pathname, file_flags: BPF_F_RDONLY }))).toBe("EINVAL");
  expect(outcome(kernel.bpf(BPF_OBJ_GET, { bpf_fd, pathname }))).toBe("EINVAL");
  expect(outcome(openPin(kernel, `${pins}/map`, 1))).toBe("EINVAL");
  expect(outcome(openPin(kernel, `${pins}/map`, BPF_F_RDONLY | BPF_F_WRONLY))).toBe("EINVAL");
});

contract("a pin may be opened for reading or writing only", (kernel, { open, pins }) => {
  const path = `${pins}/map`;
  const map = open(create(kernel));
  pin(kernel, map, path);
  const reader = open(openPin(kernel, path, BPF_F_RDONLY));
  expect([get(kernel, reader, 0), set(kernel, reader, 0, 1)]).toEqual([0n, "EPERM"]);
  const writer = open(openPin(kernel, path, BPF_F_WRONLY));
  expect([set(kernel, writer, 0, 1), get(kernel, writer, 0)]).toEqual([0, "EPERM"]);
  expect(kernel.bpffs.unlink(path)).toBe(0);
});

contract("directories hold pins, and are removed when empty", (kernel, { open, pins }) => {
  const directory = `${pins}/directory`;
  expect(kernel.bpffs.mkdir(directory)).toBe(0);
  expect(pin(kernel, open(create(kernel)), `${directory}/map`)).toBe(0);
  expect(kernel.bpffs.readdir(pins)).toEqual([{ name: "directory", directory: true }]);
  expect(kernel.bpffs.readdir(directory)).toEqual([{ name: "map", directory: false }]);
  expect(outcome(kernel.bpffs.rmdir(directory))).toBe("ENOTEMPTY");
  expect(outcome(kernel.bpffs.unlink(directory))).toBe("EISDIR");
  expect(outcome(kernel.bpffs.rmdir(`${directory}/map`))).toBe("ENOTDIR");
  expect(kernel.bpffs.unlink(`${directory}/map`)).toBe(0);
  expect(outcome(kernel.bpffs.unlink(`${directory}/map`))).toBe("ENOENT");
  expect(kernel.bpffs.rmdir(directory)).toBe(0);
  expect(outcome(kernel.bpffs.rmdir(directory))).toBe("ENOENT");
  expect(outcome(kernel.bpffs.readdir(directory) as number)).toBe("ENOENT");
});

contract("a pin that is renamed is found at its new path, and replaces what stood there", (kernel, { open, pins }) => {
  const first = open(create(kernel));
  const second = open(create(kernel));
  set(kernel, first, 0, 1);
  set(kernel, second, 0, 2);
  pin(kernel, first, `${pins}/first`);
  pin(kernel, second, `${pins}/second`);
  expect(kernel.bpffs.rename(`${pins}/first`, `${pins}/second`)).toBe(0);
  expect(kernel.bpffs.readdir(pins)).toEqual([{ name: "second", directory: false }]);
  expect(get(kernel, open(openPin(kernel, `${pins}/second`)), 0)).toBe(1n);
  expect(outcome(kernel.bpffs.rename(`${pins}/first`, `${pins}/third`))).toBe("ENOENT");
  expect(kernel.bpffs.unlink(`${pins}/second`)).toBe(0);
});
