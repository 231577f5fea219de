/** Where lines go: a TTY, or a pipe. */
export interface TerminalOutput {
  write(text: string): void
  readonly isTTY: boolean
  /** Columns and rows of the window; ignored when `isTTY` is false. */
  size(): { readonly columns: number; readonly rows: number }
}

const ERASE_LINE = '\u001b[2K'
const UP = '\u001b[1A'
const NO_WRAP = '\u001b[?7l'
const WRAP = '\u001b[?7h'

/** Standard output as a TerminalOutput. */
export function standardTerminal(stream: NodeJS.WriteStream = process.stdout): TerminalOutput {
  return {
    write: (text) => void stream.write(text),
    isTTY: stream.isTTY,
    size: () => ({ columns: stream.columns ?? 80, rows: stream.rows ?? 24 }),
  }
}

/**
 * A log that scrolls, and under it a few lines that are redrawn in place. On a pipe there is no such thing as redrawing:
 * `setLive` does nothing there.
 */
export class Terminal {
  readonly #output: TerminalOutput
  // bounded by: half the rows of the window
  #live: readonly string[] = []

  constructor(output: TerminalOutput) {
    this.#output = output
  }

  get isLive(): boolean {
    return this.#output.isTTY
  }

  get columns(): number {
    return this.#output.isTTY ? this.#output.size().columns : 200
  }

  /** Adds whole lines to what scrolls. */
  print(text: string): void {
    const lines = text.endsWith('\n') ? text : `${text}\n`
    this.#output.write(this.#output.isTTY ? this.#erase() + lines + this.#draw() : lines)
  }

  /** Replaces the lines at the bottom; at most half of the window's height of them, the last ones. */
  setLive(lines: readonly string[]): void {
    if (!this.#output.isTTY) return
    const erase = this.#erase()
    const room = Math.max(1, Math.floor(this.#output.size().rows / 2))
    this.#live = lines.slice(-room)
    this.#output.write(erase + this.#draw())
  }

  #erase(): string {
    return `${UP}${ERASE_LINE}`.repeat(this.#live.length)
  }

  /** Without wrapping, so that one line is one row however long it is and `#erase` can count. */
  #draw(): string {
    return this.#live.length === 0 ? '' : NO_WRAP + this.#live.map((line) => `\r${line}\n`).join('') + WRAP
  }
}
