import assert from 'node:assert/strict'
import {
  type Clock,
  type ContactId,
  EclusaError,
  type InboundMessage,
  type Logger,
  SECOND,
  silentLogger,
  type WaMessageId,
} from '@eclusa/kernel'
import { type ManualClock, until } from '@eclusa/kernel/test-kit'
import { type Database, storageErrors } from '@eclusa/storage'
import { testSealer } from '@eclusa/storage/test-kit'
import { parseFlow } from '../src/flow-definition.ts'
import { conversationsForFlows } from '../src/flow-conversations.ts'
import type { ContactFacts, FlowConversations, Heard } from '../src/flow-ports.ts'
import { FlowRunner } from '../src/flow-runner.ts'
import { FlowRunStore } from '../src/flow-run-store.ts'
import { Flows } from '../src/flow-store.ts'
import type { Conversation } from '../src/index.ts'
import { acme, type Bench, chatOfContact, contactOf, originOf, shop } from './harness.ts'

/** What outlives a process: the queue, the contacts, and what the world answers. */
export interface Outside {
  /** By key, in the order in which they were queued. */
  readonly queued: Map<string, { readonly contact: string; readonly text: string }>
  readonly contacts: Map<ContactId, ContactFacts>
  /** Answers of a lookup; a throw is a failure. */
  lookup: (url: string, body: unknown) => unknown
}

export function newOutside(): Outside {
  return { queued: new Map(), contacts: new Map(), lookup: () => assert.fail('no lookup expected') }
}

/** Ends a process after so many of its effects: the last one took place, but nobody hears of it. */
export interface Death {
  left: number
  isDead: boolean
}

export interface Process {
  readonly runner: FlowRunner
  readonly runs: FlowRunStore
  readonly flows: Flows
  readonly effectCount: () => number
}

/** A runner as a process has one, over what outlives it. */
export function startProcess(
  bench: Bench,
  outside: Outside,
  options: {
    readonly death?: Death
    readonly clock?: Clock
    readonly log?: Logger
    readonly conversations?: (real: FlowConversations) => FlowConversations
    readonly owns?: () => boolean
  } = {},
): Process {
  const { death = { left: Number.POSITIVE_INFINITY, isDead: false }, log = silentLogger } = options
  const clock = options.clock ?? bench.clock
  let effectCount = 0
  const alive = (): void => {
    if (death.isDead) throw new EclusaError(storageErrors.STOPPED)
  }
  const effect = async <T>(work: () => Promise<T>): Promise<T> => {
    alive()
    const result = await work()
    effectCount++
    if (--death.left <= 0) death.isDead = true
    alive()
    return result
  }
  const database: Database = {
    dialect: bench.database.dialect,
    write: (statements, options) => effect(() => bench.database.write(statements, options)),
    read: async (sql, params) => {
      alive()
      return bench.database.read(sql, params)
    },
    onCommit: (listener) => bench.database.onCommit(listener),
    stats: () => bench.database.stats(),
    stop: async () => {},
  }
  const runs = new FlowRunStore({ database, sealer: testSealer(), events: bench.events, clock })
  const flows = new Flows({ database: bench.database, sealer: testSealer(), clock })
  const real = conversationsForFlows(bench.conversations)
  const factsOf = (contact: ContactId): ContactFacts =>
    outside.contacts.get(contact) ?? { name: 'Ana', number: '5511999990000', tags: [], fields: {} }
  const runner = new FlowRunner({
    runs,
    flows,
    conversations: options.conversations?.(real) ?? real,
    contacts: {
      facts: async ({ contact }) => factsOf(contact),
      change: ({ contact }, { fields = {}, addTags = [], removeTags = [] }) =>
        effect(async () => {
          const before = factsOf(contact)
          const all = Object.entries({ ...before.fields, ...fields }).filter(([, value]) => value !== null)
          const tags = new Set([...before.tags.filter((tag) => !removeTags.includes(tag)), ...addTags])
          const after = {
            ...before,
            fields: Object.fromEntries(all) as Record<string, string>,
            tags: [...tags],
          }
          outside.contacts.set(contact, after)
        }),
    },
    messages: {
      enqueue: ({ chat, text, key }) =>
        effect(async () => {
          if (!outside.queued.has(key)) outside.queued.set(key, { contact: chat, text })
        }),
    },
    lookups: { call: ({ url, body }) => effect(async () => outside.lookup(url, body)) },
    owns: options.owns ?? (() => true),
    clock,
    log,
  })
  return { runner, runs, flows, effectCount: () => effectCount }
}

/** Puts and publishes. */
export async function publish(flows: Flows, document: object, name = 'main'): Promise<void> {
  const parsed = parseFlow(document)
  assert.ok('flow' in parsed, JSON.stringify('findings' in parsed ? parsed.findings : null))
  const { version } = await flows.put(acme, name, document)
  await flows.publish(acme, name, version)
}

export function flowOf(steps: readonly object[], more: object = {}): object {
  const [first] = steps as readonly { readonly id: string }[]
  return { format: 1, starts: 'everybody', start: first?.id, steps, ...more }
}

export function textMessage(contact: number, text: string, sentAt: number): InboundMessage {
  return {
    chat: chatOfContact(contact),
    author: chatOfContact(contact),
    addressedAs: chatOfContact(contact),
    alias: null,
    waMessageId: 'X' as WaMessageId,
    fromMe: false,
    content: { kind: 'text', text },
    quoted: null,
    mentions: [],
    pushName: null,
    sentAt,
  }
}

let lastJournalId = 0

/** The inbox's part: the message is filed, then the flow hears it; the same `journalId` again is the same message. */
export async function say(
  bench: Bench,
  { runner }: Process,
  contact: number,
  text: string,
  options: { readonly journalId?: number; readonly heard?: Heard; readonly sentAt?: number } = {},
): Promise<number> {
  const { journalId = ++lastJournalId, heard = 'nothing', sentAt = bench.clock.now() } = options
  const conversation = await bench.write(contact, journalId)
  const message = textMessage(contact, text, sentAt)
  await runner.hear(originOf(journalId), { contact: contactOf(contact), conversation, message, heard })
  return journalId
}

/** Lets time pass, and waits until what fell due is done with. */
export async function pass(clock: ManualClock, { runs }: Process, ms: number, death?: Death): Promise<void> {
  await clock.tick(ms)
  const isDead = (): boolean => death?.isDead === true
  let looks = 0
  await until(async () => {
    // What was armed for a time that is over by now; and, when the jump of the clock ended a walk, the next try.
    await clock.tick(++looks % 100 === 0 ? 6 * SECOND : 0)
    const now = clock.now()
    const overdue = runs.overdue(now, now, { limit: 1, offset: 0 }).catch(() => null)
    return isDead() || (await overdue)?.length === 0 || isDead()
  }, 'what is due has been done')
}

/** What was said to a contact, in order. */
export function saidTo({ queued }: Outside, contact: number): readonly string[] {
  const chat = chatOfContact(contact)
  return [...queued.values()].filter((one) => one.contact === chat).map(({ text }) => text)
}

export async function conversationOf(bench: Bench, contact: number): Promise<Conversation | undefined> {
  const { items } = await bench.conversations.list(
    acme,
    { contact: contactOf(contact) },
    { before: Number.MAX_SAFE_INTEGER, limit: 1 },
  )
  return items[0]
}

export async function lastRunOf({ runs }: Process, contact: number) {
  const all = await runs.listOf(acme, contactOf(contact), 10)
  return all[0]
}

export { acme, contactOf, shop }
