// The demo as a live display: drawn over itself as the maps change.

import { colors } from "./colors.ts";
import type { DemoRecord } from "./demo.ts";
import { blockedText, flowText, linesOf, sourceLines, totalsText } from "./demo-lines.ts";

/** The newest ones are shown, as many as there is room for. */
const MOST_FLOWS = 6;

type Screen = Pick<NodeJS.WriteStream, "write" | "rows">;

/** Shows records on a terminal. Disposing gives the cursor back. */
export class DemoScreen implements Disposable {
  readonly #terminal: Screen;
  readonly #head: string[] = [];
  readonly #flows: string[] = [];
  #blocked = "";
  /** Lines of the last drawing, over which the next one goes. */
  #drawn = 0;

  constructor(terminal: Screen) {
    this.#terminal = terminal;
    terminal.write(HIDE_CURSOR + NO_WRAP);
  }

  show(record: DemoRecord): void {
    if (record.type === "loaded") {
      this.#head.push(...linesOf(record));
    } else if (record.type === "flow") {
      this.#flows.push(flowText(record));
    } else if (record.type === "blocked") {
      this.#blocked = colors.yellow(blockedText(record));
    } else if (record.type === "progress") {
      this.#draw(record);
    } else {
      this.#terminal.write(linesOf(record).join("\n").concat("\n"));
    }
  }

  [Symbol.dispose](): void {
    this.#terminal.write(SHOW_CURSOR + WRAP);
  }

  #draw({ time, totals, sources }: Extract<DemoRecord, { type: "progress" }>): void {
    const rows = this.#terminal.rows || 24;
    const above = [
      ...this.#head,
      "",
      `${colors.bold(totalsText(totals))}  ${colors.dim(`${time.toFixed(1)} s`)}`,
      "",
      ...sourceLines(sources),
      "",
      colors.dim(`new flows (${this.#flows.length})`),
    ];
    const room = Math.min(Math.max(rows - above.length - 2, 1), MOST_FLOWS);
    const flows = Array.from({ length: room }, (_, index) => this.#flows.slice(-room)[index] ?? "");
    const lines = [...above, ...flows, this.#blocked];
    // What does not fit would scroll, and could not be drawn over: the head goes first.
    const shown = lines.slice(-Math.max(rows - 1, 1));
    const up = this.#drawn === 0 ? "" : `\x1b[${this.#drawn}A`;
    this.#terminal.write(`${up}${shown.map((line) => `\x1b[2K${line}\n`).join("")}\x1b[J`);
    this.#drawn = shown.length;
  }
}

const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";
// A wrapped line would take two rows.
const NO_WRAP = "\x1b[?7l";
const WRAP = "\x1b[?7h";
