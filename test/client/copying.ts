// A kernel whose mappings are copies that a case may write as no kernel would: nobody may write the data of ring and perf buffers.

import type { Kernel, Mapping, MmapOptions } from "../../src/kernel/kernel.ts";

/** A kernel that maps copies, and those in the order in which they were mapped. */
export function copying(kernel: Kernel): { kernel: Kernel; pages: DataView[] } {
  const pages: DataView[] = [];
  const mmap = (fd: number, options: MmapOptions): Mapping | number => {
    const mapping = kernel.mmap(fd, options);
    if (typeof mapping === "number") return mapping;
    const bytes = mapping.bytes.slice();
    pages.push(new DataView(bytes.buffer));
    return { bytes, address: 0, unmap: () => mapping.unmap() };
  };
  const get = (target: Kernel, name: string | symbol) => (name === "mmap" ? mmap : bound(target, name));
  return { pages, kernel: new Proxy(kernel, { get }) };
}

function bound(target: Kernel, name: string | symbol): unknown {
  const value = Reflect.get(target, name, target);
  return typeof value === "function" ? value.bind(target) : value;
}
