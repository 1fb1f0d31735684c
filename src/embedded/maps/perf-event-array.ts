// BPF_MAP_TYPE_PERF_EVENT_ARRAY: performance events that programs send samples to or read. An event is taken out when the file
// that it was put in with is closed, unless BPF_F_PRESERVE_ELEMS.
// Linux: perf_event_array_map_ops in kernel/bpf/arraymap.c

import { BPF_F_PRESERVE_ELEMS } from "../../uapi/flags.ts";
import { type File, findPerfEvent } from "../objects.ts";
import type { EmbeddedPerfEvent } from "../perf-events.ts";
import { fdArray } from "./fd-array.ts";
import type { EmbeddedMap, MapFamily } from "./map.ts";

interface Entry {
  readonly event: EmbeddedPerfEvent;
  /** What the map was named by. */
  readonly file: File;
}

const events = fdArray<Entry>({
  take({ files }, _map, fd, file) {
    const event = findPerfEvent(files, fd);
    if (typeof event === "number") return event;
    event.references.take();
    return { event, file };
  },
  drop: ({ event }) => event.references.drop(),
  address: () => 0,
});

export const perfEventArray: MapFamily = {
  ...events.family,
  fileClosed(state, map, closed) {
    if ((map.map_flags & BPF_F_PRESERVE_ELEMS) !== 0) return;
    for (const [index, { file }] of [...events.contents.of(map)]) {
      if (file === closed) events.remove(state, map, index);
    }
  },
};

/** The event at an index, undefined where there is none. bpf_perf_event_output. */
export const perfEventAt = (map: EmbeddedMap, index: number): EmbeddedPerfEvent | undefined =>
  events.contents.of(map).get(index)?.event;
