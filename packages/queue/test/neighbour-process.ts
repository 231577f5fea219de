import {
  type ChatId,
  type InstanceId,
  parseTenantId,
  silentLogger,
  systemClock,
  TypedEmitter,
} from '@eclusa/kernel'
import { EventLog, openDatabase } from '@eclusa/storage'
import { testSealer } from '@eclusa/storage/test-kit'
import { openQueue, type QueueEvents, queueMigrations } from '../src/index.ts'

/*
 * Another process on the database of a queue: accepts messages for an instance that it does not own, pauses and sets
 * limits, as it is told over the channel. Arguments: URL, instance.
 */

export type NeighbourOrder =
  | {
      readonly do: 'enqueue'
      readonly chat: string
      readonly texts: readonly string[]
      readonly key?: string
    }
  | { readonly do: 'pause' | 'resume' }
  | { readonly do: 'limit'; readonly maxNewContactsPerDay: number }

const [url, instance] = process.argv.slice(2) as [string, InstanceId]
const tenant = parseTenantId('exatron')
const database = await openDatabase({
  url,
  node: 'neighbour',
  migrations: queueMigrations,
  log: silentLogger,
})
const queue = await openQueue({
  database,
  ownership: database.ownership,
  neighbours: database.neighbours,
  sealer: testSealer(),
  eventLog: new EventLog({ database, sealer: testSealer(), clock: systemClock }),
  clock: systemClock,
  log: silentLogger,
  emitter: new TypedEmitter<QueueEvents>(),
  sender: {
    send: () => Promise.reject(new Error('it owns nothing')),
    markRead: () => Promise.resolve(),
    setPresence: () => Promise.resolve(),
  },
  context: { unread: () => Promise.resolve({ messages: [], lastWordCount: 0 }) },
})

async function obey(order: NeighbourOrder): Promise<unknown> {
  switch (order.do) {
    case 'enqueue': {
      const { chat, texts, key } = order
      return queue.outbox.enqueueBatch({
        messages: texts.map((text) => ({
          tenant,
          instance,
          chat: chat as ChatId,
          content: { kind: 'text', text },
        })),
        ...(key === undefined ? {} : { idempotency: { key, bodyHash: texts.join(' ') } }),
      })
    }
    case 'pause':
    case 'resume':
      return queue.control[order.do]({ tenant, instance, chat: null })
    case 'limit': {
      const { maxNewContactsPerDay } = order
      return queue.limits.put({ tenant, instance: null, options: { maxNewContactsPerDay } })
    }
    default:
      return order satisfies never
  }
}

process.on('message', (order: NeighbourOrder) => {
  obey(order).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: String(error) }),
  )
})
process.on('disconnect', () => {
  void queue.stop().then(() => database.stop())
})
process.send?.({ answer: 'ready' })
