// The batch commands: counts, where a walk goes on, and how a batch ends half-way.

import { expect } from "vitest";
import type { Kernel } from "../../src/kernel/kernel.ts";
import {
  BPF_MAP_DELETE_BATCH,
  BPF_MAP_LOOKUP_AND_DELETE_BATCH,
  BPF_MAP_LOOKUP_BATCH,
  BPF_MAP_UPDATE_BATCH,
} from "../../src/uapi/commands.ts";
import { BPF_EXIST, BPF_F_LOCK, BPF_F_ZERO_SEED, BPF_NOEXIST } from "../../src/uapi/flags.ts";
import { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_ARRAY } from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, get, keys, set, toU32 } from "./maps.ts";

const words = (values: readonly number[]): Uint8Array => new Uint8Array(new Uint32Array(values).buffer);
const toWords = (bytes: Uint8Array, count: number): number[] => [...new Uint32Array(bytes.slice().buffer, 0, count)];
const longs = (values: readonly number[]): Uint8Array => new Uint8Array(new BigUint64Array(values.map(BigInt)).buffer);

type Lookup = typeof BPF_MAP_LOOKUP_BATCH | typeof BPF_MAP_LOOKUP_AND_DELETE_BATCH;

/** One lookup batch: outcome, count, keys read, and the position to go on from. */
function read(kernel: Kernel, command: Lookup, map_fd: number, count: number, from: number | undefined, room = count) {
  const out_batch = new Uint8Array(4);
  const keyBytes = new Uint8Array(4 * room);
  const values = new Uint8Array(8 * room);
  const attr = {
    map_fd,
    count,
    in_batch: from === undefined ? null : words([from]),
    out_batch,
    keys: keyBytes,
    values,
  };
  const result = outcome(kernel.bpf(command, attr));
  return { result, count: attr.count, keys: toWords(keyBytes, Math.min(room, attr.count)), next: toU32(out_batch) };
}

contract("an array is read in batches by index; the end is ENOENT with the count of the rest", (kernel, { open }) => {
  const map = open(create(kernel, { max_entries: 5 }));
  const first = read(kernel, BPF_MAP_LOOKUP_BATCH, map, 2, undefined);
  expect(first).toEqual({ result: 0, count: 2, keys: [0, 1], next: 1 });
  expect(read(kernel, BPF_MAP_LOOKUP_BATCH, map, 2, first.next)).toEqual({
    result: 0,
    count: 2,
    keys: [2, 3],
    next: 3,
  });
  const last = read(kernel, BPF_MAP_LOOKUP_BATCH, map, 2, 3);
  expect(last).toMatchObject({ result: "ENOENT", count: 1, keys: [4], next: 4 });
  expect(read(kernel, BPF_MAP_LOOKUP_BATCH, map, 2, 4)).toMatchObject({ result: "ENOENT", count: 0 });
});

contract("a hash is read in batches of whole buckets, each key once, in its order", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH, max_entries: 64, map_flags: BPF_F_ZERO_SEED }));
  for (let key = 0; key < 64; key++) set(kernel, map, key, key);
  const found: number[] = [];
  const positions: number[] = [];
  for (let from: number | undefined, round = 0; round < 100; round++) {
    const batch = read(kernel, BPF_MAP_LOOKUP_BATCH, map, 10, from);
    found.push(...batch.keys);
    positions.push(batch.next);
    if (batch.result !== 0) {
      expect(batch.result).toBe("ENOENT");
      break;
    }
    from = batch.next;
  }
  expect(found).toEqual(keys(kernel, map));
  expect(positions).toEqual([10, 16, 27, 42, 54, 61, 64]);
});

contract("a batch with less room than one bucket has is ENOSPC and reads nothing", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH, max_entries: 64, map_flags: BPF_F_ZERO_SEED }));
  for (let key = 0; key < 64; key++) set(kernel, map, key, key);
  const full: number[] = [];
  for (let from = 0; from < 64; from++) {
    const { result, count } = read(kernel, BPF_MAP_LOOKUP_BATCH, map, 1, from);
    expect([result, count]).toEqual(result === "ENOSPC" ? ["ENOSPC", 0] : [0, 1]);
    if (result === "ENOSPC") full.push(from);
  }
  expect(full).toEqual([
    0, 1, 13, 14, 15, 17, 23, 24, 25, 26, 27, 32, 33, 34, 35, 36, 42, 48, 49, 52, 53, 54, 56, 59, 60, 61, 62, 63,
  ]);
  expect(read(kernel, BPF_MAP_LOOKUP_BATCH, map, 10, 64)).toMatchObject({ result: "ENOENT", count: 0 });
});

contract("lookup and delete in a batch takes the elements out", (kernel, { open }) => {
  const map = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH, max_entries: 8 }));
  for (let key = 0; key < 8; key++) set(kernel, map, key, 100 + key);
  const batch = read(kernel, BPF_MAP_LOOKUP_AND_DELETE_BATCH, map, 8, undefined);
  expect(batch.result).toBe("ENOENT");
  expect(batch.keys.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(keys(kernel, map)).toEqual([]);
});

contract("an update batch that fails half-way tells how many elements it wrote", (kernel, { open }) => {
  const map_fd = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH, max_entries: 2 }));
  const attr = { map_fd, count: 4, keys: words([1, 2, 3, 4]), values: longs([11, 12, 13, 14]) };
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_BATCH, attr))).toBe("E2BIG");
  expect(attr.count).toBe(2);
  expect(get(kernel, map_fd, 2)).toBe(12n);
  expect(get(kernel, map_fd, 3)).toBe("ENOENT");
  const short = { map_fd, count: 2, keys: words([1, 2]), values: longs([21]) };
  expect(outcome(kernel.bpf(BPF_MAP_UPDATE_BATCH, short))).toBe("EFAULT");
  expect(short.count).toBe(1);
  expect(get(kernel, map_fd, 1)).toBe(21n);
});

contract("a delete batch ends at the first key that is not there", (kernel, { open }) => {
  const map_fd = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH, max_entries: 4 }));
  for (const key of [1, 2, 3]) set(kernel, map_fd, key, key);
  const attr = { map_fd, count: 3, keys: words([1, 9, 2]) };
  expect(outcome(kernel.bpf(BPF_MAP_DELETE_BATCH, attr))).toBe("ENOENT");
  expect(attr.count).toBe(1);
  expect(keys(kernel, map_fd).toSorted((a, b) => a - b)).toEqual([2, 3]);
});

contract("a batch of nothing is 0, whatever else is asked", (kernel, { open }) => {
  const map_fd = open(create(kernel, { map_type: BPF_MAP_TYPE_HASH }));
  for (const command of [BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH] as const)
    expect(outcome(kernel.bpf(command, { map_fd, count: 0 }))).toBe(0);
  for (const command of [BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH] as const)
    expect(outcome(kernel.bpf(command, { map_fd, count: 0 }))).toBe(0);
});

contract("flags of a batch and of its elements are checked before anything is done", (kernel, { open }) => {
  for (const map_type of [BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY]) {
    const map_fd = open(create(kernel, { map_type }));
    const answers = [1, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK, 8, 1n << 40n].map((elem_flags) => {
      const attr = {
        map_fd,
        elem_flags,
        count: 1,
        keys: words([1]),
        values: new Uint8Array(64),
        out_batch: words([0]),
      };
      return [
        outcome(kernel.bpf(BPF_MAP_UPDATE_BATCH, { ...attr })),
        outcome(kernel.bpf(BPF_MAP_LOOKUP_BATCH, { ...attr })),
        outcome(kernel.bpf(BPF_MAP_DELETE_BATCH, { ...attr })),
      ];
    });
    expect(answers).toEqual(
      answers.map(() => ["EINVAL", "EINVAL", map_type === BPF_MAP_TYPE_HASH ? "EINVAL" : "ENOTSUPP"]),
    );
    const attr = { map_fd, flags: 1, count: 1, keys: words([1]), values: new Uint8Array(64), out_batch: words([0]) };
    expect(outcome(kernel.bpf(BPF_MAP_UPDATE_BATCH, { ...attr }))).toBe(0);
    const read = outcome(kernel.bpf(BPF_MAP_LOOKUP_BATCH, { ...attr }));
    expect(read).toBe(map_type === BPF_MAP_TYPE_HASH ? "EINVAL" : 0);
  }
});
