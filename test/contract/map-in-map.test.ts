// Maps of maps: what may be in them, what they show, and how long it lives.

import { expect } from "vitest";
import type { Kernel } from "../../src/kernel/kernel.ts";
import * as commands from "../../src/uapi/commands.ts";
import * as flags from "../../src/uapi/flags.ts";
import * as types from "../../src/uapi/map-types.ts";
import { contract, outcome } from "./contract.ts";
import { create, creation, get, keys, type MapCreate, nextKey, remove, set, toU32, u32 } from "./maps.ts";
import { eventually, hasMap, mapId, put, shown, smallProgram, take, words } from "./references.ts";

const outers = [
  ["an array of maps", types.BPF_MAP_TYPE_ARRAY_OF_MAPS],
  ["a hash of maps", types.BPF_MAP_TYPE_HASH_OF_MAPS],
] as const;

const createOuter = (kernel: Kernel, map_type: number, inner_map_fd: number, attr: MapCreate = {}): number =>
  create(kernel, { map_type, inner_map_fd, value_size: 4, ...attr });

for (const [name, type] of outers) {
  contract(`${name} is written with a file descriptor and shows an id`, (kernel, { open }) => {
    const inner = open(create(kernel));
    const outer = open(createOuter(kernel, type, inner));
    expect(shown(kernel, outer, 1)).toBe("ENOENT");
    expect(put(kernel, outer, 1, inner)).toBe(0);
    expect(shown(kernel, outer, 1)).toBe(mapId(kernel, inner));
    expect(take(kernel, outer, 1)).toBe("ENOTSUPP");
    expect(remove(kernel, outer, 1)).toBe(0);
    expect(remove(kernel, outer, 1)).toBe("ENOENT");
    expect(shown(kernel, outer, 1)).toBe("ENOENT");
  });

  contract(
    `${name} keeps the maps in it, and lets go of them when they are replaced, deleted or it ends`,
    async (kernel, { open }) => {
      const template = open(create(kernel));
      const outer = createOuter(kernel, type, template);
      const ids = [0, 1, 2].map((key) => {
        const inner = create(kernel);
        const id = mapId(kernel, inner);
        expect(put(kernel, outer, key, inner)).toBe(0);
        kernel.close(inner);
        return id;
      });
      const has = (index: number): boolean => hasMap(kernel, ids[index] as number);
      expect([has(0), has(1), has(2)]).toEqual([true, true, true]);
      const again = open(kernel.bpf(commands.BPF_MAP_GET_FD_BY_ID, { map_id: ids[0] as number }));
      expect(set(kernel, again, 2, 22)).toBe(0);
      kernel.close(again);
      expect(put(kernel, outer, 0, template)).toBe(0);
      expect(remove(kernel, outer, 1)).toBe(0);
      expect(await eventually(() => !has(0) && !has(1))).toBe(true);
      expect(has(2)).toBe(true);
      kernel.close(outer);
      expect(await eventually(() => !has(2))).toBe(true);
    },
  );

  contract(`${name} needs a map that is like its template`, (kernel, { open }) => {
    const template = { map_type: types.BPF_MAP_TYPE_HASH, max_entries: 4 };
    const outer = open(createOuter(kernel, type, open(create(kernel, template))));
    const given = (attr: MapCreate): number | string =>
      put(kernel, outer, 0, open(create(kernel, { ...template, ...attr })));
    expect(given({})).toBe(0);
    expect(given({ max_entries: 100 })).toBe(0);
    expect(given({ map_name: "another" })).toBe(0);
    expect(given({ map_flags: flags.BPF_F_RDONLY })).toBe(0);
    expect(given({ key_size: 8 })).toBe("EINVAL");
    expect(given({ value_size: 16 })).toBe("EINVAL");
    expect(given({ map_flags: flags.BPF_F_NO_PREALLOC })).toBe("EINVAL");
    expect(given({ map_flags: flags.BPF_F_RDONLY_PROG })).toBe("EINVAL");
    expect(given({ map_type: types.BPF_MAP_TYPE_LRU_HASH })).toBe("EINVAL");
    expect(put(kernel, outer, 0, 9999)).toBe("EBADF");
    expect(put(kernel, outer, 0, outer)).toBe("EINVAL");
    expect(put(kernel, outer, 0, open(smallProgram(kernel)))).toBe("EINVAL");
  });

  contract(
    `${name} wants as many entries in an array as its template has, unless BPF_F_INNER_MAP`,
    (kernel, { open }) => {
      for (const [map_flags, expected] of [
        [0, "EINVAL"],
        [flags.BPF_F_INNER_MAP, 0],
      ] as const) {
        const outer = open(createOuter(kernel, type, open(create(kernel, { map_flags }))));
        expect(put(kernel, outer, 0, open(create(kernel, { map_flags, max_entries: 5 })))).toBe(expected);
        expect(put(kernel, outer, 0, open(create(kernel, { map_flags: map_flags ^ flags.BPF_F_INNER_MAP })))).toBe(
          "EINVAL",
        );
      }
    },
  );

  contract(
    `${name} is made with a map that is open, and holds neither maps of maps nor programs`,
    (kernel, { open }) => {
      const outcomeWith = (inner_map_fd: number): number | string =>
        creation(kernel, { map_type: type, value_size: 4, inner_map_fd });
      const inner = open(create(kernel));
      expect(outcomeWith(inner)).toBe("ok");
      expect(outcomeWith(9999)).toBe("EBADF");
      expect(outcomeWith(open(smallProgram(kernel)))).toBe("EINVAL");
      expect(outcomeWith(open(createOuter(kernel, type, inner)))).toBe("EINVAL");
      const programs = { map_type: types.BPF_MAP_TYPE_PROG_ARRAY, value_size: 4 };
      expect(outcomeWith(open(create(kernel, programs)))).toBe("ENOTSUPP");
      for (const value_size of [0, 1, 8]) {
        expect(creation(kernel, { map_type: type, value_size, inner_map_fd: 9999 })).toBe("EINVAL");
      }
    },
  );

  contract(`${name} outlives its template`, (kernel, { open }) => {
    const template = create(kernel);
    const outer = open(createOuter(kernel, type, template));
    kernel.close(template);
    expect(put(kernel, outer, 0, open(create(kernel)))).toBe(0);
  });

  contract(`${name} holds the same map twice, and keeps it for the second`, async (kernel, { open }) => {
    const inner = create(kernel);
    const id = mapId(kernel, inner);
    const outer = open(createOuter(kernel, type, inner));
    expect([put(kernel, outer, 0, inner), put(kernel, outer, 1, inner), put(kernel, outer, 1, inner)]).toEqual([
      0, 0, 0,
    ]);
    kernel.close(inner);
    remove(kernel, outer, 0);
    expect(hasMap(kernel, id)).toBe(true);
    remove(kernel, outer, 1);
    expect(await eventually(() => !hasMap(kernel, id))).toBe(true);
  });

  contract(`${name} is read, written and frozen as other maps`, (kernel, { open }) => {
    const inner = open(create(kernel));
    const outer = open(createOuter(kernel, type, inner));
    put(kernel, outer, 0, inner);
    const short = { map_fd: outer, key: u32(0), value: new Uint8Array(3) };
    expect(outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_ELEM, short))).toBe("EFAULT");
    expect(outcome(kernel.bpf(commands.BPF_MAP_UPDATE_ELEM, short))).toBe("EFAULT");
    expect(kernel.bpf(commands.BPF_MAP_FREEZE, { map_fd: outer })).toBe(0);
    expect(put(kernel, outer, 0, inner)).toBe("EPERM");
    expect(remove(kernel, outer, 0)).toBe("EPERM");
    expect(shown(kernel, outer, 0)).toBe(mapId(kernel, inner));
    expect(set(kernel, inner, 0, 7)).toBe(0);
    expect(get(kernel, inner, 0)).toBe(7n);
  });

  contract(`${name} is written in one batch, and read as ids`, (kernel, { open }) => {
    const inners = [0, 1, 2].map(() => open(create(kernel)));
    const outer = open(createOuter(kernel, type, inners[0] as number, { max_entries: 3 }));
    const update = { map_fd: outer, keys: words(0, 1, 2), values: words(...inners), count: 3 };
    expect(kernel.bpf(commands.BPF_MAP_UPDATE_BATCH, update)).toBe(0);
    const found = {
      map_fd: outer,
      out_batch: new Uint8Array(4),
      keys: new Uint8Array(12),
      values: new Uint8Array(12),
      count: 3,
    };
    const result = outcome(kernel.bpf(commands.BPF_MAP_LOOKUP_BATCH, found));
    expect([0, "ENOENT"]).toContain(result);
    const idOf = (index: number): number => toU32(found.values.subarray(4 * index));
    const pairs = [0, 1, 2].map((index) => [toU32(found.keys.subarray(4 * index)), idOf(index)]);
    expect(found.count).toBe(3);
    expect(pairs.toSorted(([a = 0], [b = 0]) => a - b)).toEqual(inners.map((fd, key) => [key, mapId(kernel, fd)]));
    // A batch that meets a wrong file descriptor tells how many it took.
    const wrong = { map_fd: outer, keys: words(0, 1, 2), values: words(inners[1] as number, 9999, 9999), count: 3 };
    expect(outcome(kernel.bpf(commands.BPF_MAP_UPDATE_BATCH, wrong))).toBe("EBADF");
    expect(wrong.count).toBe(1);
    expect(shown(kernel, outer, 0)).toBe(mapId(kernel, inners[1] as number));
  });
}

contract("an array of maps knows no flag but ANY, and no index behind its end", (kernel, { open }) => {
  const inner = open(create(kernel));
  const outer = open(createOuter(kernel, types.BPF_MAP_TYPE_ARRAY_OF_MAPS, inner));
  expect(put(kernel, outer, 0, inner, flags.BPF_NOEXIST)).toBe("EINVAL");
  expect(put(kernel, outer, 0, inner, flags.BPF_EXIST)).toBe("EINVAL");
  expect(put(kernel, outer, 4, inner)).toBe("E2BIG");
  expect(remove(kernel, outer, 4)).toBe("E2BIG");
  expect(shown(kernel, outer, 4)).toBe("ENOENT");
  expect(keys(kernel, outer)).toEqual([0, 1, 2, 3]);
});

contract("a hash of maps has NOEXIST and EXIST, and is full at max_entries", (kernel, { open }) => {
  const [inner, other] = [open(create(kernel)), open(create(kernel))];
  const outer = open(createOuter(kernel, types.BPF_MAP_TYPE_HASH_OF_MAPS, inner, { max_entries: 2 }));
  expect(put(kernel, outer, 1, inner, flags.BPF_EXIST)).toBe("ENOENT");
  expect(put(kernel, outer, 1, inner, flags.BPF_NOEXIST)).toBe(0);
  expect(put(kernel, outer, 1, other, flags.BPF_NOEXIST)).toBe("EEXIST");
  expect(put(kernel, outer, 1, other, flags.BPF_EXIST)).toBe(0);
  expect(put(kernel, outer, 1, other, 3)).toBe("EINVAL");
  expect(put(kernel, outer, 2, inner)).toBe(0);
  expect(put(kernel, outer, 3, inner)).toBe("E2BIG");
  expect(keys(kernel, outer).toSorted()).toEqual([1, 2]);
  expect(shown(kernel, outer, 1)).toBe(mapId(kernel, other));
  expect(nextKey(kernel, outer, undefined)).toBeTypeOf("number");
});
