import type { Clock, ContactId } from '@eclusa/kernel'
import type { Database } from '@eclusa/storage'

/** When contacts last got an automatic reply. */
export class AutoReplyStore {
  readonly #database: Database
  readonly #clock: Clock

  constructor(options: { readonly database: Database; readonly clock: Clock }) {
    this.#database = options.database
    this.#clock = options.clock
  }

  /** Whether a reply to this message is due; then none is for `cooldownMs`, but to the same message again. */
  async take(contact: ContactId, rule: string, saidIn: string, cooldownMs: number): Promise<boolean> {
    const now = this.#clock.now()
    const [taken] = await this.#database.write(
      [
        {
          sql: `insert into "AutoReply" (contact, rule, said_in, replied_at) values (?, ?, ?, ?)
                on conflict (contact, rule) do update set said_in = excluded.said_in, replied_at = excluded.replied_at
                where "AutoReply".replied_at <= ? or "AutoReply".said_in = excluded.said_in`,
          params: [contact, rule, saidIn, now, now - cooldownMs],
        },
      ],
      { rows: `AutoReply|${contact}` },
    )
    return taken?.changes === 1
  }
}
