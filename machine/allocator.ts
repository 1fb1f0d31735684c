// Memory in two layers: runs of 4096-byte pages, first fit in a list ordered by address, neighbours merged;
// and blocks of 16 to 2048 bytes from lists by size, cut from such runs. A block begins with 8 bytes that hold its size.

import {
  BYTES_IN_USE,
  CHUNK,
  CHUNK_END,
  DEPTH,
  FREE_BLOCKS,
  FREE_RUNS,
  FREED_LATER,
  HEAP_END,
  HEAP_START,
  HIGH_WATER,
  INITIAL_PAGES,
  PAGE_BYTES,
  PAGE_LIMIT,
} from "./layout.ts";

const WASM_PAGE: usize = 65536;
const CHUNK_BYTES: usize = 65536;
const GRANULE: usize = 16;
const LARGEST_BLOCK: usize = 2048;
const LARGEST_REQUEST: usize = 0x7fff0000;
const HEADER: usize = 8;

/** A free run of pages, written at its start. */
@unmanaged
class Run {
  next: usize;
  bytes: usize;
}

export function initializeAllocator(pageLimit: u32): void {
  store<u32>(PAGE_LIMIT, pageLimit);
  store<u32>(HEAP_END, HEAP_START);
  store<u32>(HIGH_WATER, HEAP_START);
  extendHeap(INITIAL_PAGES);
}

/** 8-aligned bytes with any content; 0 where memory does not suffice. */
export function allocate(bytes: usize): usize {
  if (bytes > LARGEST_REQUEST) return 0;
  const size = (bytes + HEADER + GRANULE - 1) & ~(GRANULE - 1);
  if (size > LARGEST_BLOCK) return withHeader(takePages(size, false), roundToPages(size));
  const list = listOf(size);
  const block = load<usize>(list);
  if (!block) return withHeader(cutBlock(size), size);
  store<usize>(list, load<usize>(block));
  return withHeader(block, size);
}

export function allocateZeroed(bytes: usize): usize {
  if (bytes > LARGEST_REQUEST) return 0;
  const size = bytes + HEADER;
  if (size > LARGEST_BLOCK) return withHeader(takePages(size, true), roundToPages(size));
  const address = allocate(bytes);
  if (address) memory.fill(address, 0, bytes);
  return address;
}

/** Frees what `allocate` or `allocateZeroed` gave; 0 is nothing. */
export function free(address: usize): void {
  if (!address) return;
  const block = address - HEADER;
  const size = load<usize>(block);
  count(-(<isize>size));
  if (size > LARGEST_BLOCK) giveRun(block, size);
  else giveBlock(block, size);
}

/** As `free`, but only when no program runs that might still use it. */
export function freeLater(address: usize): void {
  if (!load<u32>(DEPTH)) {
    free(address);
    return;
  }
  store<usize>(address, load<usize>(FREED_LATER));
  store<usize>(FREED_LATER, address);
}

/** Frees what `freeLater` kept: the outermost program has ended. */
export function freeKept(): void {
  let address = load<usize>(FREED_LATER);
  while (address) {
    const next = load<usize>(address);
    free(address);
    address = next;
  }
  store<usize>(FREED_LATER, 0);
}

/** Bytes that a block of `allocate` takes. */
export function blockSize(address: usize): usize {
  return load<usize>(address - HEADER);
}

/** Zeroed whole pages; 0 where memory does not suffice. */
export function allocatePages(bytes: usize): usize {
  const address = takePages(bytes, true);
  if (address) count(roundToPages(bytes));
  return address;
}

/** Frees what `allocatePages` gave for as many bytes. */
export function freePages(address: usize, bytes: usize): void {
  const size = roundToPages(bytes);
  count(-(<isize>size));
  giveRun(address, size);
}

export function bytesInUse(): usize {
  return load<usize>(BYTES_IN_USE);
}

/** Writes a block's header and counts it. */
function withHeader(block: usize, size: usize): usize {
  if (!block) return 0;
  store<usize>(block, size);
  count(size);
  return block + HEADER;
}

function count(bytes: isize): void {
  store<usize>(BYTES_IN_USE, load<usize>(BYTES_IN_USE) + bytes);
}

function listOf(size: usize): usize {
  return <usize>FREE_BLOCKS + (size / GRANULE - 1) * sizeof<usize>();
}

function giveBlock(block: usize, size: usize): void {
  const list = listOf(size);
  store<usize>(block, load<usize>(list));
  store<usize>(list, block);
}

/** A block from the chunk; a new chunk where the old one is too short, whose rest becomes a free block. */
function cutBlock(size: usize): usize {
  let start = load<usize>(CHUNK);
  let end = load<usize>(CHUNK_END);
  if (end - start < size) {
    let bytes = CHUNK_BYTES;
    let chunk = takePages(bytes, false);
    if (!chunk) {
      bytes = PAGE_BYTES;
      chunk = takePages(bytes, false);
      if (!chunk) return 0;
    }
    if (start < end) giveBlock(start, end - start);
    start = chunk;
    end = chunk + bytes;
    store<usize>(CHUNK_END, end);
  }
  store<usize>(CHUNK, start + size);
  return start;
}

function roundToPages(bytes: usize): usize {
  return (bytes + PAGE_BYTES - 1) & ~(<usize>PAGE_BYTES - 1);
}

/** The front of the first run that is long enough, at need of a heap that has grown. */
function takePages(bytes: usize, zeroed: bool): usize {
  if (!bytes || bytes > LARGEST_REQUEST) return 0;
  const size = roundToPages(bytes);
  let address = takeRun(size);
  if (!address) {
    if (!growHeap(size)) return 0;
    address = takeRun(size);
  }
  const used = load<usize>(HIGH_WATER);
  const end = address + size;
  if (zeroed) {
    if (address < used) memory.fill(address, 0, min(end, used) - address);
    else memory.fill(address, 0, offsetof<Run>());
  }
  if (end > used) store<usize>(HIGH_WATER, end);
  return address;
}

function takeRun(size: usize): usize {
  let link: usize = FREE_RUNS;
  let run = load<usize>(link);
  while (run) {
    const free = changetype<Run>(run);
    if (free.bytes >= size) {
      store<usize>(link, free.bytes == size ? free.next : shortened(free, size));
      return run;
    }
    link = run;
    run = free.next;
  }
  return 0;
}

/** What stays of a free run when its front is taken. */
function shortened(run: Run, size: usize): usize {
  const rest = changetype<Run>(changetype<usize>(run) + size);
  rest.next = run.next;
  rest.bytes = run.bytes - size;
  return changetype<usize>(rest);
}

/** Adds a run to the free ones. Bytes above HIGH_WATER stay zero but for the first 8 of a run. */
function giveRun(address: usize, size: usize): void {
  let before: usize = 0;
  let after = load<usize>(FREE_RUNS);
  while (after && after < address) {
    before = after;
    after = changetype<Run>(after).next;
  }
  let run = address;
  if (before && before + changetype<Run>(before).bytes == address) {
    run = before;
    changetype<Run>(run).bytes += size;
  } else {
    changetype<Run>(run).bytes = size;
    store<usize>(before ? before : FREE_RUNS, run);
  }
  changetype<Run>(run).next = after;
  if (after && run + changetype<Run>(run).bytes == after) {
    const absorbed = changetype<Run>(after);
    changetype<Run>(run).bytes += absorbed.bytes;
    changetype<Run>(run).next = absorbed.next;
    memory.fill(after, 0, offsetof<Run>());
  }
}

/** Grows memory so that a run of `size` fits at its end. */
function growHeap(size: usize): bool {
  const end = load<usize>(HEAP_END);
  const missing = size - freeAtEnd(end);
  const pages = <i32>((missing + WASM_PAGE - 1) / WASM_PAGE);
  if (memory.size() + pages > load<i32>(PAGE_LIMIT)) return false;
  if (memory.grow(pages) < 0) return false;
  extendHeap(memory.size());
  return true;
}

function freeAtEnd(end: usize): usize {
  for (let run = load<usize>(FREE_RUNS); run; run = changetype<Run>(run).next) {
    if (run + changetype<Run>(run).bytes == end) return changetype<Run>(run).bytes;
  }
  return 0;
}

/** The heap ends a page before memory does, so that the interpreter's check may look at 8 bytes whatever the width. */
function extendHeap(pages: i32): void {
  const old = load<usize>(HEAP_END);
  const end = <usize>pages * WASM_PAGE - PAGE_BYTES;
  store<usize>(HEAP_END, end);
  giveRun(old, end - old);
}
