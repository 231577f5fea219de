import { addressesOf, type Contact, recordOf } from '@eclusa/contacts'
import type { ContactTraces } from '@eclusa/flows'
import type { ChatId, Clock, InstanceId, Logger, TenantId } from '@eclusa/kernel'
import type { Queue } from '@eclusa/queue'
import type { InboundJournal } from '@eclusa/session'
import type { EventLog } from '@eclusa/storage'
import type { GatewayFlows } from './flows.ts'
import type { Instances } from './instances/instances.ts'
import type { People } from './people.ts'

/** What became of a person's traces. */
export interface ErasureReceipt {
  readonly contact: string | null
  readonly erasedAt: string
  /** Rows that went, by table. */
  readonly removed: Readonly<Record<string, number>>
  /** What stays, and why. */
  readonly kept: readonly { readonly what: string; readonly why: string }[]
}

export interface PersonTracesOptions {
  readonly people: People
  readonly queue: Queue
  readonly journal: InboundJournal
  readonly conversations: ContactTraces
  readonly flowRuns: Pick<GatewayFlows['runs'], 'forgetContact'>
  readonly events: EventLog
  readonly instances: Instances
  readonly canonicalChat: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
  readonly clock: Clock
  readonly log: Logger
}

/** What is known of one person, in all tables: given out, and removed. */
export class PersonTraces {
  readonly #options: PersonTracesOptions

  constructor(options: PersonTracesOptions) {
    this.#options = options
  }

  /** One JSON object a line, `kind` first: contact, note, ledger, conversation, entry, inbound, outbound. */
  async *export(tenant: TenantId, address: ChatId, contact: Contact | undefined): AsyncGenerator<string> {
    const { people, queue, journal, conversations } = this.#options
    const addresses = addressesOf(contact, address)
    const line = (kind: string, value: object): string => `${JSON.stringify({ kind, ...value })}\n`
    if (contact !== undefined) {
      yield line('contact', recordOf(contact, await people.ledger.standing(tenant, addresses)))
      for (const note of await people.directory.notes(tenant, contact.id)) yield line('note', note)
      for await (const { conversation, entries } of conversations.exportContact(tenant, contact.id)) {
        yield line('conversation', conversation)
        for (const entry of entries) yield line('entry', { conversation: conversation.id, entry })
      }
    }
    for (const one of addresses) {
      for (let after = 0; ;) {
        const entries = await people.ledger.list(tenant, { contact: one, after, limit: 200 })
        for (const entry of entries) yield line('ledger', { entry })
        const last = entries.at(-1)
        if (last === undefined) break
        after = last.id
      }
    }
    for (const { id: instance } of this.#instancesOf(tenant)) {
      for (let after = 0; ;) {
        const entries = await journal.ofPerson(instance, addresses, after)
        for (const { id, message, receivedAt } of entries) {
          yield line('inbound', { instance, id, receivedAt, message })
        }
        const last = entries.at(-1)
        if (last === undefined) break
        after = last.id
      }
      for (const chat of await this.#chatsOf(instance, addresses)) {
        for await (const { status, content } of queue.traces.list(instance, chat)) {
          yield line('outbound', { ...status, content })
        }
      }
    }
  }

  /**
   * Removes a person from every table; that they opted out stays, under a hash. The contact's own row goes last, so that
   * what a crash interrupts can be done again. @throws CONTACT_BUSY
   */
  async erase(tenant: TenantId, address: ChatId, contact: Contact | undefined): Promise<ErasureReceipt> {
    const { people, queue, journal, conversations, flowRuns, events, clock, log } = this.#options
    const addresses = addressesOf(contact, address)
    const removed: Record<string, number> = {}
    const add = (rows: Readonly<Record<string, number>>): void => {
      for (const [table, count] of Object.entries(rows)) removed[table] = (removed[table] ?? 0) + count
    }
    const kept = [
      {
        what: 'encryption sessions and device lists of the number on each instance',
        why: 'the protocol needs them while the account may write again; they hold keys, no names and no texts',
      },
    ]
    let onTheWire = 0
    for (const { id: instance } of this.#instancesOf(tenant)) {
      for (const chat of await this.#chatsOf(instance, addresses)) {
        const forgotten = await queue.traces.forget(tenant, instance, chat)
        add({ ...forgotten.rows })
        onTheWire += forgotten.onTheWire
      }
      add({ InboundMessage: await journal.forgetPerson(instance, addresses) })
    }
    if (contact !== undefined) {
      add({ FlowRun: await flowRuns.forgetContact(tenant, contact.id) })
      const { conversationCount, entryCount } = await conversations.forgetContact(tenant, contact.id)
      add({ Conversation: conversationCount, ConversationEntry: entryCount })
    }
    const needles = [...addresses, ...addresses.map(userOf), ...(contact === undefined ? [] : [contact.id])]
    const names = (text: string): boolean => needles.some((needle) => text.includes(needle))
    add({ Event: await events.forgetMatching(tenant, ({ payload }) => names(JSON.stringify(payload))) })
    const standing = await people.ledger.standing(tenant, addresses)
    const ledger = people.ledger.eraseStatements(tenant, addresses, standing)
    if (contact === undefined) await people.ledger.run(ledger)
    else add(await people.directory.erase(tenant, contact.id, ledger))
    if (standing.optedOutAt !== null) {
      kept.push({
        what: 'a keyed hash of each address',
        why: 'they opted out, and must not be written to again',
      })
    }
    if (onTheWire > 0) {
      kept.push({ what: `${onTheWire} messages on the wire`, why: 'erase again when they have ended' })
    }
    log.info({ tenant, contact: contact?.id ?? null, removed }, 'a person was erased')
    return { contact: contact?.id ?? null, erasedAt: new Date(clock.now()).toISOString(), removed, kept }
  }

  #instancesOf(tenant: TenantId): readonly { readonly id: InstanceId }[] {
    return this.#options.instances.all().filter((instance) => instance.tenant === tenant)
  }

  /** Under which their messages may be queued here. */
  async #chatsOf(instance: InstanceId, addresses: readonly ChatId[]): Promise<readonly ChatId[]> {
    const canonical = await Promise.all(
      addresses.map((address) => this.#options.canonicalChat(instance, address)),
    )
    return [...new Set([...addresses, ...canonical])]
  }
}

function userOf(address: ChatId): string {
  return address.slice(0, address.indexOf('@'))
}
