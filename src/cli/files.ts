// What the command reads from disk, and its own refusals.

import { createReadStream } from "node:fs";
import { basename } from "node:path";
import { type Capture, LINKTYPE_ETHERNET, readCapture } from "../pcap/pcap.ts";

/** Something that a person asked for and that cannot be done: its message is all there is to say. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly code = "ERR_CLI";
}

/** An input file, under the name that messages give it. */
export interface Input {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EISDIR: "it is a directory",
  EACCES: "no permission to read it",
  ENOTDIR: "a part of its path is no directory",
};

/** Bytes of the longest input: a device, or a pipe, need not end. */
const LONGEST_INPUT = 2 ** 30;

/** @throws CliError where it cannot be read */
export async function readInput(path: string | URL): Promise<Input> {
  const shown = path instanceof URL ? path.pathname : path;
  try {
    return { name: basename(shown), bytes: await readAll(path) };
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    throw new CliError(`${shown || '""'}: ${reasons[code] ?? message}`);
  }
}

async function readAll(path: string | URL): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    size += chunk.length;
    if (size > LONGEST_INPUT) throw new CliError(`it has more than ${LONGEST_INPUT} bytes, the most that are read`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const linkTypeNames: Readonly<Record<number, string>> = {
  0: "BSD loopback",
  101: "raw IP",
  105: "IEEE 802.11",
  113: "Linux cooked capture",
  127: "IEEE 802.11 radiotap",
  228: "raw IPv4",
  229: "raw IPv6",
  276: "Linux cooked capture v2",
};

/**
 * A capture of Ethernet frames, which is what packet programs take.
 *
 * @throws CliError where a packet begins with another header; CaptureError where the file is damaged
 */
export async function readFrames(path: string | URL): Promise<Capture> {
  const { name, bytes } = await readInput(path);
  const capture = readCapture(bytes, name);
  const at = capture.packets.findIndex(({ linkType }) => linkType !== LINKTYPE_ETHERNET);
  if (at < 0) return capture;
  const { linkType } = capture.packets[at]!;
  const called = linkTypeNames[linkType] === undefined ? "" : ` (${linkTypeNames[linkType]})`;
  throw new CliError(
    `${name}: packet ${at + 1} has link type ${linkType}${called}; programs are run on Ethernet frames, link type ${LINKTYPE_ETHERNET}`,
  );
}
