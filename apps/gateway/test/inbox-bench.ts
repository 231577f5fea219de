import type { TestContext } from 'node:test'
import { ContactCaches, ContactDirectory, contactMigrations, ContactStore } from '@eclusa/contacts'
import { Conversations, flowMigrations } from '@eclusa/flows'
import {
  type ChatId,
  chatOfNumber,
  type Clock,
  type InboundContent,
  type InboundMessage,
  type InstanceId,
  makeWaMessageId,
  parseTenantId,
  silentLogger,
} from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { InboundJournal, sessionMigrations } from '@eclusa/session'
import { type Database, EventLog, type Ownership } from '@eclusa/storage'
import { openTestDatabase, testSealer } from '@eclusa/storage/test-kit'
import type { InboxPorts } from '../src/inbox-ports.ts'
import { Inbox, type InboxLimits } from '../src/inbox.ts'

export const acme = parseTenantId('acme')
export const shop = 'ins_00000000000000000000' as InstanceId

/** Names of the calls that a message makes on its way, in order. */
export const STEPS = ['seen', 'isWaiting', 'care', 'receive', 'flow'] as const
export type Step = (typeof STEPS)[number]

/** Told at each step, before and after it takes place; what it throws, or never resolves, is the step's failure. */
export type Meddle = (step: Step, when: 'before' | 'after', text: string) => Promise<void> | void

export interface InboxBench {
  readonly database: Database
  readonly clock: ManualClock
  readonly journal: InboundJournal
  readonly events: EventLog
  readonly conversations: Conversations
  readonly inbox: Inbox
  /** What reached the flow, in order, over all inboxes of this bench: `<chat's number> <text>`. */
  readonly heard: string[]
  /** Journals a message as a session does, and tells the inbox that runs. */
  receive(contact: number, text: string, more?: Partial<InboundMessage>): Promise<void>
  /** The process is gone in the middle, and another begins; what the old one does from now on reaches nothing. */
  restart(meddle?: Meddle): Promise<Inbox>
  /** Rows that are neither settled nor set aside. */
  unsettled(): Promise<number>
  eventTypes(): Promise<readonly string[]>
}

export async function openInboxBench(
  t: TestContext,
  options: {
    readonly meddle?: Meddle
    readonly limits?: InboxLimits
    readonly ownership?: Pick<Ownership, 'owns'>
    readonly wrap?: (database: Database) => Database
  } = {},
): Promise<InboxBench> {
  const opened = await openTestDatabase(t, [...sessionMigrations, ...contactMigrations, ...flowMigrations])
  return inboxBenchOn(t, options.wrap?.(opened.database) ?? opened.database, options)
}

export async function inboxBenchOn(
  t: TestContext,
  database: Database,
  options: {
    readonly meddle?: Meddle
    readonly limits?: InboxLimits
    readonly ownership?: Pick<Ownership, 'owns'>
    readonly clock?: ManualClock
    readonly asleep?: boolean
  } = {},
): Promise<InboxBench> {
  const clock = options.clock ?? new ManualClock()
  const sealer = testSealer()
  const events = new EventLog({ database, sealer, clock })
  const journal = new InboundJournal({ database, sealer, events, clock })
  const heard: string[] = []
  const heardIds = new Set<number>()
  let current: { readonly inbox: Inbox; readonly conversations: Conversations; alive: boolean }

  const begin = (meddle: Meddle = () => {}): typeof current => {
    const conversations = new Conversations({ database, sealer, events, clock, log: silentLogger })
    const self = { alive: true }
    const ports = portsOn({ database, clock, events, conversations, heard, heardIds })
    const inbox = new Inbox({
      journal,
      ports: meddledPorts(ports, async (step, when, text) => {
        if (!self.alive) await new Promise(() => {})
        await meddle(step, when, text)
        if (!self.alive) await new Promise(() => {})
      }),
      ownership: options.ownership ?? { owns: () => true },
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      clock,
      log: silentLogger,
    })
    return Object.assign(self, { inbox, conversations })
  }
  current = begin(options.meddle)
  if (options.asleep !== true) {
    current.inbox.instanceTaken(acme, shop)
    await current.inbox.start()
  }
  t.after(async () => {
    current.alive = false
    await stopped(current.inbox, clock)
    await current.conversations.stop()
  })
  return {
    database,
    clock,
    journal,
    events,
    heard,
    get conversations() {
      return current.conversations
    },
    get inbox() {
      return current.inbox
    },
    async receive(contact, text, more = {}) {
      const message = textFrom(chatOfContact(contact), text, clock, more)
      await database.write(journal.append(acme, shop, message))
      current.inbox.arrived(acme, shop, message.chat)
    },
    async restart(meddle) {
      const before = current
      before.alive = false
      current = begin(meddle)
      await stopped(before.inbox, clock)
      current.inbox.instanceTaken(acme, shop)
      await current.inbox.start()
      return current.inbox
    },
    async unsettled() {
      return (await journal.unsettledChats(shop, 0, 10_000)).length
    },
    async eventTypes() {
      return (await events.read({ after: 0, limit: 1000 })).map(({ type }) => type)
    },
  }
}

/** The real contacts and conversations; a flow that only notes, once, what it hears. */
export function portsOn(o: {
  readonly database: Database
  readonly clock: Clock
  readonly events: EventLog
  readonly conversations: Conversations
  readonly heard: string[]
  readonly heardIds: Set<number>
}): InboxPorts {
  const { database, clock, events, conversations, heard, heardIds } = o
  return {
    contacts: new ContactDirectory({
      store: new ContactStore({ database, sealer: testSealer(), events, clock }),
      caches: new ContactCaches({ clock, maxInstances: 10, ownerOf: () => undefined }),
      clock,
      merged: async () => {},
    }),
    care: { hear: async () => 'nothing' },
    conversations,
    flows: {
      isWaiting: async () => false,
      hear: async ({ journalId }, { message }) => {
        if (heardIds.has(journalId)) return
        heardIds.add(journalId)
        heard.push(`${message.chat.split('@')[0]?.slice(-3)} ${textOf(message.content)}`)
      },
    },
  }
}

function meddledPorts(
  { contacts, care, conversations, flows }: InboxPorts,
  meddle: (step: Step, when: 'before' | 'after', text: string) => Promise<void>,
): InboxPorts {
  const texts = new Map<string, string>()
  const around = async <T>(step: Step, text: string, run: () => Promise<T>): Promise<T> => {
    await meddle(step, 'before', text)
    const result = await run()
    await meddle(step, 'after', text)
    return result
  }
  return {
    contacts: {
      seen: (origin, message) => around('seen', message.address, () => contacts.seen(origin, message)),
    },
    care: {
      hear: (origin, message) => {
        texts.set(message.contact, message.words ?? '')
        return around('care', message.words ?? '', () => care.hear(origin, message))
      },
    },
    conversations: {
      receive: (origin, message) =>
        around('receive', texts.get(message.contact) ?? '', () => conversations.receive(origin, message)),
      receiveOwn: (origin, message) => conversations.receiveOwn(origin, message),
    },
    flows: {
      isWaiting: (origin, contact) => around('isWaiting', '', () => flows.isWaiting(origin, contact)),
      hear: (origin, message) =>
        around('flow', textOf(message.message.content), () => flows.hear(origin, message)),
    },
  }
}

/** A stop waits by the clock for what hangs. */
async function stopped(inbox: Inbox, clock: ManualClock): Promise<void> {
  const end = inbox.stop()
  await clock.tick(1_000)
  await end
}

export function chatOfContact(contact: number): ChatId {
  return chatOfNumber(`5511910000${String(contact).padStart(3, '0')}`)
}

export function textFrom(
  chat: ChatId,
  text: string,
  clock: Clock,
  more: Partial<InboundMessage> = {},
): InboundMessage {
  return {
    chat,
    author: chat,
    addressedAs: chat,
    alias: null,
    waMessageId: makeWaMessageId(),
    fromMe: false,
    content: { kind: 'text', text },
    quoted: null,
    mentions: [],
    pushName: 'Carol',
    sentAt: clock.now(),
    ...more,
  }
}

function textOf(content: InboundContent): string {
  return 'text' in content ? (content.text ?? '') : content.kind
}
