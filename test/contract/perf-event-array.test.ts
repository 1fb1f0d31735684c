// Arrays of performance events: how long an event stays.

import { expect } from "vitest";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import * as flags from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_PERF_EVENT_ARRAY } from "../../src/uapi/map-types.ts";
import { PERF_COUNT_SW_BPF_OUTPUT, PERF_SAMPLE_RAW, PERF_TYPE_SOFTWARE } from "../../src/uapi/perf-event.ts";
import { contract, outcome } from "./contract.ts";
import { create, keys, type MapCreate, remove } from "./maps.ts";
import { mapId, put, shown, smallProgram, take } from "./references.ts";

const createEvents = (kernel: Kernel, attr: MapCreate = {}): number =>
  create(kernel, { map_type: BPF_MAP_TYPE_PERF_EVENT_ARRAY, value_size: 4, ...attr });

const openEvent = (kernel: Kernel): number =>
  kernel.perfEventOpen({
    cpu: 0,
    type: PERF_TYPE_SOFTWARE,
    config: PERF_COUNT_SW_BPF_OUTPUT,
    sample_type: PERF_SAMPLE_RAW,
  });

contract("an array of performance events takes their file descriptors, and shows none", (kernel, { open }) => {
  const map = open(createEvents(kernel));
  const event = open(openEvent(kernel));
  expect(put(kernel, map, 0, event)).toBe(0);
  expect(put(kernel, map, 0, event)).toBe(0);
  expect(shown(kernel, map, 0)).toBe("ENOTSUPP");
  expect(shown(kernel, map, 1)).toBe("ENOTSUPP");
  expect(take(kernel, map, 0)).toBe("ENOTSUPP");
  expect(keys(kernel, map)).toEqual([0, 1, 2, 3]);
  expect(remove(kernel, map, 0)).toBe(0);
  expect(remove(kernel, map, 0)).toBe("ENOENT");
  expect(remove(kernel, map, 4)).toBe("E2BIG");
});

contract("an array of performance events refuses everything else with EBADF", (kernel, { open }) => {
  const map = open(createEvents(kernel));
  for (const fd of [9999, map, open(smallProgram(kernel))]) expect(put(kernel, map, 0, fd)).toBe("EBADF");
  const event = open(openEvent(kernel));
  expect(put(kernel, map, 4, event)).toBe("E2BIG");
  expect(put(kernel, map, 0, event, flags.BPF_EXIST)).toBe("EINVAL");
  expect(put(kernel, map, 0, event, flags.BPF_NOEXIST)).toBe("EINVAL");
});

contract("an event outlives its file descriptor in an array", (kernel, { open }) => {
  const map = open(createEvents(kernel));
  const event = openEvent(kernel);
  expect(put(kernel, map, 0, event)).toBe(0);
  kernel.close(event);
  expect(remove(kernel, map, 0)).toBe(0);
});

for (const [name, map_flags, left] of [
  ["an event is taken out when the file is closed that it was put in with", 0, "ENOENT"],
  ["an event stays in an array with PRESERVE_ELEMS", flags.BPF_F_PRESERVE_ELEMS, 0],
] as const) {
  contract(name, (kernel, { open }) => {
    const map = open(createEvents(kernel, { map_flags }));
    const other = kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: mapId(kernel, map) });
    expect(other).toBeGreaterThan(0);
    const event = open(openEvent(kernel));
    expect(put(kernel, map, 0, event)).toBe(0);
    expect(put(kernel, other, 1, event)).toBe(0);
    expect(put(kernel, other, 2, event)).toBe(0);
    // Whoever writes last counts.
    expect(put(kernel, map, 2, event)).toBe(0);
    kernel.close(other);
    expect(remove(kernel, map, 0)).toBe(0);
    expect(remove(kernel, map, 1)).toBe(left);
    expect(remove(kernel, map, 2)).toBe(0);
  });
}

contract("an array of performance events has 4-byte values and knows no flags of programs", (kernel) => {
  const made = (attr: MapCreate): number | string => {
    const fd = createEvents(kernel, attr);
    if (fd >= 0) kernel.close(fd);
    return fd >= 0 ? "ok" : outcome(fd);
  };
  expect(made({})).toBe("ok");
  expect(made({ map_flags: flags.BPF_F_PRESERVE_ELEMS })).toBe("ok");
  for (const attr of [
    { value_size: 8 },
    { key_size: 8 },
    { max_entries: 0 },
    { map_flags: flags.BPF_F_RDONLY_PROG },
    { map_flags: flags.BPF_F_MMAPABLE },
  ])
    expect(made(attr)).toBe("EINVAL");
});
