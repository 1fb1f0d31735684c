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
export { BpfMap } from "./client/map.ts";
export { ArenaMap } from "./client/maps/arena.ts";
export { ArrayMap } from "./client/maps/array.ts";
export { MapHandle } from "./client/maps/handle.ts";
export type { Held } from "./client/maps/held.ts";
export type { Json } from "./client/maps/json.ts";
export { DeletableMap, HashMap, KeyedMap } from "./client/maps/keyed.ts";
export { MapOfMaps } from "./client/maps/map-of-maps.ts";
export type { MapView } from "./client/maps/mapped.ts";
export type { CgroupStorageKey, MapOf, MapOpenOptions, MapOptions } from "./client/maps/options.ts";
export type { PinOptions, PinPolicy } from "./client/maps/pinned.ts";
export { BloomFilterMap, QueueMap } from "./client/maps/queue.ts";
export { CpuMap, type CpuTarget, DeviceMap, type DeviceTarget } from "./client/maps/redirect.ts";
export { CgroupArrayMap, ProgramArrayMap, SocketMap, XskMap } from "./client/maps/references.ts";
export { PerfEventArrayMap, RingBufferMap, UserRingBufferMap } from "./client/maps/ring-buffer.ts";
export { type StackFrame, StackTraceMap } from "./client/maps/stack-trace.ts";
export { StorageMap } from "./client/maps/storage.ts";
export { StructOpsMap } from "./client/maps/struct-ops.ts";
export type { MapTypeName } from "./client/maps/types.ts";
export { type BatchCursor, type EntryBatch, MapEntries, type WalkOptions } from "./client/maps/walk.ts";
export type { MapChange, WatchOptions } from "./client/maps/watch.ts";
export { BpfObject, type LoadOptions, type ObjectMaps } from "./client/object.ts";
export { PerfBuffer, type PerfBufferOptions, type PerfEvent } from "./client/perf-buffer.ts";
export { mountBpffs } from "./client/pins.ts";
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
export {
  type Codec,
  CodecError,
  type Infer,
  type Member,
  type TypedArray,
  type Viewable,
} from "./codec/codec.ts";
export { array, struct } from "./codec/composites.ts";
export { ipv4Prefix, ipv6, ipv6Prefix, lpmKey, type Prefix } from "./codec/prefixes.ts";
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
