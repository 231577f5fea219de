import { type Clock, type InstanceId, type Logger, runLoop, SECOND } from '@eclusa/kernel'
import type { Database } from './database.ts'
import type { Neighbours, WakeListener } from './neighbours.ts'
import { EVERYTHING, PostgresSignals } from './postgres-signals.ts'

/** A hint may have been lost. */
const LOOK_EVERY_MS = 30 * SECOND
/** Questions for the owner under way; more hints are left out, and their owners look by themselves. */
const MAX_ASKING = 100

/** Finds the owner by its lease, and tells it with a signal. Listens from the first listener on. */
export class PostgresNeighbours implements Neighbours {
  readonly #database: Pick<Database, 'read'>
  readonly #node: string
  readonly #signals: PostgresSignals
  readonly #clock: Clock
  readonly #log: Logger
  readonly #ending = new AbortController()
  #loop: Promise<void> | null = null
  #asking = 0

  constructor(options: {
    readonly database: Pick<Database, 'read'>
    readonly url: string
    readonly node: string
    readonly clock: Clock
    readonly log: Logger
  }) {
    this.#database = options.database
    this.#node = options.node
    this.#clock = options.clock
    this.#log = options.log
    this.#signals = new PostgresSignals(options)
  }

  wake(instance: InstanceId | null): void {
    if (this.#ending.signal.aborted || this.#asking >= MAX_ASKING) return
    this.#asking++
    this.#owners(instance)
      .then((nodes) => {
        for (const node of nodes) this.#signals.wake(node, instance ?? EVERYTHING)
      })
      .catch((error: unknown) =>
        this.#log.debug({ instance, err: error }, 'an owner was not told; it looks by itself'),
      )
      .finally(() => this.#asking--)
  }

  onWake(listener: WakeListener): () => void {
    const remove = this.#signals.onSignal(listener)
    this.#signals.listen()
    this.#loop ??= runLoop(
      {
        clock: this.#clock,
        everyMs: LOOK_EVERY_MS,
        onError: (error) => this.#log.error({ err: error }, 'looking for what others wrote failed'),
      },
      async () => this.#signals.missed(),
      this.#ending.signal,
    )
    return remove
  }

  async stop(): Promise<void> {
    this.#ending.abort()
    await this.#loop
    await this.#signals.stop()
  }

  async #owners(instance: InstanceId | null): Promise<readonly string[]> {
    const rows = await this.#database.read(
      `select distinct node from "InstanceLease" where node <> ? and "expiresAt" > clock_timestamp()
       and (instance = ? or ? = 'all')`,
      [this.#node, instance ?? '', instance === null ? 'all' : 'one'],
    )
    return rows.map((row) => row['node'] as string)
  }
}
