// Perf event arrays of contract cases, and programs that send samples into them.

import * as asm from "../../src/asm/builder.ts";
import type { Kernel, Mapping } from "../../src/kernel/kernel.ts";
import { BPF_FUNC_perf_event_output } from "../../src/uapi/helper-ids.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERF_EVENT_ARRAY } from "../../src/uapi/map-types.ts";
import * as perf from "../../src/uapi/perf-event.ts";
import type { Bench } from "./contract.ts";
import { create } from "./maps.ts";
import { load, testRun } from "./programs.ts";

const { r1, r2, r3, r4, r5, r6, alu32, call, exit, loadMapFd, loadMapValue, mov, store } = asm;

/** An event that takes samples of a program. */
export const bpfOutput = {
  type: perf.PERF_TYPE_SOFTWARE,
  config: perf.PERF_COUNT_SW_BPF_OUTPUT,
  sample_type: perf.PERF_SAMPLE_RAW,
  sample_period: 1,
  wakeup_events: 1,
} as const;

/** A perf event array with an element for each CPU. */
export function perfEventArray(kernel: Kernel, { open }: Bench): number {
  const attr = { map_type: BPF_MAP_TYPE_PERF_EVENT_ARRAY, key_size: 4, value_size: 4 };
  return open(create(kernel, { ...attr, max_entries: kernel.system.possibleCpus.length }));
}

/** The largest sample that `sender` takes. */
const LARGEST = 70_000;

/** Sends samples of `length` bytes, `value` as a u32 and then zeros; each run gives the helper's result. */
export function sender(kernel: Kernel, { open }: Bench, array: number, length: number, value: number): () => number {
  const sample = open(create(kernel, { map_type: BPF_MAP_TYPE_ARRAY, value_size: LARGEST, max_entries: 1 }));
  const items = [
    mov(r6, r1),
    loadMapValue(r4, sample, 0),
    store("w", r4, 0, value),
    mov(r1, r6),
    loadMapFd(r2, array),
    alu32("mov", r3, -1),
    mov(r5, length),
    call(BPF_FUNC_perf_event_output),
    exit(),
  ];
  const program = open(load(kernel, items));
  return () => (testRun(kernel, program).retval ?? 0) | 0;
}

/** The buffers of one event for each CPU, all in the array: read by a case itself. */
export class Samples {
  readonly mappings: readonly Mapping[];
  readonly #pageSize: number;

  constructor(kernel: Kernel, events: readonly number[], pages: number) {
    this.#pageSize = kernel.system.pageSize;
    this.mappings = events.map((fd) => {
      const mapping = kernel.mmap(fd, { length: (1 + pages) * this.#pageSize, writable: true });
      if (typeof mapping === "number") throw new Error(`mmap: ${mapping}`);
      return mapping;
    });
  }

  /** Where the next records will begin. */
  get heads(): number[] {
    return this.mappings.map(({ bytes }) =>
      Number(viewOf(bytes).getBigUint64(perf.perfEventMmapPage.data_head[0], true)),
    );
  }

  /** Takes all that is there: type, size and raw size of each record, or the count of lost ones. */
  take(): { type: number; misc: number; size: number; word: number }[] {
    return this.mappings.flatMap(({ bytes }) => {
      const page = viewOf(bytes);
      const data = new DataView(page.buffer, page.byteOffset + this.#pageSize);
      const size = Number(page.getBigUint64(perf.perfEventMmapPage.data_size[0], true));
      const head = Number(page.getBigUint64(perf.perfEventMmapPage.data_head[0], true));
      const records: { type: number; misc: number; size: number; word: number }[] = [];
      let tail = Number(page.getBigUint64(perf.perfEventMmapPage.data_tail[0], true));
      while (tail < head) {
        const at = tail % size;
        const type = data.getUint32(at, true);
        const word = data.getUint32((at + (type === perf.PERF_RECORD_LOST ? 16 : 8)) % size, true);
        records.push({ type, misc: data.getUint16(at + 4, true), size: data.getUint16(at + 6, true), word });
        tail += records.at(-1)!.size;
      }
      page.setBigUint64(perf.perfEventMmapPage.data_tail[0], BigInt(tail), true);
      return records;
    });
  }

  [Symbol.dispose](): void {
    for (const mapping of this.mappings) mapping.unmap();
  }
}

const viewOf = ({ buffer, byteOffset }: Uint8Array): DataView => new DataView(buffer, byteOffset);
