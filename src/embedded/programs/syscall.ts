// BPF_PROG_TYPE_SYSCALL: run by a user alone, on bytes of its choice.
// Linux: kernel/bpf/syscall.c, syscall_prog_is_valid_access, syscall_prog_func_proto; checked against Linux 6.18

import * as id from "../../uapi/helper-ids.ts";
import { BASE_HELPERS } from "./base.ts";
import type { ProgramModel } from "./model.ts";

/** What it may not call of the base, and what takes the context of other programs. */
const EXCLUDED: readonly number[] = [id.BPF_FUNC_ktime_get_coarse_ns, id.BPF_FUNC_perf_event_output];

export const syscallProgram: ProgramModel = {
  context: [],
  freeContext: 65535,
  sleepable: true,
  helpers: new Set([
    ...BASE_HELPERS.filter((helper) => !EXCLUDED.includes(helper)),
    id.BPF_FUNC_probe_read,
    id.BPF_FUNC_probe_read_str,
    id.BPF_FUNC_sys_bpf,
    id.BPF_FUNC_btf_find_by_name_kind,
    id.BPF_FUNC_sys_close,
    id.BPF_FUNC_kallsyms_lookup_name,
  ]),
  packet: "none",
  packetToHelpers: false,
};
