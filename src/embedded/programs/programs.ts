// The program types that the embedded kernel runs.

import {
  BPF_PROG_TYPE_CGROUP_SKB,
  BPF_PROG_TYPE_SCHED_ACT,
  BPF_PROG_TYPE_SCHED_CLS,
  BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_PROG_TYPE_SYSCALL,
  BPF_PROG_TYPE_XDP,
} from "../../uapi/program-types.ts";
import type { ProgramModel } from "./model.ts";
import { cgroupSkb, socketFilter, trafficControl } from "./skb.ts";
import { syscallProgram } from "./syscall.ts";
import { xdp } from "./xdp.ts";

export const programModels: ReadonlyMap<number, ProgramModel> = new Map([
  [BPF_PROG_TYPE_SOCKET_FILTER, socketFilter],
  [BPF_PROG_TYPE_SCHED_CLS, trafficControl],
  [BPF_PROG_TYPE_SCHED_ACT, trafficControl],
  [BPF_PROG_TYPE_XDP, xdp],
  [BPF_PROG_TYPE_CGROUP_SKB, cgroupSkb],
  [BPF_PROG_TYPE_SYSCALL, syscallProgram],
]);
