import { CacheBudget, type CacheOwner } from '@eclusa/bounded-cache'
import {
  type ChatId,
  chatOfNumber,
  type Clock,
  type InstanceId,
  parseInstanceId,
  parseTenantId,
  type TenantId,
} from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { type Database, EventLog, type LoggedEvent } from '@eclusa/storage'
import { openTestDatabase, testSealer } from '@eclusa/storage/test-kit'
import type { TestContext } from 'node:test'
import {
  ContactCaches,
  ContactDirectory,
  type ContactMerge,
  contactMigrations,
  ContactStore,
} from '../src/index.ts'

export const acme: TenantId = parseTenantId('acme')
export const other: TenantId = parseTenantId('other')
export const desk: { tenant: TenantId; instance: InstanceId } = {
  tenant: acme,
  instance: parseInstanceId('ins_00000000000000000001'),
}
export const number: ChatId = chatOfNumber('5511987654321')
export const oldNumber: ChatId = chatOfNumber('551187654321')
export const lid = '77001@lid' as ChatId

export interface TestDirectory {
  readonly database: Database
  readonly clock: ManualClock
  readonly directory: ContactDirectory
  readonly merges: ContactMerge[]
  readonly events: EventLog
  readonly caches: ContactCaches
  /** What other processes on the same database would have. */
  another(options?: DirectoryOptions): { directory: ContactDirectory; caches: ContactCaches }
  eventsOf(type: string): Promise<readonly LoggedEvent[]>
}

interface DirectoryOptions {
  readonly merged?: (merge: ContactMerge) => Promise<void>
  readonly ownerOf?: (tenant: TenantId) => CacheOwner | undefined
}

export async function openDirectory(t: TestContext, options: DirectoryOptions = {}): Promise<TestDirectory> {
  const { database } = await openTestDatabase(t, contactMigrations)
  const clock = new ManualClock()
  const merges: ContactMerge[] = []
  const events = new EventLog({ database, sealer: testSealer(), clock })
  const another = (own: DirectoryOptions = {}): { directory: ContactDirectory; caches: ContactCaches } => {
    const caches = new ContactCaches({ clock, maxInstances: 10, ownerOf: own.ownerOf ?? (() => undefined) })
    const directory = new ContactDirectory({
      store: new ContactStore({ database, sealer: testSealer(), events, clock }),
      caches,
      clock,
      merged: own.merged ?? (async (merge) => void merges.push(merge)),
    })
    return { directory, caches }
  }
  return {
    database,
    clock,
    merges,
    events,
    another,
    ...another(options),
    eventsOf: async (type) =>
      (await events.read({ after: 0, limit: 1000 })).filter((event) => event.type === type),
  }
}

export function budget(clock: Clock, maxBytes: number): CacheBudget {
  return new CacheBudget({ maxBytes, ceilingShare: 1, now: () => clock.now() })
}
