// Maps as Node's console prints them. It reads the first entries only.

/** Options of Node's util.inspect, as far as they matter here. */
export interface InspectOptions {
  /** How many entries are printed; null for all. */
  readonly maxArrayLength?: number | null;
  readonly stylize?: (text: string, style: string) => string;
}

export type Inspect = (value: unknown, options?: object) => string;

/** What is printed of any map. */
interface Inspected {
  readonly constructor: { readonly name: string };
  readonly type: string;
  readonly name: string;
  readonly id: number;
  readonly maxEntries: number;
  readonly isClosed: boolean;
}

const DEFAULT_ENTRIES = 100;

/** `HashMap "packets" (hash, id 7, at most 4 entries) { 7 => 70n }` */
export function inspectMap(
  map: Inspected,
  entries: Iterable<readonly [unknown, unknown]> | undefined,
  depth: number,
  options: InspectOptions,
  inspect: Inspect,
): string {
  const { maxArrayLength = DEFAULT_ENTRIES } = options;
  const facts = [map.type, `id ${map.id}`];
  if (map.isClosed) facts.push("closed");
  // Storage has as many values as there are owners.
  else if (map.maxEntries !== 0) facts.push(`at most ${map.maxEntries} ${unitOf(map.type)}`);
  const title = `${map.constructor.name}${map.name === "" ? "" : ` "${map.name}"`} (${facts.join(", ")})`;
  if (entries === undefined || map.isClosed || depth < 0) return title;
  const shown: string[] = [];
  const nested = { ...options, depth: depth - 1 };
  try {
    for (const [key, value] of entries) {
      if (maxArrayLength !== null && shown.length >= maxArrayLength) {
        shown.push("…");
        break;
      }
      shown.push(`${inspect(key, nested)} => ${inspect(value, nested)}`);
    }
  } catch (error) {
    // Printing a map never throws: a map that cannot be read says so.
    shown.push(`[${(error as Error).message}]`);
  }
  if (shown.length === 0) return `${title} {}`;
  const line = `${title} { ${shown.join(", ")} }`;
  return line.length <= LINE && !line.includes("\n") ? line : `${title} {\n  ${shown.map(indent).join(",\n  ")}\n}`;
}

/** Characters of a line before entries stand below each other. */
const LINE = 100;

const indent = (text: string): string => text.replaceAll("\n", "\n  ");

const unitOf = (type: string): string =>
  type === "ringbuf" || type === "user_ringbuf" ? "bytes" : type === "arena" ? "pages" : "entries";
