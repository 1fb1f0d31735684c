// Values of per-CPU maps: one a possible CPU, each at a multiple of 8 bytes, as the kernel copies them.
// Linux: bpf_percpu_array_copy in kernel/bpf/arraymap.c

import { bytesAt, type Codec, CodecError, encodeAt, shown } from "../../codec/codec.ts";

/** The codec of the values of all CPUs. */
export function perCpu<V>(value: Codec<V>, cpus: number): Codec<V[]> {
  const stride = Math.ceil(value.size / 8) * 8;
  return {
    name: `${value.name} of each CPU`,
    size: stride * cpus,
    align: 8,
    encode(values, view, offset) {
      if (!Array.isArray(values)) throw new CodecError(`a per-CPU value is an array; got ${shown(values)}`);
      if (values.length !== cpus) {
        throw new CodecError(`a per-CPU value has one element a possible CPU: ${cpus}; got ${values.length}`);
      }
      bytesAt(view, offset, stride * cpus).fill(0);
      for (let cpu = 0; cpu < cpus; cpu++) encodeAt(cpu, value, values[cpu] as V, view, offset + cpu * stride);
    },
    decode: (view, offset) => Array.from({ length: cpus }, (_, cpu) => value.decode(view, offset + cpu * stride)),
  };
}
