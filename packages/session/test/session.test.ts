import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EclusaError, makeInstanceId, silentLogger, type WaMessageId } from '@eclusa/kernel'
import { ManualClock, settle } from '@eclusa/kernel/test-kit'
import type { CloseReason, Engine, EngineConnection, EngineHandlers } from '../src/engine.ts'
import { sessionErrors } from '../src/errors.ts'
import { Session } from '../src/session.ts'
import { chatOf, tenant } from './harness.ts'

/** A port of the engine that does what the test says: the state machine is what is tested here, not WhatsApp. */
class ScriptedEngine implements Engine {
  readonly name = 'scripted'
  readonly connections: { readonly handlers: EngineHandlers; closed: boolean }[] = []
  sendResult: () => Promise<{ ackedAt: number }> = () => Promise.resolve({ ackedAt: 0 })

  connect({ handlers }: { readonly handlers: EngineHandlers }): Promise<EngineConnection> {
    const open = this.connections.filter(({ closed }) => !closed)
    assert.equal(open.length, 0, 'the old connection is ended before a new one is made')
    const connection = { handlers, closed: false }
    this.connections.push(connection)
    return Promise.resolve({
      send: () => this.sendResult(),
      markRead: () => Promise.resolve(),
      setPresence: () => Promise.resolve(),
      requestPairingCode: () => Promise.resolve('ABCD1234'),
      logout: () => {
        connection.closed = true
        return Promise.resolve()
      },
      close: () => {
        connection.closed = true
        return Promise.resolve()
      },
    })
  }

  get last(): EngineHandlers {
    const connection = this.connections.at(-1)
    assert.ok(connection !== undefined)
    return connection.handlers
  }

  end(reason: CloseReason): void {
    const connection = this.connections.at(-1)
    assert.ok(connection !== undefined)
    connection.closed = true
    connection.handlers.closed(reason)
  }
}

function setup(): {
  engine: ScriptedEngine
  session: Session
  clock: ManualClock
  states: string[]
  slots: { taken: number }
  forgotten: { count: number; failing: boolean }
} {
  const engine = new ScriptedEngine()
  const clock = new ManualClock()
  const states: string[] = []
  const slots = { taken: 0 }
  const forgotten = { count: 0, failing: false }
  const session = new Session({
    instance: makeInstanceId(),
    tenant,
    engine,
    url: 'ws://127.0.0.1:1/',
    ackTimeoutMs: 1_000,
    admit: () => {
      slots.taken++
      let given = false
      return Promise.resolve(() => {
        if (!given) slots.taken--
        given = true
      })
    },
    ports: {
      receipt: () => Promise.resolve(),
      contentForRetry: () => Promise.resolve(undefined),
      journal: () => [],
      journalled: () => {},
      spoofed: () => [],
      missing: {
        add: () => Promise.resolve(),
        due: () => Promise.resolve([]),
        nextAt: () => Promise.resolve(null),
        askAgain: () => Promise.resolve(),
        remove: () => Promise.resolve(),
        giveUp: () => Promise.resolve(),
      },
      poll: () => Promise.resolve(undefined),
      isJournalled: () => Promise.resolve(false),
    },
    onChange: ({ state }) => {
      if (states.at(-1) !== state) states.push(state)
    },
    forgetCredentials: () => {
      if (forgotten.failing) return Promise.reject(new Error('disk full'))
      forgotten.count++
      return Promise.resolve()
    },
    clock,
    random: () => 0.5,
    log: silentLogger,
  })
  return { engine, session, clock, states, slots, forgotten }
}

const closed = (statusCode: number): CloseReason => ({ statusCode, message: '' })
const message = {
  chat: chatOf('5511'),
  waMessageId: 'WA' as WaMessageId,
  content: { kind: 'text', text: 'x' },
} as const

test('after six codes that nobody scanned it stops and waits to be asked again', async () => {
  const { engine, session, states, slots } = setup()
  await session.start()
  await settle()
  for (let code = 1; code <= 7; code++) engine.last.qr(`code ${code}`, 0)
  await settle()
  assert.equal(session.view.state, 'new')
  assert.equal(session.view.reason?.code, 'SESSION_PAIRING_EXPIRED')
  assert.equal(session.view.qr, null)
  assert.equal(engine.connections.at(-1)?.closed, true)
  assert.equal(slots.taken, 0)
  await session.start()
  await settle()
  engine.last.qr('a new code', 0)
  assert.equal(session.view.state, 'qr')
  assert.deepEqual(states, ['starting', 'qr', 'new', 'starting', 'qr'])
})

test('a connection that ends is made anew after a growing wait, and the wait begins again once it was online', async () => {
  const { engine, session, clock } = setup()
  await session.start()
  await settle()
  const waits: number[] = []
  for (let attempt = 0; attempt < 4; attempt++) {
    engine.end(closed(428))
    const before = engine.connections.length
    const from = clock.now()
    while (engine.connections.length === before) await clock.tick(100)
    waits.push(clock.now() - from)
  }
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000])
  engine.last.online('5511')
  engine.end(closed(428))
  await clock.tick(1_000)
  assert.equal(engine.connections.length, 6)
})

test('stopping while it waits to reconnect leaves no timer and no connection', async () => {
  const { engine, session, clock } = setup()
  await session.start()
  await settle()
  engine.end(closed(503))
  assert.equal(clock.pendingTimers, 1)
  await session.stop()
  await session.stop()
  assert.equal(clock.pendingTimers, 0)
  await clock.tick(600_000)
  assert.equal(engine.connections.length, 1)
  assert.equal(session.view.state, 'stopped')
})

test('stopping before it was started, and at once after, leaves nothing behind', async () => {
  const { engine, session, slots, clock } = setup()
  await session.stop()
  const started = session.start()
  const stopped = session.stop()
  await Promise.all([started, stopped])
  await settle()
  assert.ok(engine.connections.every(({ closed: isClosed }) => isClosed))
  assert.equal(slots.taken, 0)
  assert.equal(clock.pendingTimers, 0)
  assert.equal(session.view.state, 'stopped')
})

test('what an old connection still says changes nothing', async () => {
  const { engine, session } = setup()
  await session.start()
  await settle()
  const old = engine.last
  await session.stop()
  old.online('5511')
  old.qr('late', 0)
  old.closed(closed(401))
  await settle()
  assert.equal(session.view.state, 'stopped')
  assert.equal(session.view.number, null)
})

test('an acknowledgement that does not come in time rebuilds the connection, once for many messages', async () => {
  const { engine, session } = setup()
  await session.start()
  await settle()
  engine.last.online('5511')
  engine.sendResult = () => Promise.reject(new EclusaError(sessionErrors.ACK_TIMEOUT))
  await Promise.all(
    Array.from({ length: 5 }, () => assert.rejects(session.send(message), { code: 'SESSION_ACK_TIMEOUT' })),
  )
  await settle()
  assert.equal(engine.connections.length, 2)
  engine.last.online('5511')
  assert.equal(session.view.state, 'online')
})

test('a place among the starting ones is given back on every way out', async () => {
  for (const leave of [
    (engine: ScriptedEngine) => engine.last.online('5511'),
    (engine: ScriptedEngine) => engine.last.qr('code', 0),
    (engine: ScriptedEngine) => engine.end(closed(403)),
    (engine: ScriptedEngine) => engine.end(closed(428)),
  ]) {
    const { engine, session, slots } = setup()
    await session.start()
    await settle()
    assert.equal(slots.taken, 1)
    leave(engine)
    await settle()
    assert.equal(slots.taken, 0)
    await session.stop()
  }
})

test('started many times at once it makes one connection and takes one place', async () => {
  const { engine, session, slots } = setup()
  await Promise.all([session.start(), session.start(), session.start()])
  await session.start()
  await settle()
  assert.equal(engine.connections.length, 1)
  engine.last.online('5511')
  assert.equal(slots.taken, 0)
  await session.start()
  assert.equal(session.view.state, 'online')
})

test('a login that neither succeeds nor fails is begun anew after two minutes', async () => {
  const { engine, session, clock, slots } = setup()
  await session.start()
  await settle()
  await clock.tick(120_000)
  assert.equal(engine.connections.length, 2)
  assert.equal(slots.taken, 1)
  engine.last.online('5511')
  assert.equal(clock.pendingTimers, 0)
})

test('it is shown logged out even when the credentials cannot be deleted, and they go before the next start', async () => {
  const { engine, session, forgotten } = setup()
  forgotten.failing = true
  await session.start()
  await settle()
  engine.last.online('5511')
  engine.end(closed(401))
  assert.equal(session.view.state, 'logged_out')
  await settle()
  await assert.rejects(session.start())
  forgotten.failing = false
  await session.start()
  await settle()
  assert.equal(forgotten.count, 1)
  assert.equal(session.view.state, 'starting')
})

test('credentials that WhatsApp no longer accepts are forgotten before the instance can be linked anew', async () => {
  const { engine, session, forgotten } = setup()
  await session.start()
  await settle()
  engine.last.online('5511')
  engine.end(closed(401))
  await settle()
  assert.equal(session.view.state, 'logged_out')
  assert.equal(session.view.number, null)
  assert.equal(forgotten.count, 1)
})
