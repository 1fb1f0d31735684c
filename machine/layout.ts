// Where things lie in the machine's memory: plain numbers, shared with the TypeScript that holds the machine.
// Page 0 of WebAssembly (64 KiB) stays zero, so that a null pointer with an offset is never valid memory.

/** Registers r0 to r10 of the running program, a u64 each. */
export const REGISTERS = 65536;
export const R0 = 65536;
export const R1 = 65544;
export const R2 = 65552;
export const R3 = 65560;
export const R4 = 65568;
export const R5 = 65576;
export const R6 = 65584;
export const R10 = 65616;
/** Where a run and a helper leave their result: r0, a u64. */
export const RESULT = 65536;
/** Arguments of the helper that is called: r1 to r5, a u64 each. */
export const ARGUMENTS = 65544;

/** u32: slot of the instruction that the last fault hit. */
export const FAULT_SLOT = 65624;
/** u64: the address that it used. */
export const FAULT_ADDRESS = 65632;
/** u32: number of the CPU that the running program is on. */
export const CPU = 65640;
/** u32: how many programs are running, one inside a helper of the other. */
export const DEPTH = 65644;
/** u32: how many backward jumps a run may take before it faults. */
export const BUDGET = 65648;
/** u32: number of possible CPUs. */
export const CPUS = 65652;
/** u64: state of the random number generator. */
export const RANDOM = 65656;

/** u32: bytes handed out by the allocator. */
export const BYTES_IN_USE = 65664;
/** u32: first free run of pages, in the order of addresses. */
export const FREE_RUNS = 65668;
/** u32: end of the memory that the allocator manages. */
export const HEAP_END = 65672;
/** u32: no byte from here on was ever handed out. */
export const HIGH_WATER = 65676;
/** u32: most pages of 64 KiB that memory may grow to. */
export const PAGE_LIMIT = 65680;
/** u32, u32: start and end of the chunk that small blocks are cut from. */
export const CHUNK = 65684;
export const CHUNK_END = 65688;
/** u32: the first map with hash elements that are freed when the outermost program has ended. */
export const DEFERRED = 65692;
/** u32 each: free blocks of 16, 32, … 2048 bytes. */
export const FREE_BLOCKS = 65696;
/** u32: blocks that are freed when the outermost program has ended. */
export const FREED_LATER = 66208;

/** u32: what is left of BUDGET to the callback that a helper calls, and to the caller when it has returned. */
export const REMAINING = 69624;

/** u32: frame of the function that called the helper which is running; a program that the helper runs starts behind it. */
export const FRAME = 69628;

/** Programs that run inside each other, and frames of all of them together: 33 tail calls, each of a seventh callee, and room. */
export const MAX_DEPTH = 8;
export const MAX_FRAMES = 256;

/** What callers get back, of each running program and each of its frames. */
export const SAVED_REGISTERS = 69632;
export const SAVED_FRAMES = 70656;

/** Programs may access memory from here on. */
export const DATA_START = 86016;
/** The stacks of running programs, 512 bytes for each frame, which grow downwards. */
export const STACKS = 86016;
export const STACKS_END = 217088;
/** What helpers point their callbacks to, 16 bytes for each frame: an index, or a dynptr. */
export const CALLBACK_ARGUMENTS = 217088;
export const CALLBACK_ARGUMENT_BYTES = 16;
/** The allocator's memory. */
export const HEAP_START = 221184;

/** Bytes of a page of BPF memory, which ring buffers and mmapable arrays are made of. */
export const PAGE_BYTES = 4096;
/** Pages of WebAssembly memory at the start, and the most there may be: offsets stay positive in an i32. */
export const INITIAL_PAGES = 4;
export const MAX_PAGES = 32768;

// Byte offsets in struct __sk_buff, for loads from the packet; the last two are the kernel's words behind it.
export const SKB_DATA = 76;
export const SKB_DATA_END = 80;
export const SKB_MAC_HEADER = 192;
export const SKB_NETWORK_HEADER = 196;

// What only the machine's own bytecode has: modes of loads, stores and atomic operations in the program's arena, in the place of
// BPF_MEM, BPF_MEMSX and BPF_ATOMIC; and the immediates of BPF_PSEUDO_KFUNC_CALL.
// Linux: include/linux/filter.h
export const BPF_PROBE_MEM32 = 0xa0;
export const BPF_PROBE_MEM32SX = 0xc0;
export const BPF_PROBE_ATOMIC = 0xe0;
export const KFUNC_ARENA_ALLOC_PAGES = 1;
export const KFUNC_ARENA_FREE_PAGES = 2;
export const KFUNC_ARENA_RESERVE_PAGES = 3;

// Results of programRun.
export const FAULT_NONE = 0;
/** An access outside the memory of programs. */
export const FAULT_ACCESS = 1;
/** An atomic operation on an address that is no multiple of its width. */
export const FAULT_ALIGNMENT = 2;
/** An instruction that does not exist. */
export const FAULT_INSTRUCTION = 3;
/** A jump or a fall out of the program. */
export const FAULT_OUT_OF_PROGRAM = 4;
/** More than 8 frames. */
export const FAULT_CALL_DEPTH = 5;
/** More backward jumps than BUDGET. */
export const FAULT_BUDGET = 6;
/** More than 8 programs running inside each other. */
export const FAULT_NESTING = 7;
