import { type Clock, HOUR, type Lifecycle, type Logger, MINUTE, runLoop, SECOND } from '@eclusa/kernel'

/** How it is just now; counts of the past are added from events. */
export interface Gauges {
  readonly waiting: number
  readonly online: number
  readonly rssBytes: number
  readonly heapBytes: number
  readonly externalBytes: number
  readonly cacheBytes: number
  readonly lagMs: number
}

const COUNTED = ['accepted', 'sent', 'failed', 'inbound'] as const
const GAUGED = ['waiting', 'online', 'rssBytes', 'heapBytes', 'externalBytes', 'cacheBytes', 'lagMs'] as const

export type Counted = (typeof COUNTED)[number]
type Column = Counted | (typeof GAUGED)[number]
export const measuredColumns: readonly Column[] = [...COUNTED, ...GAUGED]

export type Span = 'hour' | 'day'

/** A stretch of the past: columns of equal length, oldest first. */
export interface Stretch {
  readonly everyMs: number
  /** Epoch milliseconds of the end of each step. */
  readonly at: readonly number[]
  readonly series: Readonly<Record<Column, readonly number[]>>
}

/** Steps of each span: 360 of 10 s, 288 of 5 min. */
const SPANS: Readonly<Record<Span, { readonly everyMs: number; readonly forMs: number }>> = {
  hour: { everyMs: 10 * SECOND, forMs: HOUR },
  day: { everyMs: 5 * MINUTE, forMs: 24 * HOUR },
}
const STEPS_OF_A_DAY_STEP = SPANS.day.everyMs / SPANS.hour.everyMs

/** What memory the measurements take: fixed. */
export const MEASUREMENT_BYTES: number =
  8 *
  (measuredColumns.length + 1) *
  Object.values(SPANS).reduce((sum, { everyMs, forMs }) => sum + forMs / everyMs, 0)

const COUNTED_EVENTS: Readonly<Record<string, Counted>> = {
  'outbound.accepted': 'accepted',
  'outbound.sent': 'sent',
  'outbound.failed': 'failed',
  'inbound.received': 'inbound',
}

/** The last hour and the last day of the gateway, for its dashboard; gone with a restart. */
export class Measurements implements Lifecycle {
  readonly #gauges: () => Promise<Gauges>
  readonly #clock: Clock
  readonly #log: Logger
  readonly #spans: Readonly<Record<Span, Ring>>
  readonly #counts: Record<Counted, number> = { accepted: 0, sent: 0, failed: 0, inbound: 0 }
  readonly #countsOfDayStep: Record<Counted, number> = { accepted: 0, sent: 0, failed: 0, inbound: 0 }
  readonly #end = new AbortController()
  #passes = 0
  #loop: Promise<void> | null = null

  constructor(options: {
    readonly gauges: () => Promise<Gauges>
    readonly clock: Clock
    readonly log: Logger
  }) {
    this.#gauges = options.gauges
    this.#clock = options.clock
    this.#log = options.log
    this.#spans = { hour: new Ring(SPANS.hour), day: new Ring(SPANS.day) }
  }

  start(): Promise<void> {
    const onError = (error: unknown): void =>
      this.#log.warn({ err: error }, 'measuring failed; it comes again')
    const options = { clock: this.#clock, everyMs: SPANS.hour.everyMs, onError }
    this.#loop ??= runLoop(options, () => this.pass(), this.#end.signal)
    return Promise.resolve()
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await this.#loop
  }

  /** Told of each event that is logged. */
  count(type: string): void {
    const column = COUNTED_EVENTS[type]
    if (column !== undefined) this.#counts[column]++
  }

  /** One step of the hour, and each thirtieth time one of the day. */
  async pass(): Promise<void> {
    const gauges = await this.#gauges()
    const at = this.#clock.now()
    this.#spans.hour.push(at, { ...this.#counts, ...gauges })
    for (const column of COUNTED) {
      this.#countsOfDayStep[column] += this.#counts[column]
      this.#counts[column] = 0
    }
    this.#passes++
    if (this.#passes % STEPS_OF_A_DAY_STEP !== 0) return
    this.#spans.day.push(at, { ...this.#countsOfDayStep, ...gauges })
    for (const column of COUNTED) this.#countsOfDayStep[column] = 0
  }

  stretch(span: Span): Stretch {
    return this.#spans[span].read()
  }
}

/** The newest rows, in fixed memory. */
class Ring {
  readonly #everyMs: number
  readonly #size: number
  // bounded by: the steps of the span
  readonly #at: Float64Array
  // bounded by: measuredColumns, the steps of the span
  readonly #columns: ReadonlyMap<Column, Float64Array>
  #count = 0

  constructor({ everyMs, forMs }: { readonly everyMs: number; readonly forMs: number }) {
    this.#everyMs = everyMs
    this.#size = forMs / everyMs
    this.#at = new Float64Array(this.#size)
    this.#columns = new Map(measuredColumns.map((column) => [column, new Float64Array(this.#size)]))
  }

  push(at: number, row: Readonly<Record<Column, number>>): void {
    const place = this.#count % this.#size
    this.#at[place] = at
    for (const [column, values] of this.#columns) values[place] = row[column]
    this.#count++
  }

  read(): Stretch {
    const series = Object.fromEntries(
      [...this.#columns].map(([column, values]) => [column, this.#inOrder(values)]),
    ) as Record<Column, readonly number[]>
    return { everyMs: this.#everyMs, at: this.#inOrder(this.#at), series }
  }

  #inOrder(values: Float64Array): readonly number[] {
    if (this.#count <= this.#size) return [...values.subarray(0, this.#count)]
    const first = this.#count % this.#size
    return [...values.subarray(first), ...values.subarray(0, first)]
  }
}
