// Waiting in contract cases, on a machine that may be busy.

import { setImmediate, setTimeout } from "node:timers/promises";

/** Waits until `done`, or for five seconds. */
export async function until(done: () => boolean): Promise<void> {
  for (let waited = 0; waited < 5000 && !done(); waited += 5) await setTimeout(5);
}

/** Waits until whatever was ready before has been told: a timer alone may be late, and come before what the event loop polls. */
export async function settled(): Promise<void> {
  await setTimeout(20);
  for (let turn = 0; turn < 4; turn++) await setImmediate();
}
