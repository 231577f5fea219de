import assert from 'node:assert/strict'
import { test } from 'node:test'
import { webhookStorm } from './webhook-storm.ts'

test('kill -9 while webhooks are sent: every event comes, under one id, in the order of its chat', async (t) => {
  const { events, requests } = await webhookStorm(t, {
    kinds: {
      good: 3,
      flaky: 2,
      huge: 1,
      drip: 1,
      slow: 1,
      refused: 1,
      silent: 1,
      reset: 1,
      moved: 1,
      gone: 1,
    },
    tenants: 2,
    chatsOfTenant: 4,
    rate: 5,
    slowMs: 2000,
    calmMs: 0,
    kills: 3,
    liveMs: { min: 200, max: 900 },
    seed: 20_261_129,
  })
  assert.ok(events > 10 && requests > events)
})
