// What the elements of maps refer to, made in one kernel: inner maps, programs, BTF; and names for their ids.

import { exit, mov, r0 } from "../../src/asm/builder.ts";
import { buildBtf } from "../../src/btf/build.ts";
import { readMapInfo, readProgInfo } from "../../src/client/info.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import type { OwnerKind, SocketAttributes } from "../../src/embedded/owners.ts";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import { BPF_MAP_TYPE_ARRAY } from "../../src/uapi/map-types.ts";
import { int } from "./btf-types.ts";
import { outcome } from "./contract.ts";
import { openLinuxOwner } from "./linux-owners.ts";
import type { MapCreate } from "./maps.ts";
import { bpfOutput } from "./perf-samples.ts";
import { load } from "./programs.ts";

/** Things of one kernel, made when they are first asked for, and closed together. */
export class World {
  readonly kernel: Kernel;
  readonly #things = new Map<string, number>();
  readonly #names = new Map<string, string>();
  /** File descriptors that others need to be as they are: the peers of sockets. */
  readonly #needed: number[] = [];
  #cookies = 0;
  #maps = 0;

  constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  /** BPF_MAP_CREATE; the caller closes it. */
  create(attr: MapCreate): number {
    this.#maps++;
    return this.kernel.bpf(commands.BPF_MAP_CREATE, attr);
  }

  /** An array of 4 values of 8 bytes. */
  innerMap(number: number): number {
    const name = `inner map ${number}`;
    const attr = { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 8, max_entries: 4 };
    const fd = this.#thing(name, () => this.create(attr));
    this.#names.set(`map ${readMapInfo(this.kernel, fd).id}`, name);
    return fd;
  }

  /** A socket filter that returns its number. */
  program(number: number): number {
    const name = `program ${number}`;
    const fd = this.#thing(name, () => load(this.kernel, [mov(r0, number), exit()]));
    this.#names.set(`program ${readProgInfo(this.kernel, fd).id}`, name);
    return fd;
  }

  /** What elements belong to: a socket that is established, or bound and shared; an inode; a task; a cgroup. On Linux all inodes, tasks and cgroups are one. */
  owner(kind: OwnerKind, number: number): number {
    const socket: SocketAttributes = { protocol: "tcp", state: "established" };
    return this.#owned(`${kind} ${kind === "socket" ? number : 0}`, kind, socket);
  }

  /** A UDP socket of a reuseport group. Linux lets go of those of a closed map only a little later: each map has its own. */
  sharedSocket(number: number): number {
    return this.#owned(`shared socket ${number} of map ${this.#maps}`, "socket", {
      protocol: "udp",
      state: "bound",
      reusePort: true,
    });
  }

  /** A performance event that takes the samples of programs on CPU 0. */
  perfEvent(number: number): number {
    return this.#thing(`event ${number}`, () => this.kernel.perfEventOpen({ cpu: 0, ...bpfOutput }));
  }

  /** BTF with an int of 32 bits, 1, and one of 64 bits, 2. */
  integers(): number {
    const btf = buildBtf([int("u32", 4), int("u64", 8)]);
    return this.#thing("BTF", () => this.kernel.bpf(commands.BPF_BTF_LOAD, { btf, btf_size: btf.length }));
  }

  /** The name of a number that every kernel chooses for itself: by the order in which numbers are met. */
  nameOfCookie(bytes: Uint8Array): string {
    const cookie = `cookie ${new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)}`;
    const name = this.#names.get(cookie) ?? `cookie number ${this.#cookies++}`;
    this.#names.set(cookie, name);
    return name;
  }

  /** The name of what has an id, where it was made here. */
  nameOf(kind: "map" | "program", id: number): string {
    return this.#names.get(`${kind} ${id}`) ?? `${kind} ${id === 0 ? "none" : "unknown"}`;
  }

  close(): void {
    for (const fd of [...this.#things.values(), ...this.#needed.splice(0)]) this.kernel.close(fd);
    this.#things.clear();
  }

  #owned(name: string, kind: OwnerKind, socket: SocketAttributes): number {
    return this.#thing(name, () => {
      if (this.kernel instanceof EmbeddedKernel) {
        return kind === "socket" ? this.kernel.openOwner(kind, socket) : this.kernel.openOwner(kind);
      }
      const owner = openLinuxOwner(kind, socket);
      if (typeof owner === "string") throw new Error(owner);
      const [fd, ...needed] = owner as [number, ...number[]];
      this.#needed.push(...needed);
      return fd;
    });
  }

  #thing(name: string, make: () => number): number {
    const known = this.#things.get(name);
    if (known !== undefined) return known;
    const fd = make();
    if (fd < 0) throw new Error(`${name}: ${outcome(fd)}`);
    this.#things.set(name, fd);
    return fd;
  }
}
