// Readiness of a file descriptor on this thread's event loop, without a thread of its own.

import type { Readiness } from "../kernel/kernel.ts";
import { PERF_EVENT_IOC_ID } from "../uapi/perf-event.ts";
import type { GuardedSlot } from "./guarded-memory.ts";
import * as sys from "./syscalls.ts";

/**
 * Calls back once for each time that `fd` becomes ready, and at the start if it is ready then; keeps the process alive until disposed.
 *
 * The event loop polls an epoll(7) of our own, which is edge-triggered: a ring buffer that nobody drains does not keep the loop spinning.
 *
 * @param slot memory for struct epoll_event
 * @returns -errno where `fd` is not open (EBADF) or cannot be waited for (EPERM)
 */
export function watch(
  syscalls: sys.Syscalls,
  slot: GuardedSlot,
  fd: number,
  callback: () => void,
  readiness: Readiness,
): Disposable | number {
  const epoll = syscalls.epollCreate(sys.EPOLL_CLOEXEC);
  if (epoll < 0) return epoll;
  const event = new Uint8Array(EPOLL_EVENT_SIZE);
  new DataView(event.buffer).setUint32(0, EVENTS[readiness] | sys.EPOLLET, true);
  const error = syscalls.epollCtl(epoll, sys.EPOLL_CTL_ADD, fd, slot.put(event));
  if (error < 0) {
    syscalls.close(epoll);
    return error;
  }
  let watching = true;
  const poll = syscalls.poll(epoll, () => {
    syscalls.epollWait(epoll, slot.end - EPOLL_EVENT_SIZE, 1, 0);
    // This runs outside of Node's task queues: an immediate makes it run what the callback has queued, and takes its errors.
    setImmediate(afterwards);
    try {
      callback();
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
  });
  // Polling a performance event takes its readiness away, and the event loop polls when it first adds the epoll: what came
  // before is not told any more. Behind the second immediate from here it has been added.
  if (isPerfEvent(syscalls, slot, fd)) setImmediate(() => setImmediate(() => watching && callback()));
  return {
    [Symbol.dispose]() {
      if (!watching) return;
      watching = false;
      poll.close();
      syscalls.close(epoll);
    },
  };
}

const isPerfEvent = (syscalls: sys.Syscalls, slot: GuardedSlot, fd: number): boolean =>
  syscalls.ioctl(fd, PERF_EVENT_IOC_ID, slot.put(new Uint8Array(8))) >= 0;

const afterwards = (): void => {};

const EVENTS: Readonly<Record<Readiness, number>> = { readable: sys.EPOLLIN, writable: sys.EPOLLOUT };

/** sizeof(struct epoll_event) where it is largest; x86-64 packs it into 12. */
const EPOLL_EVENT_SIZE = 16;
