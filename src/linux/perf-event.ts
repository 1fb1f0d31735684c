// Performance events. man 2 perf_event_open

import type { PerfEventAttr, PerfEventRequest } from "../kernel/kernel.ts";
import * as perf from "../uapi/perf-event.ts";
import { encode, sizeOf } from "../uapi/struct.ts";
import type { GuardedSlot } from "./guarded-memory.ts";
import type { Syscalls } from "./syscalls.ts";

/** @param slot memory for struct perf_event_attr */
export function openPerfEvent(syscalls: Syscalls, slot: GuardedSlot, attr: PerfEventAttr): number {
  const { cpu, type, config, sample_period = 0, sample_type = 0 } = attr;
  const { disabled = false, wakeup_events = 0, wakeup_watermark } = attr;
  const watermark = wakeup_watermark !== undefined;
  const bytes = new Uint8Array(sizeOf(perf.perfEventAttr));
  const fields = {
    type,
    size: bytes.length,
    config,
    sample_period,
    sample_type,
    flags: (disabled ? perf.PERF_ATTR_DISABLED : 0) | (watermark ? perf.PERF_ATTR_WATERMARK : 0),
    wakeup: watermark ? wakeup_watermark : wakeup_events,
  };
  encode(perf.perfEventAttr, fields, new DataView(bytes.buffer));
  return syscalls.perfEventOpen(slot.put(bytes), ANY_PROCESS, cpu, NO_GROUP, perf.PERF_FLAG_FD_CLOEXEC);
}

export const controlPerfEvent = (syscalls: Syscalls, fd: number, request: PerfEventRequest): number =>
  syscalls.ioctl(fd, ...IOCTLS[request]);

const ANY_PROCESS = -1;
const NO_GROUP = -1;

const IOCTLS: Readonly<Record<PerfEventRequest, readonly [request: number, argument: number]>> = {
  enable: [perf.PERF_EVENT_IOC_ENABLE, 0],
  disable: [perf.PERF_EVENT_IOC_DISABLE, 0],
  pause: [perf.PERF_EVENT_IOC_PAUSE_OUTPUT, 1],
  resume: [perf.PERF_EVENT_IOC_PAUSE_OUTPUT, 0],
};
