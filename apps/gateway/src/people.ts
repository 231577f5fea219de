import type { CacheOwner } from '@eclusa/bounded-cache'
import {
  addressesOf,
  AutoReplies,
  AutoReplyStore,
  CareStore,
  ContactCaches,
  ContactCare,
  ContactDirectory,
  ContactLedger,
  type ContactMerge,
  ContactSettingStore,
  ContactStore,
} from '@eclusa/contacts'
import type { ChatId, Clock, InstanceId, TenantId } from '@eclusa/kernel'
import type { Conversations } from '@eclusa/flows'
import type { ChatContext, Outbox, Purpose } from '@eclusa/queue'
import type { InboundJournal } from '@eclusa/session'
import type { Database, EventLog, Sealer } from '@eclusa/storage'
import { parsePhoneNumberFromString } from 'libphonenumber-js/min'
import { zoneOf } from './contact-zone.ts'

/** What the people at the other end need of the rest of the gateway. */
export interface PeoplePorts {
  /** Two contacts proved to be one. */
  merged(merge: ContactMerge): Promise<void>
  /** What waits for these addresses is judged anew. */
  standingChanged(tenant: TenantId, addresses: readonly ChatId[]): Promise<void>
  /** Queues a text; the same key again queues nothing. */
  enqueue(message: {
    readonly tenant: TenantId
    readonly instance: InstanceId
    readonly chat: ChatId
    readonly text: string
    readonly purpose: Purpose
    readonly idempotencyKey: string
  }): Promise<void>
}

/** Who the people at the other end are, and what they want. */
export interface People {
  readonly caches: ContactCaches
  readonly directory: ContactDirectory
  readonly ledger: ContactLedger
  readonly settings: ContactSettingStore
  readonly care: ContactCare
  readonly autoReplies: AutoReplies
}

export function openPeople(options: {
  readonly database: Database
  readonly sealer: Sealer
  readonly events: EventLog
  readonly clock: Clock
  readonly maxInstances: number
  readonly ownerOf: (tenant: TenantId) => CacheOwner
  readonly hashKey: Uint8Array
  readonly ports: PeoplePorts
}): People {
  const { database, events, clock, ports } = options
  const caches = new ContactCaches(options)
  const directory = new ContactDirectory({
    store: new ContactStore(options),
    caches,
    clock,
    merged: (merge) => ports.merged(merge),
  })
  const ledger = new ContactLedger(options)
  const settings = new ContactSettingStore(options)
  const care = new ContactCare({
    store: new CareStore({ database, ledger, events, clock }),
    ledger,
    directory,
    settings,
    ports: {
      standingChanged: (tenant, addresses) => ports.standingChanged(tenant, addresses),
      async confirm({ tenant, instance, journalId }, { address: chat, kind }) {
        const set = await settings.get(tenant, 'confirmations')
        const own = kind === 'opt_out' ? set?.optOutText : set?.optInText
        const text = own === undefined ? CONFIRMATIONS[languageOf(chat)][kind] : own
        if (text === null) return
        const purpose = kind === 'opt_out' ? 'confirmation' : 'automatic'
        await ports.enqueue({ tenant, instance, chat, text, purpose, idempotencyKey: `${kind}:${journalId}` })
      },
    },
    clock,
  })
  const autoReplies = new AutoReplies({
    store: new AutoReplyStore(options),
    settings,
    sender: {
      reply: ({ tenant, instance }, message) =>
        ports.enqueue({ tenant, instance, purpose: 'automatic', ...message }),
    },
    clock,
  })
  return { caches, directory, ledger, settings, care, autoReplies }
}

/** What decides whether a contact may be written to: their opt-outs and consents, and when they last wrote. */
export function standingFrom(
  { directory, ledger }: Pick<People, 'directory' | 'ledger'>,
  journal: Pick<InboundJournal, 'lastInboundAt'>,
): NonNullable<ChatContext['standing']> {
  return async ({ tenant, instance, chat }) => {
    const contact = await directory.at(tenant, chat, instance)
    const [said, ...inbound] = await Promise.all([
      ledger.standing(tenant, addressesOf(contact, chat)),
      ...new Set([chat, ...(contact?.addresses ?? [])])
        .values()
        .map((one) => journal.lastInboundAt(instance, one)),
    ])
    const lastInboundAt = inbound.reduce((last, at) => ((at ?? 0) > (last ?? 0) ? at : last), null)
    return { lastInboundAt, zone: contact?.zone ?? zoneOf(contact?.address ?? chat), ...said }
  }
}

/** `PeoplePorts.enqueue`: in the queue, and in the history of a conversation that is not closed. */
export async function enqueueReply(
  { text, idempotencyKey: key, chat, ...message }: Parameters<PeoplePorts['enqueue']>[0],
  to: {
    readonly outbox: Pick<Outbox, 'enqueue'>
    readonly conversations: Conversations
    readonly canonicalChat: (instance: InstanceId, chat: ChatId) => Promise<ChatId>
  },
): Promise<void> {
  const conversation = await to.conversations.notClosedIn(message.instance, chat)
  await to.outbox.enqueue({
    ...message,
    chat: await to.canonicalChat(message.instance, chat),
    content: { kind: 'text', text },
    idempotency: { key, bodyHash: key },
    alongside: ({ seq }) =>
      conversation === undefined
        ? []
        : [to.conversations.plan.outboundEntry(conversation, { messageSeq: seq, text, by: 'system' })],
  })
}

type Language = 'en' | 'es' | 'pt'

const CONFIRMATIONS: Readonly<Record<Language, Readonly<Record<'opt_out' | 'opt_in', string>>>> = {
  en: {
    opt_out: 'You will get no more messages from us. To get them again, write START.',
    opt_in: 'You will get our messages again. To stop them, write STOP.',
  },
  es: {
    opt_out: 'No recibirá más mensajes nuestros. Para recibirlos de nuevo, escriba VOLVER.',
    opt_in: 'Volverá a recibir nuestros mensajes. Para no recibirlos más, escriba BAJA.',
  },
  pt: {
    opt_out: 'Você não receberá mais mensagens nossas. Para voltar a receber, escreva VOLTAR.',
    opt_in: 'Você voltará a receber nossas mensagens. Para não receber mais, escreva PARAR.',
  },
}

const PORTUGUESE = ['BR', 'PT', 'AO', 'MZ', 'CV']
const SPANISH = 'AR BO CL CO CR CU DO EC ES GQ GT HN MX NI PA PE PR PY SV UY VE'.split(' ')

/** Of the number's country; a LID tells none. */
function languageOf(address: ChatId): Language {
  const digits = /^(\d+)@s\.whatsapp\.net$/.exec(address)?.[1]
  const country = digits === undefined ? undefined : parsePhoneNumberFromString(`+${digits}`)?.country
  if (country !== undefined && PORTUGUESE.includes(country)) return 'pt'
  return country !== undefined && SPANISH.includes(country) ? 'es' : 'en'
}
