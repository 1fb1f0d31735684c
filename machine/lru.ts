// BPF_MAP_TYPE_LRU_HASH and BPF_MAP_TYPE_LRU_PERCPU_HASH: hashes whose new keys take the place of keys that were not looked up for long.
// Each element has a node in front, in a list of active, inactive or free ones. By default the lists are common to all CPUs, and each
// CPU takes free nodes from them by the batch, which it keeps in local lists; with BPF_F_NO_COMMON_LRU each CPU has lists and elements of its own.
// Linux: kernel/bpf/bpf_lru_list.c

import { EINVAL, ENOENT, ENOMEM } from "../src/uapi/errno.ts";
import { BPF_EXIST, BPF_F_NO_COMMON_LRU } from "../src/uapi/flags.ts";
import { BPF_MAP_TYPE_LRU_PERCPU_HASH } from "../src/uapi/map-types.ts";
import { allocate, free } from "./allocator.ts";
import { copy } from "./bytes.ts";
import * as hash from "./hash.ts";
import {
  checkExistence,
  Element,
  elementOf,
  findLink,
  hashOf,
  insert,
  keyOf,
  linkOf,
  take,
  unlink,
  valueOf,
} from "./hash.ts";
import { CPU, CPUS } from "./layout.ts";
import { MapHeader } from "./map.ts";
import { clearFields, replaceValue, zeroValues } from "./values.ts";

/** A place in a circular list, or the list's head. */
@unmanaged
class Link {
  previous: usize;
  next: usize;
}

/** What lies in front of an element. */
@unmanaged
class Node extends Link {
  list: u8;
  /** Whether it was looked up since it was last put into a list. */
  referenced: u8;
  cpu: u16;
  /** Keeps the element 8-aligned. */
  reserved: u32;
}

const NODE_BYTES: usize = offsetof<Node>();
const LINK_BYTES: usize = offsetof<Link>();

// The list that a node is in.
const ACTIVE: u8 = 0;
const INACTIVE: u8 = 1;
const FREE: u8 = 2;
const LOCAL_FREE: u8 = 3;
const LOCAL_PENDING: u8 = 4;

/** The lists that elements grow old in, whose heads come first: active, inactive, free. */
@unmanaged
class Lists {
  heads0: u64;
  heads1: u64;
  heads2: u64;
  activeCount: u32;
  inactiveCount: u32;
  /** The link that the next rotation of the inactive list begins with. */
  rotation: usize;
  reserved: u32;
}

/** What a CPU holds of common lists, heads first: nodes to be given out, and given out since. */
@unmanaged
class LocalLists {
  heads0: u64;
  heads1: u64;
  /** CPU to take nodes from when there are none left here or in the lists. */
  nextSteal: u32;
  reserved: u32;
}

/** Most nodes that a CPU takes from common lists at once, and that a look at a list goes through. */
const BATCH: u32 = 128;
/** The same where each CPU has lists of its own. */
const OWN_BATCH: u32 = 4;

/** Allocates all elements, and frees them into the lists. */
export function initialize(map: MapHeader): i32 {
  const cpus = load<u32>(CPUS);
  const error = hash.initialize(map, map.type == BPF_MAP_TYPE_LRU_PERCPU_HASH ? cpus : 1, <u32>NODE_BYTES, 0);
  if (error) return error;
  const bytes = hasOwnLists(map) ? cpus * offsetof<Lists>() : offsetof<Lists>() + cpus * offsetof<LocalLists>();
  map.lru = allocate(bytes);
  if (!map.lru) {
    hash.destroy(map);
    return -ENOMEM;
  }
  map.memory += <u32>bytes;
  if (hasOwnLists(map)) {
    for (let cpu: u32 = 0; cpu < cpus; ++cpu) {
      const lists = listsOf(map, cpu);
      initializeLists(lists);
      addFree(map, lists, cpu, map.maxEntries / cpus);
    }
    return 0;
  }
  const lists = listsOf(map, 0);
  initializeLists(lists);
  for (let cpu: u32 = 0; cpu < cpus; ++cpu) {
    const local = localOf(map, cpu);
    initializeHead(localHead(local, LOCAL_FREE));
    initializeHead(localHead(local, LOCAL_PENDING));
    local.nextSteal = cpu;
  }
  addFree(map, lists, 0, map.maxEntries);
  return 0;
}

export function destroy(map: MapHeader): void {
  hash.destroy(map);
  free(map.lru);
}

/** Marks an element, by the address of its value, as used. To be called when a program looks it up. */
export function touch(map: MapHeader, value: usize): void {
  const node = nodeOf(elementOf(map, value));
  if (!node.referenced) node.referenced = 1;
}

/** Sets a value. Even where the key is there, a free element is needed first, for which another may have to go. */
export function update(map: MapHeader, key: usize, value: usize, flags: u64): i32 {
  if (flags > <u64>BPF_EXIST) return -EINVAL;
  const element = takeFor(map, key);
  if (!element) return -ENOMEM;
  replaceValue(map, valueOf(map, element), value);
  const link = findLink(map, keyOf(element), element.hash);
  const error = checkExistence(map, link, flags);
  if (error) {
    giveBack(map, element);
    return error;
  }
  const old = link ? unlink(map, link) : null;
  insert(map, element, keyOf(element), element.hash);
  if (old) {
    nodeOf(element).referenced = 1;
    giveBack(map, old);
  }
  return 0;
}

/** Address of the values of a key of a per-CPU map, which are zero where it is new, or -errno. */
export function findOrAdd(map: MapHeader, key: usize, flags: u64): i32 {
  let wanted = hashOf(map, key);
  let element: Element | null = null;
  if (flags != BPF_EXIST) {
    element = takeFor(map, key);
    if (!element) return -ENOMEM;
    // The key may have lain in the element that was taken.
    key = keyOf(element);
    wanted = element.hash;
  }
  const link = findLink(map, key, wanted);
  const error = checkExistence(map, link, flags);
  if (!error && !link && element) {
    insert(map, element, key, wanted);
    zeroValues(map, valueOf(map, element));
    return <i32>valueOf(map, element);
  }
  if (element) giveBack(map, element);
  if (error) return error;
  const old = load<Element>(link);
  nodeOf(old).referenced = 1;
  return <i32>valueOf(map, old);
}

/** 0 or -ENOENT. */
export function remove(map: MapHeader, key: usize): i32 {
  const link = findLink(map, key, hashOf(map, key));
  if (!link) return -ENOENT;
  giveBack(map, unlink(map, link));
  return 0;
}

/** A free element that has the key and its hash already. */
function takeFor(map: MapHeader, key: usize): Element | null {
  const wanted = hashOf(map, key);
  const cpu = load<u32>(CPU);
  const node = hasOwnLists(map) ? takeOwn(map, cpu) : takeCommon(map, cpu);
  if (!node) return null;
  const element = changetype<Element>(changetype<usize>(node) + NODE_BYTES);
  element.hash = wanted;
  copy(keyOf(element), key, map.keySize);
  return element;
}

/** Gives an element back that is not, or no longer, in the map. */
function giveBack(map: MapHeader, element: Element): void {
  clearFields(map, valueOf(map, element));
  const node = nodeOf(element);
  if (node.list != LOCAL_PENDING) {
    moveTo(listsOf(map, node.cpu), node, FREE);
    return;
  }
  node.list = LOCAL_FREE;
  node.referenced = 0;
  move(node, localHead(localOf(map, node.cpu), LOCAL_FREE));
}

function takeOwn(map: MapHeader, cpu: u32): Node | null {
  const lists = listsOf(map, cpu);
  rotate(lists, OWN_BATCH);
  const head = headOf(lists, FREE);
  if (isEmpty(head)) shrink(map, lists, OWN_BATCH, OWN_BATCH, head, FREE);
  if (isEmpty(head)) return null;
  const node = changetype<Node>(head.next);
  moveTo(lists, node, INACTIVE);
  return node;
}

function takeCommon(map: MapHeader, cpu: u32): Node | null {
  const local = localOf(map, cpu);
  let node = takeLocal(local);
  if (!node) {
    refill(map, local);
    node = takeLocal(local);
  }
  if (!node) node = steal(map, local);
  if (!node) return null;
  node.cpu = <u16>cpu;
  node.list = LOCAL_PENDING;
  node.referenced = 0;
  addFirst(node, localHead(local, LOCAL_PENDING));
  return node;
}

function takeLocal(local: LocalLists): Node | null {
  const head = localHead(local, LOCAL_FREE);
  if (isEmpty(head)) return null;
  const node = changetype<Node>(head.next);
  takeOut(node);
  return node;
}

/** Gives a CPU's nodes to the common lists, and fetches free ones for it. */
function refill(map: MapHeader, local: LocalLists): void {
  const lists = listsOf(map, 0);
  const pending = localHead(local, LOCAL_PENDING);
  while (!isEmpty(pending)) {
    const node = changetype<Node>(pending.previous);
    moveTo(lists, node, node.referenced ? ACTIVE : INACTIVE);
  }
  rotate(lists, BATCH);
  const target = min(max(map.maxEntries / load<u32>(CPUS) / 2, 1), BATCH);
  const freeNodes = headOf(lists, FREE);
  const localFree = localHead(local, LOCAL_FREE);
  let found: u32 = 0;
  while (found < target && !isEmpty(freeNodes)) {
    moveToFree(lists, changetype<Node>(freeNodes.next), localFree, LOCAL_FREE);
    found += 1;
  }
  if (found < target) shrink(map, lists, target - found, BATCH, localFree, LOCAL_FREE);
}

/** Takes a node from what a CPU holds, one CPU after the other. */
function steal(map: MapHeader, local: LocalLists): Node | null {
  const first = local.nextSteal;
  let from = first;
  let node: Node | null = null;
  do {
    const other = localOf(map, from);
    node = takeLocal(other);
    if (!node) node = takePending(map, other);
    from = (from + 1) % load<u32>(CPUS);
  } while (!node && from != first);
  local.nextSteal = from;
  return node;
}

/** The oldest pending node that was not looked up, or the oldest of all. */
function takePending(map: MapHeader, local: LocalLists): Node | null {
  const head = localHead(local, LOCAL_PENDING);
  if (isEmpty(head)) return null;
  let at = head.previous;
  while (at != changetype<usize>(head) && changetype<Node>(at).referenced) at = changetype<Link>(at).previous;
  const node = changetype<Node>(at == changetype<usize>(head) ? head.previous : at);
  evict(map, node);
  takeOut(node);
  return node;
}

function rotate(lists: Lists, scans: u32): void {
  if (lists.inactiveCount < lists.activeCount) rotateActive(lists, scans);
  rotateInactive(lists, scans);
}

/** Moves the oldest active nodes: those looked up to the front, the others to the inactive list. */
function rotateActive(lists: Lists, scans: u32): void {
  const head = headOf(lists, ACTIVE);
  const first = head.next;
  let at = head.previous;
  for (let scanned: u32 = 0; scanned < scans && at != changetype<usize>(head); ++scanned) {
    const node = changetype<Node>(at);
    const before = node.previous;
    moveTo(lists, node, node.referenced ? ACTIVE : INACTIVE);
    if (at == first) return;
    at = before;
  }
}

/** Moves inactive nodes that were looked up to the active list. Goes on where it stopped the last time. */
function rotateInactive(lists: Lists, scans: u32): void {
  const head = headOf(lists, INACTIVE);
  if (isEmpty(head)) return;
  let last = changetype<Link>(lists.rotation).next;
  if (last == changetype<usize>(head)) last = head.next;
  let at = lists.rotation;
  let next = at;
  for (let scanned: u32 = 0; scanned < scans; ++scanned) {
    if (at == changetype<usize>(head)) at = head.previous;
    const node = changetype<Node>(at);
    next = node.previous;
    if (node.referenced) moveTo(lists, node, ACTIVE);
    if (at == last) break;
    at = next;
  }
  lists.rotation = next;
}

/** Evicts up to `target` of the oldest inactive nodes that were not looked up; at least one node, looked up or not. */
function shrink(map: MapHeader, lists: Lists, target: u32, scans: u32, to: Link, list: u8): void {
  const inactive = headOf(lists, INACTIVE);
  let at = inactive.previous;
  let evicted: u32 = 0;
  for (let scanned: u32 = 0; scanned < scans && evicted < target && at != changetype<usize>(inactive); ++scanned) {
    const node = changetype<Node>(at);
    at = node.previous;
    if (node.referenced) moveTo(lists, node, ACTIVE);
    else {
      evict(map, node);
      moveToFree(lists, node, to, list);
      evicted += 1;
    }
  }
  if (evicted) return;
  const oldest = isEmpty(inactive) ? headOf(lists, ACTIVE) : inactive;
  if (isEmpty(oldest)) return;
  const node = changetype<Node>(oldest.previous);
  evict(map, node);
  moveToFree(lists, node, to, list);
}

/** Takes a node's element out of the hash. */
function evict(map: MapHeader, node: Node): void {
  const element = changetype<Element>(changetype<usize>(node) + NODE_BYTES);
  unlink(map, linkOf(map, element));
  clearFields(map, valueOf(map, element));
}

/** Moves a node to the front of one of `lists`, and forgets that it was looked up. */
function moveTo(lists: Lists, node: Node, list: u8): void {
  leave(lists, node);
  if (list == ACTIVE) lists.activeCount += 1;
  else if (list == INACTIVE) lists.inactiveCount += 1;
  node.list = list;
  node.referenced = 0;
  move(node, headOf(lists, list));
}

/** Moves a node of `lists` to the front of a list of free nodes. */
function moveToFree(lists: Lists, node: Node, to: Link, list: u8): void {
  leave(lists, node);
  node.list = list;
  move(node, to);
}

/** Makes a node's list count and rotate without it. */
function leave(lists: Lists, node: Node): void {
  if (node.list == ACTIVE) lists.activeCount -= 1;
  else if (node.list == INACTIVE) lists.inactiveCount -= 1;
  if (lists.rotation == changetype<usize>(node)) lists.rotation = node.previous;
}

function addFree(map: MapHeader, lists: Lists, cpu: u32, count: u32): void {
  for (let index: u32 = 0; index < count; ++index) {
    const node = changetype<Node>(take(map));
    node.list = FREE;
    node.referenced = 0;
    node.cpu = <u16>cpu;
    addFirst(node, headOf(lists, FREE));
  }
}

function initializeLists(lists: Lists): void {
  for (let list = ACTIVE; list <= FREE; ++list) initializeHead(headOf(lists, list));
  lists.activeCount = 0;
  lists.inactiveCount = 0;
  lists.rotation = changetype<usize>(headOf(lists, INACTIVE));
}

function initializeHead(head: Link): void {
  head.previous = changetype<usize>(head);
  head.next = changetype<usize>(head);
}

function isEmpty(head: Link): bool {
  return head.next == changetype<usize>(head);
}

function move(link: Link, head: Link): void {
  takeOut(link);
  addFirst(link, head);
}

function addFirst(link: Link, head: Link): void {
  link.previous = changetype<usize>(head);
  link.next = head.next;
  changetype<Link>(head.next).previous = changetype<usize>(link);
  head.next = changetype<usize>(link);
}

function takeOut(link: Link): void {
  changetype<Link>(link.previous).next = link.next;
  changetype<Link>(link.next).previous = link.previous;
}

function hasOwnLists(map: MapHeader): bool {
  return (map.flags & BPF_F_NO_COMMON_LRU) != 0;
}

/** The lists of a CPU, or those of all where they are common. */
function listsOf(map: MapHeader, cpu: u32): Lists {
  return changetype<Lists>(hasOwnLists(map) ? map.lru + cpu * offsetof<Lists>() : map.lru);
}

function localOf(map: MapHeader, cpu: u32): LocalLists {
  return changetype<LocalLists>(map.lru + offsetof<Lists>() + cpu * offsetof<LocalLists>());
}

function headOf(lists: Lists, list: u8): Link {
  return changetype<Link>(changetype<usize>(lists) + list * LINK_BYTES);
}

function localHead(local: LocalLists, list: u8): Link {
  return changetype<Link>(changetype<usize>(local) + (list - LOCAL_FREE) * LINK_BYTES);
}

function nodeOf(element: Element): Node {
  return changetype<Node>(changetype<usize>(element) - NODE_BYTES);
}
