// The BPF file system, in memory: a tree of directories, some of them mounted BPF file systems, which hold pins.
// Linux: kernel/bpf/inode.c

import type { Bpffs, DirectoryEntry } from "../kernel/kernel.ts";
import {
  EACCES,
  EBUSY,
  EEXIST,
  EINVAL,
  EISDIR,
  ENAMETOOLONG,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EPERM,
  EXDEV,
} from "../uapi/errno.ts";
import { type BpfObject, hold, release } from "./objects.ts";

interface Directory {
  readonly kind: "directory";
  /** The mounted file system that it belongs to; undefined outside of every BPF file system. */
  readonly mount: Mount | undefined;
  readonly entries: Map<string, Node>;
  /** What is mounted over it. */
  covered?: Directory | undefined;
}
interface Pin {
  readonly kind: "pin";
  readonly object: BpfObject;
}
type Node = Directory | Pin;
interface Mount {
  readonly over: Directory;
}

/** Where a path leads: its directory, its last name, and what is there. */
interface Place {
  readonly directory: Directory;
  readonly name: string;
  readonly node: Node | undefined;
}

const MAX_PATH = 4096;
const MAX_NAME = 255;
/** Directories that are there from the start; a BPF file system is mounted on the first. */
const DIRECTORIES = ["/sys/fs/bpf", "/tmp"];

/** The tree as commands see it; a result is >= 0, or -errno. */
export class BpffsTree implements Bpffs {
  readonly #root: Directory = directoryIn(undefined);
  #pins = 0;

  constructor() {
    for (const path of DIRECTORIES) {
      let directory = this.#root;
      for (const name of path.split("/").slice(1)) {
        const next = (directory.entries.get(name) as Directory | undefined) ?? directoryIn(undefined);
        directory.entries.set(name, next);
        directory = next;
      }
    }
    this.mount(DIRECTORIES[0] as string);
  }

  /** How many objects are pinned. */
  get pins(): number {
    return this.#pins;
  }

  /** Pins an object: EPERM outside of a BPF file system and for a name with a dot, EEXIST, ENOENT, ENOTDIR. */
  pin(path: string, object: BpfObject): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.node !== undefined) return -EEXIST;
    if (endsInSlash(path)) return -ENOENT;
    if (place.directory.mount === undefined) return -EPERM;
    hold(object);
    place.directory.entries.set(place.name, { kind: "pin", object });
    this.#pins++;
    return 0;
  }

  /** The object that is pinned at a path; or -ENOENT, -EACCES, … */
  get(path: string): BpfObject | number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.node === undefined) return -ENOENT;
    if (place.node.kind === "directory") return -EACCES;
    return endsInSlash(path) ? -ENOTDIR : place.node.object;
  }

  contains(path: string): boolean {
    const place = this.#place(path);
    // Where there is no such directory, the nearest that is there tells.
    if (typeof place === "number") return path.includes("/", 1) && this.contains(path.replace(/\/+[^/]*\/*$/, ""));
    return place.node?.kind === "directory" ? place.node.mount !== undefined : place.directory.mount !== undefined;
  }

  mount(path: string): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.node === undefined) return -ENOENT;
    if (place.node.kind !== "directory") return -ENOTDIR;
    place.node.covered = directoryIn({ over: place.node });
    return 0;
  }

  unmount(path: string): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.node === undefined) return -ENOENT;
    const { node } = place;
    const over = node.kind === "directory" ? node.mount?.over : undefined;
    if (over === undefined || over.covered !== node) return -EINVAL;
    this.#dropAll(node as Directory);
    over.covered = undefined;
    return 0;
  }

  mkdir(path: string): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.node !== undefined) return -EEXIST;
    place.directory.entries.set(place.name, directoryIn(place.directory.mount));
    return 0;
  }

  readdir(path: string): readonly DirectoryEntry[] | number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.node === undefined) return -ENOENT;
    if (place.node.kind !== "directory") return -ENOTDIR;
    return [...place.node.entries].map(([name, { kind }]) => ({ name, directory: kind === "directory" }));
  }

  unlink(path: string): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.node === undefined) return -ENOENT;
    if (place.node.kind === "directory") return -EISDIR;
    if (endsInSlash(path)) return -ENOTDIR;
    place.directory.entries.delete(place.name);
    this.#drop(place.node);
    return 0;
  }

  rmdir(path: string): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.node === undefined) return -ENOENT;
    if (place.node.kind !== "directory") return -ENOTDIR;
    if (place.node.mount !== place.directory.mount || place.name === "") return -EBUSY;
    if (place.node.entries.size > 0) return -ENOTEMPTY;
    place.directory.entries.delete(place.name);
    return 0;
  }

  rename(from: string, to: string): number {
    const source = this.#place(from);
    if (typeof source === "number") return source;
    const target = this.#place(to);
    if (typeof target === "number") return target;
    if (source.directory.mount !== target.directory.mount) return -EXDEV;
    if (source.node === undefined) return -ENOENT;
    if (source.node.kind === "directory" && source.node.entries.size > 0 && isInside(target.directory, source.node)) {
      return -EINVAL;
    }
    const replaced = target.node;
    if (replaced === source.node) return 0;
    if (replaced !== undefined) {
      if (source.node.kind === "directory" && replaced.kind !== "directory") return -ENOTDIR;
      if (source.node.kind !== "directory" && replaced.kind === "directory") return -EISDIR;
      if (replaced.kind === "directory" && replaced.entries.size > 0) return -ENOTEMPTY;
    }
    source.directory.entries.delete(source.name);
    target.directory.entries.set(target.name, source.node);
    if (replaced?.kind === "pin") this.#drop(replaced);
    return 0;
  }

  /** Drops every pin. */
  clear(): void {
    this.#dropAll(this.#root);
  }

  /**
   * Walks a path to its last name. A relative path begins at the root.
   *
   * @returns the place, or -ENOENT, -ENOTDIR, -ENAMETOOLONG, -EPERM
   */
  #place(path: string): Place | number {
    if (path.length === 0) return -ENOENT;
    if (path.length >= MAX_PATH) return -ENAMETOOLONG;
    const trail = [uncovered(this.#root)];
    const names = path.split("/").filter((name) => name !== "" && name !== ".");
    const last = names.pop();
    for (const name of names) {
      const node = step(trail, name);
      if (typeof node === "number") return node;
      if (node === undefined) return -ENOENT;
      if (node.kind !== "directory") return -ENOTDIR;
      if (name !== "..") trail.push(node);
    }
    const here = trail[trail.length - 1] as Directory;
    if (last === undefined) return { directory: here, name: "", node: here };
    const node = step(trail, last);
    return typeof node === "number" ? node : { directory: here, name: last, node };
  }

  #dropAll(directory: Directory): void {
    for (const [name, node] of directory.entries) {
      directory.entries.delete(name);
      if (node.kind === "pin") this.#drop(node);
      else this.#dropAll(node);
    }
    if (directory.covered !== undefined) this.#dropAll(directory.covered);
  }

  #drop({ object }: Pin): void {
    this.#pins--;
    release(object);
  }
}

const directoryIn = (mount: Mount | undefined): Directory => ({ kind: "directory", mount, entries: new Map() });

const endsInSlash = (path: string): boolean => path.endsWith("/");

/** The directory that one sees at a place: the last that was mounted over it. */
function uncovered(directory: Directory): Directory {
  let seen = directory;
  while (seen.covered !== undefined) seen = seen.covered;
  return seen;
}

/** What a name leads to from the end of a trail of directories; `..` shortens the trail. */
function step(trail: Directory[], name: string): Node | undefined | number {
  const here = trail[trail.length - 1] as Directory;
  if (name === "..") {
    if (trail.length > 1) trail.pop();
    return trail[trail.length - 1];
  }
  if (name.length > MAX_NAME) return -ENAMETOOLONG;
  // The kernel keeps names with a dot in a BPF file system for itself.
  if (here.mount !== undefined && name.includes(".")) return -EPERM;
  const node = here.entries.get(name);
  return node?.kind === "directory" ? uncovered(node) : node;
}

function isInside(directory: Directory, ancestor: Directory): boolean {
  if (directory === ancestor) return true;
  for (const node of ancestor.entries.values()) {
    if (node.kind === "directory" && isInside(directory, node)) return true;
  }
  return false;
}
