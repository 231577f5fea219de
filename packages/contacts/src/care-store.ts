import { type ChatId, type Clock, type ContactId, EclusaError, type TenantId } from '@eclusa/kernel'
import { type Database, type EventLog, storageErrors } from '@eclusa/storage'
import type { ContactLedger } from './contact-ledger-store.ts'

/** A wish as it goes on record. */
export interface SpokenWish {
  readonly kind: 'opt_out' | 'opt_in'
  readonly contact: ContactId
  readonly address: ChatId
  /** `instance:journal id` of the message. */
  readonly saidIn: string
}

/** What contacts say about being written to, and what they were asked about it. */
export class CareStore {
  readonly #database: Database
  readonly #ledger: ContactLedger
  readonly #events: EventLog
  readonly #clock: Clock

  constructor(options: {
    readonly database: Database
    readonly ledger: ContactLedger
    readonly events: EventLog
    readonly clock: Clock
  }) {
    this.#database = options.database
    this.#ledger = options.ledger
    this.#events = options.events
    this.#clock = options.clock
  }

  /** On record, with its event; once for a message. */
  async record(tenant: TenantId, { kind, contact, address, saidIn }: SpokenWish): Promise<void> {
    const entry = {
      contact: address,
      kind,
      channel: 'message',
      proof: saidIn,
      recordedBy: 'contact',
      expiresAt: null,
    }
    const type = kind === 'opt_out' ? 'contact.opted_out' : 'contact.opted_in'
    try {
      await this.#database.write([
        this.#ledger.entry(tenant, entry, saidIn),
        { sql: 'delete from "ContactAsk" where contact = ?', params: [contact] },
        this.#events.append({ tenant, instance: null, type, payload: { contact } }),
      ])
    } catch (error) {
      const wasHeard = error instanceof EclusaError && error.code === storageErrors.CONFLICT.code
      if (!wasHeard) throw error
    }
  }

  /** Whether they were asked before `saidIn`, since `since`; if not, they are now. */
  async wasAsked(contact: ContactId, saidIn: string, since: number): Promise<boolean> {
    const [row] = await this.#database.read('select said_in, asked_at from "ContactAsk" where contact = ?', [
      contact,
    ])
    if (row?.['said_in'] === saidIn) return false
    if (row !== undefined && Number(row['asked_at']) > since) return true
    await this.#database.write([
      {
        sql: `insert into "ContactAsk" (contact, said_in, asked_at) values (?, ?, ?)
              on conflict (contact) do update set said_in = excluded.said_in, asked_at = excluded.asked_at`,
        params: [contact, saidIn, this.#clock.now()],
      },
    ])
    return false
  }
}
