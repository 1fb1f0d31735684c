// BPF_MAP_TYPE_LPM_TRIE: prefixes of keys whose first bit is the highest of their first byte.
// A node is a prefix, its key's bytes rounded up to 8, and a value; nodes without a value stand where two prefixes part.
// Linux: kernel/bpf/lpm_trie.c

import { EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC } from "../src/uapi/errno.ts";
import { BPF_EXIST, BPF_NOEXIST } from "../src/uapi/flags.ts";
import { allocate, blockSize, free, freeLater } from "./allocator.ts";
import { copy } from "./bytes.ts";
import { MapHeader } from "./map.ts";

@unmanaged
class Node {
  /** Those that go on with a 0, and with a 1. */
  zero: usize;
  one: usize;
  /** Bits. */
  length: u32;
  /** Whether it is no element: it has both children, and no value. */
  isIntermediate: bool;
  /** Keeps the value 8-aligned, as atomic operations need it. */
  reserved: u16;
}

/** A key begins with the number of bits that count. */
const KEY_HEADER: u32 = 4;

export function destroy(map: MapHeader): void {
  // Each node that has a left child becomes the right child of it, until the trie is a list.
  let at = map.data;
  while (at) {
    const node = changetype<Node>(at);
    const left = node.zero;
    if (left) {
      node.zero = changetype<Node>(left).one;
      changetype<Node>(left).one = at;
      at = left;
    } else {
      const next = node.one;
      free(at);
      at = next;
    }
  }
}

/** Address of the value of the longest prefix that `key` begins with; 0 where there is none. */
export function lookup(map: MapHeader, key: usize): usize {
  const longest = maxLength(map);
  if (load<u32>(key) > longest) return 0;
  let found: usize = 0;
  let at = map.data;
  while (at) {
    const node = changetype<Node>(at);
    if (common(node, key) < node.length) break;
    if (!node.isIntermediate) found = at;
    if (node.length == longest) break;
    at = load<usize>(childFor(node, key));
  }
  return found ? found + offsetof<Node>() + keyStride(map) : 0;
}

/** 0 or -errno. */
export function update(map: MapHeader, key: usize, value: usize, flags: u64): i32 {
  const length = load<u32>(key);
  if (flags > <u64>BPF_EXIST || length > maxLength(map)) return -EINVAL;
  const link = find(map, key);
  const at = load<usize>(link);
  const old = changetype<Node>(at);
  const shared = at ? common(old, key) : 0;
  const isReplaced = at != 0 && old.length == shared;
  if (isReplaced && !old.isIntermediate) {
    if (flags == BPF_NOEXIST) return -EEXIST;
  } else {
    if (flags == BPF_EXIST) return -ENOENT;
    if (map.count == map.maxEntries) return -ENOSPC;
  }
  const node = newNode(map, key + KEY_HEADER, length, map.valueSize);
  if (!node) return -ENOMEM;
  copy(changetype<usize>(node) + offsetof<Node>() + keyStride(map), value, map.valueSize);
  if (!at) {
    store<usize>(link, changetype<usize>(node));
    map.count += 1;
    return 0;
  }
  if (isReplaced) {
    node.zero = old.zero;
    node.one = old.one;
    store<usize>(link, changetype<usize>(node));
    if (old.isIntermediate) map.count += 1;
    freeNode(map, at);
    return 0;
  }
  if (shared == length) {
    store<usize>(childAt(node, dataOf(old), length), at);
    store<usize>(link, changetype<usize>(node));
    map.count += 1;
    return 0;
  }
  const parting = newNode(map, dataOf(old), shared, 0);
  if (!parting) {
    freeNode(map, changetype<usize>(node));
    return -ENOMEM;
  }
  parting.isIntermediate = true;
  store<usize>(childAt(parting, dataOf(old), shared), at);
  store<usize>(childAt(parting, key + KEY_HEADER, shared), changetype<usize>(node));
  store<usize>(link, changetype<usize>(parting));
  map.count += 1;
  return 0;
}

/** Removes the very prefix `key`. 0 or -errno. */
export function remove(map: MapHeader, key: usize): i32 {
  const length = load<u32>(key);
  if (length > maxLength(map)) return -EINVAL;
  let parentLink: usize = 0;
  let link = rootOf(map);
  let at = load<usize>(link);
  while (at != 0 && isAbove(changetype<Node>(at), key, length)) {
    parentLink = link;
    link = childFor(changetype<Node>(at), key);
    at = load<usize>(link);
  }
  if (!at || !isElement(changetype<Node>(at), key, length)) return -ENOENT;
  map.count -= 1;
  const node = changetype<Node>(at);
  if (node.zero && node.one) {
    node.isIntermediate = true;
    return 0;
  }
  const parent = parentLink ? load<usize>(parentLink) : 0;
  const child = node.zero | node.one;
  if (!child && parent && changetype<Node>(parent).isIntermediate) {
    // Where two prefixes parted, one is left: it takes the place.
    const branch = changetype<Node>(parent);
    store<usize>(parentLink, branch.zero == at ? branch.one : branch.zero);
    freeNode(map, parent);
  } else store<usize>(link, child);
  freeNode(map, at);
  return 0;
}

/** Longer prefixes come before those that they begin with. -ENOENT behind the last; the first key for one that is not there. */
export function nextKey(map: MapHeader, key: usize, next: usize): i32 {
  let at = map.data;
  if (!at) return -ENOENT;
  if (!key || load<u32>(key) > maxLength(map)) return copyKey(map, first(at), next);
  const length = load<u32>(key);
  // What follows the node in postorder: the lowest ancestor's other child, or the ancestor.
  let following: usize = 0;
  while (at != 0 && isAbove(changetype<Node>(at), key, length)) {
    const node = changetype<Node>(at);
    const child = load<usize>(childFor(node, key));
    if (!isSet(key + KEY_HEADER, node.length) && node.one) following = node.one;
    else if (!node.isIntermediate) following = at | IS_ANCESTOR;
    at = child;
  }
  if (!at || !isElement(changetype<Node>(at), key, length)) return copyKey(map, first(map.data), next);
  if (!following) return -ENOENT;
  const target = following & IS_ANCESTOR ? following & ~IS_ANCESTOR : first(following);
  return copyKey(map, target, next);
}

/** Marks an address, which is a multiple of 8. */
const IS_ANCESTOR: usize = 1;

/** Where the node stands, or would stand, that a prefix replaces, is put above, or parts from. */
function find(map: MapHeader, key: usize): usize {
  const length = load<u32>(key);
  let link = rootOf(map);
  let at = load<usize>(link);
  while (at != 0 && isAbove(changetype<Node>(at), key, length)) {
    link = childFor(changetype<Node>(at), key);
    at = load<usize>(link);
  }
  return link;
}

/** Whether a key is longer than a node's prefix, and begins with it. */
function isAbove(node: Node, key: usize, length: u32): bool {
  return node.length < length && common(node, key) == node.length;
}

function isElement(node: Node, key: usize, length: u32): bool {
  return node.length == length && !node.isIntermediate && common(node, key) == length;
}

/** How many bits a node's prefix and a key have in common. Behind a short key, bytes are read that do not count. */
function common(node: Node, key: usize): u32 {
  const limit = min(node.length, load<u32>(key));
  const data = dataOf(node);
  for (let bits: u32 = 0; bits < limit; bits += 64) {
    const difference = bswap<u64>(load<u64>(data + (bits >> 3)) ^ load<u64>(key + KEY_HEADER + (bits >> 3)));
    if (difference) return min(limit, bits + <u32>clz(difference));
  }
  return limit;
}

/** The first element in postorder. */
function first(at: usize): usize {
  while (true) {
    const node = changetype<Node>(at);
    const child = node.zero ? node.zero : node.one;
    if (!child) return at;
    at = child;
  }
}

function copyKey(map: MapHeader, node: usize, next: usize): i32 {
  store<u32>(next, changetype<Node>(node).length);
  copy(next + KEY_HEADER, dataOf(changetype<Node>(node)), map.keySize - KEY_HEADER);
  return 0;
}

function newNode(map: MapHeader, data: usize, length: u32, valueSize: u32): Node | null {
  const at = allocate(offsetof<Node>() + keyStride(map) + valueSize);
  if (!at) return null;
  map.memory += <u32>blockSize(at);
  const node = changetype<Node>(at);
  node.zero = 0;
  node.one = 0;
  node.length = length;
  node.isIntermediate = false;
  copy(dataOf(node), data, map.keySize - KEY_HEADER);
  return node;
}

/** A program may still use the value. */
function freeNode(map: MapHeader, at: usize): void {
  map.memory -= <u32>blockSize(at);
  freeLater(at);
}

/** Where the child stands that a key goes on with. */
function childFor(node: Node, key: usize): usize {
  return childAt(node, key + KEY_HEADER, node.length);
}

function childAt(node: Node, data: usize, bit: u32): usize {
  return changetype<usize>(node) + (isSet(data, bit) ? offsetof<Node>("one") : offsetof<Node>("zero"));
}

function isSet(data: usize, bit: u32): bool {
  return (<u32>load<u8>(data + (bit >> 3)) & (0x80 >> (bit & 7))) != 0;
}

function dataOf(node: Node): usize {
  return changetype<usize>(node) + offsetof<Node>();
}

function rootOf(map: MapHeader): usize {
  return changetype<usize>(map) + offsetof<MapHeader>("data");
}

function maxLength(map: MapHeader): u32 {
  return (map.keySize - KEY_HEADER) * 8;
}

function keyStride(map: MapHeader): usize {
  return (map.keySize - KEY_HEADER + 7) & ~7;
}
