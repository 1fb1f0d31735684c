// The import directions of docs/architecture.md: each folder, and what it may import beside itself.

const LAYERS = {
  uapi: [],
  codec: [],
  pcap: [],
  asm: ["uapi"],
  btf: ["uapi", "codec"],
  spec: ["uapi", "asm", "btf"],
  elf: ["uapi", "asm", "btf", "spec"],
  diagnosis: ["uapi", "asm", "btf", "spec"],
  kernel: ["uapi", "btf", "diagnosis"],
  embedded: ["uapi", "asm", "btf", "diagnosis", "kernel", "machine"],
  linux: ["uapi", "btf", "kernel"],
  client: ["uapi", "codec", "asm", "btf", "spec", "elf", "diagnosis", "kernel"],
  libbpf: ["uapi", "codec", "asm", "btf", "spec", "elf", "diagnosis", "kernel", "client"],
};

/** The files that may reach what only Node has. */
const NODE_ONLY = "^src/(linux|cli)/|^src/open\\.node\\.ts$";
const TESTS = "\\.test\\.ts$";

const folder = (name) => (name === "machine" ? "^machine/" : `^src/${name}/`);

module.exports = {
  forbidden: [
    ...Object.entries(LAYERS).map(([name, allowed]) => ({
      name: `${name}-imports-${allowed.join("-") || "nothing"}`,
      severity: "error",
      from: { path: folder(name), pathNot: TESTS },
      to: { path: "^(src|machine)/", pathNot: [name, ...allowed].map(folder) },
    })),
    {
      name: "machine-imports-constants-of-uapi",
      severity: "error",
      from: { path: "^machine/", pathNot: TESTS },
      to: { path: "^src/", pathNot: "^src/uapi/" },
    },
    {
      name: "node-only-in-linux-cli-and-open-node",
      severity: "error",
      from: { path: "^src/", pathNot: [NODE_ONLY, TESTS] },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "koffi-only-in-syscalls",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/linux/syscalls\\.ts$" },
      to: { path: "(^|/)node_modules/koffi/" },
    },
    {
      name: "packages-only-in-cli-and-linux",
      severity: "error",
      from: { path: "^src/", pathNot: [NODE_ONLY, TESTS] },
      to: { dependencyTypes: ["npm", "npm-dev", "npm-optional", "npm-no-pkg"] },
    },
    {
      name: "linux-only-through-open-node",
      severity: "error",
      from: { path: "^src/", pathNot: ["^src/(linux|cli)/", "^src/open\\.node\\.ts$", TESTS] },
      to: { path: "^src/linux/" },
    },
    {
      name: "no-cycles",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    { name: "no-unresolved", severity: "error", from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^dist/" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default"] },
  },
};
