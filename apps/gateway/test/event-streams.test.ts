import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import {
  type Clock,
  EclusaError,
  type InstanceId,
  silentLogger,
  systemClock,
  type TenantId,
} from '@eclusa/kernel'
import { ManualClock, settle, until } from '@eclusa/kernel/test-kit'
import { type Database, EventLog } from '@eclusa/storage'
import { openTestDatabase, testEachDatabase as test, testSealer } from '@eclusa/storage/test-kit'
import { EventStreams, type StreamSink } from '../src/events/event-streams.ts'
import { EventTail } from '../src/events/event-tail.ts'

const acme = 'acme' as TenantId
const other = 'other' as TenantId
const instance = 'ins_00000000000000000000' as InstanceId

/** A client that takes what it is given a turn of the event loop later, or, when `stalled`, nothing. */
class TestSink implements StreamSink {
  text = ''
  closed: 'no' | 'ended' | 'destroyed' = 'no'
  stalled = false
  mostUnsentBytes = 0
  #held: (() => void)[] = []
  #unsentBytes = 0

  write(text: string, onFlushed: () => void): void {
    this.text += text
    const bytes = Buffer.byteLength(text)
    this.#unsentBytes += bytes
    this.mostUnsentBytes = Math.max(this.mostUnsentBytes, this.#unsentBytes)
    const take = (): void => {
      this.#unsentBytes -= bytes
      onFlushed()
    }
    if (this.stalled) this.#held.push(take)
    else setImmediate(take)
  }
  heartbeat(): void {
    this.write(': heartbeat\n\n', () => {})
  }
  unsentBytes(): number {
    return this.#unsentBytes
  }
  /** Takes the `count` oldest of what it held, or all and stalls no more. */
  release(count = Number.POSITIVE_INFINITY): void {
    if (count === Number.POSITIVE_INFINITY) this.stalled = false
    for (const take of this.#held.splice(0, count)) take()
  }
  end(): void {
    this.closed = 'ended'
  }
  destroy(): void {
    this.closed = 'destroyed'
  }
  get ids(): number[] {
    return [...this.text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]))
  }
}

interface World {
  readonly database: Database
  readonly eventLog: EventLog
  readonly streams: EventStreams
  readonly log: (count: number, tenant?: TenantId, text?: string) => Promise<void>
  /** The streams opened so far know where they begin. */
  readonly begun: () => Promise<void>
}

async function world(
  t: TestContext,
  options: { readonly maxStreams?: number; readonly clock?: Clock; readonly maxUnsentBytes?: number } = {},
): Promise<World> {
  const clock = options.clock ?? systemClock
  const { database } = await openTestDatabase(t, [])
  const eventLog = new EventLog({ database, sealer: testSealer(), clock })
  const tail = new EventTail({ eventLog, database, log: silentLogger })
  const streams = new EventStreams({
    eventLog,
    tail,
    clock,
    log: silentLogger,
    maxStreams: options.maxStreams ?? 10,
    ...(options.maxUnsentBytes === undefined ? {} : { maxUnsentBytes: options.maxUnsentBytes }),
  })
  t.after(() => {
    streams.stop()
    tail.stop()
  })
  return {
    database,
    eventLog,
    streams,
    async begun() {
      await settle()
      await until(() => database.stats().waitingCount === 0, 'the database to be idle')
      await settle()
    },
    async log(count, tenant = acme, text = 'x') {
      await Promise.all(
        Array.from({ length: count }, () =>
          database.write([eventLog.append({ tenant, instance, type: 'outbound.sent', payload: { text } })]),
        ),
      )
    },
  }
}

test('a stream without a cursor begins now; one with a cursor replays what came after it, then goes on live', async (t) => {
  const { streams, log } = await world(t)
  await log(5)
  const fresh = new TestSink()
  const replaying = new TestSink()
  streams.open(fresh, { after: null })
  streams.open(replaying, { after: 2 })
  await until(() => replaying.ids.length === 3, 'the replay')
  await log(2)
  await until(() => replaying.ids.length === 5 && fresh.ids.length === 2, 'the live events')
  assert.deepEqual(replaying.ids, [3, 4, 5, 6, 7])
  assert.deepEqual(fresh.ids, [6, 7])
})

test('a long replay under writes has every event once and in order', async (t) => {
  const { streams, log } = await world(t)
  await log(550)
  const sink = new TestSink()
  streams.open(sink, { after: 0 })
  for (let round = 0; round < 20; round++) await log(25)
  await until(() => sink.ids.length >= 1050, 'all events')
  assert.deepEqual(
    sink.ids,
    Array.from({ length: 1050 }, (_, index) => index + 1),
  )
})

test('an event is one SSE message with id, type, time, tenant, instance and payload', async (t) => {
  const { streams, log } = await world(t)
  await log(1, acme, 'line\nend')
  const sink = new TestSink()
  streams.open(sink, { after: 0 })
  await until(() => sink.ids.length === 1, 'the event')
  const block = sink.text.split('\n\n').find((part) => part.startsWith('id: 1')) ?? ''
  const [id, type, data, ...rest] = block.split('\n')
  assert.deepEqual([id, type, rest], ['id: 1', 'event: outbound.sent', []])
  const body = JSON.parse((data ?? '').replace(/^data: /, '')) as Record<string, unknown>
  assert.equal(body['id'], 1)
  assert.equal(body['tenant'], 'acme')
  assert.equal(body['instance'], instance)
  assert.deepEqual(body['payload'], { text: 'line\nend' })
  assert.ok(!Number.isNaN(Date.parse(String(body['at']))))
})

test('a tenant sees its own events only, in replay and live', async (t) => {
  const { streams, log } = await world(t)
  await log(1, acme)
  await log(2, other)
  const sink = new TestSink()
  streams.open(sink, { after: 0, filter: { tenant: acme } })
  await until(() => sink.ids.length === 1, 'the replay')
  await log(2, other)
  await log(1, acme)
  await until(() => sink.ids.length === 2, 'the live event')
  assert.deepEqual(sink.ids, [1, 6])
})

test('a client that reads at once gets all of a burst of large events, in replay and live', async (t) => {
  const { streams, log } = await world(t)
  const large = 'é'.repeat(30_000)
  await log(60, acme, large)
  const sink = new TestSink()
  streams.open(sink, { after: 0 })
  await until(() => sink.ids.length === 60, 'the replay')
  await log(60, acme, large)
  await until(() => sink.ids.length === 120, 'the live events')
  assert.deepEqual(
    sink.ids,
    Array.from({ length: 120 }, (_, index) => index + 1),
  )
  assert.equal(sink.closed, 'no')
  assert.doesNotMatch(sink.text, /resync/)
  assert.ok(sink.mostUnsentBytes < 1_048_576, `${sink.mostUnsentBytes} bytes were unsent at once`)
})

test('a live client with more than 256 events unsent gets no more until it took them, then all; others are not disturbed', async (t) => {
  const { streams, log, begun } = await world(t)
  const slow = new TestSink()
  const fast = new TestSink()
  streams.open(slow, { after: null })
  streams.open(fast, { after: null })
  await begun()
  await log(1)
  await until(() => slow.ids.length === 1 && fast.ids.length === 1, 'both live')
  slow.stalled = true
  await log(600)
  await until(() => fast.ids.length === 601, 'the fast one has all')
  assert.equal(slow.closed, 'no')
  assert.ok(slow.ids.length <= 258, `${slow.ids.length} events were handed to it`)
  slow.release()
  await until(() => slow.ids.length === 601, 'the slow one has all')
  await log(1)
  await until(() => slow.ids.length === 602 && fast.ids.length === 602, 'both live again')
  assert.deepEqual(slow.ids, fast.ids)
  assert.equal(fast.closed, 'no')
})

test('a live client with too many bytes unsent gets no more either, and is dropped when it takes nothing for 30 s', async (t) => {
  const clock = new ManualClock()
  const { streams, log, begun } = await world(t, { maxUnsentBytes: 10_000, clock })
  const sink = new TestSink()
  const other = new TestSink()
  streams.open(sink, { after: null })
  streams.open(other, { after: null })
  await begun()
  await log(1)
  await until(() => sink.ids.length === 1 && other.ids.length === 1, 'live')
  sink.stalled = true
  await log(20, acme, 'x'.repeat(1000))
  await until(() => other.ids.length === 21, 'the other has all')
  assert.ok(sink.ids.length < 15)
  await clock.tick(29_000)
  assert.equal(sink.closed, 'no')
  await clock.tick(1000)
  assert.equal(sink.closed, 'ended')
  assert.match(sink.text, /event: resync\ndata: \{"id":\d+,"why":"the client reads too slowly"\}\n\n$/)
  await clock.tick(5000)
  assert.equal(sink.closed, 'destroyed')
  assert.equal(other.closed, 'no')
  assert.equal(streams.count, 1)
})

test('a slow client that takes a little every 30 s is kept', async (t) => {
  const clock = new ManualClock()
  const { streams, log } = await world(t, { clock })
  await log(300)
  const sink = new TestSink()
  sink.stalled = true
  streams.open(sink, { after: 0 })
  await until(() => sink.ids.length === 100, 'one batch')
  for (let n = 0; n < 5; n++) {
    await clock.tick(29_000)
    sink.release(10)
  }
  assert.equal(sink.closed, 'no')
  sink.release()
  await until(() => sink.ids.length === 300, 'all')
})

test('a replay waits for its client and drops it after 30 s without progress', async (t) => {
  const clock = new ManualClock()
  const { streams, log, begun } = await world(t, { clock })
  await log(500)
  const sink = new TestSink()
  sink.stalled = true
  streams.open(sink, { after: 0 })
  await until(() => sink.ids.length === 100, 'one batch')
  await begun()
  assert.equal(sink.ids.length, 100)
  sink.release()
  sink.stalled = true
  await until(() => sink.ids.length === 200, 'the next batch')
  await clock.tick(30_000)
  assert.equal(sink.closed, 'ended')
  await clock.tick(5000)
  assert.equal(sink.closed, 'destroyed')
  assert.equal(streams.count, 0)
})

test('a cursor of the future, or before what is kept, is told by resync', async (t) => {
  const clock = new ManualClock()
  const { streams, log, eventLog } = await world(t, { clock })
  await log(3)
  await clock.tick(1000)
  await log(2)
  await eventLog.sweep({ keepForMs: 500 })
  const future = new TestSink()
  const past = new TestSink()
  streams.open(future, { after: 99 })
  streams.open(past, { after: 1 })
  await until(() => past.ids.length === 2 && future.text.includes('resync'), 'both told')
  assert.match(past.text, /event: resync\ndata: \{"id":1,/)
  assert.match(future.text, /event: resync\ndata: \{"id":5,/)
  await log(1)
  await until(() => future.ids.length === 1, 'it goes on from now')
})

test('a sign of life goes out every 15 s while nothing happens, and no timer is left at the end', async (t) => {
  const clock = new ManualClock()
  const { streams, begun } = await world(t, { clock })
  const sink = new TestSink()
  const gone = streams.open(sink, { after: null })
  await begun()
  await clock.tick(45_000)
  assert.equal(sink.text.match(/: heartbeat/g)?.length, 3)
  gone()
  await clock.tick(15_000)
  assert.equal(clock.pendingTimers, 0)
  assert.equal(sink.text.match(/: heartbeat/g)?.length, 3)
})

test('one stream too many is refused; stopping ends all and refuses new ones', async (t) => {
  const { streams } = await world(t, { maxStreams: 2 })
  const sinks = [new TestSink(), new TestSink()]
  for (const sink of sinks) streams.open(sink, { after: null })
  const refuses = (code: string): void =>
    assert.throws(
      () => streams.open(new TestSink(), { after: null }),
      (error) => error instanceof EclusaError && error.code === code,
    )
  refuses('GATEWAY_TOO_MANY_STREAMS')
  streams.stop()
  assert.deepEqual(
    sinks.map((sink) => sink.closed),
    ['ended', 'ended'],
  )
  refuses('GATEWAY_STOPPING')
})

const signal = new AbortController().signal
const page: Parameters<EventStreams['page']>[0] = { after: null, limit: 100, waitMs: 0, filter: {}, signal }

test('a page has what came after its cursor and says where to go on; without a cursor it begins now', async (t) => {
  const { streams, log } = await world(t)
  await log(5)
  const ids = async (options: Partial<typeof page>) => {
    const { events, next, missed } = await streams.page({ ...page, ...options })
    return [events.map(({ seq }) => seq), next, missed]
  }
  assert.deepEqual(await ids({ after: 2 }), [[3, 4, 5], 5, false])
  assert.deepEqual(await ids({ after: 0, limit: 2 }), [[1, 2], 2, false])
  assert.deepEqual(await ids({ after: null }), [[], 5, false])
  assert.deepEqual(await ids({ after: 99 }), [[], 5, true])
})

test('a page waits for the first event that its filter lets through, and reads past the others', async (t) => {
  const clock = new ManualClock()
  const { streams, log, begun } = await world(t, { clock })
  await log(1)
  const waiting = streams.page({ ...page, after: 0, waitMs: 20_000, filter: { tenant: other } })
  await begun()
  await log(3)
  await begun()
  await log(1, other)
  const { events, next } = await waiting
  assert.deepEqual([events.map(({ seq }) => seq), next], [[5], 5])
  assert.equal(clock.pendingTimers, 0)
})

test('a page that waited in vain is empty and goes on from the end; so is one whose client has gone', async (t) => {
  const clock = new ManualClock()
  const { streams, log, begun } = await world(t, { clock })
  await log(2)
  const filter = { types: ['inbound.*'] }
  const inVain = streams.page({ ...page, after: 0, waitMs: 20_000, filter })
  const gone = new AbortController()
  const left = streams.page({ ...page, after: 0, waitMs: 20_000, filter, signal: gone.signal })
  await begun()
  assert.equal(streams.count, 2)
  gone.abort()
  assert.deepEqual(await left, { events: [], next: 2, missed: false })
  await clock.tick(20_000)
  assert.deepEqual(await inVain, { events: [], next: 2, missed: false })
  assert.equal(streams.count, 0)
  assert.equal(clock.pendingTimers, 0)
})

test('pages that wait count as streams, and end when streams stop', async (t) => {
  const { streams, begun } = await world(t, { maxStreams: 1 })
  const waiting = streams.page({ ...page, waitMs: 20_000 })
  await begun()
  await assert.rejects(
    () => streams.page({ ...page, waitMs: 20_000 }),
    (error) => error instanceof EclusaError && error.code === 'GATEWAY_TOO_MANY_STREAMS',
  )
  streams.stop()
  await assert.rejects(waiting, (error) => error instanceof EclusaError && error.code === 'GATEWAY_STOPPING')
})

test('a stream gets the types and the instance it asked for, in replay and live', async (t) => {
  const { streams, log, eventLog, database } = await world(t)
  const write = (type: string, of: InstanceId | null) =>
    database.write([eventLog.append({ tenant: acme, instance: of, type, payload: {} })])
  const sink = new TestSink()
  await log(1)
  await write('inbound.received', instance)
  streams.open(sink, { after: 0, filter: { types: ['inbound.*', 'session.changed'], instance } })
  await until(() => sink.ids.length === 1, 'the replay')
  await log(1)
  await write('inbound.edited', null)
  await write('session.changed', instance)
  await until(() => sink.ids.length === 2, 'the live event')
  assert.deepEqual(sink.ids, [2, 5])
})

test('what goes on just now is told to live streams that may see it, and moves no cursor', async (t) => {
  const { streams, log, begun } = await world(t)
  const mine = new TestSink()
  const theirs = new TestSink()
  streams.open(mine, { after: null, filter: { tenant: acme } })
  streams.open(theirs, { after: null, filter: { tenant: other } })
  await begun()
  await log(1)
  await until(() => mine.ids.length === 1, 'live')
  streams.tell({ type: 'outbound.typing', at: 0, tenant: acme, instance, payload: { id: 'm' } })
  assert.match(mine.text, /\n\nevent: outbound.typing\ndata: \{"id":null,"type":"outbound.typing"/)
  assert.doesNotMatch(theirs.text, /typing/)
  mine.stalled = true
  for (let n = 0; n < 500; n++) {
    streams.tell({ type: 'outbound.typing', at: n, tenant: acme, instance, payload: {} })
  }
  assert.ok((mine.text.match(/event: outbound.typing/g)?.length ?? 0) < 260, 'a stalled one misses it')
})
