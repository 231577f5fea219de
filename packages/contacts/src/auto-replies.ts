import { type ChatId, type Clock, type ContactId, type InboundOrigin, isOpen } from '@eclusa/kernel'
import type { AutoReplyStore } from './auto-reply-store.ts'
import type { Heard } from './contact-care.ts'
import type { ContactSettingStore } from './contact-setting-store.ts'

/** Puts a text in the queue; the same key again puts nothing there. */
export interface ReplySender {
  reply(
    origin: InboundOrigin,
    message: { readonly chat: ChatId; readonly text: string; readonly idempotencyKey: string },
  ): Promise<void>
}

/** Answers outside of the hours of a tenant or an operator: once, and again after the cooldown. */
export class AutoReplies {
  readonly #store: AutoReplyStore
  readonly #settings: ContactSettingStore
  readonly #sender: ReplySender
  readonly #clock: Clock

  constructor(options: {
    readonly store: AutoReplyStore
    readonly settings: ContactSettingStore
    readonly sender: ReplySender
    readonly clock: Clock
  }) {
    this.#store = options.store
    this.#settings = options.settings
    this.#sender = options.sender
    this.#clock = options.clock
  }

  /** Whether a reply went into the queue for this message; the same message again is answered the same, and queued once. */
  async hear(
    origin: InboundOrigin,
    message: {
      readonly contact: ContactId
      readonly chat: ChatId
      /** Who is answering them. */
      readonly operator: string | null
      readonly heard: Heard
      /** Whether something else tells them the hours; asked only when the tenant's rule would. Default: nothing does. */
      readonly isToldElsewhere?: () => Promise<boolean>
    },
  ): Promise<boolean> {
    // Nothing automatic goes to who opted out; who is asked, or told that they are back, hears enough.
    if (message.heard !== 'nothing' && message.heard !== 'wants_person') return false
    const { tenant, instance, journalId } = origin
    const rules = await this.#settings.get(tenant, 'auto_replies')
    const own = message.operator === null ? undefined : rules?.operators[message.operator]
    const rule = own ?? rules?.tenant
    if (rule == null || isOpen(rule.hours, this.#clock.now())) return false
    if (own === undefined && (await message.isToldElsewhere?.()) === true) return false
    const saidIn = `${instance}:${journalId}`
    const name = own === undefined ? 'tenant' : (message.operator ?? 'tenant')
    if (!(await this.#store.take(message.contact, name, saidIn, rule.cooldownMs))) return false
    await this.#sender.reply(origin, {
      chat: message.chat,
      text: rule.text,
      idempotencyKey: `auto-reply:${journalId}`,
    })
    return true
  }
}
