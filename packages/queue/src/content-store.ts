import { EclusaError, type InstanceId, type TenantId, type WaMessageId } from '@eclusa/kernel'
import { type Database, type SealedTable, type Sealer, type Statement, storageErrors } from '@eclusa/storage'
import type { OutboundContent, OutboundIdentity } from './message.ts'

type MessageRef = Pick<OutboundIdentity, 'tenant' | 'instance' | 'waMessageId'>

/** What a text costs in the heap beside its characters: an entry of the map, two objects. */
const ENTRY_BYTES = 160

/**
 * What messages say. It is written once, sealed, when they are accepted, and lies still until nobody asks for it any
 * more: 24 h after the send, because a device that cannot decrypt asks again. The newest are also kept in memory, so that
 * a message that is sent at once is neither read nor opened again.
 */
export class ContentStore {
  readonly #database: Database
  readonly #sealer: Sealer
  readonly #maxRecentBytes: number
  // By seq. bounded by: maxRecentBytes, oldest out
  readonly #recent = new Map<number, OutboundContent>()
  #recentBytes = 0

  constructor(options: {
    readonly database: Database
    readonly sealer: Sealer
    readonly maxRecentBytes: number
  }) {
    this.#database = options.database
    this.#sealer = options.sealer
    this.#maxRecentBytes = options.maxRecentBytes
  }

  /** The statement to put in the unit that accepts the message. */
  insert(identity: OutboundIdentity, content: OutboundContent): Statement {
    const payload = this.#sealer.seal(
      Buffer.from(JSON.stringify(content)),
      contextOf(identity),
      identity.tenant,
    )
    return {
      sql: 'insert into "OutboundContent" (seq, accepted_at, payload) values (?, ?, ?)',
      params: [identity.seq, identity.acceptedAt, payload],
    }
  }

  /** The message is on disk and may soon be sent. */
  remember(seq: number, content: OutboundContent): void {
    const bytes = contentBytes(content)
    if (bytes > this.#maxRecentBytes) return
    this.#recent.set(seq, content)
    this.#recentBytes += bytes
    if (this.#recentBytes <= this.#maxRecentBytes) return
    for (const [oldest, old] of this.#recent) {
      if (this.#recentBytes <= this.#maxRecentBytes) return
      this.#recent.delete(oldest)
      this.#recentBytes -= contentBytes(old)
    }
  }

  /** Out of memory, to whoever sends it; undefined when it must be read. */
  take(seq: number): OutboundContent | undefined {
    const content = this.#recent.get(seq)
    if (content === undefined) return undefined
    this.#recent.delete(seq)
    this.#recentBytes -= contentBytes(content)
    return content
  }

  /** From disk; null when it is not there or does not open. */
  async read({
    seq,
    ...message
  }: MessageRef & Pick<OutboundIdentity, 'seq'>): Promise<OutboundContent | null> {
    const [row] = await this.#database.read('select payload from "OutboundContent" where seq = ?', [seq])
    return row === undefined ? null : this.#open(row['payload'] as Uint8Array, message)
  }

  /** Of a message that is not live any more. */
  async readSent(instance: InstanceId, waMessageId: WaMessageId): Promise<OutboundContent | null> {
    const [row] = await this.#database.read(
      `select tombstone.tenant as tenant, payload from "OutboundTombstone" as tombstone
       join "OutboundContent" as content on content.seq = tombstone.seq
       where tombstone.instance = ? and tombstone.wa_message_id = ? and state <> 'CANCELLED'`,
      [instance, waMessageId],
    )
    if (row === undefined) return null
    const tenant = row['tenant'] as TenantId
    return this.#open(row['payload'] as Uint8Array, { tenant, instance, waMessageId })
  }

  async #open(payload: Uint8Array, message: MessageRef): Promise<OutboundContent | null> {
    await this.#sealer.know([payload])
    try {
      const plain = this.#sealer.open(payload, contextOf(message), message.tenant)
      return JSON.parse(Buffer.from(plain).toString()) as OutboundContent
    } catch (error) {
      if (error instanceof EclusaError && error.code === storageErrors.SEAL_BROKEN.code) return null
      throw error
    }
  }
}

/** The statement that forgets what a message said. */
export function forgetContent(seq: number): Statement {
  return { sql: 'delete from "OutboundContent" where seq = ?', params: [seq] }
}

/** What a content takes in the heap at most: two bytes a character. */
export function contentBytes({ text }: OutboundContent): number {
  return 2 * text.length + ENTRY_BYTES
}

/** As it was when the content lay in the row of the queue: what was sealed then still opens. */
function contextOf({ instance, waMessageId }: Omit<MessageRef, 'tenant'>): string {
  return `MessageQueueItem|${instance}|${waMessageId}`
}

/** Whose a content is stands with the message: live, or what is kept of it when it has ended. */
export const contentSealedTable: SealedTable = {
  table: 'OutboundContent',
  column: 'payload',
  key: ['seq'],
  start: [-1],
  page: `select content.seq as seq, content.payload as sealed, coalesce(live.tenant, ended.tenant) as tenant,
           coalesce(live.instance, ended.instance) as instance,
           coalesce(live."waMessageId", ended.wa_message_id) as "waMessageId"
         from "OutboundContent" as content
         left join "MessageQueueItem" as live on live.seq = content.seq
         left join "OutboundTombstone" as ended on ended.seq = content.seq
         where content.seq > ? order by content.seq limit ?`,
  placeOf(row) {
    const { tenant, instance, waMessageId } = row as unknown as MessageRef & {
      readonly tenant: TenantId | null
    }
    return tenant === null ? null : { tenant, context: contextOf({ instance, waMessageId }) }
  },
}
