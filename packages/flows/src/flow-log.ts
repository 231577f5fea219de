import { type Clock, type Lifecycle, type Logger, MINUTE, runLoop, SECOND } from '@eclusa/kernel'
import type { ActiveFlowsStats } from './flow-runner.ts'

const EVERY_MS = 10 * MINUTE

/** What document 1's operators read: `flow exatron:1: 3 active, oldest 45s` and `active flows: 4 | oldest: 45s`. */
export function flowLines({ total, oldestMs, flows }: ActiveFlowsStats): readonly string[] {
  return [
    ...flows.map(
      ({ tenant, sector, count, oldestMs }) =>
        `flow ${tenant}:${sector}: ${count} active, oldest ${seconds(oldestMs)}`,
    ),
    `active flows: ${total} | oldest: ${seconds(oldestMs)}`,
  ]
}

/** Those lines in the log, now and every 10 minutes. */
export class FlowLog implements Lifecycle {
  readonly #options: {
    readonly stats: () => ActiveFlowsStats
    readonly clock: Clock
    readonly log: Logger
  }
  readonly #end = new AbortController()
  #loop: Promise<void> | null = null

  constructor(options: {
    readonly stats: () => ActiveFlowsStats
    readonly clock: Clock
    readonly log: Logger
  }) {
    this.#options = options
  }

  start(): Promise<void> {
    const { clock, log, stats } = this.#options
    const onError = (error: unknown): void => log.error({ err: error }, 'the lines about flows failed')
    this.#loop ??= runLoop(
      { clock, everyMs: EVERY_MS, onError },
      async () => {
        for (const line of flowLines(stats())) log.info({}, line)
      },
      this.#end.signal,
    )
    return Promise.resolve()
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await this.#loop
  }
}

function seconds(ms: number): string {
  return `${Math.floor(ms / SECOND)}s`
}
