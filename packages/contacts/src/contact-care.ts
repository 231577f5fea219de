import {
  type ChatId,
  type Clock,
  type ContactId,
  DAY,
  type InboundOrigin,
  type TenantId,
} from '@eclusa/kernel'
import { addressesOf } from './contact.ts'
import type { CareStore } from './care-store.ts'
import type { ContactDirectory } from './contact-directory.ts'
import type { ContactLedger } from './contact-ledger-store.ts'
import type { ContactSettingStore } from './contact-setting-store.ts'
import { hearOwnWish, hearWish, type Wish } from './spoken-words.ts'

/**
 * What a message means for what may follow. `opted_out`: they want no more messages, now or since before, so nothing
 * automatic goes to them. `asks_to_stop`: they may mean the menu they are in; ask them once.
 */
export type Heard = 'nothing' | 'opted_out' | 'asks_to_stop' | 'opted_in' | 'wants_person'

export interface HeardMessage {
  readonly contact: ContactId
  readonly address: ChatId
  /** Null for what has none: a sticker, a place. */
  readonly words: string | null
  /** A flow of theirs waits for an answer: "sair" alone can mean the menu. */
  readonly atMenu: boolean
}

/** Both may be called again for the same message, after a crash. */
export interface CarePorts {
  /** What waits for the person is judged anew. */
  standingChanged(tenant: TenantId, addresses: readonly ChatId[]): Promise<void>
  /** Tells them that it was heard, once for `origin`. */
  confirm(
    origin: InboundOrigin,
    message: { readonly address: ChatId; readonly kind: 'opt_out' | 'opt_in' },
  ): Promise<void>
}

/** Who was asked which they meant, and says it again within that time, means all messages. */
const ASKED_FOR_MS = DAY

/** Listens for who wants no more messages, wants them again, or wants to talk to a person. */
export class ContactCare {
  readonly #store: CareStore
  readonly #ledger: ContactLedger
  readonly #directory: ContactDirectory
  readonly #settings: Pick<ContactSettingStore, 'get'>
  readonly #ports: CarePorts
  readonly #clock: Clock

  constructor(options: {
    readonly store: CareStore
    readonly ledger: ContactLedger
    readonly directory: ContactDirectory
    readonly settings: Pick<ContactSettingStore, 'get'>
    readonly ports: CarePorts
    readonly clock: Clock
  }) {
    this.#store = options.store
    this.#ledger = options.ledger
    this.#directory = options.directory
    this.#settings = options.settings
    this.#ports = options.ports
    this.#clock = options.clock
  }

  /** What is heard is on record when it resolves; the same message again is answered the same. */
  async hear(origin: InboundOrigin, message: HeardMessage): Promise<Heard> {
    const { tenant, instance, journalId } = origin
    const saidIn = `${instance}:${journalId}`
    const wish = message.words === null ? null : await this.#wishIn(tenant, message.words)
    if (wish === 'person') return 'wants_person'
    const contact = await this.#directory.at(tenant, message.address, instance)
    const addresses = addressesOf(contact, message.address)
    const { optedOutAt } = await this.#ledger.standing(tenant, addresses)
    const isOut = optedOutAt !== null
    if (wish === null) return isOut ? 'opted_out' : 'nothing'
    const before = await this.#ledger.heardIn(tenant, saidIn)
    if (before === null) {
      // Only who opted out means everything by going back or beginning.
      if (wish === 'opt_in' && !isOut) return 'nothing'
      // Set aside, and tried again long after: what they said since counts.
      if (wish === 'opt_in' && (await this.#saidStopSince(origin, addresses))) return 'opted_out'
      const since = this.#clock.now() - ASKED_FOR_MS
      const isUnclear = wish === 'leave' && message.atMenu && !isOut
      if (isUnclear && !(await this.#store.wasAsked(message.contact, saidIn, since))) return 'asks_to_stop'
    }
    const kind = before === 'opt_in' || (before === null && wish === 'opt_in') ? 'opt_in' : 'opt_out'
    await this.#store.record(tenant, { kind, contact: message.contact, address: message.address, saidIn })
    await this.#ports.standingChanged(tenant, addresses)
    // Who said so before knows that it was heard.
    if (!isOut || before !== null || kind === 'opt_in') {
      await this.#ports.confirm(origin, { address: message.address, kind })
    }
    return kind === 'opt_in' ? 'opted_in' : 'opted_out'
  }

  async #saidStopSince(
    { tenant, instance, journalId }: InboundOrigin,
    addresses: readonly ChatId[],
  ): Promise<boolean> {
    const [where, id] = (await this.#ledger.optedOutIn(tenant, addresses))?.split(':') ?? []
    return where === instance && Number(id) > journalId
  }

  async #wishIn(tenant: TenantId, words: string): Promise<Wish | null> {
    const wish = hearWish(words)
    if (wish !== null) return wish
    const own = await this.#settings.get(tenant, 'words')
    return own === null ? null : hearOwnWish(words, own)
  }
}
