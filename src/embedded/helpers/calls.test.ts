import { expect, test } from "vitest";
import * as ids from "../../uapi/helper-ids.ts";
import { helperCalls } from "./calls.ts";
import { prototypes } from "./prototypes.ts";

/** What the machine answers itself. */
const inMachine = [
  ids.BPF_FUNC_map_lookup_elem,
  ids.BPF_FUNC_map_update_elem,
  ids.BPF_FUNC_map_delete_elem,
  ids.BPF_FUNC_map_lookup_percpu_elem,
  ids.BPF_FUNC_map_push_elem,
  ids.BPF_FUNC_map_pop_elem,
  ids.BPF_FUNC_map_peek_elem,
  ids.BPF_FUNC_spin_lock,
  ids.BPF_FUNC_spin_unlock,
  ids.BPF_FUNC_tail_call,
  ids.BPF_FUNC_redirect_map,
  ids.BPF_FUNC_skb_under_cgroup,
  ids.BPF_FUNC_current_task_under_cgroup,
  ids.BPF_FUNC_get_prandom_u32,
  ids.BPF_FUNC_get_smp_processor_id,
  ids.BPF_FUNC_ringbuf_output,
  ids.BPF_FUNC_ringbuf_reserve,
  ids.BPF_FUNC_ringbuf_submit,
  ids.BPF_FUNC_ringbuf_discard,
  ids.BPF_FUNC_ringbuf_query,
  ids.BPF_FUNC_for_each_map_elem,
  ids.BPF_FUNC_loop,
  ids.BPF_FUNC_user_ringbuf_drain,
  ids.BPF_FUNC_dynptr_from_mem,
  ids.BPF_FUNC_ringbuf_reserve_dynptr,
  ids.BPF_FUNC_ringbuf_submit_dynptr,
  ids.BPF_FUNC_ringbuf_discard_dynptr,
  ids.BPF_FUNC_dynptr_read,
  ids.BPF_FUNC_dynptr_write,
  ids.BPF_FUNC_dynptr_data,
];

test("every helper that the verifier lets through is answered, by the machine or here", () => {
  const answered = [...inMachine, ...helperCalls.keys()].sort((a, b) => a - b);
  expect([...prototypes.keys()].sort((a, b) => a - b)).toEqual(answered);
});
