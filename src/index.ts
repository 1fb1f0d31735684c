// skep: eBPF for TypeScript. The public face; the parts have entries of their own.

export { openKernel } from "#open";
export {
  BpfError,
  type Failure,
  IterationError,
  UnsupportedError,
  VerifierError,
} from "./client/errors.ts";
export { EventReader, type EventReaderOptions } from "./client/event-reader.ts";
export {
  BpfMap,
  HashMap,
  KeyedMap,
  type KeyedOptions,
  type KeyedType,
  MapEntries,
  type MapOfType,
  RingBufferMap,
  type RingBufferMapOptions,
} from "./client/map.ts";
export { BpfObject, type LoadOptions, type ObjectMaps } from "./client/object.ts";
export { PerfBuffer, type PerfBufferOptions, type PerfEvent } from "./client/perf-buffer.ts";
export { pollBuffers } from "./client/poll.ts";
export {
  BpfProgram,
  type ProgramOptions,
  type ProgramTypeName,
  type TestRunOptions,
  type TestRunResult,
} from "./client/program.ts";
export {
  Lease,
  type LostCounter,
  RingBuffer,
  RingBufferError,
  type RingBufferOptions,
} from "./client/ring-buffer.ts";
export { UserRingBuffer, type UserRingBufferOptions, UserSample } from "./client/user-ring-buffer.ts";
export type { WaitOptions } from "./client/waiter.ts";
export { bytes, cstring, ipv4 } from "./codec/bytes.ts";
export { type Codec, CodecError, type Infer, type Member } from "./codec/codec.ts";
export { array, struct } from "./codec/composites.ts";
export { bool, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64 } from "./codec/scalars.ts";
export type { Diagnosis } from "./diagnosis/diagnosis.ts";
export { EmbeddedKernel, type EmbeddedKernelOptions } from "./embedded/kernel.ts";
export type { Capability, Clock } from "./embedded/state.ts";
export type {
  Bpffs,
  DirectoryEntry,
  Kernel,
  KernelVersion,
  Mapping,
  MmapOptions,
  PerfEventAttr,
  PerfEventRequest,
  Readiness,
  System,
} from "./kernel/kernel.ts";
export type { OpenOptions } from "./open.ts";
