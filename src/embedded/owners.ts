// What elements of maps belong to: sockets, inodes, tasks and cgroups, as far as maps know of them. File descriptors name them.
// Linux: kernel/bpf/bpf_local_storage.c, net/core/sock_map.c

import { EBADF, ENOTSOCK } from "../uapi/errno.ts";
import type { EmbeddedMap } from "./maps/map.ts";
import { type KernelObject, notOpen, References } from "./objects.ts";
import { type KernelState, whenIdle } from "./state.ts";

export type OwnerKind = "socket" | "inode" | "task" | "cgroup";

/** What maps ask of a socket. Without these it is a TCP socket that was only made. */
export interface SocketAttributes {
  /** Default: tcp. `unix` is a stream. */
  readonly protocol?: "tcp" | "udp" | "unix";
  /** Default: closed. A TCP socket that is bound but does not listen is closed to maps; a UDP socket that is connected is bound. */
  readonly state?: "closed" | "bound" | "listening" | "established";
  /** SO_REUSEPORT, set before the socket was bound. */
  readonly reusePort?: boolean;
}

interface Owner<Kind extends OwnerKind> {
  readonly kind: Kind;
  readonly references: References;
  /** Addresses of its values in local storage. */
  readonly storage: Map<EmbeddedMap, number>;
}

export interface EmbeddedSocket extends Owner<"socket">, Required<SocketAttributes> {
  /** SO_COOKIE */
  readonly cookie: number;
  /** In how many elements of socket maps it is. */
  readonly places: Map<EmbeddedMap, number>;
  /** Bytes that its local storage is charged for. */
  charged: number;
}

export type EmbeddedOwner = EmbeddedSocket | Owner<Exclude<OwnerKind, "socket">>;

/** A new owner, as a file descriptor; or -EMFILE. It ends when its last file descriptor is closed. */
export function openOwner(state: KernelState, kind: OwnerKind, attributes: SocketAttributes): number {
  const references = new References(() => end(state, owner));
  const storage = new Map<EmbeddedMap, number>();
  const owner: EmbeddedOwner =
    kind === "socket" ? newSocket(state, { kind, references, storage }, attributes) : { kind, references, storage };
  const fd = state.files.open(owner);
  if (fd >= 0) state.owners.add(owner);
  return fd;
}

/** A socket that nobody has a file descriptor of, as a packet of a test run has one. It ends when its reference is dropped. */
export function makeSocket(state: KernelState): EmbeddedSocket {
  const references = new References(() => end(state, socket));
  references.take();
  const socket = newSocket(state, { kind: "socket", references, storage: new Map() }, {});
  state.owners.add(socket);
  return socket;
}

/** The inode that the file descriptors of all maps, programs and BTF share. It never ends. */
export function anonymousInode(): EmbeddedOwner {
  const references = new References(() => {});
  references.take();
  return { kind: "inode", references, storage: new Map() };
}

/** The owner that a file descriptor names where one of this kind is looked for, or -errno. Whatever is open has an inode. */
export function findOwner(state: KernelState, kind: OwnerKind, fd: number): EmbeddedOwner | number {
  const object = state.files.get(fd)?.object;
  if (object === undefined) return kind === "socket" && notOpen(fd) !== -EBADF ? -ENOTSOCK : -EBADF;
  if (kind === "inode") return isOwner(object) ? object : state.anonymousInode;
  if (isOwner(object) && object.kind === kind) return object;
  return kind === "socket" ? -ENOTSOCK : -EBADF;
}

/** The socket of a file descriptor: -EBADF where it is not open, -ENOTSOCK where it is something else. */
export const findSocket = (state: KernelState, fd: number): EmbeddedSocket | number =>
  findOwner(state, "socket", fd) as EmbeddedSocket | number;

const OWNER_KINDS: ReadonlySet<string> = new Set<OwnerKind>(["socket", "inode", "task", "cgroup"]);

export const isOwner = (object: KernelObject): object is EmbeddedOwner => OWNER_KINDS.has(object.kind);

function newSocket(
  state: KernelState,
  owner: Owner<"socket">,
  { protocol = "tcp", state: socketState = "closed", reusePort = false }: SocketAttributes,
): EmbeddedSocket {
  const cookie = ++state.lastCookie;
  return { ...owner, protocol, state: socketState, reusePort, cookie, places: new Map(), charged: 0 };
}

/** What maps have of an owner goes with it. */
function end(state: KernelState, owner: EmbeddedOwner): void {
  state.owners.delete(owner);
  for (const value of owner.storage.values()) whenIdle(state, () => state.machine.free(value));
  if (owner.kind !== "socket") return;
  for (const map of [...owner.places.keys()]) map.family.forget?.(state, map, owner);
}
