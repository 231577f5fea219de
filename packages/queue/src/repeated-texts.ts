import { createHmac } from 'node:crypto'
import {
  type ChatId,
  type Clock,
  DAY,
  HOUR,
  type InstanceId,
  type Logger,
  type TenantId,
} from '@eclusa/kernel'
import type { Database, EventLog } from '@eclusa/storage'

/** A text that went to too many. */
export interface PausedText {
  /** Keyed hash of the text. */
  readonly id: string
  /** Whose message was one too many. */
  readonly tenant: TenantId
  readonly pausedAt: number
  readonly until: number
  /** A person said that it may go on until then. */
  readonly allowed: boolean
}

const SWEEP_STEP = 1000
const LISTED = 500

/**
 * The same words to many people within an hour, whichever tenants and instances send them. Only keyed hashes of words
 * and of contacts are kept, on disk, for an hour: so it is counted over restarts and by all processes together.
 */
export class RepeatedTexts {
  readonly #database: Database
  readonly #eventLog: EventLog
  readonly #clock: Clock
  readonly #log: Logger
  readonly #key: Uint8Array

  constructor(options: {
    readonly database: Database
    readonly eventLog: EventLog
    readonly clock: Clock
    readonly log: Logger
    /** Of the installation; at least 32 bytes. */
    readonly key: Uint8Array
  }) {
    this.#database = options.database
    this.#eventLog = options.eventLog
    this.#clock = options.clock
    this.#log = options.log
    this.#key = options.key
  }

  /** Null: it may go to this contact, and is counted. Else until when it is paused. */
  async pass(
    message: { readonly tenant: TenantId; readonly instance: InstanceId; readonly chat: ChatId },
    text: string,
    maxContacts: number,
  ): Promise<number | null> {
    const now = this.#clock.now()
    const [textHash, contactHash] = [this.#hash(plain(text)), this.#hash(message.chat)]
    const [paused] = await this.#database.read(
      'select until_at, allowed from "PausedText" where text_hash = ? and until_at > ?',
      [textHash, now],
    )
    if (paused !== undefined && paused['allowed'] === 0) return paused['until_at'] as number
    if (paused === undefined) {
      const others = await this.#database.read(
        'select 1 as one from "ProactiveText" where text_hash = ? and contact_hash <> ? and sent_at > ? limit ?',
        [textHash, contactHash, now - HOUR, maxContacts],
      )
      if (others.length >= maxContacts) return this.#pause(message, textHash, maxContacts)
    }
    await this.#database.write([
      {
        sql: `insert into "ProactiveText" (text_hash, contact_hash, sent_at) values (?, ?, ?)
              on conflict (text_hash, contact_hash) do update set sent_at = excluded.sent_at`,
        params: [textHash, contactHash, now],
      },
    ])
    return null
  }

  /** Those that are paused or allowed now, the newest 500 first. */
  async list(): Promise<readonly PausedText[]> {
    const rows = await this.#database.read(
      `select text_hash, tenant, paused_at, until_at, allowed from "PausedText" where until_at > ?
       order by paused_at desc, text_hash limit ?`,
      [this.#clock.now(), LISTED],
    )
    return rows.map((row) => ({
      id: row['text_hash'] as string,
      tenant: row['tenant'] as TenantId,
      pausedAt: row['paused_at'] as number,
      until: row['until_at'] as number,
      allowed: row['allowed'] === 1,
    }))
  }

  /** A paused text may go on, for 24 hours; false when there is none. */
  async allow(id: string): Promise<boolean> {
    const now = this.#clock.now()
    const [result] = await this.#database.write([
      {
        sql: 'update "PausedText" set allowed = 1, until_at = ? where text_hash = ? and until_at > ?',
        params: [now + DAY, id, now],
      },
    ])
    return (result?.changes ?? 0) > 0
  }

  /** One step; how many rows went. */
  async sweepStep(): Promise<number> {
    const now = this.#clock.now()
    const results = await this.#database.write([
      {
        sql: `delete from "ProactiveText" where (text_hash, contact_hash) in
              (select text_hash, contact_hash from "ProactiveText" where sent_at <= ? limit ?)`,
        params: [now - HOUR, SWEEP_STEP],
      },
      { sql: 'delete from "PausedText" where until_at <= ?', params: [now] },
    ])
    return results[0]?.changes ?? 0
  }

  async #pause(
    { tenant, instance }: { readonly tenant: TenantId; readonly instance: InstanceId },
    textHash: string,
    contacts: number,
  ): Promise<number> {
    const now = this.#clock.now()
    const until = now + DAY
    await this.#database.write([
      {
        sql: `insert into "PausedText" (text_hash, tenant, paused_at, until_at, allowed) values (?, ?, ?, ?, 0)
              on conflict (text_hash) do update set tenant = excluded.tenant, paused_at = excluded.paused_at,
              until_at = excluded.until_at, allowed = 0`,
        params: [textHash, tenant, now, until],
      },
      this.#eventLog.append({
        tenant,
        instance,
        type: 'proactive.text_paused',
        payload: { text: textHash, contacts, until },
      }),
    ])
    this.#log.error(
      { tenant, instance, text: textHash, contacts },
      'the same text went to too many contacts within an hour: it is paused for a day, until you allow it',
    )
    return until
  }

  #hash(text: string): string {
    return createHmac('sha256', this.#key).update(text).digest('base64url').slice(0, 22)
  }
}

/** Letters and digits alone: no spaces, marks or invisible characters make it another text. */
function plain(text: string): string {
  const words = text
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]/gu, '')
  return words === '' ? text : words
}
