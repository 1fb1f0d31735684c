// Keys and values as JSON, and back by their codecs.

import { type Codec, CodecError, shown } from "../../codec/codec.ts";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** A value as JSON: a bigint as a decimal string, bytes as numbers. */
export function toJson(value: unknown): Json {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, toJson(part)]));
  }
  return (value ?? null) as Json;
}

/** The entries of pairs that `toJson` made. */
export function* fromJson<K, V>(
  json: unknown,
  key: Codec<K>,
  value: Pick<Codec<unknown>, "size" | "decode">,
): Generator<[K, V]> {
  if (!Array.isArray(json)) throw new CodecError(`a map's entries are an array of pairs; got ${shown(json)}`);
  const keyModel = modelOf(key);
  const valueModel = modelOf(value);
  for (const [index, pair] of json.entries()) {
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw new CodecError(`an entry is a pair of key and value; got ${shown(pair)}`, `[${index}]`);
    }
    yield [restored(pair[0], keyModel) as K, restored(pair[1], valueModel) as V];
  }
}

/** What a codec makes of zeros: it shows where there are bigints and bytes. */
function modelOf(codec: Pick<Codec<unknown>, "size" | "decode">): unknown {
  return codec.decode(new DataView(new ArrayBuffer(codec.size)), 0);
}

/** A value in the form of its model; what does not fit is left for the codec to refuse. */
function restored(json: unknown, model: unknown): unknown {
  if (typeof model === "bigint") {
    const isInteger = typeof json === "string" ? /^-?\d+$/.test(json) : Number.isSafeInteger(json);
    return isInteger ? BigInt(json as string | number) : json;
  }
  if (model instanceof Uint8Array && Array.isArray(json)) {
    return json.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 0xff) ? Uint8Array.from(json) : json;
  }
  if (Array.isArray(model) && Array.isArray(json)) {
    return json.map((part, index) => restored(part, model[Math.min(index, model.length - 1)]));
  }
  if (isObject(model) && isObject(json)) {
    return Object.fromEntries(Object.entries(json).map(([name, part]) => [name, restored(part, model[name])]));
  }
  return json;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
