// Maps that packets are redirected by: to devices and CPUs, each with a program that sees them there.
// Linux: kernel/bpf/devmap.c, kernel/bpf/cpumap.c

import { CodecError, shown } from "../../codec/codec.ts";
import { u32 } from "../../codec/scalars.ts";
import type { ValueCodec } from "./elements.ts";
import type { OpenedMap } from "./handle.ts";
import { fdOf, type Held } from "./held.ts";
import { DeletableMap } from "./keyed.ts";

/** A device that packets are sent to, and a program that sees them first. */
export interface DeviceTarget {
  /** Number of the network device. */
  readonly ifindex: number;
  /** An XDP program with the attach type BPF_XDP_DEVMAP. Linux 5.8; the map's values have 8 bytes for it. */
  readonly program?: Held;
}

/** A queue that a CPU takes packets from, and a program that sees them there. */
export interface CpuTarget {
  /** Packets that may wait: 1 to 16384; 0 empties the slot. */
  readonly queueSize: number;
  /** An XDP program with the attach type BPF_XDP_CPUMAP. Linux 5.9; the map's values have 8 bytes for it. */
  readonly program?: Held;
}

/**
 * Network devices to which programs redirect packets. BPF_MAP_TYPE_DEVMAP, Linux 4.14; DEVMAP_HASH, 5.4; needs CAP_NET_ADMIN.
 *
 * @example
 * using ports = BpfMap.create(kernel, { type: "devmap", maxEntries: 8 });
 * ports.set(0, { ifindex: 1 });
 * ports.get(0); // { ifindex: 1, programId: 0 }
 */
export class DeviceMap extends DeletableMap<number, Shown<DeviceTarget>, DeviceTarget> {
  constructor(opened: OpenedMap) {
    super(opened, u32, target<DeviceTarget>(opened, "struct bpf_devmap_val", "ifindex"));
  }
}

/**
 * CPUs to which programs redirect packets. BPF_MAP_TYPE_CPUMAP, Linux 4.15.
 *
 * @example
 * using cpus = BpfMap.create(kernel, { type: "cpumap" });
 * cpus.set(0, { queueSize: 192 });
 */
export class CpuMap extends DeletableMap<number, Shown<CpuTarget>, CpuTarget> {
  constructor(opened: OpenedMap) {
    super(opened, u32, target<CpuTarget>(opened, "struct bpf_cpumap_val", "queueSize"));
  }
}

/** What a redirect map shows of a target: its program as an id, which is 0 where there is none. */
type Shown<Target extends object> = Omit<Target, "program"> & { readonly programId: number };

/** A u32, and in values of 8 bytes a program: written as its file descriptor, where 0 and -1 are none, read as its id. */
function target<Target extends { readonly program?: Held }>(
  { kernel, info: { value_size: size } }: OpenedMap,
  name: string,
  member: string,
): ValueCodec<Shown<Target>, Target> {
  return {
    name,
    size,
    align: 4,
    encode(value, view, offset) {
      if (typeof value !== "object" || value === null)
        throw new CodecError(`${name}: ${shown(value)} is not an object`);
      u32.encode((value as Record<string, unknown>)[member] as number, view, offset);
      if (size >= 8) view.setInt32(offset + 4, value.program === undefined ? -1 : fdOf(value.program, kernel), true);
      else if (value.program !== undefined) {
        throw new CodecError(`${name}: the map's values have ${size} bytes; a program needs 8`, "program");
      }
    },
    decode: (view, offset) =>
      ({
        [member]: view.getUint32(offset, true),
        programId: size >= 8 ? view.getUint32(offset + 4, true) : 0,
      }) as unknown as Shown<Target>,
  };
}
