// BPF_PROG_TEST_RUN: runs a program on a packet of the caller, or on its bytes.
// Linux: net/bpf/test_run.c

import { CPU, FAULT_NONE, RESULT } from "../../machine/layout.ts";
import type { BPF_PROG_TEST_RUN } from "../uapi/commands.ts";
import { E2BIG, EFAULT, EINVAL, EIO, ENODEV, ENOMEM, ENOSPC, ENOTSUPP } from "../uapi/errno.ts";
import { BPF_F_TEST_SKB_CHECKSUM_COMPLETE } from "../uapi/flags.ts";
import * as types from "../uapi/program-types.ts";
import { bpfSock, CONTEXT_SIZE, ETH_HLEN, skBuff, XDP_FRAME_SIZE, xdpMd } from "./context.ts";
import { isCgroupStorage } from "./maps/cgroup-storage.ts";
import { type EmbeddedMap, stride, wholePages } from "./maps/map.ts";
import { bytesAt, type MachineMemory, userBytes } from "./memory.ts";
import { findProgram } from "./objects.ts";
import { makeSocket } from "./owners.ts";
import type { EmbeddedProgram } from "./program.ts";
import type { KernelState } from "./state.ts";
import type { CommandAttr } from "./syscall.ts";

type TestRun = CommandAttr<typeof BPF_PROG_TEST_RUN>;
type Runner = (state: KernelState, program: EmbeddedProgram, attr: TestRun) => number;

export function testRun(state: KernelState, attr: TestRun): number {
  if (attr.ctx_size_in > 0 !== (attr.ctx_in !== null)) return -EINVAL;
  if (attr.ctx_size_out > 0 !== (attr.ctx_out !== null)) return -EINVAL;
  const program = findProgram(state.files, attr.prog_fd);
  if (typeof program === "number") return program;
  const run = runners.get(program.type);
  if (run === undefined) return -ENOTSUPP;
  // The program may close its own file descriptor, from a listener of what it prints.
  program.references.take();
  const result = run(state, program, attr);
  program.references.drop();
  return result;
}

const runners: ReadonlyMap<number, Runner> = new Map<number, Runner>([
  [types.BPF_PROG_TYPE_XDP, runXdp],
  [types.BPF_PROG_TYPE_SCHED_CLS, (state, program, attr) => runSkb(state, program, attr, true)],
  [types.BPF_PROG_TYPE_SCHED_ACT, (state, program, attr) => runSkb(state, program, attr, true)],
  [types.BPF_PROG_TYPE_SOCKET_FILTER, (state, program, attr) => runSkb(state, program, attr, false)],
  [types.BPF_PROG_TYPE_CGROUP_SKB, (state, program, attr) => runSkb(state, program, attr, false)],
  [types.BPF_PROG_TYPE_SYSCALL, runSyscall],
]);

/** A packet's buffer is a page: room in front, the packet, and Linux's struct skb_shared_info. */
const BUFFER_SIZE = 4096;
const TAILROOM = 320;
const XDP_HEADROOM = 256;
const SKB_HEADROOM = 64;
/** Pages that the rest of a long XDP packet may take. */
const MAX_FRAGMENTS = 17;
/** The one network device of the embedded kernel, lo. */
const LOOPBACK = 1;

function runXdp(state: KernelState, program: EmbeddedProgram, attr: TestRun): number {
  const { machine, memory } = state;
  if (attr.flags !== 0 || attr.batch_size !== 0) return -EINVAL;
  const context = readContext(attr, xdpMd.size);
  if (typeof context === "number") return context;
  const size = attr.data_size_in;
  let metaSize = 0;
  let linearSize = size;
  if (context !== undefined) {
    const field = (offset: number): number => context.getUint32(offset, true);
    metaSize = field(xdpMd.data);
    linearSize = field(xdpMd.data_end);
    const isInvalid =
      field(xdpMd.data_meta) !== 0 ||
      linearSize > size ||
      metaSize > linearSize ||
      metaSize % 4 !== 0 ||
      metaSize > XDP_HEADROOM - XDP_FRAME_SIZE;
    if (isInvalid) return -EINVAL;
  }
  if (size - metaSize < ETH_HLEN) return -EINVAL;
  const headroom = XDP_HEADROOM - metaSize;
  linearSize = Math.min(linearSize, BUFFER_SIZE - headroom - TAILROOM);
  const packet = userBytes(attr.data_in, size);
  if (packet === undefined) return -EFAULT;
  const fragmentsSize = size - linearSize;
  if (fragmentsSize > MAX_FRAGMENTS * BUFFER_SIZE) return -ENOMEM;
  if (context !== undefined) {
    const deviceError = checkXdpDevice(context);
    if (deviceError !== 0) return deviceError;
  }

  const buffer = allocateZeroed(state, CONTEXT_SIZE + BUFFER_SIZE + wholePages(fragmentsSize));
  if (buffer === 0) return -ENOMEM;
  const md = buffer;
  const hardStart = buffer + CONTEXT_SIZE;
  const meta = hardStart + headroom;
  const fragments = hardStart + BUFFER_SIZE;
  memory.u8.set(packet.subarray(0, linearSize), meta);
  memory.u8.set(packet.subarray(linearSize), fragments);
  const set = (offset: number, value: number): void => memory.view.setUint32(md + offset, value, true);
  const get = (offset: number): number => memory.view.getUint32(md + offset, true);
  set(xdpMd.data, meta + metaSize);
  set(xdpMd.data_end, meta + linearSize);
  set(xdpMd.data_meta, meta);
  set(xdpMd.ingress_ifindex, LOOPBACK);
  set(xdpMd.hard_start, hardStart);
  set(xdpMd.hard_end, hardStart + BUFFER_SIZE - TAILROOM);
  set(xdpMd.fragments, fragments);
  set(xdpMd.fragments_size, fragmentsSize);

  const outcome = run(state, program, md, attr);
  let result = typeof outcome === "number" ? outcome : 0;
  if (typeof outcome !== "number") {
    const rest = get(xdpMd.fragments_size);
    const linear = memory.u8.subarray(get(xdpMd.data_meta), get(xdpMd.data_end));
    context?.setUint32(xdpMd.data, get(xdpMd.data) - get(xdpMd.data_meta), true);
    context?.setUint32(xdpMd.data_end, linear.length, true);
    result = finishPacket(attr, outcome, linear, memory.u8.subarray(fragments, fragments + rest));
    if (result === 0) result = finishContext(attr, context, xdpMd.size);
  }
  machine.free(buffer);
  return result;
}

/** The device that a context names must be there. */
function checkXdpDevice(context: DataView): number {
  const queue = context.getUint32(xdpMd.rx_queue_index, true);
  const device = context.getUint32(xdpMd.ingress_ifindex, true);
  if (context.getUint32(xdpMd.egress_ifindex, true) !== 0) return -EINVAL;
  if (device === 0) return queue === 0 ? 0 : -EINVAL;
  if (device !== LOOPBACK) return -ENODEV;
  return queue === 0 ? 0 : -EINVAL;
}

/** Fields of struct __sk_buff that a caller may set and gets back: offset and bytes. */
const SKB_FIELDS: readonly (readonly [offset: number, bytes: number])[] = [
  [skBuff.mark, 4],
  [skBuff.priority, 4],
  [skBuff.ingress_ifindex, 4],
  [skBuff.ifindex, 4],
  [skBuff.cb, 20],
  [skBuff.tstamp, 8],
  [skBuff.wire_len, 4],
  [skBuff.gso_segs, 4],
  [skBuff.gso_size, 4],
  [skBuff.hwtstamp, 8],
];
const MAX_WIRE_LEN = 65536;
const MAX_GSO_SEGS = 65535;

/** @param isLinkLayer whether the program sees the packet from its Ethernet header on; otherwise from its network header */
function runSkb(state: KernelState, program: EmbeddedProgram, attr: TestRun, isLinkLayer: boolean): number {
  const { machine, memory } = state;
  if ((attr.flags & ~BPF_F_TEST_SKB_CHECKSUM_COMPLETE) !== 0 || attr.cpu !== 0 || attr.batch_size !== 0) return -EINVAL;
  const size = attr.data_size_in;
  if (size < ETH_HLEN || size > BUFFER_SIZE - SKB_HEADROOM - TAILROOM) return -EINVAL;
  const packet = userBytes(attr.data_in, size);
  if (packet === undefined) return -EFAULT;
  if (size < ETH_HLEN + (SHORTEST_HEADER[etherType(packet)] ?? 0)) return -EINVAL;
  const context = readContext(attr, skBuff.size);
  if (typeof context === "number") return context;
  const seenSize = isLinkLayer ? size : size - ETH_HLEN;
  if (context !== undefined) {
    const error = checkSkbContext(context, seenSize);
    if (error !== 0) return error;
  }

  const buffer = allocateZeroed(state, CONTEXT_SIZE + BUFFER_SIZE + bpfSock.size);
  if (buffer === 0) return -ENOMEM;
  const skb = buffer;
  const sk = buffer + CONTEXT_SIZE + BUFFER_SIZE;
  const start = buffer + CONTEXT_SIZE + SKB_HEADROOM;
  memory.u8.set(packet, start);
  if (context !== undefined) {
    for (const [offset, bytes] of SKB_FIELDS) {
      memory.u8.set(new Uint8Array(context.buffer, offset, bytes), skb + offset);
    }
  }
  const set = (offset: number, value: number): void => memory.view.setUint32(skb + offset, value, true);
  const get = (offset: number): number => memory.view.getUint32(skb + offset, true);
  set(skBuff.len, seenSize);
  set(skBuff.data, start + size - seenSize);
  set(skBuff.data_end, start + size);
  set(skBuff.data_meta, start + size - seenSize);
  set(skBuff.mac_header, start);
  set(skBuff.network_header, start + ETH_HLEN);
  set(skBuff.ifindex, LOOPBACK);
  set(skBuff.pkt_type, packetType(packet));
  set(skBuff.protocol, protocolOf(packet));
  if (context !== undefined && get(skBuff.wire_len) === 0) set(skBuff.wire_len, seenSize);
  setAddresses(memory.view, skb, packet);
  set(skBuff.sk, sk);
  fillSocket(memory, sk, skb);
  const socket = makeSocket(state);
  state.socketsByAddress.set(sk, socket);

  const outcome = run(state, program, skb, attr);
  state.socketsByAddress.delete(sk);
  socket.references.drop();
  let result = typeof outcome === "number" ? outcome : 0;
  if (typeof outcome !== "number") {
    if (!isLinkLayer) {
      set(skBuff.data, get(skBuff.data) - ETH_HLEN);
      memory.u8.fill(0, get(skBuff.data), get(skBuff.data) + ETH_HLEN);
    }
    if (context !== undefined) {
      for (const [offset, bytes] of SKB_FIELDS) {
        new Uint8Array(context.buffer, offset, bytes).set(memory.u8.subarray(skb + offset, skb + offset + bytes));
      }
    }
    result = finishPacket(attr, outcome, memory.u8.subarray(get(skBuff.data), get(skBuff.data_end)), new Uint8Array(0));
    if (result === 0) result = finishContext(attr, context, skBuff.size);
  }
  machine.free(buffer);
  return result;
}

function checkSkbContext(context: DataView, seenSize: number): number {
  const device = context.getUint32(skBuff.ifindex, true);
  if (device > LOOPBACK) return -ENODEV;
  const settable = new Uint8Array(skBuff.size);
  for (const [offset, bytes] of SKB_FIELDS) settable.fill(1, offset, offset + bytes);
  const isForeign = new Uint8Array(context.buffer).some((byte, offset) => byte !== 0 && settable[offset] === 0);
  const wireLength = context.getUint32(skBuff.wire_len, true);
  const isWireLengthWrong = wireLength !== 0 && (wireLength < seenSize || wireLength > MAX_WIRE_LEN);
  return isForeign || isWireLengthWrong || context.getUint32(skBuff.gso_segs, true) > MAX_GSO_SEGS ? -EINVAL : 0;
}

const PACKET_MULTICAST = 2;
const PACKET_OTHERHOST = 3;

/** To whom a frame is, on lo, whose address is zero. */
function packetType(packet: Uint8Array): number {
  if (((packet[0] as number) & 1) !== 0) return PACKET_MULTICAST;
  return packet.subarray(0, 6).some((byte) => byte !== 0) ? PACKET_OTHERHOST : 0;
}

const ETH_P_802_3 = 1;
const ETH_P_802_2 = 4;
const ETH_P_802_3_MIN = 0x600;
const ETH_P_IP = 0x800;
const ETH_P_IPV6 = 0x86dd;

/** Bytes that Linux wants behind the Ethernet header, by its type. */
const SHORTEST_HEADER: Readonly<Record<number, number>> = { [ETH_P_IP]: 20, [ETH_P_IPV6]: 40 };

const etherType = (packet: Uint8Array): number => ((packet[12] as number) << 8) | (packet[13] as number);
const networkOrder = (value: number): number => ((value & 0xff) << 8) | (value >> 8);

/** The protocol of a frame, in network order; a frame with a length instead of a type is 802.3 or 802.2. */
function protocolOf(packet: Uint8Array): number {
  const type = etherType(packet);
  if (type >= ETH_P_802_3_MIN) return networkOrder(type);
  return networkOrder(packet[14] === 0xff && packet[15] === 0xff ? ETH_P_802_3 : ETH_P_802_2);
}

const AF_INET = 2;
const AF_INET6 = 10;

/** The addresses that the packet's socket has, which Linux takes from its IP header: the source is its own. */
function setAddresses(view: DataView, skb: number, packet: Uint8Array): void {
  const type = etherType(packet);
  const copy = (from: number, to: number, length: number): void =>
    packet.subarray(from, from + length).forEach((byte, i) => {
      view.setUint8(skb + to + i, byte);
    });
  if (type === ETH_P_IP) {
    view.setUint32(skb + skBuff.family, AF_INET, true);
    copy(ETH_HLEN + 12, skBuff.local_ip4, 4);
    copy(ETH_HLEN + 16, skBuff.remote_ip4, 4);
  } else if (type === ETH_P_IPV6) {
    view.setUint32(skb + skBuff.family, AF_INET6, true);
    copy(ETH_HLEN + 8, skBuff.local_ip6, 16);
    copy(ETH_HLEN + 24, skBuff.remote_ip6, 16);
  }
}

const TCP_CLOSE = 7;
const NO_QUEUE = -1;

/** The packet's socket, new and unconnected, with the family and the addresses of the packet. */
function fillSocket({ u8, view }: MachineMemory, sk: number, skb: number): void {
  const copy = (from: number, to: number, length: number): void => {
    u8.copyWithin(sk + to, skb + from, skb + from + length);
  };
  copy(skBuff.family, bpfSock.family, 4);
  copy(skBuff.local_ip4, bpfSock.src_ip4, 4);
  copy(skBuff.remote_ip4, bpfSock.dst_ip4, 4);
  copy(skBuff.local_ip6, bpfSock.src_ip6, 16);
  copy(skBuff.remote_ip6, bpfSock.dst_ip6, 16);
  view.setUint32(sk + bpfSock.state, TCP_CLOSE, true);
  view.setInt32(sk + bpfSock.rx_queue_mapping, NO_QUEUE, true);
}

const MAX_SYSCALL_CONTEXT = 65535;

/** Runs a program on the caller's bytes, which it may change. */
function runSyscall(state: KernelState, program: EmbeddedProgram, attr: TestRun): number {
  const { machine, memory } = state;
  const isForeign = attr.data_in !== null || attr.data_out !== null || attr.ctx_out !== null;
  if (isForeign || attr.duration !== 0 || attr.repeat !== 0 || attr.flags !== 0 || attr.batch_size !== 0)
    return -EINVAL;
  const size = attr.ctx_size_in;
  if (size < program.contextBytes || size > MAX_SYSCALL_CONTEXT) return -EINVAL;
  const bytes = size === 0 ? new Uint8Array(0) : userBytes(attr.ctx_in, size);
  if (bytes === undefined) return -EFAULT;
  const context = allocateZeroed(state, size);
  if (context === 0) return -ENOMEM;
  memory.u8.set(bytes, context);
  const outcome = run(state, program, context, attr);
  if (typeof outcome !== "number") {
    attr.retval = outcome.retval;
    bytesAt(attr.ctx_in)?.set(memory.u8.subarray(context, context + size));
  }
  machine.free(context);
  return typeof outcome === "number" ? outcome : 0;
}

/** The caller's context, zero where it is shorter; undefined where there is none to read or to write. */
function readContext(attr: TestRun, size: number): DataView | undefined | number {
  if (attr.ctx_in === null && attr.ctx_out === null) return undefined;
  const context = new Uint8Array(size);
  if (attr.ctx_in !== null) {
    const bytes = userBytes(attr.ctx_in, attr.ctx_size_in);
    if (attr.ctx_size_in > BUFFER_SIZE) return -E2BIG;
    if (bytes === undefined) return -EFAULT;
    if (bytes.subarray(size).some((byte) => byte !== 0)) return -E2BIG;
    context.set(bytes.subarray(0, size));
  }
  return new DataView(context.buffer);
}

function allocateZeroed({ machine, memory }: KernelState, size: number): number {
  const address = machine.allocateZeroed(size);
  memory.reach(address + size);
  return address;
}

/** What a run gave, to be told when the packet has been handed out. */
interface Outcome {
  readonly retval: number;
  /** Nanoseconds of one run. */
  readonly duration: number;
}

/** Runs the program as often as it was asked for, on the same packet; -ENOMEM, or -EIO where the machine stopped it. */
function run(state: KernelState, program: EmbeddedProgram, context: number, attr: TestRun): Outcome | number {
  const { machine, memory, clock, running, runStorage } = state;
  const storage = allocateStorage(state, program);
  if (storage === undefined) return -ENOMEM;
  const repeat = Math.max(attr.repeat, 1);
  const cpu = memory.u32[CPU / 4] as number;
  const start = clock.monotonic();
  state.running = program;
  state.runStorage = storage;
  let fault = FAULT_NONE;
  for (let i = 0; i < repeat && fault === FAULT_NONE; i++) fault = machine.programRun(program.handle, context, cpu);
  state.running = running;
  state.runStorage = runStorage;
  for (const address of storage.values()) machine.free(address);
  if (running === undefined) for (const free of state.waiting.splice(0)) free();
  if (fault !== FAULT_NONE) return -EIO;
  const duration = Number((clock.monotonic() - start) / BigInt(repeat)) >>> 0;
  return { retval: memory.u32[RESULT / 4] as number, duration };
}

/** A value, of zeros, of each map of cgroup storage: a test run is in no cgroup. Undefined where memory does not suffice. */
function allocateStorage(state: KernelState, { maps }: EmbeddedProgram): ReadonlyMap<EmbeddedMap, number> | undefined {
  const storage = new Map<EmbeddedMap, number>();
  for (const map of maps.filter(isCgroupStorage)) {
    const address = allocateZeroed(state, stride(map.value_size));
    if (address === 0) {
      for (const taken of storage.values()) state.machine.free(taken);
      return undefined;
    }
    storage.set(map, address);
  }
  return storage;
}

/** Hands out the packet, as much of it as the caller asked for, and what the run gave. */
function finishPacket(attr: TestRun, outcome: Outcome, linear: Uint8Array, fragments: Uint8Array): number {
  const size = linear.length + fragments.length;
  const isCut = attr.data_size_out > 0 && size > attr.data_size_out;
  const copied = isCut ? attr.data_size_out : size;
  const target = bytesAt(attr.data_out);
  if (target !== undefined) {
    const linearCopied = copied - fragments.length;
    if (linearCopied < 0) return -ENOSPC;
    if (target.length < copied) return -EFAULT;
    target.set(linear.subarray(0, linearCopied));
    target.set(fragments, linearCopied);
  }
  attr.data_size_out = size;
  attr.retval = outcome.retval;
  attr.duration = outcome.duration;
  return isCut ? -ENOSPC : 0;
}

function finishContext(attr: TestRun, context: DataView | undefined, size: number): number {
  const target = bytesAt(attr.ctx_out);
  if (context === undefined || target === undefined) return 0;
  const copied = Math.min(size, attr.ctx_size_out);
  if (target.length < copied) return -EFAULT;
  target.set(new Uint8Array(context.buffer, 0, copied));
  const isCut = size > attr.ctx_size_out;
  attr.ctx_size_out = size;
  return isCut ? -ENOSPC : 0;
}
