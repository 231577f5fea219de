import type { Clock } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'

export interface SinkPlace {
  /** Of this installation: makes an event's number unique among installations. */
  readonly origin: string
  /** Seq of the last event that the broker confirmed. */
  readonly seq: number
}

/** The table "EventSink": one row a broker. */
export class EventSinkStore {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  async place(name: string): Promise<SinkPlace | null> {
    const [row] = await this.#database.read('select origin, seq from "EventSink" where name = ?', [name])
    return row === undefined ? null : { origin: row['origin'] as string, seq: row['seq'] as number }
  }

  /** Begins after `seq`, unless it was begun before. */
  async begin(name: string, place: SinkPlace): Promise<void> {
    await this.#database.write([
      {
        sql: `insert into "EventSink" (name, origin, seq, holder, held_until) values (?, ?, ?, '', 0)
              on conflict (name) do nothing`,
        params: [name, place.origin, place.seq],
      },
    ])
  }

  /** Whether `holder` may hand events on for the next `forMs`: nobody else does. */
  async hold(name: string, holder: string, forMs: number): Promise<boolean> {
    const now = this.#clock.now()
    const [result] = await this.#database.write([
      {
        sql: `update "EventSink" set holder = ?, held_until = ?
              where name = ? and (holder = ? or held_until < ?)`,
        params: [holder, now + forMs, name, holder, now],
      },
    ])
    return result?.changes === 1
  }

  /** Up to there it was confirmed; never back. */
  async moveTo(name: string, seq: number): Promise<void> {
    await this.#database.write([
      { sql: 'update "EventSink" set seq = ? where name = ? and seq < ?', params: [seq, name, seq] },
    ])
  }

  async release(name: string, holder: string): Promise<void> {
    await this.#database.write([
      { sql: 'update "EventSink" set held_until = 0 where name = ? and holder = ?', params: [name, holder] },
    ])
  }
}
