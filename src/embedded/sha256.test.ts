import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { sha256 } from "./sha256.ts";

test.each([0, 1, 55, 56, 63, 64, 65, 1000])("the digest of %i bytes is SHA-256", (length) => {
  const message = Uint8Array.from({ length }, (_, i) => i * 7);
  expect(Buffer.from(sha256(message)).toString("hex")).toBe(createHash("sha256").update(message).digest("hex"));
});
