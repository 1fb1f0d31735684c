// Packet captures as data: pcap and pcapng, in both byte orders.
// Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng

/** What a capture file holds, in the file's order. */
export interface Capture {
  /** Where it came from, for messages: a file name. */
  readonly name: string;
  readonly format: "pcap" | "pcapng";
  readonly packets: readonly Packet[];
}

export interface Packet {
  /** The bytes that were captured: a view of the file's bytes. */
  readonly data: Uint8Array;
  /** Nanoseconds since 1970; 0 where the file has none for this packet. */
  readonly timestamp: bigint;
  /** Bytes that the packet had when it was captured; more than `data.length` where it was cut. */
  readonly originalLength: number;
  /** LINKTYPE_…: what `data` begins with; 1 is Ethernet. */
  readonly linkType: number;
  /** Number of the interface that it was captured on, counted through the file. */
  readonly interface: number;
}

/** A capture file that is not one, or is damaged: names the file, the packet, the offset and the lengths. */
export class CaptureError extends Error {
  override readonly name = "CaptureError";
  readonly code = "ERR_CAPTURE";
}

export const LINKTYPE_ETHERNET = 1;

/**
 * Reads a pcap or pcapng file. Blocks that hold no packets are skipped.
 *
 * @param bytes the whole file; the packets are views of it
 * @param name for messages: the file's name
 * @throws CaptureError `ERR_CAPTURE` where the file is no capture, or a record is cut or contradicts itself
 * @example
 * readCapture(await readFile("traffic.pcap"), "traffic.pcap").packets[0].data;
 */
export function readCapture(bytes: Uint8Array, name: string): Capture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length === 0) throw new CaptureError(`${name}: is empty; expected a pcap or pcapng file`);
  if (bytes.length < 4)
    throw new CaptureError(`${name}: is cut: a capture begins with 4 bytes of magic, it has ${bytes.length}`);
  const magic = view.getUint32(0, true);
  const file = { view, bytes, name };
  if (magic === SECTION_HEADER) return { name, format: "pcapng", packets: readPcapng(file) };
  const variant = pcapVariants.get(magic);
  if (variant) return { name, format: "pcap", packets: readPcap(file, ...variant) };
  throw new CaptureError(`${name}: is no capture: it begins with 0x${hex(view.getUint32(0))}; ${knownMagic}`);
}

/**
 * Writes packets as a pcap file: little-endian, with nanosecond stamps.
 *
 * @param linkType LINKTYPE_… of all of them
 */
export function writePcap(
  packets: readonly (Pick<Packet, "data" | "timestamp"> & Partial<Packet>)[],
  linkType: number = LINKTYPE_ETHERNET,
): Uint8Array {
  const size = packets.reduce((sum, { data }) => sum + RECORD_HEADER + data.length, FILE_HEADER);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC_NANOSECONDS, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, LONGEST_PACKET, true);
  view.setUint32(20, linkType, true);
  let at = FILE_HEADER;
  for (const { data, timestamp, originalLength = data.length } of packets) {
    view.setUint32(at, Number(timestamp / NANOSECONDS), true);
    view.setUint32(at + 4, Number(timestamp % NANOSECONDS), true);
    view.setUint32(at + 8, data.length, true);
    view.setUint32(at + 12, originalLength, true);
    bytes.set(data, at + RECORD_HEADER);
    at += RECORD_HEADER + data.length;
  }
  return bytes;
}

interface File {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly name: string;
}

const NANOSECONDS = 1_000_000_000n;
/** The longest packet that capture programs write; a longer one is a damaged length. */
const LONGEST_PACKET = 262_144;

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;

/** By the magic as a little-endian number: the file's byte order, and nanoseconds in a unit of its stamps. */
const pcapVariants = new Map<number, readonly [littleEndian: boolean, unit: bigint]>([
  [MAGIC_MICROSECONDS, [true, 1000n]],
  [MAGIC_NANOSECONDS, [true, 1n]],
  [0xd4c3b2a1, [false, 1000n]],
  [0x4d3cb2a1, [false, 1n]],
]);

const knownMagic =
  "a pcap file begins with 0xa1b2c3d4 or 0xa1b23c4d in either byte order, a pcapng file with 0x0a0d0d0a";

function readPcap({ view, bytes, name }: File, little: boolean, unit: bigint): Packet[] {
  if (bytes.length < FILE_HEADER) {
    throw new CaptureError(
      `${name}: is cut: the header of a pcap file has ${FILE_HEADER} bytes, the file ${bytes.length}`,
    );
  }
  const linkType = view.getUint32(20, little) & 0xffff;
  const packets: Packet[] = [];
  let at = FILE_HEADER;
  while (at < bytes.length) {
    const where = `${name}: packet ${packets.length + 1} at offset ${at}`;
    const left = bytes.length - at;
    if (left < RECORD_HEADER)
      throw new CaptureError(`${where}: is cut: a record header has ${RECORD_HEADER} bytes, ${left} are left`);
    const length = view.getUint32(at + 8, little);
    checkLength(where, length, left - RECORD_HEADER);
    packets.push({
      data: bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + length),
      timestamp: BigInt(view.getUint32(at, little)) * NANOSECONDS + BigInt(view.getUint32(at + 4, little)) * unit,
      originalLength: view.getUint32(at + 12, little),
      linkType,
      interface: 0,
    });
    at += RECORD_HEADER + length;
  }
  return packets;
}

/** @param left bytes that there are behind the record's header */
function checkLength(where: string, length: number, left: number): void {
  if (length > LONGEST_PACKET) {
    throw new CaptureError(
      `${where}: says that it has ${length} bytes; a captured packet has at most ${LONGEST_PACKET}`,
    );
  }
  if (length > left) throw new CaptureError(`${where}: is cut: it has ${length} bytes, ${left} are left`);
}

const SECTION_HEADER = 0x0a0d0d0a;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** Type and length before a block's body, the length again behind it. */
const SMALLEST_BLOCK = 12;

interface Interface {
  readonly linkType: number;
  /** Bytes of a packet that are kept; 0 is no limit. */
  readonly snapLength: number;
  /** Ticks since 1970 → nanoseconds. */
  readonly nanoseconds: (ticks: bigint) => bigint;
}

/** What the blocks read so far say about those that follow. */
interface Section {
  little: boolean;
  interfaces: Interface[];
  /** Interfaces in the sections before. */
  before: number;
}

interface Block {
  /** Offsets of the body's first byte and of the byte behind its last. */
  readonly start: number;
  readonly end: number;
  /** For messages: the file, the number and the offset. */
  readonly where: string;
}

/** By block type: the fewest bytes of its body, and how it is read; a packet where it holds one. */
const blocks: Readonly<
  Record<number, readonly [size: number, read: (file: File, section: Section, block: Block) => Packet | undefined]>
> = {
  1: [8, readInterface],
  2: [20, readOldPacket],
  3: [4, readSimplePacket],
  6: [20, readEnhancedPacket],
};

function readPcapng(file: File): Packet[] {
  const { view, bytes, name } = file;
  const packets: Packet[] = [];
  const section: Section = { little: true, interfaces: [], before: 0 };
  let at = 0;
  for (let number = 1; at < bytes.length; number++) {
    const where = `${name}: block ${number} at offset ${at} (after ${packets.length} packets)`;
    const left = bytes.length - at;
    if (left < SMALLEST_BLOCK) {
      throw new CaptureError(`${where}: is cut: a block has at least ${SMALLEST_BLOCK} bytes, ${left} are left`);
    }
    const type = view.getUint32(at, section.little);
    if (type === SECTION_HEADER) beginSection(file, section, at, where);
    const length = view.getUint32(at + 4, section.little);
    if (length < SMALLEST_BLOCK || length % 4 !== 0) {
      throw new CaptureError(
        `${where}: says that it has ${length} bytes; a block has a multiple of 4, and at least ${SMALLEST_BLOCK}`,
      );
    }
    if (length > left) throw new CaptureError(`${where}: is cut: it has ${length} bytes, ${left} are left`);
    const again = view.getUint32(at + length - 4, section.little);
    if (again !== length) {
      throw new CaptureError(`${where}: has two lengths: ${length} at its beginning, ${again} at its end`);
    }
    const [size, read] = blocks[type] ?? [];
    const block = { start: at + 8, end: at + length - 4, where };
    if (size !== undefined && block.end - block.start < size) {
      throw new CaptureError(
        `${where}: has a body of ${block.end - block.start} bytes; one of type ${type} has at least ${size}`,
      );
    }
    const packet = read?.(file, section, block);
    if (packet) packets.push(packet);
    at += length;
  }
  return packets;
}

function beginSection({ view }: File, section: Section, at: number, where: string): void {
  const magic = view.getUint32(at + 8, true);
  section.little = magic === BYTE_ORDER_MAGIC;
  if (!section.little && view.getUint32(at + 8, false) !== BYTE_ORDER_MAGIC) {
    throw new CaptureError(`${where}: has the byte-order magic 0x${hex(magic)}; expected 0x${hex(BYTE_ORDER_MAGIC)}`);
  }
  section.before += section.interfaces.length;
  section.interfaces = [];
}

const OPTION_TIMESTAMP_RESOLUTION = 9;
const OPTION_TIMESTAMP_OFFSET = 14;

function readInterface({ view }: File, section: Section, { start, end, where }: Block): undefined {
  const { little } = section;
  let resolution = 6;
  let seconds = 0n;
  for (let at = start + 8; at + 4 <= end; ) {
    const code = view.getUint16(at, little);
    const length = view.getUint16(at + 2, little);
    if (code === 0) break;
    if (at + 4 + length > end) {
      throw new CaptureError(`${where}: option ${code} is cut: it has ${length} bytes, ${end - at - 4} are left`);
    }
    if (code === OPTION_TIMESTAMP_RESOLUTION && length === 1) resolution = view.getUint8(at + 4);
    if (code === OPTION_TIMESTAMP_OFFSET && length === 8) seconds = view.getBigInt64(at + 4, little);
    at += 4 + ((length + 3) & ~3);
  }
  section.interfaces.push({
    linkType: view.getUint16(start, little),
    snapLength: view.getUint32(start + 4, little),
    nanoseconds: (ticks) => toNanoseconds(ticks, resolution) + seconds * NANOSECONDS,
  });
}

/** @param resolution the negative exponent of a tick in seconds: of 10, or of 2 where the top bit is set */
function toNanoseconds(ticks: bigint, resolution: number): bigint {
  if (resolution >= 0x80) return (ticks * NANOSECONDS) >> BigInt(resolution & 0x7f);
  return (ticks * NANOSECONDS) / 10n ** BigInt(resolution);
}

function readEnhancedPacket(file: File, section: Section, block: Block): Packet {
  return timedPacket(file, section, block, file.view.getUint32(block.start, section.little));
}

function readOldPacket(file: File, section: Section, block: Block): Packet {
  return timedPacket(file, section, block, file.view.getUint16(block.start, section.little));
}

/** A packet whose block has, behind 4 bytes for the interface: the stamp's halves, both lengths, the data. */
function timedPacket({ view, bytes }: File, section: Section, { start, end, where }: Block, number: number): Packet {
  const { little } = section;
  const { linkType, nanoseconds } = interfaceOf(section, number, where);
  const ticks = (BigInt(view.getUint32(start + 4, little)) << 32n) | BigInt(view.getUint32(start + 8, little));
  const length = view.getUint32(start + 12, little);
  checkLength(where, length, end - start - 20);
  return {
    data: bytes.subarray(start + 20, start + 20 + length),
    timestamp: nanoseconds(ticks),
    originalLength: view.getUint32(start + 16, little),
    linkType,
    interface: section.before + number,
  };
}

function readSimplePacket({ view, bytes }: File, section: Section, { start, end, where }: Block): Packet {
  const { linkType, snapLength } = interfaceOf(section, 0, where);
  const originalLength = view.getUint32(start, section.little);
  const length = snapLength === 0 ? originalLength : Math.min(originalLength, snapLength);
  checkLength(where, length, end - start - 4);
  const data = bytes.subarray(start + 4, start + 4 + length);
  return { data, timestamp: 0n, originalLength, linkType, interface: section.before };
}

function interfaceOf(section: Section, number: number, where: string): Interface {
  const found = section.interfaces[number];
  if (found) return found;
  throw new CaptureError(
    `${where}: is of interface ${number}; the section has described ${section.interfaces.length} so far`,
  );
}

const hex = (value: number): string => value.toString(16).padStart(8, "0");
