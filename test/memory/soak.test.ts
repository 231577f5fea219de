import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MIB } from '@eclusa/kernel'
import { soakGateway } from './soak.ts'

/*
 * The small form of `npm run bench:soak`: the claims that hold on any machine. No times, no slopes.
 */

const CEILING = 768 * MIB

const none = (expected: number): Record<string, number> => ({ expected, missing: 0, twice: 0, strange: 0 })

test(
  'stays under its ceiling while 1,000 contacts write 5,000 messages and are sent 5,000, through storms, histories and stalled readers, each once',
  { timeout: 900_000 },
  async (t) => {
    const run = await soakGateway(t, {
      sizes: {
        instances: 20,
        tenants: 4,
        contacts: 1_000,
        inbound: 5_000,
        outbound: 5_000,
        stalledReaders: 20,
        storms: 2,
        historyRounds: 4,
        chatsPerHistory: 100,
        rssEveryMs: 500,
        looks: 25,
      },
      env: { ECLUSA_MEMORY_CEILING: String(CEILING) },
    })
    const over = run.rss.filter(({ rssBytes }) => rssBytes > CEILING)
    assert.deepEqual(over, [], 'samples of RSS above the ceiling')
    assert.ok(run.highestRssBytes <= CEILING, `the highest RSS between them was ${run.highestRssBytes}`)
    assert.ok(run.rss.length > 10 && run.live.length > 1, 'it was looked at')
    for (const { accounted } of run.live) {
      assert.ok(accounted !== null && accounted.cacheBytes > 0, 'its caches are in use')
      assert.ok(accounted.cacheBytes <= accounted.cacheBudgetBytes, JSON.stringify(accounted))
    }
    const { overtaken, ...outbound } = run.world.outbound
    assert.deepEqual(outbound, none(5_000), 'at the contacts')
    assert.equal(overtaken, 0, 'at the contacts, in the order of their chat')
    const { overtaken: _ordered, ...inbound } = run.inbound
    assert.deepEqual(inbound, none(5_000), 'in the journal')
  },
)
