import { expect, it } from "vitest";
import { openKernel as openInBrowser } from "./open.browser.ts";
import { openKernel } from "./open.node.ts";

it.each([openKernel, openInBrowser])("a kernel that is not there is refused by name", async (open) => {
  await expect(open({ kind: "bsd" as never })).rejects.toMatchObject({
    code: "ERR_UNSUPPORTED",
    message: 'there is no kernel "bsd"; these are: linux, embedded',
  });
});
