import { type Clock, EclusaError, type Logger, SECOND, sleep } from '@eclusa/kernel'
import { storageErrors } from './errors.ts'
import { PostgresConnection } from './postgres-connection.ts'

/** Waits between attempts to connect: doubled from the first to the last, without end. */
const FIRST_RETRY_MS = 50
const LAST_RETRY_MS = SECOND

export interface LineOptions {
  readonly open: () => Promise<PostgresConnection>
  readonly clock: Clock
  readonly log: Logger
  /** How long a caller waits for a lost connection to come back. */
  readonly patienceMs: number
}

/** A connection that is opened when it is needed and opened again when it was lost. One user at a time. */
export class PostgresLine {
  readonly #options: LineOptions
  #connection: PostgresConnection | null = null
  #opening: Promise<PostgresConnection> | null = null
  #outageSince: number | null = null
  readonly #ending = new AbortController()

  constructor(options: LineOptions, connection: PostgresConnection | null = null) {
    this.#options = options
    this.#connection = connection
  }

  /**
   * A connection that was good a moment ago. Waits up to `patienceMs` for it; once an outage has lasted that long, each
   * call tries once.
   * @throws STORAGE_UNREACHABLE, STORAGE_STOPPED
   */
  async get(): Promise<PostgresConnection> {
    if (this.#connection !== null && !this.#connection.isLost) return this.#connection
    this.#opening ??= this.#open().finally(() => (this.#opening = null))
    return this.#opening
  }

  async end(): Promise<void> {
    this.#ending.abort()
    const connection = this.#connection
    this.#connection = null
    await this.#opening?.catch(() => undefined)
    await connection?.end()
  }

  async #open(): Promise<PostgresConnection> {
    const { open, clock, log, patienceMs } = this.#options
    if (this.#connection !== null && this.#outageSince === null) {
      log.warn({ code: storageErrors.UNREACHABLE.code }, 'lost a connection to PostgreSQL; connecting again')
    }
    const since = (this.#outageSince ??= clock.now())
    for (let retryMs = FIRST_RETRY_MS; ; retryMs = Math.min(2 * retryMs, LAST_RETRY_MS)) {
      if (this.#ending.signal.aborted) throw new EclusaError(storageErrors.STOPPED)
      try {
        const connection = await open()
        if (this.#ending.signal.aborted) await connection.end()
        else this.#connection = connection
        this.#outageSince = null
        return connection
      } catch (cause) {
        if (clock.now() - since >= patienceMs) {
          throw new EclusaError(storageErrors.UNREACHABLE, { cause })
        }
      }
      await sleep(clock, retryMs, this.#ending.signal).catch(() => undefined)
    }
  }
}
