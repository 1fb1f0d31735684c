// File descriptors, ids and references: what keeps an object of the embedded kernel alive, and how it is found.

import { EBADF, EINVAL, EMFILE, ENOENT } from "../uapi/errno.ts";
import type { EmbeddedBtf } from "./btf.ts";
import type { EmbeddedMap } from "./maps/map.ts";
import type { EmbeddedOwner } from "./owners.ts";
import type { EmbeddedPerfEvent } from "./perf-events.ts";
import type { EmbeddedProgram } from "./program.ts";

/** What lists know by id, and commands tell about. */
export type BpfObject = EmbeddedMap | EmbeddedProgram | EmbeddedBtf;
/** What a file descriptor may be of. */
export type KernelObject = BpfObject | EmbeddedOwner | EmbeddedPerfEvent;
export type ObjectKind = KernelObject["kind"];

/** What a file descriptor may do with its object. */
export interface File {
  readonly object: KernelObject;
  readonly canRead: boolean;
  readonly canWrite: boolean;
}

/** What every object counts: file descriptors, pins, mappings, and other objects that hold it. The last one destroys it. */
export class References {
  #count = 0;
  readonly #destroy: () => void;

  constructor(destroy: () => void) {
    this.#destroy = destroy;
  }

  take(): void {
    this.#count++;
  }

  drop(): void {
    if (--this.#count === 0) this.#destroy();
  }
}

/** Holds memory while somebody holds bytes of it: what is read after unmapping is its last content, not that of another object. */
export function holdWhileReachable(storage: References, bytes: Uint8Array): void {
  storage.take();
  views.register(bytes, storage);
}

const views = new FinalizationRegistry<References>((storage) => storage.drop());

/** 0, 1 and 2 are a process's standard streams. */
const FIRST_FD = 3;
/** As RLIMIT_NOFILE is where nobody has changed it. */
const MAX_FDS = 1048576;

/** The table of open files: the lowest free number is given out. */
export class FileTable {
  readonly #files: (File | undefined)[] = [];
  #open = 0;
  #lowestFree = FIRST_FD;

  /** How many are open. */
  get size(): number {
    return this.#open;
  }

  get(fd: number): File | undefined {
    return this.#files[fd];
  }

  /** A new file descriptor, which holds a reference; or -EMFILE, which ends an object that nobody else holds. */
  open(object: KernelObject, canRead = true, canWrite = true): number {
    let fd = this.#lowestFree;
    while (this.#files[fd] !== undefined) fd++;
    hold(object);
    if (fd >= MAX_FDS) {
      release(object);
      return -EMFILE;
    }
    this.#lowestFree = fd + 1;
    this.#files[fd] = { object, canRead, canWrite };
    this.#open++;
    return fd;
  }

  close(fd: number): number {
    const file = this.#files[fd];
    if (file === undefined) return -EBADF;
    this.#files[fd] = undefined;
    this.#lowestFree = Math.min(this.#lowestFree, fd);
    this.#open--;
    if (file.object.kind === "map") file.object.closed(file);
    release(file.object);
    return 0;
  }

  /** Closes everything. */
  clear(): void {
    this.#files.forEach((_, fd) => {
      this.close(fd);
    });
  }
}

/** A file descriptor or a pin holds an object. */
export function hold(object: KernelObject): void {
  object.references.take();
  if (object.kind === "map") object.userReferences.take();
}

/** A file descriptor or a pin lets go of an object. */
export function release(object: KernelObject): void {
  if (object.kind === "map") object.userReferences.drop();
  object.references.drop();
}

/** The objects of one kind by id. Ids start at 1 and go up; one that was used is not used again. */
export class Ids<T extends BpfObject> {
  readonly #objects = new Map<number, T>();
  #last = 0;

  add(make: (id: number) => T): T {
    const object = make(++this.#last);
    this.#objects.set(object.id, object);
    return object;
  }

  get(id: number): T | undefined {
    return this.#objects.get(id);
  }

  remove(id: number): void {
    this.#objects.delete(id);
  }

  /** The first id above `start`, or -ENOENT. Ids lie in the map in their order. */
  next(start: number): number {
    for (const id of this.#objects.keys()) if (id > start) return id;
    return -ENOENT;
  }

  values(): Iterable<T> {
    return this.#objects.values();
  }
}

/** The map behind a file descriptor; -EBADF where it is not open, -EINVAL where it is no map. */
export const findMap = (files: FileTable, fd: number): EmbeddedMap | number => find(files, fd, "map");
/** The program behind a file descriptor; -EBADF, -EINVAL. */
export const findProgram = (files: FileTable, fd: number): EmbeddedProgram | number => find(files, fd, "program");
/** The BTF behind a file descriptor; -EBADF, -EINVAL. */
export const findBtf = (files: FileTable, fd: number): EmbeddedBtf | number => find(files, fd, "btf");
/** The performance event behind a file descriptor; -EBADF where it is not open or something else, as perf_event_get has it. */
export function findPerfEvent(files: FileTable, fd: number): EmbeddedPerfEvent | number {
  const object = files.get(fd)?.object;
  return object?.kind === "perf event" ? object : -EBADF;
}

/** What is said of a file descriptor that was not given out: -EBADF, or -EINVAL for a standard stream, which is open but no BPF object. */
export const notOpen = (fd: number): number => (fd >= 0 && fd < FIRST_FD ? -EINVAL : -EBADF);

function find<Kind extends ObjectKind>(
  files: FileTable,
  fd: number,
  kind: Kind,
): Extract<KernelObject, { kind: Kind }> | number {
  const object = files.get(fd)?.object;
  if (object === undefined) return notOpen(fd);
  return object.kind === kind ? (object as Extract<KernelObject, { kind: Kind }>) : -EINVAL;
}
