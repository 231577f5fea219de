import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { makeInstanceId, parseTenantId, silentLogger, systemClock, TypedEmitter } from '@eclusa/kernel'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import { EventLog, openDatabase, type OpenedDatabase } from '@eclusa/storage'
import { eachDatabase, testSealer } from '@eclusa/storage/test-kit'
import { defaultCare, openQueue, type Queue, type QueueEvents, queueMigrations } from '../src/index.ts'
import { chatA, chatB, noPacing, ScriptedSender } from './harness.ts'
import type { NeighbourOrder } from './neighbour-process.ts'

const program = fileURLToPath(new URL('./neighbour-process.ts', import.meta.url))
const exatron = parseTenantId('exatron')

/** A process that owns nothing, and does as it is told. */
class Neighbour {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(t: TestContext, url: string, instance: string): Promise<Neighbour> {
    const child = fork(program, [url, instance])
    t.after(() => child.kill('SIGKILL'))
    const neighbour = new Neighbour(child)
    await neighbour.#answer()
    return neighbour
  }

  async tell(order: NeighbourOrder): Promise<unknown> {
    const answer = this.#answer()
    this.#child.send(order)
    return answer
  }

  async #answer(): Promise<unknown> {
    const [{ answer, error }] = (await once(this.#child, 'message')) as [{ answer?: unknown; error?: string }]
    if (error !== undefined) throw new Error(error)
    return answer
  }
}

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') return

  test('what another process accepts, pauses and sets wakes the owner, who sends each message once and in order', async (t) => {
    const { place } = await open(t, queueMigrations)
    const { url } = place as { readonly url: string }
    const instance = makeInstanceId()
    const database: OpenedDatabase = await openDatabase({
      url,
      node: 'owner',
      migrations: queueMigrations,
      log: silentLogger,
    })
    await database.ownership.take(instance)
    const sender = new ScriptedSender(new ManualClock())
    const queue: Queue = await openQueue({
      database,
      ownership: database.ownership,
      neighbours: database.neighbours,
      sealer: testSealer(),
      eventLog: new EventLog({ database, sealer: testSealer(), clock: systemClock }),
      clock: systemClock,
      log: silentLogger,
      emitter: new TypedEmitter<QueueEvents>(),
      sender,
      context: sender,
      pacing: noPacing,
      care: { ...defaultCare, cold: { everyMs: 0, burst: 1 }, tenant: { everyMs: 0, burst: 1 } },
    })
    t.after(async () => {
      await queue.stop()
      await database.stop()
    })
    await queue.start()
    queue.dispatcher.instanceOnline(instance)
    const neighbour = await Neighbour.start(t, url, instance)

    await neighbour.tell({ do: 'enqueue', chat: chatA, texts: ['1', '2', '3'], key: 'k' })
    await until(() => sender.sends.length === 3, 'the owner sends them')
    assert.deepEqual(sender.texts, ['1', '2', '3'])
    await neighbour.tell({ do: 'enqueue', chat: chatA, texts: ['1', '2', '3'], key: 'k' })

    await neighbour.tell({ do: 'pause' })
    await until(
      () => queue.control.instance(exatron, instance).then(({ pauses }) => pauses.length === 1),
      'a pause',
    )
    const held = await queue.outbox.enqueue({
      tenant: exatron,
      instance,
      chat: chatB,
      content: { kind: 'text', text: '4' },
    })
    await neighbour.tell({ do: 'enqueue', chat: chatB, texts: ['5'] })
    await until(async () => (await queue.outbox.stats(instance)).pending === 2, 'the owner counts both')
    assert.deepEqual(
      (await queue.control.why(held.id)).waits.map(({ reason }) => reason),
      ['INSTANCE_PAUSED'],
    )
    await neighbour.tell({ do: 'limit', maxNewContactsPerDay: 7 })
    await until(() => queue.limits.of(exatron, instance).maxNewContactsPerDay === 7, 'the limit counts')
    await neighbour.tell({ do: 'resume' })
    await until(() => sender.sends.length === 5, 'it goes on')
    assert.deepEqual(sender.texts.slice(3).toSorted(), ['4', '5'])
    await until(async () => (await queue.outbox.stats(instance)).processing === 0, 'nothing is under way')
    assert.deepEqual(await queue.outbox.stats(instance), { pending: 0, processing: 0, failed: 0 })
    assert.equal(sender.overlaps, 0)
  })
})
