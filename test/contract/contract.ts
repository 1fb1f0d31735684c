// The contract suite's own words: one case, run on the embedded kernel and on the running one.

import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, type TestContext, test } from "vitest";
import { syscallName } from "../../src/client/errors.ts";
import type { OwnerKind, SocketAttributes } from "../../src/embedded/owners.ts";
import type { DirectoryEntry, Kernel } from "../../src/kernel/kernel.ts";
import { BPF_BTF_GET_NEXT_ID, BPF_MAP_GET_NEXT_ID, BPF_PROG_GET_NEXT_ID } from "../../src/uapi/commands.ts";
import * as errno from "../../src/uapi/errno.ts";
import { namesByNumber } from "../../src/uapi/names.ts";
import { openLinux } from "../open-linux.ts";
import { openLinuxOwner } from "./linux-owners.ts";

export type Kind = Kernel["kind"];

/** What a case gets beside its kernel. */
export interface Bench {
  /** Asserts that a call gave a file descriptor, and closes it when the case has ended. */
  open(result: number): number;
  /** Closes what was opened before the case ends. */
  close(fd: number): void;
  /** A file descriptor of something that elements of maps belong to, closed when the case has ended. */
  owner(kind: "socket", socket?: SocketAttributes): number;
  owner(kind: OwnerKind): number;
  /** A directory of a BPF file system, empty; the case leaves it so. */
  readonly pins: string;
  /** Skips the case, for a reason that the run's end tells. */
  skip(reason: string): never;
}

type Case = (kernel: Kernel, bench: Bench) => void | Promise<void>;

/** A fact about both kernels. It fails where a file descriptor, mapping, pin or mount is left behind. */
export const contract = (name: string, body: Case): void => {
  contract.on("embedded")(name, body);
  contract.on("linux")(name, body);
};

/** A fact about one kernel. */
contract.on =
  (kind: Kind) =>
  (name: string, body: Case): void =>
    test(`${kind}: ${name}`, async (context) => {
      context.task.meta.contract = kind;
      const place = await places[kind](context);
      const before = place.held();
      const opened: number[] = [];
      const bench: Bench = {
        open(result) {
          expect(result, outcome(result).toString()).toBeGreaterThanOrEqual(0);
          opened.push(result);
          return result;
        },
        close(fd) {
          opened.splice(opened.indexOf(fd), 1);
          expect(place.kernel.close(fd)).toBe(0);
        },
        owner(kind: OwnerKind, socket?: SocketAttributes) {
          const descriptors = place.owner(kind, socket);
          if (typeof descriptors === "string") return context.skip(descriptors);
          for (const fd of descriptors) bench.open(fd);
          return descriptors[0]!;
        },
        get pins() {
          return place.pins();
        },
        skip: (reason) => context.skip(reason),
      };
      try {
        await body(place.kernel, bench);
        for (const fd of opened.splice(0)) place.kernel.close(fd);
        expect(place.held(), "left behind").toEqual(before);
      } finally {
        for (const fd of opened) place.kernel.close(fd);
        place.end();
      }
    });

/** A result as a person reads it: the number, or the name of the error. */
export const outcome = (result: number): number | string => (result < 0 ? (errorNames.get(-result) ?? result) : result);

declare module "vitest" {
  interface TaskMeta {
    /** The kernel that a contract case ran on. */
    contract?: Kind;
  }
}

/** A kernel that a case runs on, and what is held there. */
interface Place {
  readonly kernel: Kernel;
  /** File descriptors of an owner and of what it needs; or why there is none. */
  owner(kind: OwnerKind, socket?: SocketAttributes): readonly number[] | string;
  pins(): string;
  /** File descriptors, mappings, mounts and pins, to be the same before and after. */
  held(): readonly string[];
  end(): void;
}

const errorNames = namesByNumber(errno, "E");

const places: Record<Kind, (context: TestContext) => Promise<Place>> = { embedded: embeddedPlace, linux: linuxPlace };

async function embeddedPlace(): Promise<Place> {
  const { EmbeddedKernel } = await import("../../src/embedded/kernel.ts");
  const kernel = new EmbeddedKernel();
  const pins = "/sys/fs/bpf";
  const namesIn = (directory: string): string[] =>
    (kernel.bpffs.readdir(directory) as DirectoryEntry[]).map(({ name }) => name);
  return {
    kernel,
    owner: (kind, socket) => [kind === "socket" ? kernel.openOwner(kind, socket) : kernel.openOwner(kind)],
    pins: () => pins,
    held: () => [
      `${kernel.openFds} file descriptors`,
      `${kernel.pins} pins`,
      ...namesIn(pins),
      // A mapping or a watch that is left keeps its map.
      ...LISTS.map((command) => `${syscallName(command)}: ${outcome(kernel.bpf(command, { start_id: 0 }))}`),
    ],
    end: () => kernel[Symbol.dispose](),
  };
}

const LISTS = [BPF_MAP_GET_NEXT_ID, BPF_PROG_GET_NEXT_ID, BPF_BTF_GET_NEXT_ID] as const;

async function linuxPlace(context: TestContext): Promise<Place> {
  const kernel = await openLinux(context);
  const { major, minor, release } = kernel.system.kernelVersion;
  if (major < 6 || (major === 6 && minor < 18)) context.skip(`the contract is that of Linux 6.18; this is ${release}`);
  let mount: string | undefined;
  const pins = (): string => join(mount!, "case");
  return {
    kernel,
    owner: openLinuxOwner,
    pins() {
      if (mount === undefined) {
        const directory = mkdtempSync(MOUNTS);
        const result = kernel.bpffs.mount(directory);
        if (result < 0) {
          rmdirSync(directory);
          context.skip(`a BPF file system cannot be mounted here: ${outcome(result)}`);
        }
        mount = directory;
        // A new BPF file system is not empty: the kernel's own iterators may be pinned at its root.
        expect(outcome(kernel.bpffs.mkdir(pins()))).toBe(0);
      }
      return pins();
    },
    held: () => [...bpfDescriptors(), ...bpfMappings(), ...mountsBut(mount), ...(mount ? readdirSync(pins()) : [])],
    end() {
      kernel[Symbol.dispose]();
      if (mount === undefined) return;
      expect(outcome(kernel.bpffs.unmount(mount))).toBe(0);
      rmdirSync(mount);
    },
  };
}

/** Where the cases of this process mount. */
const MOUNTS = join(tmpdir(), `skep-contract-${process.pid}-`);

/** The open file descriptors of this process that BPF made. */
function bpfDescriptors(): string[] {
  const directory = "/proc/self/fd";
  return readdirSync(directory)
    .map((fd) => `${fd} ${linkOf(join(directory, fd))}`)
    .filter((link) => /anon_inode:(bpf|btf|\[eventpoll\])/.test(link));
}

/** readdir's own descriptor is gone when its link is read. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** The mappings of BPF objects in this process. */
const bpfMappings = (): string[] =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("anon_inode:bpf"));

/** The mounts of this process's cases, but for one. */
const mountsBut = (mount: string | undefined): string[] =>
  readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((point) => point.startsWith(MOUNTS) && point !== mount);
