import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { type Clock, type InstanceId, silentLogger, type TenantId } from '@eclusa/kernel'
import { ManualClock, seededRandom, until } from '@eclusa/kernel/test-kit'
import {
  type Database,
  EventLog,
  loadMigrations,
  type NewEvent,
  noNeighbours,
  soleOwnership,
} from '@eclusa/storage'
import { openTestDatabase, type TestDatabase, testSealer } from '@eclusa/storage/test-kit'
import { EventTail } from '../../src/events/event-tail.ts'
import { parseAllowList } from '../../src/guarded-http/allow-list.ts'
import { GuardedHttp } from '../../src/guarded-http/guarded-http.ts'
import { WEBHOOK_CALL_LIMITS } from '../../src/webhooks/attempt.ts'
import type { Webhook, WebhookInput } from '../../src/webhooks/webhook.ts'
import { Webhooks, type WebhooksOptions } from '../../src/webhooks/webhooks.ts'

export const acme = 'acme' as TenantId
export const front = 'ins_front000000000000000' as InstanceId
export const migrations = loadMigrations(new URL('../../migrations/', import.meta.url))

/** One request that a receiver got. */
export interface Got {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  /** The event. */
  readonly event: { readonly id: number; readonly type: string; readonly payload: Record<string, unknown> }
}

/** How a receiver answers. */
export type Answer = (response: ServerResponse, got: Got) => unknown

export interface Receiver {
  readonly url: string
  readonly port: number
  readonly got: readonly Got[]
  /** From now on; 200 at first. */
  answer(how: Answer): void
}

export const status =
  (code: number): Answer =>
  (response) =>
    response.writeHead(code).end()

/** A server on this machine that notes what it gets. */
export async function receiverOf(t: TestContext): Promise<Receiver> {
  const got: Got[] = []
  let answer: Answer = status(200)
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let text = ''
    for await (const part of request) text += String(part)
    const one: Got = {
      path: request.url ?? '',
      headers: request.headers as Record<string, string>,
      text,
      event: JSON.parse(text) as Got['event'],
    }
    got.push(one)
    answer(response, one)
  }
  const server = createServer((request, response) => void take(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/hook`,
    port,
    got,
    answer: (how) => {
      answer = how
    },
  }
}

export interface World {
  readonly clock: ManualClock
  readonly db: TestDatabase
  readonly log: EventLog
  readonly webhooks: Webhooks
  /** Logs an event of a chat of `front`; resolves to its seq. */
  happens(chat: string, more?: Partial<NewEvent>): Promise<number>
  hook(receiver: Pick<Receiver, 'url'>, input?: Partial<WebhookInput>): Promise<Webhook>
  /** Takes the database away under it, as a crash would, and starts anew on it. */
  crash(): Promise<void>
}

type Options = Partial<
  Pick<WebhooksOptions, 'limits' | 'disableAfterMs' | 'random' | 'ownership' | 'neighbours' | 'retryDivisor'>
> & { readonly allow?: string }

/** Webhooks on a database of this test, with a clock that moves only when told to. They may call `receivers`. */
export async function worldOf(
  t: TestContext,
  receivers: readonly Pick<Receiver, 'port'>[],
  options: Options = {},
): Promise<World> {
  const clock = new ManualClock()
  const db = await openTestDatabase(t, migrations)
  const all = { allow: receivers.map(({ port }) => `127.0.0.1:${port}`).join(','), ...options }
  let opened = openWebhooks(db.database, clock, all)
  await opened.webhooks.start()
  /** Calls under way get a second to end. */
  const stop = async (): Promise<void> => {
    const stopped = opened.stop().then(() => true)
    await until(async () => {
      await clock.tick(100)
      return Promise.race([stopped, Promise.resolve(false)])
    }, 'it is stopped')
  }
  t.after(stop)
  return {
    clock,
    db,
    get log() {
      return opened.log
    },
    get webhooks() {
      return opened.webhooks
    },
    async happens(chat, event = {}) {
      const statement = opened.log.append({
        tenant: acme,
        instance: front,
        type: 'outbound.sent',
        payload: { chat, text: `to ${chat}` },
        ...event,
      })
      await db.database.write([statement])
      return opened.log.lastSeq()
    },
    hook: (receiver, input = {}) =>
      opened.webhooks.create(acme, {
        url: receiver.url,
        types: ['outbound.*'],
        instance: null,
        description: '',
        ...input,
      }),
    async crash() {
      const reopened = await db.reopen()
      await stop()
      opened = openWebhooks(reopened, clock, all)
      await opened.webhooks.start()
    },
  }
}

export function openWebhooks(
  database: Database,
  clock: Clock,
  options: Options,
): { readonly log: EventLog; readonly webhooks: Webhooks; stop(): Promise<void> } {
  const sealer = testSealer()
  const log = new EventLog({ database, sealer, clock })
  const tail = new EventTail({ eventLog: log, database, log: silentLogger })
  const { allow: text = '', ...rest } = options
  const allow = parseAllowList(text)
  if ('fault' in allow) throw new Error(allow.fault)
  const webhooks = new Webhooks({
    database,
    ownership: soleOwnership,
    neighbours: noNeighbours,
    sealer,
    eventLog: log,
    tail,
    http: new GuardedHttp({ allow, clock, limits: { ...WEBHOOK_CALL_LIMITS, maxCalls: 200 } }),
    hashKey: new Uint8Array(32),
    limits: { maxWebhooks: 100, maxCalls: 16, maxEventBytes: 1_048_576 },
    disableAfterMs: 48 * 3_600_000,
    retryDivisor: 1,
    clock,
    random: seededRandom(1),
    log: silentLogger,
    ...rest,
  })
  return {
    log,
    webhooks,
    async stop() {
      await webhooks.stop()
      tail.stop()
    },
  }
}
