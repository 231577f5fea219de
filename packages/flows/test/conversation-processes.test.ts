import assert from 'node:assert/strict'
import { silentLogger } from '@eclusa/kernel'
import { openDatabase } from '@eclusa/storage'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { flowMigrations } from '../src/index.ts'
import { acme, benchOn, done } from './harness.ts'

eachDatabase(({ dialect, test, open }) => {
  if (dialect === 'sqlite') return

  test('keeps its promises between two processes on one database', async (t) => {
    const { database, place } = await open(t, flowMigrations)
    const other = await openDatabase({ ...place, migrations: flowMigrations, log: silentLogger })
    t.after(() => other.stop())
    const here = benchOn(t, database)
    const there = benchOn(t, other, { clock: here.clock })
    const sales = await here.sector('sales')
    const operators = []
    for (const name of ['Ana', 'Bia', 'Caio']) {
      operators.push((await here.operator(name, 3, [{ sector: sales, skills: [] }])).id)
    }

    // 50 messages of one contact, half of them in each.
    const received = await Promise.all(
      Array.from({ length: 50 }, (_, nth) => (nth % 2 === 0 ? here : there).write(1, nth + 1)),
    )
    assert.equal(new Set(received.map(({ id }) => id)).size, 1)
    // The same messages in the other one: an owner that was replaced has not noticed it yet.
    const again = await Promise.all(
      Array.from({ length: 50 }, (_, nth) => (nth % 2 === 0 ? there : here).write(1, nth + 1)),
    )
    assert.equal(new Set(again.map(({ id }) => id)).size, 1)
    const history = await here.conversations.history(received[0]!, { after: 0, limit: 500 })
    assert.equal(history.filter(({ kind }) => kind === 'inbound').length, 50)
    assert.equal(history.filter(({ kind }) => kind === 'opened').length, 1)
    done(await here.conversations.close(received[0]!, { by: 'api', reason: 'done' }))

    // 30 contacts wait for 9 places, and both let the line move, at the same time, again and again.
    const waiting = []
    for (let nth = 2; nth <= 31; nth++) {
      const one = await here.write(nth, 100 + nth)
      waiting.push(one)
    }
    for (const id of operators) await here.conversations.operators.change(acme, id, { availability: 'away' })
    for (const one of waiting) {
      done(await here.conversations.waitInLine(one, { by: 'flow', sector: sales }))
    }
    const back = operators.map((id) =>
      here.conversations.operators.change(acme, id, { availability: 'online' }),
    )
    await Promise.all([
      ...back,
      ...Array.from({ length: 4 }, (_, nth) =>
        (nth % 2 === 0 ? here : there).conversations.line.move(acme, sales),
      ),
    ])
    let next = 0
    while (next < waiting.length) {
      await Promise.all([
        here.conversations.line.move(acme, sales),
        there.conversations.line.move(acme, sales),
      ])
      const states: readonly string[] = await Promise.all(
        waiting.map(async ({ id }) => (await there.conversations.get(acme, id))!.state),
      )
      // In order: whoever is assigned came before whoever waits.
      const firstWaiting = states.indexOf('open')
      assert.equal(states.indexOf('assigned', firstWaiting < 0 ? states.length : firstWaiting), -1)
      for (const { assignedCount } of await here.conversations.operators.list(acme)) {
        assert(assignedCount <= 3)
      }
      const open = states.filter((state) => state === 'assigned').length
      assert.equal(open, Math.min(9, waiting.length - next))
      // Two of them end at the same time, one in each.
      const ending = waiting.slice(next, next + 2)
      next += ending.length
      await Promise.all(
        ending.map((one, nth) =>
          (nth === 0 ? here : there).conversations.close(one, { by: 'api', reason: 'done' }),
        ),
      )
    }
    assert.deepEqual(
      (await here.conversations.operators.list(acme)).map(({ assignedCount }) => assignedCount),
      [0, 0, 0],
    )
  })
})
