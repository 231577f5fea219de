import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Places } from '../src/places.ts'
import { settle, until } from '../test-kit/index.ts'

test('so many are inside at a time, and the others enter in the order in which they came', async () => {
  const places = new Places(2)
  const inside: number[] = []
  const leaves = new Map<number, () => void>()
  for (let index = 0; index < 5; index++) {
    void places.enter().then((leave) => {
      inside.push(index)
      leaves.set(index, leave)
    })
  }
  await settle()
  assert.deepEqual(inside, [0, 1])
  leaves.get(1)?.()
  leaves.get(1)?.()
  await settle()
  assert.deepEqual(inside, [0, 1, 2], 'leaving twice gives one place')
  leaves.get(0)?.()
  leaves.get(2)?.()
  await settle()
  assert.deepEqual(inside, [0, 1, 2, 3, 4])
  assert.deepEqual([places.taken, places.waiting], [2, 0])
})

test('while it is held nobody enters; let go, those who waited come first', async () => {
  const places = new Places(1)
  places.hold()
  const order: string[] = []
  const early = places.enter().then(() => order.push('early'))
  await settle()
  assert.equal(order.length, 0)
  places.letGo()
  const late = places.enter().then(() => order.push('late'))
  await early
  assert.equal(order.join(), 'early')
  assert.equal(places.waiting, 1)
  void late
})

test('whatever comes, goes, holds and lets go: never too many, and all get in in the end', async () => {
  const steps = fc.array(fc.constantFrom('enter', 'leave', 'hold', 'let go'), { maxLength: 60 })
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 4 }), async (script, max) => {
      const places = new Places(max)
      const leaves: (() => void)[] = []
      let entered = 0
      let asked = 0
      for (const step of script) {
        if (step === 'enter') {
          asked++
          void places.enter().then((leave) => {
            entered++
            leaves.push(leave)
          })
        } else if (step === 'leave') leaves.shift()?.()
        else if (step === 'hold') places.hold()
        else places.letGo()
        await Promise.resolve()
        assert.ok(places.taken <= max)
      }
      places.letGo()
      await until(() => {
        leaves.shift()?.()
        return entered === asked
      }, 'all got in')
      for (const leave of leaves) leave()
      assert.deepEqual([places.taken, places.waiting], [0, 0])
    }),
    { numRuns: 60 },
  )
})

test('work that fails gives its place back', async () => {
  const places = new Places(1)
  await assert.rejects(
    places.run(async () => {
      assert.equal(places.taken, 1)
      throw new Error('it failed')
    }),
    /it failed/,
  )
  assert.equal(await places.run(async () => places.taken), 1)
  assert.equal(places.taken, 0)
})
