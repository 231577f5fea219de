import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { type InstanceId, makeInstanceId, silentLogger, TypedEmitter } from '@eclusa/kernel'
import { codeOf, ManualClock, seededRandom, settle, until } from '@eclusa/kernel/test-kit'
import { EventLog, openDatabase } from '@eclusa/storage'
import { type DatabasePlace, eachDatabase, testSealer } from '@eclusa/storage/test-kit'
import {
  defaultPacing,
  openQueue,
  type PacingOptions,
  queueMigrations,
  type QueueEvents,
} from '../src/index.ts'
import { chatA, exatron, noPacing, type Outcome, ScriptedSender, sessionError, text } from './harness.ts'

/*
 * I6 on a real PostgreSQL: two processes on one database. The first owns the instance and loses it without noticing,
 * as a process does that was stopped for a while; what it does after that changes nothing and sends nothing.
 */

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') return

  const openOwner = async (
    t: TestContext,
    place: DatabasePlace,
    options: {
      readonly node: string
      readonly instance: InstanceId
      readonly pacing?: PacingOptions
      readonly outcome?: Outcome
    },
  ) => {
    const { node, instance } = options
    const clock = new ManualClock()
    const { url } = place as { readonly url: string }
    // Of its own time it sees nothing pass: that the lease ran out only the database knows.
    const monotonicNow = (): number => 0
    const common = { clock, log: silentLogger }
    const database = await openDatabase({ url, node, migrations: queueMigrations, monotonicNow, ...common })
    const owned = await database.ownership.take(instance)
    const sender = new ScriptedSender(clock)
    sender.outcome = () => options.outcome ?? 'ack'
    const emitter = new TypedEmitter<QueueEvents>()
    const queue = await openQueue({
      database,
      ownership: database.ownership,
      neighbours: database.neighbours,
      sealer: testSealer(),
      eventLog: new EventLog({ database, sealer: testSealer(), clock }),
      emitter,
      sender,
      context: sender,
      pacing: options.pacing ?? noPacing,
      random: seededRandom(1),
      ...common,
    })
    await queue.start()
    queue.dispatcher.instanceOnline(instance)
    t.after(async () => {
      sender.release()
      const stopped = queue.stop()
      await clock.tick(6000)
      await stopped
      await database.stop()
    })
    const quiet = async (): Promise<void> => {
      for (let calm = 0; calm < 4;) {
        await settle(1)
        calm = database.stats().waitingCount === 0 ? calm + 1 : 0
      }
    }
    const advance = async (ms: number): Promise<void> => {
      for (let left = ms; left > 0; left -= 500) {
        await clock.tick(500)
        await quiet()
      }
    }
    const enqueue = (words: string) =>
      queue.outbox.enqueue({ tenant: exatron, instance, chat: chatA, content: text(words) })
    return { owned, queue, sender, emitter, database, enqueue, quiet, advance }
  }

  const setUp = async (t: TestContext, pacing?: PacingOptions) => {
    const { database, place } = await open(t, queueMigrations)
    const instance = makeInstanceId()
    const first = await openOwner(t, place, {
      node: 'first',
      instance,
      ...(pacing === undefined ? {} : { pacing }),
    })
    assert.equal(first.owned, true)
    const row = async () =>
      (
        await database.read(
          'select status, attempts, "sentAt" from "MessageQueueItem" order by seq limit 1',
          [],
        )
      )[0]
    return {
      first,
      row,
      /** As if the first had been stopped for 15 s. */
      async takeOver(outcome: Outcome = 'ack') {
        await database.write([
          { sql: 'update "InstanceLease" set "expiresAt" = clock_timestamp()', params: [] },
        ])
        const heir = await openOwner(t, place, { node: 'heir', instance, outcome })
        assert.equal(heir.owned, true)
        return heir
      },
      async sentEvents() {
        const rows = await database.read(`select count(*) as n from "Event" where type = 'outbound.sent'`, [])
        return Number(rows[0]?.['n'])
      },
    }
  }

  test('an owner that lost its instance while it typed does not send; its heir does, in order, under the same ids', async (t) => {
    const { first, takeOver } = await setUp(t, defaultPacing)
    const typed: string[] = []
    first.emitter.on('outbound.typing', ({ id }) => typed.push(id))
    const accepted = [await first.enqueue('one'), await first.enqueue('two')]
    while (typed.length === 0) await first.advance(500)
    const heir = await takeOver('hang')
    await until(() => heir.sender.sends.length === 1, 'the heir sends')
    await first.advance(120_000)
    assert.deepEqual(first.sender.sends, [])
    heir.sender.outcome = () => 'ack'
    heir.sender.release()
    await until(() => heir.sender.sends.length === 2, 'the heir goes on')
    await heir.quiet()
    assert.deepEqual(heir.sender.texts, ['one', 'two'])
    assert.deepEqual(
      heir.sender.sends.map(({ waMessageId }) => waMessageId),
      accepted.map(({ waMessageId }) => waMessageId),
    )
    assert.deepEqual(await heir.queue.outbox.stats(), { pending: 0, processing: 0, failed: 0 })
  })

  test('an owner that lost its instance while a message was on the wire ends nothing', async (t) => {
    const { first, takeOver, row, sentEvents } = await setUp(t)
    first.sender.outcome = () => 'hang'
    await first.enqueue('one')
    await until(() => first.sender.sends.length === 1, 'it is on the wire')
    const heir = await takeOver('hang')
    await until(() => heir.sender.sends.length === 1, 'the heir sends it again')
    await heir.quiet()
    const before = await row()
    first.sender.outcome = () => 'ack'
    first.sender.release()
    await first.quiet()
    await first.advance(10_000)
    assert.deepEqual(await row(), before)
    assert.equal(await sentEvents(), 0)
    heir.sender.outcome = () => 'ack'
    heir.sender.release()
    await until(async () => (await row()) === undefined, 'the heir ends it')
    await first.advance(60_000)
    assert.equal(await sentEvents(), 1)
    assert.deepEqual([first.sender.sends.length, heir.sender.sends.length], [1, 1])
  })

  test('an owner that lost its instance neither puts a message back nor takes its receipt', async (t) => {
    const { first, takeOver, row } = await setUp(t)
    first.sender.outcome = () => 'hang'
    const { waMessageId } = await first.enqueue('one')
    await until(() => first.sender.sends.length === 1, 'it is on the wire')
    const heir = await takeOver('hang')
    await until(() => heir.sender.sends.length === 1, 'the heir sends it again')
    await heir.quiet()
    const before = await row()
    const { instance } = first.sender.sends[0]!
    const receipt = { instance, waMessageIds: [waMessageId], kind: 'delivered', at: 1 } as const
    assert.equal(await codeOf(first.queue.dispatcher.recordReceipt(receipt)), 'STORAGE_NOT_OWNER')
    first.sender.release(sessionError('SESSION_REFUSED', 'later', 'no'))
    await first.quiet()
    await first.advance(10_000)
    assert.deepEqual(await row(), before)
  })

  test('an owner that lost its instance cancels nothing, and what it accepts its heir sends', async (t) => {
    const { first, takeOver } = await setUp(t)
    first.sender.outcome = () => 'hang'
    await first.enqueue('one')
    const { id } = await first.enqueue('two')
    await until(() => first.sender.sends.length === 1, 'it is on the wire')
    const heir = await takeOver('hang')
    await until(() => heir.sender.sends.length === 1, 'the heir sends the first again')
    assert.equal(await codeOf(first.queue.outbox.cancel(id)), 'STORAGE_NOT_OWNER')
    await first.enqueue('three')
    heir.sender.outcome = () => 'ack'
    heir.sender.release()
    // At the latest when it looks again by itself, after half a minute.
    while (heir.sender.sends.length < 3) await Promise.all([first.advance(5000), heir.advance(5000)])
    assert.deepEqual(heir.sender.texts.filter((words) => words !== 'three').slice(-2), ['one', 'two'])
    assert.equal(first.sender.sends.length, 1)
  })
})
