// Colours where the output is a terminal, or FORCE_COLOR is set. Left to itself, picocolors colours the logs of CI, too.

import picocolors from "picocolors";

const isWanted = process.stdout.isTTY === true || process.env.FORCE_COLOR !== undefined;

export const colors = picocolors.createColors(isWanted && picocolors.isColorSupported);
