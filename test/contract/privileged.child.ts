// A process that has given up its capabilities: prints the results of what needs them.

import { LinuxKernel } from "../../src/linux/kernel.ts";
import { tryPrivileged } from "./privileged.ts";

LinuxKernel.open().then((kernel) => {
  console.log(JSON.stringify({ permitted: kernel.isPermitted(), results: tryPrivileged(kernel) }));
});
