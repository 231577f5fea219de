import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type InstanceId, MIB, wordsOf } from '@eclusa/kernel'
import { until } from '@eclusa/kernel/test-kit'
import { type Bench, setup } from './harness.ts'
import { hostileMessages, translateHostile } from './hostile-messages.ts'

test('20,000 hostile plaintexts are decoded and translated into something that can be kept', () => {
  const outcomes = translateHostile(1, 20_000)
  for (const kind of ['unreadable', 'text', 'media', 'poll', 'poll_vote', 'edit', 'spoofed', 'arrangement']) {
    assert.ok((outcomes[kind === 'unreadable' ? 'other' : kind] ?? 0) > 10, JSON.stringify(outcomes))
  }
})

async function count(bench: Bench, instance: InstanceId): Promise<number> {
  const [row] = await bench.database.read(
    'SELECT COUNT(*) AS count FROM "InboundMessage" WHERE instance = ?',
    [instance],
  )
  return Number(row?.['count'])
}

test('1,000 hostile messages over the wire leave both instances online and every other message where it belongs', async (t) => {
  const bench = await setup(t)
  const mallory = bench.simulator.addContact('5511910000001', { name: 'Mallory' })
  const carol = bench.simulator.addContact('5511910000002', { name: 'Carol' })
  const hit = await bench.pair('5511900000001')
  const other = await bench.pair('5511900000002')
  const shown = bench.states.length
  const messages = hostileMessages(2)
  for (let sent = 0; sent < 1_000; sent++) {
    mallory.send(hit.phone, messages.next().value)
    if (sent % 100 === 50) for (const { phone } of [hit, other]) carol.send(phone, String(sent))
    if (sent % 20 === 19) await bench.simulator.settled()
  }
  mallory.send(hit.phone, 'the last')
  const lastOf = async (): Promise<string | null> => {
    const { items } = await bench.journal.list({
      instance: hit.instance,
      after: 0,
      limit: 500,
      maxBytes: 64 * MIB,
    })
    let last = items.at(-1)
    for (let after = last?.id ?? 0; last !== undefined;) {
      const page = await bench.journal.list({ instance: hit.instance, after, limit: 500, maxBytes: 64 * MIB })
      last = page.items.at(-1) ?? last
      if (page.next === null) break
      after = page.next
    }
    return last === undefined ? null : wordsOf(last.message.content)
  }
  await until(async () => (await lastOf()) === 'the last', 'the last is journalled')
  await until(async () => (await count(bench, other.instance)) === 10, 'the other instance has its own')
  assert.equal(bench.states.length, shown, 'no connection was lost')
  for (const { instance } of [hit, other]) assert.equal(bench.pool.view(instance).state, 'online')
  await bench.simulator.assertClean()
})
