import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { test, type TestContext } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { type InstanceId, randomBase32, silentLogger, type TenantId } from '@eclusa/kernel'
import { ManualClock, settle, until } from '@eclusa/kernel/test-kit'
import { type Database, EventLog, loadMigrations } from '@eclusa/storage'
import { openTestDatabase, testEachDatabase, testSealer } from '@eclusa/storage/test-kit'
import { Connection } from 'rabbitmq-client'
import { EventForwarder } from '../src/events/sinks/event-forwarder.ts'
import type { EventSink, SinkMessage } from '../src/events/sinks/event-sink.ts'
import { EventSinkStore } from '../src/events/sinks/event-sink-store.ts'
import { newInstance, startGateway } from './harness.ts'

const acme = 'acme' as TenantId
const [one, two] = ['ins_00000000000000000001', 'ins_00000000000000000002'] as [InstanceId, InstanceId]
const NATS = 'nats://127.0.0.1:4222'
const AMQP = 'amqp://guest:guest@127.0.0.1:5672'

/** A broker that keeps what it confirms, and does not answer while it is `away`. */
class TestBroker implements EventSink {
  readonly name = 'nats'
  readonly kept: SinkMessage[] = []
  away = false
  tries = 0
  publish(message: SinkMessage): Promise<void> {
    this.tries++
    if (this.away) return Promise.reject(new Error('the broker is away'))
    this.kept.push(message)
    return Promise.resolve()
  }
  stop(): Promise<void> {
    return Promise.resolve()
  }
  /** Instance and number of each event, as they came. */
  get order(): string[] {
    return this.kept.map(({ body }) => {
      const { instance, payload } = JSON.parse(body.toString()) as {
        instance: string
        payload: { n: number }
      }
      return `${instance.at(-1)}:${payload.n}`
    })
  }
}

interface World {
  readonly clock: ManualClock
  readonly eventLog: EventLog
  readonly write: (instance: InstanceId, ...numbers: number[]) => Promise<void>
  readonly forwarder: (sink: EventSink, holder?: string) => EventForwarder
  readonly idle: () => Promise<void>
}

async function world(t: TestContext): Promise<World> {
  const { database } = await openTestDatabase(t, loadMigrations(new URL('../migrations/', import.meta.url)))
  const clock = new ManualClock()
  const eventLog = new EventLog({ database, sealer: testSealer(), clock })
  const started: EventForwarder[] = []
  t.after(async () => {
    for (const forwarder of started) await forwarder.stop()
  })
  return {
    clock,
    eventLog,
    async write(instance, ...numbers) {
      for (const n of numbers) {
        await database.write([
          eventLog.append({ tenant: acme, instance, type: 'outbound.sent', payload: { n } }),
        ])
      }
    },
    forwarder(sink, holder = 'one') {
      const store = new EventSinkStore({ database, clock })
      const forwarder = new EventForwarder({
        sink,
        holder,
        store,
        eventLog,
        database,
        clock,
        log: silentLogger,
      })
      started.push(forwarder)
      return forwarder
    },
    idle: () => idle(database),
  }
}

async function idle(database: Database): Promise<void> {
  for (let calm = 0; calm < 5;) {
    await settle()
    calm = database.stats().waitingCount === 0 ? calm + 1 : 0
  }
}

testEachDatabase(
  'a broker gets what is logged from its first start on, in order of each instance',
  async (t) => {
    const { write, forwarder, eventLog } = await world(t)
    await write(one, 1)
    const broker = new TestBroker()
    const forward = forwarder(broker)
    await forward.start()
    await write(one, 2, 3)
    await write(two, 4)
    await write(one, 5)
    await until(() => broker.kept.length === 4, 'all four')
    assert.deepEqual(
      broker.order.filter((item) => item.startsWith('1')),
      ['1:2', '1:3', '1:5'],
    )
    assert.equal(broker.kept[0]?.subject, 'acme.outbound.sent')
    await until(async () => (await forward.state()).behind === 0, 'the cursor is at the end')
    assert.equal((await forward.state()).cursor, await eventLog.lastSeq())
  },
)

testEachDatabase(
  'a broker that is away gets it later, under the same ids, also after a restart',
  async (t) => {
    const { write, forwarder, clock, idle: calm } = await world(t)
    const broker = new TestBroker()
    const first = forwarder(broker)
    await first.start()
    await write(one, 1)
    await until(() => broker.kept.length === 1, 'the first')
    broker.away = true
    await write(one, 2, 3)
    await until(() => broker.tries > 1, 'a try')
    await calm()
    const { behind, failingSince } = await first.state()
    assert.deepEqual([behind, failingSince], [2, clock.now()])
    await first.stop()
    broker.away = false
    await forwarder(broker).start()
    await until(() => broker.kept.length === 3, 'the others')
    assert.deepEqual(broker.order, ['1:1', '1:2', '1:3'])
    const [a, b, c] = broker.kept.map(({ id }) => id.split('-'))
    assert.equal(new Set([a?.[0], b?.[0], c?.[0]]).size, 1)
    assert.deepEqual([a?.[1], b?.[1], c?.[1]], ['1', '2', '3'])
  },
)

testEachDatabase('while it fails it tries ever more rarely, and at once again when it works', async (t) => {
  const { write, forwarder, clock, idle: calm } = await world(t)
  const broker = new TestBroker()
  broker.away = true
  const forward = forwarder(broker)
  await forward.start()
  await write(one, 1)
  await until(() => broker.tries === 1, 'the first try')
  for (const [pauseMs, tries] of [
    [999, 1],
    [1, 2],
    [1999, 2],
    [1, 3],
    [4000, 4],
  ] as const) {
    await calm()
    await clock.tick(pauseMs)
    await until(() => broker.tries === tries, `${tries} tries`)
  }
  broker.away = false
  await calm()
  await clock.tick(8000)
  await until(() => broker.kept.length === 1, 'it comes')
  await write(one, 2)
  await until(() => broker.kept.length === 2, 'the next at once')
  assert.equal((await forward.state()).failingSince, null)
})

testEachDatabase('of several processes one hands on; another takes over when it has gone', async (t) => {
  const { write, forwarder, clock, idle: calm } = await world(t)
  const brokers = [new TestBroker(), new TestBroker()] as const
  const first = forwarder(brokers[0])
  await first.start()
  await write(one, 1)
  await until(() => brokers[0].kept.length === 1, 'the first has it')
  await forwarder(brokers[1], 'other').start()
  await write(one, 2, 3)
  await until(() => brokers[0].kept.length === 3, 'the first has all')
  await calm()
  assert.equal(brokers[1].kept.length, 0)
  await first.stop()
  await write(one, 4)
  await clock.tick(5000)
  await until(() => brokers[1].kept.length === 1, 'the other goes on')
  assert.deepEqual(brokers[1].order, ['1:4'])
})

testEachDatabase('a process that crashed takes its own back at once', async (t) => {
  const { write, forwarder } = await world(t)
  const [before, after] = [new TestBroker(), new TestBroker()] as const
  await forwarder(before).start()
  await write(one, 1)
  await until(() => before.kept.length === 1, 'it has it')
  // The first one was never stopped, so it still holds; it hears of nothing new.
  before.away = true
  await forwarder(after).start()
  await write(one, 2)
  await until(() => after.kept.length === 1, 'its heir goes on')
})

testEachDatabase('nothing is written while nothing happens', async (t) => {
  const { write, forwarder, clock, idle: calm, eventLog } = await world(t)
  const broker = new TestBroker()
  await forwarder(broker).start()
  await write(one, 1)
  await until(() => broker.kept.length === 1, 'it came')
  await calm()
  const last = await eventLog.lastSeq()
  await clock.tick(60_000)
  await calm()
  assert.equal(await eventLog.lastSeq(), last)
  assert.equal(clock.pendingTimers, 1)
})

async function isThere(port: number): Promise<boolean> {
  const socket = connectTcp({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

test('NATS JetStream keeps the events of a gateway, each once, though it was restarted', async (t) => {
  if (!(await isThere(4222))) {
    t.skip('NOT TESTED: no NATS server with JetStream listens on 127.0.0.1:4222')
    return
  }
  const tenant = `t${randomBase32(8)}`
  const gateway = await startGateway(t, { ECLUSA_EVENTS_NATS_URL: NATS })
  const path = `/v1/instances/${await newInstance(gateway, tenant)}/messages`
  const connection = await connect({ servers: NATS })
  const manager = await jetstreamManager(connection)
  const stream = await manager.streams.find(`eclusa.${tenant}.x`).catch(() => 'ECLUSA')
  t.after(async () => {
    await manager.streams.purge(stream, { filter: `eclusa.${tenant}.>` })
    await connection.close()
  })
  const kept = async (): Promise<number> => {
    // The gateway makes the stream with its first event.
    const found = await manager.streams
      .info(stream, { subjects_filter: `eclusa.${tenant}.>` })
      .catch(() => null)
    const state = found?.state
    return Object.values(state?.subjects ?? {}).reduce((sum, count) => sum + count, 0)
  }
  const send = (text: string) => gateway.call('POST', path, { to: '+5511999990000', text })
  await send('one')
  await until(async () => (await kept()) === 1, 'the event is kept')
  await gateway.restart()
  await send('two')
  await until(async () => (await kept()) === 2, 'the next one too')
  const message = await manager.streams.getMessage(stream, {
    last_by_subj: `eclusa.${tenant}.outbound.accepted`,
  })
  const event = message?.json<{ type: string; tenant: string; payload: { state: string } }>()
  assert.deepEqual(
    [event?.type, event?.tenant, event?.payload.state],
    ['outbound.accepted', tenant, 'PENDING'],
  )
  // The same id again is no second message.
  const again = await jetstream(connection).publish(`eclusa.${tenant}.outbound.accepted`, 'again', {
    msgID: message?.header.get('Nats-Msg-Id') ?? '',
  })
  assert.equal(again.duplicate, true)
  const { body } = await gateway.call('GET', '/v1/event-sinks')
  assert.deepEqual((body['items'] as { name: string; behind: number }[])[0]?.name, 'nats')
})

test('RabbitMQ gets the events of a gateway, persistent and with their ids', async (t) => {
  if (!(await isThere(5672))) {
    t.skip('NOT TESTED: no RabbitMQ server listens on 127.0.0.1:5672')
    return
  }
  const tenant = `t${randomBase32(8)}`
  const connection = new Connection(AMQP)
  await connection.exchangeDeclare({ exchange: 'eclusa.events', type: 'topic', durable: true })
  const seen: { id: string | undefined; key: string; durable: boolean | undefined; type: unknown }[] = []
  const consumer = connection.createConsumer(
    {
      queueOptions: { exclusive: true, autoDelete: true },
      queueBindings: [{ exchange: 'eclusa.events', routingKey: `${tenant}.#` }],
    },
    async (message) => {
      seen.push({
        id: message.messageId,
        key: message.routingKey,
        durable: message.durable,
        type: (message.body as { type: unknown }).type,
      })
      await Promise.resolve()
    },
  )
  t.after(async () => {
    await consumer.close()
    await connection.close()
  })
  await once(consumer, 'ready')
  const gateway = await startGateway(t, { ECLUSA_EVENTS_AMQP_URL: AMQP })
  const path = `/v1/instances/${await newInstance(gateway, tenant)}/messages`
  const sent = await gateway.call('POST', path, { to: '+5511999990000', text: 'one' })
  assert.equal(sent.status, 202)
  await until(() => seen.length === 1, 'the event')
  const [event] = seen
  assert.match(event?.id ?? '', /^[0-9a-z]{12}-\d+$/)
  assert.deepEqual(
    [event?.key, event?.durable, event?.type],
    [`${tenant}.outbound.accepted`, true, 'outbound.accepted'],
  )
})

test('an address that is none of a broker stops the start, and the error does not repeat it', async (t) => {
  for (const [name, url] of [
    ['ECLUSA_EVENTS_NATS_URL', 'http://user:secret@host'],
    ['ECLUSA_EVENTS_AMQP_URL', 'secret'],
  ] as const) {
    await assert.rejects(
      () => startGateway(t, { [name]: url }),
      (error) => error instanceof Error && error.message.includes(name) && !error.message.includes('secret'),
    )
  }
})
