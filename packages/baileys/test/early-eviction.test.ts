import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '@eclusa/kernel/test-kit'
import { type CacheName, closeSocket, DEFAULT_CACHE_LIMITS } from '../src/index.ts'
import { makeRig } from './rig.ts'

/** Each contact writes twice and is answered twice, all at once; one message each way is damaged on its way. */
const CONTACTS = 3

const NAMES = Object.keys(DEFAULT_CACHE_LIMITS) as CacheName[]

test('with any cache, or all, at a cap of one, messages arrive exactly once both ways and no retry goes in a loop', async (t) => {
  const rig = await makeRig(t)
  const { phone, creds, keys, socket: first } = await rig.account()
  await closeSocket(first)
  const contacts = Array.from({ length: CONTACTS }, (_, i) => rig.sim.addContact(`552190000000${i}`))
  const limits = NAMES.map((name) => [name, { maxEntries: 1, ttlMs: 60_000 }] as const)
  const cases = [...limits.map((limit) => Object.fromEntries([limit])), Object.fromEntries(limits)]
  for (const [round, cacheLimits] of cases.entries()) {
    const name = NAMES[round] ?? 'all'
    const sent = new Map<string, string>()
    const client = await rig.connect(
      { phone, creds, keys },
      {
        cacheLimits,
        getMessage: async ({ id }) => ({ conversation: sent.get(id ?? '') ?? '' }),
      },
    )
    const retriesBefore = rig.sim.stats.totals['retriesAskedByClients'] ?? 0
    // The client cannot read this one, and asks for it again.
    rig.sim.fault({ on: 'deliver', do: 'error', times: 1 })
    for (const contact of contacts) {
      contact.send(phone, `in ${round} a ${contact.number}`)
      contact.send(phone, `in ${round} b ${contact.number}`)
    }
    await until(() => client.texts.length >= CONTACTS * 2, `${name}: ${CONTACTS * 2} messages in`)
    for (const contact of contacts) {
      for (const part of ['a', 'b']) {
        const text = `out ${round} ${part} ${contact.number}`
        const message = await client.socket.sendMessage(contact.jid, { text })
        sent.set(message?.key.id ?? '', text)
      }
    }
    for (const contact of contacts) {
      await contact.waitFor(({ text }) => text === `out ${round} b ${contact.number}`)
    }
    await rig.sim.settled()
    assert.equal(new Set(client.texts).size, CONTACTS * 2, name)
    assert.equal(client.texts.length, CONTACTS * 2, name)
    for (const contact of contacts) {
      const got = contact.inbox.filter(({ text }) => text.startsWith(`out ${round} `))
      assert.deepEqual(
        got.map(({ text, repeats }) => [text, repeats]),
        [
          [`out ${round} a ${contact.number}`, 0],
          [`out ${round} b ${contact.number}`, 0],
        ],
        name,
      )
    }
    const retries = (rig.sim.stats.totals['retriesAskedByClients'] ?? 0) - retriesBefore
    assert.ok(retries <= 2, `${name}: ${retries} retry requests`)
    await closeSocket(client.socket)
  }
  await rig.sim.assertClean()
})
