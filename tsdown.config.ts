import { defineConfig } from "tsdown";

export default defineConfig({
  entry: {
    index: "src/index.ts",
    "open.node": "src/open.node.ts",
    "open.browser": "src/open.browser.ts",
    "*": "src/{asm,btf,elf,libbpf,pcap,uapi}/index.ts",
    "cli/main": "src/cli/main.ts",
  },
  target: "node20.19",
  platform: "neutral",
  outDir: "dist",
  outExtensions: () => ({ js: ".js", dts: ".d.ts" }),
  dts: true,
  hash: false,
  logLevel: "warn",
  deps: { neverBundle: [/^#/, /^node:/, "koffi"] },
});
