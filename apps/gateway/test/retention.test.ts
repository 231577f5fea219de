import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DAY, MINUTE, silentLogger } from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import { createSimulator } from '@eclusa/simulator'
import { testEachDatabase } from '@eclusa/storage/test-kit'
import { RetentionSweep } from '../src/retention.ts'
import { newInstance, pairByQr, startGateway } from './harness.ts'
import { acme, openInboxBench, shop } from './inbox-bench.ts'

testEachDatabase(
  'a message set aside, and tried again after a year, does not open anew what was deleted',
  async (t) => {
    const bench = await openInboxBench(t, {
      meddle: (step, when, text) => {
        // It is filed, and then fails.
        if (step === 'flow' && when === 'before' && text === 'poison') throw new Error('no room')
      },
    })
    const sweep = new RetentionSweep({
      journal: bench.journal,
      conversations: bench.conversations,
      instances: () => [shop],
      ownership: { owns: () => true },
      keep: { wordsForMs: 30 * DAY, closedForMs: 365 * DAY },
      clock: bench.clock,
      log: silentLogger,
    })
    t.after(() => sweep.stop())
    await bench.receive(1, 'poison')
    await bench.receive(2, 'fine')
    const setAside = async (): Promise<readonly { readonly id: number }[]> =>
      (await bench.journal.setAsideList({ instance: shop, after: 0, limit: 10, maxBytes: 1e6 })).items
    await until(async () => {
      await bench.clock.tick(MINUTE)
      return (await setAside()).length === 1 && (await bench.unsettled()) === 0
    }, 'it is set aside')
    const list = async () =>
      (await bench.conversations.list(acme, {}, { before: Number.MAX_SAFE_INTEGER, limit: 10 })).items
    for (const one of await list()) await bench.conversations.close(one, { by: 'api', reason: 'done' })
    await bench.clock.tick(400 * DAY)
    await sweep.pass()
    const [kept, ...others] = await list()
    assert.equal(others.length, 0, 'the other conversation is gone')

    // Whoever looks at last lets it go through.
    const [message] = await setAside()
    await bench.restart(() => {})
    await bench.inbox.retry(acme, shop, message?.id ?? 0)
    await until(
      async () => bench.heard.includes('001 poison') && (await bench.unsettled()) === 0,
      'it is done',
    )
    assert.deepEqual(
      (await list()).map(({ id, state }) => [id, state]),
      [[kept?.id, 'closed']],
    )
    await sweep.pass()
    assert.deepEqual(await list(), [])
    assert.deepEqual(
      (await bench.journal.list({ instance: shop, after: 0, limit: 10, maxBytes: 1e6 })).items,
      [],
    )
  },
)

test('over HTTP, words that are too old are gone from the journal and the history, and the rest stays', async (t) => {
  const simulator = await createSimulator()
  t.after(() => simulator.stop())
  const gateway = await startGateway(t, {
    ECLUSA_WHATSAPP_URL: simulator.url,
    ECLUSA_WORDS_KEEP_FOR_MS: '0',
    ECLUSA_CONVERSATIONS_REOPEN_WITHIN_MS: '0',
  })
  const id = await newInstance(gateway)
  await pairByQr(gateway, simulator.addNumber('5511900000101'), id)
  const items = async (path: string): Promise<readonly Record<string, unknown>[]> =>
    (await gateway.call('GET', path)).body['items'] as readonly Record<string, unknown>[]
  simulator.addContact('5521900000201').send(simulator.number('5511900000101'), 'my address is …')
  const conversations = '/v1/tenants/acme/conversations'
  await until(async () => (await items(conversations)).length === 1, 'it is filed')
  const path = `/v1/conversations/${String((await items(conversations))[0]?.['id'])}`
  await gateway.call('POST', `${path}/notes`, { text: 'lives in …' })
  const words = async (): Promise<readonly unknown[]> =>
    (await items(`${path}/history`)).map(({ kind, text, inbound }) => [kind, text ?? inbound])
  assert.match(JSON.stringify(await words()), /my address is.*lives in/)
  await gateway.call('POST', `${path}/close`, {})
  // A start begins with a sweep.
  await gateway.restart()
  await until(async () => !/lives in|address/.test(JSON.stringify(await words())), 'the words are gone')
  assert.deepEqual(await words(), [
    ['opened', null],
    ['inbound', null],
    ['note', null],
    ['closed', null],
  ])
  assert.deepEqual(await items(`/v1/instances/${id}/inbound`), [])
})
