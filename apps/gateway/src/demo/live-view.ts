import type { MessageId } from '@eclusa/kernel'
import type { Terminal } from '../terminal.ts'

/** What the terminal shows of a message, in this order; a step that did not happen is left out. */
const STEPS = ['accepted', 'reading', 'typing', 'sent', 'delivered', 'read'] as const
export type LiveStep = (typeof STEPS)[number]

/** A message on its way. */
interface LiveLine {
  readonly who: string
  /** Null when it is not known here. */
  readonly text: string | null
  readonly startedAt: number
  readonly steps: LiveStep[]
  failure: string | null
}

/** Messages on their way that have a line of their own; more than that push the oldest into the scroll as it is. */
const MAX_LINES = 12
const TEXT_COLUMNS = 40

/**
 * One line per message. On a terminal the line of a message on its way is redrawn in place and joins the scroll when the
 * message is read or failed; on a pipe it is written once, whole, at that moment.
 */
export class LiveView {
  readonly #terminal: Terminal
  // bounded by: MAX_LINES
  readonly #lines = new Map<MessageId, LiveLine>()

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  /** A contact wrote. */
  inbound(o: {
    readonly at: number
    readonly from: string
    readonly to: string
    readonly text: string
  }): void {
    this.#terminal.print(`${clockOf(o.at)}  ${o.from} → ${o.to}  ${quoted(o.text)}`)
  }

  /** Something else happened, in a few words of ours. */
  note(o: { readonly at: number; readonly text: string }): void {
    this.#terminal.print(`${clockOf(o.at)}  ${o.text}`)
  }

  /** The gateway took a message; `text` is null when it is not known here. */
  accepted(o: {
    readonly id: MessageId
    readonly at: number
    readonly from: string
    readonly to: string
    readonly text: string | null
  }): void {
    if (this.#lines.size >= MAX_LINES) {
      const [oldest] = this.#lines.keys()
      if (oldest !== undefined) this.#finish(oldest, o.at)
    }
    this.#lines.set(o.id, {
      who: `${o.from} → ${o.to}`,
      text: o.text,
      startedAt: o.at,
      steps: ['accepted'],
      failure: null,
    })
    this.#redraw()
  }

  step(id: MessageId, step: LiveStep, at: number): void {
    const line = this.#lines.get(id)
    if (line === undefined) return
    // Receipts may overtake each other; the chain is shown in its own order.
    if (!line.steps.includes(step)) line.steps.push(step)
    if (step === 'read') this.#finish(id, at)
    else this.#redraw()
  }

  failed(id: MessageId, code: string, at: number): void {
    const line = this.#lines.get(id)
    if (line === undefined) return
    line.failure = code
    this.#finish(id, at)
  }

  #finish(id: MessageId, at: number): void {
    const line = this.#lines.get(id)
    this.#lines.delete(id)
    this.#redraw()
    if (line === undefined) return
    this.#terminal.print(textOf(line, `  ${((at - line.startedAt) / 1000).toFixed(1)} s`))
  }

  #redraw(): void {
    this.#terminal.setLive([...this.#lines.values()].map((line) => textOf(line, ' …')))
  }
}

/** The text comes last: where the window is narrow it is cut off, and the steps are not. */
function textOf(line: LiveLine, mark: string): string {
  const chain = STEPS.filter((step) => line.steps.includes(step)).join(' → ')
  const end = line.failure === null ? '' : ` → failed: ${line.failure}`
  const text = line.text === null ? '' : `  ${quoted(line.text)}`
  return `${clockOf(line.startedAt)}  ${line.who}  ${chain}${end}${mark}${text}`
}

/** On one line, without anything that could steer a terminal. */
function quoted(text: string): string {
  const plain = text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')
  // Cutting an emoji of several code points in two does no harm here.
  return `“${plain.length > TEXT_COLUMNS ? `${plain.slice(0, TEXT_COLUMNS - 1).toWellFormed()}…` : plain}”`
}

/** Local time of day. */
function clockOf(at: number): string {
  return new Date(at).toLocaleTimeString('en-GB')
}
