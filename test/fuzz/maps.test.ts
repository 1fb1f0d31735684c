import { expect, test } from "vitest";
import { mapTypeName } from "../../src/client/maps/types.ts";
import { EmbeddedKernel } from "../../src/embedded/kernel.ts";
import { profiles } from "../contract/map-profiles.ts";
import { openLinux } from "../open-linux.ts";
import { compareMaps } from "./maps.ts";

const OPERATIONS = 2000;

for (const type of profiles.keys()) {
  test(`random operations on maps of type ${mapTypeName(type)} are answered alike on both kernels`, async (context) => {
    using linux = await openLinux(context);
    using embedded = new EmbeddedKernel({ cpus: linux.system.possibleCpus.length });
    expect(compareMaps({ embedded, linux }, type, OPERATIONS, type)).toBeUndefined();
  });
}
