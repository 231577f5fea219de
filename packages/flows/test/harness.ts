import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import {
  chatOfNumber,
  type ContactId,
  type InboundOrigin,
  type InstanceId,
  parseTenantId,
  silentLogger,
  type TenantId,
} from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { type Database, EventLog } from '@eclusa/storage'
import { openTestDatabase, testSealer } from '@eclusa/storage/test-kit'
import {
  type Conversation,
  Conversations,
  type ConversationsOptions,
  flowMigrations,
  type Operator,
  type OperatorInput,
  type Outcome,
  parseSectorId,
  type SectorId,
  type SectorRule,
} from '../src/index.ts'

export const acme = parseTenantId('acme')
export const shop = 'ins_00000000000000000000' as InstanceId

export interface Bench {
  readonly tenant: TenantId
  readonly instance: InstanceId
  readonly database: Database
  readonly clock: ManualClock
  readonly events: EventLog
  readonly conversations: Conversations
  /** A contact writes; each call is a new message. */
  write(contact: number, journalId?: number): Promise<Conversation>
  sector(id: string, rule?: SectorRule): Promise<SectorId>
  /** Online, with room for `capacity`. */
  operator(name: string, capacity: number, sectors: OperatorInput['sectors']): Promise<Operator>
  /** The types of what happened, oldest first. */
  eventTypes(): Promise<readonly string[]>
}

export async function openBench(
  t: TestContext,
  options: { readonly reopenWithinMs?: number } = {},
): Promise<Bench> {
  const { database } = await openTestDatabase(t, flowMigrations)
  return benchOn(t, database, options)
}

export function benchOn(
  t: TestContext,
  database: Database,
  options: {
    readonly reopenWithinMs?: number
    readonly renamed?: ConversationsOptions['renamed']
    readonly clock?: ManualClock
    readonly firstJournalId?: number
    readonly tenant?: TenantId
    readonly instance?: InstanceId
  } = {},
): Bench {
  const clock = options.clock ?? new ManualClock()
  const { tenant = acme, instance = shop } = options
  const sealer = testSealer()
  const events = new EventLog({ database, sealer, clock })
  const conversations = new Conversations({
    database,
    sealer,
    events,
    clock,
    log: silentLogger,
    ...(options.reopenWithinMs === undefined ? {} : { reopenWithinMs: options.reopenWithinMs }),
    ...(options.renamed === undefined ? {} : { renamed: options.renamed }),
  })
  t.after(() => conversations.stop())
  let lastJournalId = options.firstJournalId ?? 0
  return {
    tenant,
    instance,
    database,
    clock,
    events,
    conversations,
    async write(contact, journalId = ++lastJournalId) {
      const message = { contact: contactOf(contact), chat: chatOfContact(contact), at: clock.now() }
      return (await conversations.receive({ tenant, instance, journalId }, message)).conversation
    },
    async sector(id, rule = 'least_busy') {
      const sector = parseSectorId(id)
      await conversations.sectors.create({ tenant, id: sector, name: id, isDefault: false, rule })
      return sector
    },
    async operator(name, capacity, sectors) {
      const input = { name, isAdmin: false, capacity, hours: null, sectors }
      const { id } = await conversations.operators.create(tenant, input)
      return conversations.operators.change(tenant, id, { availability: 'online' })
    },
    async eventTypes() {
      return (await events.read({ after: 0, limit: 1000 })).map(({ type }) => type)
    },
  }
}

export function contactOf(nth: number): ContactId {
  return `con_${String(nth).padStart(20, '0')}` as ContactId
}

export function chatOfContact(nth: number): ReturnType<typeof chatOfNumber> {
  return chatOfNumber(`55119${String(nth).padStart(8, '0')}`)
}

export function originOf(journalId: number): InboundOrigin {
  return { tenant: acme, instance: shop, journalId }
}

export function done(outcome: Outcome): Conversation {
  assert(outcome.done, outcome.done ? '' : outcome.why)
  return outcome.conversation
}

export function whyOf(outcome: Outcome): string {
  return outcome.done ? 'done' : outcome.why
}
