import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { DAY, HOUR, type InstanceId, MINUTE, SECOND, type TenantId } from '@eclusa/kernel'
import { codeOf, settle, until } from '@eclusa/kernel/test-kit'
import { testEachDatabase } from '@eclusa/storage/test-kit'
import { Webhook as Verifier } from 'standardwebhooks'
import type { WebhookId } from '../../src/webhooks/webhook.ts'
import { acme, front, type Receiver, receiverOf, status, type World, worldOf } from './harness.ts'

const chatsOf = ({ got }: Receiver): string[] => got.map(({ event }) => String(event.payload['chat']))
const idsOf = ({ got }: Receiver): number[] => got.map(({ event }) => event.id)

/** The next try of what waits, if it comes after `ms`. */
async function after(world: World, ms: number): Promise<void> {
  await settle(10)
  await world.clock.tick(ms)
}

async function waitingOf({ webhooks }: World, id: WebhookId): Promise<number[]> {
  return (await webhooks.waiting(id, 0, 100)).map(({ seq }) => seq)
}

testEachDatabase('an event is sent once, signed so that an independent verifier takes it', async (t) => {
  const receiver = await receiverOf(t)
  const world = await worldOf(t, [receiver])
  await world.happens('before')
  const hook = await world.hook(receiver)
  const seq = await world.happens('one')
  await world.happens('other', { type: 'inbound.received' })
  await world.happens('foreign', { tenant: 'globex' as TenantId })
  await world.happens('two')
  await until(() => receiver.got.length === 2, 'two events')
  assert.deepEqual(chatsOf(receiver), ['one', 'two'])
  const [{ text, headers, event } = assert.fail()] = receiver.got
  const [{ secret } = assert.fail()] = hook.secrets
  const stamp = Number(headers['webhook-timestamp'])
  assert.equal(stamp, Math.floor(world.clock.now() / 1000))
  // The verifier refuses stamps that are five minutes off by the machine's clock, which is not the test's.
  t.mock.timers.enable({ apis: ['Date'], now: world.clock.now() })
  assert.deepEqual(new Verifier(secret).verify(text, headers), event)
  assert.throws(() => new Verifier(secret).verify(text.replace('one', 'onf'), headers))
  t.mock.timers.reset()
  assert.deepEqual(event, {
    id: seq,
    type: 'outbound.sent',
    at: new Date(world.clock.now()).toISOString(),
    tenant: acme,
    instance: front,
    payload: { chat: 'one', text: 'to one' },
  })
  await until(
    async () => (await world.webhooks.deliveries(hook.id, { before: 1e9, limit: 10 })).length === 2,
    'logged',
  )
  const health = await world.webhooks.health(hook.id)
  assert.deepEqual([health.failingSince, health.waiting, health.dead], [null, 0, 0])
  assert.equal(health.lastSuccessAt, world.clock.now())
})

testEachDatabase('only what is asked for comes: types, patterns, an instance', async (t) => {
  const receiver = await receiverOf(t)
  const world = await worldOf(t, [receiver])
  const back = 'ins_back0000000000000000' as InstanceId
  await world.hook(receiver, { types: ['conversation.*', 'inbound.received'], instance: front })
  for (const type of ['inbound.edited', 'inbound.received', 'conversation.opened', 'conversations.opened'])
    await world.happens(type, { type })
  await world.happens('other instance', { type: 'inbound.received', instance: back })
  await world.happens('none', { type: 'inbound.received', instance: null })
  await world.happens('last', { type: 'conversation.closed' })
  await until(() => chatsOf(receiver).includes('last'), 'the last')
  assert.deepEqual(chatsOf(receiver), ['inbound.received', 'conversation.opened', 'last'])
})

testEachDatabase(
  'what fails comes again at 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h, and is dead then',
  async (t) => {
    const receiver = await receiverOf(t)
    receiver.answer(status(503))
    const world = await worldOf(t, [receiver], { random: () => 0 })
    const hook = await world.hook(receiver)
    const seq = await world.happens('one')
    await until(() => receiver.got.length === 1, 'the first try')
    const pauses = [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]
    for (const [index, pause] of pauses.entries()) {
      await until(
        async () => {
          const [row] = await world.webhooks.waiting(hook.id, 0, 1)
          return row?.attempts === index + 1 && row.dueAt === world.clock.now() + pause
        },
        `the pause after try ${index + 1}`,
      )
      await world.clock.tick(pause - 1)
      await settle(5)
      assert.equal(receiver.got.length, index + 1)
      await world.clock.tick(1)
      await until(() => receiver.got.length === index + 2, `try ${index + 2}`)
    }
    await until(async () => (await world.webhooks.dead(hook.id, 0, 10)).length === 1, 'it is dead')
    const [dead] = await world.webhooks.dead(hook.id, 0, 10)
    assert.deepEqual([dead?.seq, dead?.attempts, dead?.error], [seq, 8, 'WEBHOOK_ANSWERED'])
    assert.deepEqual(await waitingOf(world, hook.id), [])
    assert.equal(new Set(receiver.got.map(({ headers }) => headers['webhook-id'])).size, 1)
    assert.equal(new Set(receiver.got.map(({ headers }) => headers['webhook-timestamp'])).size, 8)
    const tries = await world.webhooks.deliveries(hook.id, { before: 1e9, limit: 10 })
    assert.deepEqual(
      tries.map(({ attempt }) => attempt),
      [8, 7, 6, 5, 4, 3, 2, 1],
    )
    assert.deepEqual(
      new Set(tries.map((one) => `${one.status} ${one.error}`)),
      new Set(['503 WEBHOOK_ANSWERED']),
    )
    const events = await world.log.read({ after: 0, limit: 100 })
    assert.deepEqual(
      events.filter(({ type }) => type.startsWith('webhook.')).map(({ type, payload }) => [type, payload]),
      [
        [
          'webhook.gave_up',
          { webhook: hook.id, event: seq, type: 'outbound.sent', error: 'WEBHOOK_ANSWERED' },
        ],
      ],
    )
    // The list of the dead is not forgotten by a crash, and is sent again when asked.
    await world.crash()
    receiver.answer(status(200))
    assert.equal((await world.webhooks.replay(hook.id, { dead: true })).count, 1)
    await until(() => receiver.got.length === 9, 'it came after all')
    assert.equal(receiver.got[8]?.headers['webhook-id'], receiver.got[0]?.headers['webhook-id'])
    assert.deepEqual(await world.webhooks.dead(hook.id, 0, 10), [])
  },
)

testEachDatabase('a pause is up to a fifth longer, by the seed', async (t) => {
  const receiver = await receiverOf(t)
  receiver.answer(status(500))
  const world = await worldOf(t, [receiver], { random: () => 0.5 })
  const hook = await world.hook(receiver)
  await world.happens('one')
  await until(async () => (await waitingOf(world, hook.id)).length === 1, 'it waits')
  const [row] = await world.webhooks.waiting(hook.id, 0, 1)
  assert.equal(row?.dueAt, world.clock.now() + 5500)
})

testEachDatabase('a failed event holds back those of its chat, in order, and nobody else', async (t) => {
  const receiver = await receiverOf(t)
  let isBroken = true
  receiver.answer((response, { event }) =>
    response.writeHead(isBroken && event.payload['chat'] === 'bad' ? 500 : 200).end(),
  )
  const world = await worldOf(t, [receiver], { random: () => 0 })
  const hook = await world.hook(receiver)
  const bad = [await world.happens('bad')]
  await until(() => receiver.got.length === 1, 'the first')
  for (let index = 0; index < 40; index++) {
    if (index % 4 === 0) bad.push(await world.happens('bad'))
    else await world.happens(`good ${index % 4}`)
  }
  await until(() => chatsOf(receiver).filter((chat) => chat !== 'bad').length === 30, 'all the others')
  await until(async () => (await waitingOf(world, hook.id)).length === 11, 'those of the chat wait')
  assert.equal(chatsOf(receiver).filter((chat) => chat === 'bad').length, 1)
  assert.equal((await world.webhooks.health(hook.id)).cursor, await world.log.lastSeq())
  // Also over a crash.
  await world.crash()
  await world.happens('good 1')
  bad.push(await world.happens('bad'))
  await until(async () => (await waitingOf(world, hook.id)).length === 12, 'one more waits')
  isBroken = false
  await world.clock.tick(5 * SECOND)
  await until(async () => (await waitingOf(world, hook.id)).length === 0, 'nothing waits')
  const came = receiver.got
    .filter(({ event }) => event.payload['chat'] === 'bad')
    .map(({ event }) => event.id)
  assert.deepEqual(came.slice(1), bad)
  for (const chat of ['good 1', 'good 2', 'good 3']) {
    const ids = receiver.got
      .filter(({ event }) => event.payload['chat'] === chat)
      .map(({ event }) => event.id)
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => a - b),
    )
  }
})

testEachDatabase(
  'a receiver that takes its time delays neither other chats nor other receivers',
  async (t) => {
    const slow = await receiverOf(t)
    const quick = await receiverOf(t)
    const open: ServerResponse[] = []
    slow.answer((response, { event }) =>
      event.payload['chat'] === 'slow' ? open.push(response) : response.writeHead(200).end(),
    )
    const world = await worldOf(t, [slow, quick])
    const hook = await world.hook(slow)
    await world.hook(quick)
    for (const chat of ['slow', 'slow', 'a', 'b', 'a']) await world.happens(chat)
    await until(() => quick.got.length === 5, 'the quick one has all')
    await until(() => slow.got.length === 4, 'the slow one has the other chats')
    assert.deepEqual(chatsOf(slow).toSorted(), ['a', 'a', 'b', 'slow'])
    // 25 s are no failure.
    await world.clock.tick(25 * SECOND)
    open.shift()?.writeHead(204).end()
    await until(() => slow.got.length === 5, 'the next of its chat')
    open.shift()?.writeHead(204).end()
    await until(
      async () => (await world.webhooks.deliveries(hook.id, { before: 1e9, limit: 10 })).length === 5,
      'logged',
    )
    assert.equal((await world.webhooks.health(hook.id)).failingSince, null)
    assert.equal((await world.webhooks.health(hook.id)).p95TookMs, 25_000)
  },
)

testEachDatabase('410 disables at once, and what was not delivered comes when it is enabled', async (t) => {
  const receiver = await receiverOf(t)
  const other = await receiverOf(t)
  receiver.answer(status(410))
  const world = await worldOf(t, [receiver, other])
  const hook = await world.hook(receiver)
  await world.hook(other, { types: ['webhook.*'] })
  const first = await world.happens('one')
  await until(async () => !(await world.webhooks.get(hook.id)).enabled, 'it is disabled')
  const second = await world.happens('one')
  await until(() => other.got.length === 1, 'the other webhook tells it')
  const disabled = { webhook: hook.id, reason: 'gone', code: null }
  assert.deepEqual([other.got[0]?.event.type, other.got[0]?.event.payload], ['webhook.disabled', disabled])
  assert.equal((await world.webhooks.get(hook.id)).disabledReason, 'gone')
  assert.equal(await codeOf(world.webhooks.replay(hook.id, { event: first })), 'WEBHOOK_DISABLED')
  receiver.answer(status(200))
  await world.crash()
  await world.clock.tick(HOUR)
  assert.equal(receiver.got.length, 1)
  await world.webhooks.change(hook.id, { enabled: true })
  await until(() => receiver.got.length === 3, 'both came')
  assert.deepEqual(idsOf(receiver), [first, first, second])
})

testEachDatabase('nothing but failures for its time disables, and the log keeps the rest', async (t) => {
  const receiver = await receiverOf(t)
  receiver.answer(status(500))
  const world = await worldOf(t, [receiver], { random: () => 0, disableAfterMs: 2 * HOUR })
  const hook = await world.hook(receiver)
  for (let chat = 0; chat < 100; chat++) await world.happens(`chat ${chat}`)
  const isEnabled = async (): Promise<boolean> => (await world.webhooks.get(hook.id)).enabled
  await until(async () => {
    await world.clock.tick(MINUTE)
    return !(await isEnabled())
  }, 'it is disabled')
  const { disabledReason, disabledAt, createdAt } = await world.webhooks.get(hook.id)
  assert.equal(disabledReason, 'failing')
  assert.ok(Number(disabledAt) - createdAt >= 2 * HOUR)
  // It was down: few of the hundred were tried, the others wait in the log.
  const { waiting, dead, cursor } = await world.webhooks.health(hook.id)
  assert.ok(waiting + dead < 70, `${waiting} wait, ${dead} are dead`)
  assert.ok(cursor < 100)
  receiver.answer(status(200))
  await world.webhooks.change(hook.id, { enabled: true })
  await until(async () => (await world.webhooks.health(hook.id)).cursor >= 100, 'the log was read')
  await world.clock.tick(DAY)
  await until(async () => (await waitingOf(world, hook.id)).length === 0, 'nothing waits')
  const delivered = new Set(idsOf(receiver))
  assert.equal(delivered.size, 100)
})

testEachDatabase('a receiver that answers again gets at once what waits for it', async (t) => {
  const receiver = await receiverOf(t)
  receiver.answer(status(500))
  const world = await worldOf(t, [receiver], { random: () => 0 })
  const hook = await world.hook(receiver)
  for (const chat of ['a', 'b', 'c', 'd', 'd']) await world.happens(chat)
  await until(async () => (await waitingOf(world, hook.id)).length >= 3, 'three have failed')
  for (const pause of [5 * SECOND, 5 * MINUTE, 30 * MINUTE]) {
    await after(world, pause)
    await after(world, SECOND)
    await until(async () => (await waitingOf(world, hook.id)).length >= 3, 'they wait')
  }
  receiver.answer(status(200))
  // Long before the two hours that the schedule says.
  await after(world, 10 * MINUTE)
  await until(async () => (await waitingOf(world, hook.id)).length === 0, 'nothing waits')
  await until(
    async () => (await world.webhooks.health(hook.id)).cursor === (await world.log.lastSeq()),
    'all was read',
  )
  await until(() => new Set(idsOf(receiver)).size === 5, 'all came')
})

testEachDatabase(
  'redirects, resets, endless answers and answers that never begin are failures, or cut',
  async (t) => {
    const receiver = await receiverOf(t)
    const inside = await receiverOf(t)
    let cut = 0
    receiver.answer((response, { event }) => {
      switch (event.payload['chat']) {
        case 'redirect':
          return response.writeHead(301, { location: inside.url }).end()
        case 'reset':
          return response.socket?.resetAndDestroy()
        case 'endless': {
          // 100 MB, if it were read.
          response.writeHead(200, { 'content-length': String(100_000_000) })
          response.on('close', () => cut++)
          const more = (): boolean => response.write('x'.repeat(65_536)) && setImmediate(more) !== null
          response.on('drain', more)
          return more()
        }
        case 'loris':
          return response.writeHead(200).write('b')
        case 'silent':
          return response.on('close', () => cut++)
        default:
          return response.writeHead(200).end()
      }
    })
    const world = await worldOf(t, [receiver, inside])
    const hook = await world.hook(receiver)
    const bad = ['redirect', 'reset', 'endless', 'loris', 'silent']
    for (const chat of bad) await world.happens(chat)
    await world.happens('fine')
    const logged = async (): Promise<Map<string, string>> => {
      const tries = await world.webhooks.deliveries(hook.id, { before: 1e9, limit: 20 })
      const events = await world.log.read({ after: 0, limit: 100 })
      const nameOf = (seq: number | null): string => {
        const { payload } = events.find((event) => event.seq === seq) ?? assert.fail()
        return (payload as { readonly chat: string }).chat
      }
      return new Map(
        tries.map((one) => [
          nameOf(one.seq),
          `${one.isDelivered} ${one.status} ${one.error} ${one.answerBytes}`,
        ]),
      )
    }
    await until(() => receiver.got.length === 6, 'all were called')
    await until(async () => {
      await world.clock.tick(100)
      return (await logged()).size >= 5
    }, 'all but the silent one')
    await world.clock.tick(30 * SECOND)
    await until(async () => (await logged()).size === 6, 'and that')
    const found = await logged()
    assert.deepEqual(Object.fromEntries(found), {
      redirect: 'false 301 WEBHOOK_ANSWERED 0',
      reset: 'false null HTTP_UNREACHABLE (connection) 0',
      endless: 'true 200 null 4096',
      loris: 'true 200 null 1',
      silent: 'false null HTTP_DEADLINE_PASSED (headers) 0',
      fine: 'true 200 null 0',
    })
    assert.equal(inside.got.length, 0)
    await until(() => cut === 2, 'the connections are closed')
  },
)

testEachDatabase(
  'an address that is not to be called is refused when it is set, and when its name leads there later',
  async (t) => {
    const receiver = await receiverOf(t)
    const world = await worldOf(t, [], {})
    for (const url of [
      'http://127.0.0.1:8080/',
      'https://10.0.0.1/',
      'https://[::1]/',
      'https://169.254.169.254/x',
      'ftp://a.example/',
    ])
      assert.equal(await codeOf(world.hook({ url })), 'HTTP_ADDRESS_REFUSED', url)
    const hook = await world.hook({ url: 'https://hooks.example/' })
    assert.equal(await codeOf(world.webhooks.change(hook.id, { url: receiver.url })), 'HTTP_ADDRESS_REFUSED')
    assert.equal((await world.webhooks.get(hook.id)).url, 'https://hooks.example/')
  },
)

testEachDatabase('while a secret is replaced both sign, then the new one alone', async (t) => {
  const receiver = await receiverOf(t)
  const world = await worldOf(t, [receiver])
  const hook = await world.hook(receiver)
  const { secret } = await world.webhooks.rotate(hook.id, DAY)
  assert.notEqual(secret, hook.secrets[0]?.secret)
  await world.happens('one')
  await until(() => receiver.got.length === 1, 'one')
  await until(async () => (await world.webhooks.health(hook.id)).cursor > 0, 'it is settled')
  const verify = (index: number, withSecret: string): boolean => {
    t.mock.timers.enable({ apis: ['Date'], now: world.clock.now() })
    try {
      const { text, headers } = receiver.got.at(index) ?? assert.fail()
      new Verifier(withSecret).verify(text, headers)
      return true
    } catch {
      return false
    } finally {
      t.mock.timers.reset()
    }
  }
  const old = String(hook.secrets[0]?.secret)
  assert.deepEqual([verify(0, secret), verify(0, old)], [true, true])
  await world.crash()
  await world.clock.tick(DAY)
  await world.happens('two')
  await until(() => chatsOf(receiver).at(-1) === 'two', 'two')
  assert.deepEqual([verify(-1, secret), verify(-1, old)], [true, false])
})

testEachDatabase(
  'one event, a range, or all since a time is sent again, in order and under the ids it had',
  async (t) => {
    const receiver = await receiverOf(t)
    const world = await worldOf(t, [receiver])
    const before = await world.happens('a')
    await world.clock.tick(HOUR)
    const hook = await world.hook(receiver)
    const seqs: number[] = []
    for (const chat of ['a', 'b', 'a', 'b', 'a']) {
      seqs.push(await world.happens(chat))
      await world.clock.tick(MINUTE)
    }
    await until(() => receiver.got.length === 5, 'all')
    const messageIds = new Map(receiver.got.map(({ event, headers }) => [event.id, headers['webhook-id']]))
    const again = async (
      what: Parameters<typeof world.webhooks.replay>[1],
      count: number,
    ): Promise<number[]> => {
      const from = receiver.got.length
      assert.equal((await world.webhooks.replay(hook.id, what)).count, count)
      await until(() => receiver.got.length === from + count, 'again')
      await until(async () => (await waitingOf(world, hook.id)).length === 0, 'nothing waits')
      for (const { event, headers } of receiver.got.slice(from)) {
        const known = messageIds.get(event.id)
        if (known !== undefined) assert.equal(headers['webhook-id'], known)
      }
      return receiver.got
        .slice(from)
        .filter(({ event }) => event.payload['chat'] === 'a')
        .map(({ event }) => event.id)
    }
    const [first = 0, , third = 0, , fifth = 0] = seqs
    assert.deepEqual(await again({ event: third }, 1), [third])
    // Also one from before the webhook was made.
    assert.deepEqual(await again({ after: before - 1, until: third }, 4), [before, first, third])
    assert.deepEqual(await again({ since: world.clock.now() - 3 * MINUTE }, 3), [third, fifth])
    assert.equal(await codeOf(world.webhooks.replay(hook.id, { event: 9999 })), 'WEBHOOK_EVENT_UNKNOWN')
  },
)

testEachDatabase(
  'a test event is sent at once and says what came of it, and nothing of it is repeated',
  async (t) => {
    const receiver = await receiverOf(t)
    const world = await worldOf(t, [receiver])
    const hook = await world.hook(receiver)
    assert.equal((await world.webhooks.test(hook.id)).status, 200)
    receiver.answer(status(404))
    const failed = await world.webhooks.test(hook.id)
    assert.deepEqual([failed.kind, failed.status, failed.error], ['failed', 404, 'WEBHOOK_ANSWERED'])
    assert.deepEqual(
      receiver.got.map(({ event }) => [event.id, event.type]),
      [
        [null, 'webhook.test'],
        [null, 'webhook.test'],
      ],
    )
    await world.clock.tick(HOUR)
    assert.equal(receiver.got.length, 2)
    assert.equal((await world.webhooks.health(hook.id)).failingSince, null)
  },
)

testEachDatabase(
  'an endpoint for which events were swept too early is told so, by event and field',
  async (t) => {
    const receiver = await receiverOf(t)
    const other = await receiverOf(t)
    const world = await worldOf(t, [receiver, other])
    const hook = await world.hook(receiver)
    await world.hook(other, { types: ['webhook.missed'] })
    await world.webhooks.change(hook.id, { enabled: false })
    const { cursor } = await world.webhooks.health(hook.id)
    for (let index = 0; index < 3; index++) await world.happens('lost')
    await world.clock.tick(4 * DAY)
    const kept = await world.happens('kept')
    await world.log.sweep({ keepForMs: 3 * DAY })
    await world.webhooks.change(hook.id, { enabled: true })
    await until(() => receiver.got.length === 1, 'what is kept comes')
    assert.deepEqual(chatsOf(receiver), ['kept'])
    await until(() => other.got.length === 1, 'it is told')
    assert.deepEqual(other.got[0]?.event.payload, { webhook: hook.id, after: cursor, before: kept })
    assert.deepEqual((await world.webhooks.health(hook.id)).missed, {
      after: cursor,
      before: kept,
      at: world.clock.now(),
    })
  },
)

testEachDatabase(
  'an event that is gone from the log when its next try comes is given up by name',
  async (t) => {
    const receiver = await receiverOf(t)
    receiver.answer(status(500))
    const world = await worldOf(t, [receiver])
    const hook = await world.hook(receiver)
    const first = await world.happens('one')
    await until(async () => (await waitingOf(world, hook.id)).length === 1, 'it waits')
    const second = await world.happens('one')
    await until(async () => (await waitingOf(world, hook.id)).length === 2, 'both wait')
    // A person was erased.
    await world.log.forgetMatching(acme, ({ seq }) => seq === first)
    receiver.answer(status(200))
    await world.clock.tick(MINUTE)
    await until(async () => (await waitingOf(world, hook.id)).length === 0, 'nothing waits')
    const dead = await world.webhooks.dead(hook.id, 0, 10)
    assert.deepEqual(
      dead.map(({ seq, error }) => [seq, error]),
      [[first, 'WEBHOOK_EVENT_FORGOTTEN']],
    )
    assert.equal(idsOf(receiver).at(-1), second)
  },
)

testEachDatabase('what was delivered, given up or removed is deleted after its time', async (t) => {
  const receiver = await receiverOf(t)
  const world = await worldOf(t, [receiver])
  const hook = await world.hook(receiver)
  const other = await world.hook(receiver)
  await world.happens('one')
  await until(
    async () => (await world.webhooks.deliveries(hook.id, { before: 1e9, limit: 10 })).length === 1,
    'logged',
  )
  await world.clock.tick(6 * DAY)
  await world.webhooks.sweep()
  assert.equal((await world.webhooks.deliveries(hook.id, { before: 1e9, limit: 10 })).length, 1)
  await world.clock.tick(2 * DAY)
  await world.webhooks.sweep()
  assert.equal((await world.webhooks.deliveries(hook.id, { before: 1e9, limit: 10 })).length, 0)
  receiver.answer(status(500))
  await world.happens('two')
  await until(async () => (await waitingOf(world, hook.id)).length === 1, 'it waits')
  await world.webhooks.remove(hook.id)
  assert.equal(await codeOf(world.webhooks.get(hook.id)), 'WEBHOOK_UNKNOWN')
  assert.deepEqual(await waitingOf(world, hook.id), [])
  assert.deepEqual(
    (await world.webhooks.list(acme)).map(({ id }) => id),
    [other.id],
  )
})

testEachDatabase(
  'URL and secret are sealed, and neither chat nor text stands in what is kept of a delivery',
  async (t) => {
    const receiver = await receiverOf(t)
    receiver.answer(status(500))
    const world = await worldOf(t, [receiver])
    const hook = await world.hook(receiver)
    await world.happens('5511999990000@s.whatsapp.net')
    await until(async () => (await waitingOf(world, hook.id)).length === 1, 'it waits')
    const tables = ['Webhook', 'WebhookWaiting', 'WebhookDead', 'WebhookDelivery']
    const rows = await Promise.all(
      tables.map((table) => world.db.database.read(`select * from "${table}"`, [])),
    )
    const text = JSON.stringify(
      rows
        .flat()
        .map((row) =>
          Object.values(row).map((value) =>
            value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
          ),
        ),
    )
    for (const secret of [receiver.url, String(hook.secrets[0]?.secret), '5511999990000', 'to 55'])
      assert.equal(text.includes(secret), false, secret)
  },
)
