// The system calls of this thread, through koffi: the one file that knows a foreign function interface.
// A result is >= 0 or -errno; an address is a number, as user space ends below 2^53.

export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const EPOLL_CLOEXEC = 0x8_0000;
export const EPOLL_CTL_ADD = 1;
export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLET = 0x8000_0000;

/** Why the running kernel cannot be reached at all: `code` tells the reasons apart. */
export class LinuxUnavailableError extends Error {
  override readonly name = "LinuxUnavailableError";
  readonly code: "ERR_NOT_LINUX" | "ERR_NO_KOFFI" | "ENOSYS";

  constructor(code: LinuxUnavailableError["code"], message: string, cause?: unknown) {
    super(`${message}, or use openKernel({ kind: "embedded" })`, { cause });
    this.code = code;
  }
}

/** Addresses point into memory that the caller keeps mapped during the call. */
export interface Syscalls {
  readonly pageSize: number;
  bpf(command: number, attr: number, size: number): number;
  perfEventOpen(attr: number, pid: number, cpu: number, group: number, flags: number): number;
  ioctl(fd: number, request: number, argument: number): number;
  mmap(address: number, length: number, protection: number, flags: number, fd: number, offset: number): number;
  munmap(address: number, length: number): number;
  close(fd: number): number;
  mount(source: number, target: number, type: number, flags: number, data: number): number;
  umount2(target: number, flags: number): number;
  epollCreate(flags: number): number;
  epollCtl(epoll: number, operation: number, fd: number, event: number): number;
  epollWait(epoll: number, events: number, count: number, milliseconds: number): number;
  /** The memory itself, not a copy; touching it after munmap is a crash. */
  view(address: number, length: number): ArrayBuffer;
  /** Calls back from this thread's event loop while `fd` is readable, and keeps the process alive, until closed. */
  poll(fd: number, callback: () => void): { close(): void };
}

/**
 * The system calls of the calling thread. koffi is loaded here, once.
 *
 * @throws LinuxUnavailableError `ERR_NOT_LINUX`; `ERR_NO_KOFFI` where koffi is not installed or has no build for this machine;
 * `ENOSYS` where the number of bpf(2) on this architecture is not known
 */
export async function openSyscalls(): Promise<Syscalls> {
  if (process.platform !== "linux") {
    throw new LinuxUnavailableError(
      "ERR_NOT_LINUX",
      `this is ${process.platform}: BPF needs a Linux kernel; run on Linux`,
    );
  }
  const numbers = SYSCALL_NUMBERS[process.arch];
  if (numbers === undefined) {
    const known = Object.keys(SYSCALL_NUMBERS).join(", ");
    throw new LinuxUnavailableError(
      "ENOSYS",
      `bpf(2) on ${process.arch} is not supported, only on ${known}; run there`,
    );
  }
  syscalls ??= bind(await importKoffi(), numbers);
  return syscalls;
}

interface SyscallNumbers {
  readonly bpf: number;
  readonly perfEventOpen: number;
}
const GENERIC_NUMBERS: SyscallNumbers = { bpf: 280, perfEventOpen: 241 };
/** By Node's name of the architecture; little-endian ones with 64 bits. */
const SYSCALL_NUMBERS: Readonly<Record<string, SyscallNumbers>> = {
  x64: { bpf: 321, perfEventOpen: 298 },
  arm64: GENERIC_NUMBERS,
  riscv64: GENERIC_NUMBERS,
  loong64: GENERIC_NUMBERS,
};

let syscalls: Syscalls | undefined;

async function importKoffi(): Promise<typeof import("koffi")> {
  try {
    return await import("koffi");
  } catch (cause) {
    const why = (cause as { code?: unknown }).code === "ERR_MODULE_NOT_FOUND" ? "is not installed" : "cannot be loaded";
    throw new LinuxUnavailableError(
      "ERR_NO_KOFFI",
      `koffi ${why}: bpf(2) is called through it; npm install koffi`,
      cause,
    );
  }
}

function bind(koffi: typeof import("koffi"), numbers: SyscallNumbers): Syscalls {
  const libc = koffi.load(null);
  // errno stands at a fixed address in each thread: a view on it is far cheaper than a call that asks.
  const errnoAddress = libc.func("int64_t __errno_location()")() as number;
  const errno = new Int32Array(koffi.view(errnoAddress, 4));
  const checked = (result: number): number => (result === -1 ? -errno[0]! : result);
  const native = (declaration: string): ((...args: number[]) => number) => {
    const call = libc.func(declaration) as (...args: number[]) => number;
    return (...args) => checked(call(...args));
  };
  const syscall = libc.func("int syscall(int, int, int64_t, int)") as (
    n: number,
    a: number,
    b: number,
    c: number,
  ) => number;

  const perfEventOpen = native("int syscall(int, int64_t, int, int, int, uint64_t)");

  return {
    pageSize: libc.func("int getpagesize()")() as number,
    bpf: (command, attr, size) => checked(syscall(numbers.bpf, command, attr, size)),
    perfEventOpen: (attr, pid, cpu, group, flags) => perfEventOpen(numbers.perfEventOpen, attr, pid, cpu, group, flags),
    ioctl: native("int ioctl(int, uint64_t, int64_t)"),
    mmap: native("int64_t mmap(int64_t, uint64_t, int, int, int, int64_t)"),
    munmap: native("int munmap(int64_t, uint64_t)"),
    close: native("int close(int)"),
    mount: native("int mount(int64_t, int64_t, int64_t, uint64_t, int64_t)"),
    umount2: native("int umount2(int64_t, int)"),
    epollCreate: native("int epoll_create1(int)"),
    epollCtl: native("int epoll_ctl(int, int, int, int64_t)"),
    epollWait: native("int epoll_wait(int, int64_t, int, int)"),
    view: (address, length) => koffi.view(address, length),
    poll: (fd, callback) => koffi.node.poll(fd, callback),
  };
}
