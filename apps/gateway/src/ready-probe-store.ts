import { type Clock, EclusaError, SECOND, withDeadline } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'
import { gatewayErrors } from './errors.ts'

const DEADLINE_MS = SECOND
/** Anyone may ask, and each probe is a write to the disk: an answer is good for this long. */
const GOOD_FOR_MS = SECOND

/** Whether this gateway can do its work: a row really is written to the disk, within a second. */
export class ReadyProbe {
  readonly #database: Database
  readonly #clock: Clock
  #stopping = false
  #last: { readonly at: number; readonly outcome: Promise<void> } | null = null

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  /** @throws GATEWAY_NOT_READY, GATEWAY_STOPPING */
  async check(): Promise<void> {
    if (this.#stopping) throw new EclusaError(gatewayErrors.STOPPING)
    const now = this.#clock.now()
    if (this.#last === null || now - this.#last.at >= GOOD_FOR_MS) {
      this.#last = { at: now, outcome: this.#probe(now) }
    }
    await this.#last.outcome
  }

  /** From now on not ready, so that load balancers look elsewhere. */
  stop(): void {
    this.#stopping = true
  }

  async #probe(now: number): Promise<void> {
    const probe = {
      sql: 'insert into "ReadyProbe" (id, probed_at) values (1, ?) on conflict (id) do update set probed_at = ?',
      params: [now, now],
    }
    try {
      await withDeadline(this.#clock, DEADLINE_MS, 'a write to the database', this.#database.write([probe]))
    } catch (cause) {
      throw new EclusaError(gatewayErrors.NOT_READY, { cause })
    }
  }
}
