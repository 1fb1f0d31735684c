// What elements of maps belong to on the running kernel: real sockets, files, tasks and cgroups.

import { openSync, readFileSync } from "node:fs";
import koffi from "koffi";
import type { OwnerKind, SocketAttributes } from "../../src/embedded/owners.ts";

/** File descriptors: first that of the owner, then what it needs to be as it is; or why there is none here. */
export function openLinuxOwner(kind: OwnerKind, socket: SocketAttributes = {}): readonly number[] | string {
  switch (kind) {
    case "socket":
      return openSocket(socket);
    case "inode":
      return [openSync("/proc/self/exe", "r")];
    case "task":
      return [checked("pidfd_open", libc().syscall(PIDFD_OPEN, process.pid, 0))];
    case "cgroup": {
      const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
      const mount = mounts.map((line) => line.split(" ")).find(([, , type]) => type === "cgroup2");
      return mount === undefined ? "no cgroup2 is mounted" : [openSync(mount[1]!, "r")];
    }
  }
}

/** SO_COOKIE of a socket. */
export function cookieOf(fd: number): bigint {
  const cookie = new Uint8Array(8);
  checked("getsockopt", libc().getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, new Uint32Array([cookie.length])));
  return new DataView(cookie.buffer).getBigUint64(0, true);
}

const PIDFD_OPEN = 434;
const AF_UNIX = 1;
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;
const SO_COOKIE = 57;

function openSocket({ protocol = "tcp", state = "closed", reusePort = false }: SocketAttributes): number[] {
  const { socket, socketpair, setsockopt, bind, listen, connect, accept } = libc();
  if (protocol === "unix") {
    if (state === "closed") return [checked("socket", socket(AF_UNIX, SOCK_STREAM, 0))];
    const pair = new Int32Array(2);
    checked("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    return [...pair];
  }
  const fd = checked("socket", socket(AF_INET, protocol === "tcp" ? SOCK_STREAM : SOCK_DGRAM, 0));
  if (reusePort) checked("setsockopt", setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, new Uint32Array([1]), 4));
  if (state === "closed") return [fd];
  if (state === "established") {
    const [listener] = openSocket({ protocol, state: "listening" }) as [number];
    checked("connect", connect(fd, addressOf(listener), ADDRESS_SIZE));
    return [fd, checked("accept", accept(listener, null, null)), listener];
  }
  checked("bind", bind(fd, loopback(), ADDRESS_SIZE));
  if (state === "listening") checked("listen", listen(fd, 1));
  return [fd];
}

const ADDRESS_SIZE = 16;

/** struct sockaddr_in of 127.0.0.1 and a free port. */
const loopback = (): Uint8Array =>
  Uint8Array.from([AF_INET, 0, 0, 0, 127, 0, 0, 1, ...new Array<number>(ADDRESS_SIZE - 8).fill(0)]);

function addressOf(fd: number): Uint8Array {
  const address = new Uint8Array(ADDRESS_SIZE);
  checked("getsockname", libc().getsockname(fd, address, new Uint32Array([ADDRESS_SIZE])));
  return address;
}

function checked(call: string, result: number): number {
  if (result < 0) throw new Error(`${call}: errno ${koffi.errno()}`);
  return result;
}

type Call = (...args: (number | Uint8Array | Uint32Array | Int32Array | null)[]) => number;

const DECLARATIONS = {
  syscall: "int syscall(long, int, uint)",
  socket: "int socket(int, int, int)",
  socketpair: "int socketpair(int, int, int, void *)",
  setsockopt: "int setsockopt(int, int, int, void *, uint)",
  getsockopt: "int getsockopt(int, int, int, void *, void *)",
  bind: "int bind(int, void *, uint)",
  listen: "int listen(int, int)",
  connect: "int connect(int, void *, uint)",
  accept: "int accept(int, void *, void *)",
  getsockname: "int getsockname(int, void *, void *)",
} as const;

let bound: Record<keyof typeof DECLARATIONS, Call> | undefined;

function libc(): Record<keyof typeof DECLARATIONS, Call> {
  if (bound !== undefined) return bound;
  const library = koffi.load(null);
  const calls = Object.entries(DECLARATIONS).map(([name, declaration]) => [name, library.func(declaration)]);
  bound = Object.fromEntries(calls) as Record<keyof typeof DECLARATIONS, Call>;
  return bound;
}
