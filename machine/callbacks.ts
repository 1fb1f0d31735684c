// Helpers that call a function of the program: bpf_for_each_map_elem, bpf_loop and bpf_user_ringbuf_drain.
// Linux: kernel/bpf/arraymap.c, bpf_for_each_array_elem; kernel/bpf/hashtab.c, bpf_for_each_hash_elem; kernel/bpf/bpf_iter.c, bpf_loop;
// kernel/bpf/ringbuf.c, bpf_user_ringbuf_drain

import { E2BIG, EAGAIN, EINVAL, ENODATA } from "../src/uapi/errno.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY } from "../src/uapi/map-types.ts";
import { Dynptr, setDynptr } from "./dynptr.ts";
import { hashFirstKey, hashKeyBehind, valueBehind } from "./hash.ts";
import { callBack, frameNumber, MAX_LOOPS } from "./interpreter.ts";
import { CALLBACK_ARGUMENT_BYTES, CALLBACK_ARGUMENTS, CPU, FAULT_NONE, R0, R1, R2, R3, R4 } from "./layout.ts";
import { isPerCpu, MapHeader, mapLookupOn } from "./map.ts";
import { Program } from "./program.ts";
import {
  MAX_SAMPLES,
  userRingbufBegin,
  userRingbufEnd,
  userRingbufPeek,
  userRingbufRelease,
  userRingbufSampleLength,
} from "./user-ringbuf.ts";

/** bpf_loop(turns, callback, context, flags): callback(turn, context) until it returns other than 0. */
export function repeat(program: Program, frame: usize, last: usize): i32 {
  const turns = load<u64>(R1);
  const callback = load<usize>(R2);
  const context = load<u64>(R3);
  if (load<u64>(R4)) return answer(-EINVAL);
  // Linux replaces the call by a loop, whose error is a 32-bit move.
  if (turns > MAX_LOOPS) return answer(<u32>-E2BIG);
  let turn: u64 = 0;
  while (turn < turns) {
    store<u64>(R1, turn);
    turn += 1;
    store<u64>(R2, context);
    const fault = callBack(program, callback, frame, last);
    if (fault) return fault;
    if (load<u64>(R0)) break;
  }
  return answer(turn);
}

/**
 * bpf_for_each_map_elem(map, callback, context, flags): callback(map, key, value, context) until it returns other than 0.
 * A callback may change the map: what it adds behind is visited, and what it removes still is where it was next.
 */
export function forEachElement(program: Program, frame: usize, last: usize): i32 {
  const map = load<MapHeader>(R1);
  const callback = load<usize>(R2);
  const context = load<u64>(R3);
  if (load<u64>(R4)) return answer(-EINVAL);
  let visited: i64 = 0;
  if (map.type == BPF_MAP_TYPE_ARRAY || map.type == BPF_MAP_TYPE_PERCPU_ARRAY) {
    const key = argumentOf(frame);
    while (visited < <i64>map.maxEntries) {
      store<u32>(key, <u32>visited);
      visited += 1;
      const fault = visit(program, callback, frame, last, map, key, mapLookupOn(map, key, load<u32>(CPU)), context);
      if (fault) return fault;
      if (load<u64>(R0)) break;
    }
    return answer(visited);
  }
  const ofCpu: usize = isPerCpu(map) ? <usize>load<u32>(CPU) * map.stride : 0;
  for (let bucket: u32 = 0; bucket <= map.mask; ++bucket) {
    let key = hashFirstKey(map, bucket);
    while (key) {
      const next = hashKeyBehind(map, key);
      visited += 1;
      const fault = visit(program, callback, frame, last, map, key, valueBehind(map, key) + ofCpu, context);
      if (fault) return fault;
      if (load<u64>(R0)) return answer(visited);
      key = next;
    }
  }
  return answer(visited);
}

/** bpf_user_ringbuf_drain(map, callback, context, flags): callback(dynptr, context) for each sample until it returns other than 0. */
export function drain(program: Program, frame: usize, last: usize): i32 {
  const map = load<MapHeader>(R1);
  const callback = load<usize>(R2);
  const context = load<u64>(R3);
  const flags = load<u64>(R4);
  const error = userRingbufBegin(map, flags);
  if (error) return answer(error);
  const dynptr = argumentOf(frame);
  let samples: u32 = 0;
  let discarded: u32 = 0;
  let fault = FAULT_NONE;
  let refused: i32 = 0;
  for (let isDone = false; samples < MAX_SAMPLES && !isDone; ++samples) {
    const sample = userRingbufPeek(map);
    if (sample == -EAGAIN) {
      discarded += 1;
      continue;
    }
    if (sample < 0) {
      if (sample != -ENODATA) refused = sample;
      break;
    }
    setDynptr(changetype<Dynptr>(dynptr), sample, userRingbufSampleLength(map));
    store<u64>(R1, dynptr);
    store<u64>(R2, context);
    fault = callBack(program, callback, frame, last);
    userRingbufRelease(map);
    isDone = fault != FAULT_NONE || load<u64>(R0) != 0;
  }
  userRingbufEnd(map, samples, flags);
  return fault ? fault : answer(refused ? refused : samples - discarded);
}

/** Where a frame's helper keeps what it points its callback to. */
function argumentOf(frame: usize): usize {
  return <usize>CALLBACK_ARGUMENTS + frameNumber(frame) * CALLBACK_ARGUMENT_BYTES;
}

function visit(
  program: Program,
  callback: usize,
  frame: usize,
  last: usize,
  map: MapHeader,
  key: usize,
  value: usize,
  context: u64,
): i32 {
  store<u64>(R1, changetype<usize>(map));
  store<u64>(R2, key);
  store<u64>(R3, value);
  store<u64>(R4, context);
  return callBack(program, callback, frame, last);
}

function answer(result: i64): i32 {
  store<i64>(R0, result);
  return FAULT_NONE;
}
