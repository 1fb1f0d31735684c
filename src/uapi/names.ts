// The names of numbers, read from the modules of constants.

/** The names of a module's constants that begin with `prefix`, without it and in lower case: `BPF_MAP_TYPE_HASH` is `hash`. */
export type NameOf<Constants, Prefix extends string> = {
  [Key in keyof Constants]: Key extends `${Prefix}${infer Rest}` ? Lowercase<Rest> : never;
}[keyof Constants];

/** Number by name, for the constants of a module that begin with `prefix`. */
export function numbersByName<Constants extends object, Prefix extends string>(
  constants: Constants,
  prefix: Prefix,
): ReadonlyMap<NameOf<Constants, Prefix>, number> {
  const entries = Object.entries(constants)
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, value]) => [key.slice(prefix.length).toLowerCase(), value as number] as const);
  return new Map(entries as [NameOf<Constants, Prefix>, number][]);
}

/** Whole name by number, for the constants of a module that begin with `prefix`; of synonyms the longest, BPF_PROG_TEST_RUN. */
export function namesByNumber(constants: object, prefix = ""): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const [key, value] of Object.entries(constants).sort((a, b) => a[1] - b[1])) {
    if (key.startsWith(prefix) && key.length > (names.get(value)?.length ?? 0)) names.set(value, key);
  }
  return names;
}
