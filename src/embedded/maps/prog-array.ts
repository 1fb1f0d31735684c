// BPF_MAP_TYPE_PROG_ARRAY: programs that tail calls go on with. It is emptied when no file descriptor and no pin of it is left.
// Linux: prog_array_map_ops in kernel/bpf/arraymap.c

import { EINVAL } from "../../uapi/errno.ts";
import { findProgram } from "../objects.ts";
import type { EmbeddedProgram } from "../program.ts";
import { fdArray } from "./fd-array.ts";
import type { MapFamily } from "./map.ts";
import { isCompatible } from "./program-owner.ts";

const programs = fdArray<EmbeddedProgram>({
  take({ files }, map, fd) {
    const program = findProgram(files, fd);
    if (typeof program === "number") return program;
    if (!isCompatible(map, program)) return -EINVAL;
    program.references.take();
    return program;
  },
  drop: ({ references }) => references.drop(),
  address: ({ handle }) => handle,
  id: ({ id }) => id,
});

export const progArray: MapFamily = {
  ...programs.family,
  leftByUsers(state, map) {
    for (const index of [...programs.contents.of(map).keys()]) programs.remove(state, map, index);
  },
};
