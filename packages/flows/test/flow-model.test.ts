import assert from 'node:assert/strict'
import { DAY, HOUR, MINUTE, SECOND, seededRandom } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { parseFlow } from '../src/flow-definition.ts'
import type { Heard } from '../src/flow-ports.ts'
import {
  contactOf,
  conversationOf,
  type Death,
  flowOf,
  newOutside,
  pass,
  publish,
  say,
  startProcess,
} from './flow-world.ts'
import { acme, type Bench, openBench } from './harness.ts'

/** Flows of each run of this test; a seed names a flow, what is said to it, and when the process dies. */
const SEEDS = 40

test('drops nobody and says nothing twice, whatever the flow, the contact and the crashes are', async (t) => {
  const bench = await openBench(t, { reopenWithinMs: 0 })
  await bench.conversations.sectors.default(acme)
  await bench.sector('sales', 'manual')
  await bench.operator('ana', 1000, [])
  for (let seed = 1; seed <= SEEDS; seed++) await walk(bench, seed)
})

async function walk(bench: Bench, seed: number): Promise<void> {
  const random = seededRandom(seed)
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T
  const outside = newOutside()
  outside.lookup = () => (random() < 0.5 ? { a: 'b' } : assert.fail('down'))
  const death: Death = { left: Number.POSITIVE_INFINITY, isDead: false }
  let process = startProcess(bench, outside, { death })
  await publish(process.flows, randomFlow(random))
  await process.runner.start()
  /** Until it succeeds, as the inbox does; a process that died is followed by another. */
  const surely = async (work: () => Promise<unknown>): Promise<void> => {
    for (;;) {
      death.left = random() < 0.3 ? 1 + Math.floor(random() * 6) : Number.POSITIVE_INFINITY
      try {
        await work()
        if (!death.isDead) return
      } catch (error) {
        if (!death.isDead) throw error
      }
      await process.runner.stop()
      death.isDead = false
      death.left = Number.POSITIVE_INFINITY
      process = startProcess(bench, outside, { death })
      await process.runner.start()
    }
  }
  let journalId = seed * 1000
  for (let line = 0; line < 6; line++) {
    await bench.clock.tick(pick([0, SECOND, 30 * SECOND]))
    if (random() < 0.2)
      await surely(() => pass(bench.clock, process, pick([MINUTE, 6 * MINUTE, 2 * HOUR]), death))
    journalId++
    const heard: Heard =
      random() < 0.9 ? 'nothing' : pick(['opted_out', 'asks_to_stop', 'wants_person', 'opted_in'])
    const words = pick(['1', '2', 'sales', 'hm', 'yes', '5'])
    await surely(() => say(bench, process, seed, words, { journalId, heard }))
    assert.equal((await live(process, seed)).length <= 1, true, `seed ${seed}: one run at a time`)
  }
  // All time-outs take place; a flow that waits in a circle waits again.
  await surely(() => pass(bench.clock, process, 8 * DAY, death))
  const [waiting] = await live(process, seed)
  const conversation = await conversationOf(bench, seed)
  const isSeen = conversation?.state !== 'open' || conversation.waitingSince !== null
  assert.equal(
    isSeen,
    waiting === undefined,
    `seed ${seed}: with somebody, in a line, closed, or at a step that waits`,
  )
  assert.ok(waiting === undefined || waiting.state === 'waiting', `seed ${seed}`)
  // A visit says a text once: its key names it.
  for (const key of outside.queued.keys()) assert.match(key, /^flow:run_\w{20}:\d+:\w+$/)
  await process.runner.stop()
}

async function live({ runs }: { readonly runs: ReturnType<typeof startProcess>['runs'] }, contact: number) {
  return (await runs.listOf(acme, contactOf(contact), 100)).filter(({ state }) => state !== 'ended')
}

/** Any steps with any ways between them: loops, dead ends and all. */
function randomFlow(random: () => number): object {
  const ids = Array.from({ length: 2 + Math.floor(random() * 7) }, (_, nth) => `s${nth}`)
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T
  const to = (): string => (random() < 0.05 ? 'nowhere' : pick(ids))
  const kinds: readonly (() => object)[] = [
    () => ({ kind: 'send', text: 'a text', next: to(), ...(random() < 0.5 ? { onceInMinutes: 60 } : {}) }),
    () => ({
      kind: 'menu',
      text: 'Which?',
      tries: 2,
      options: [
        { label: 'sales', next: to() },
        { label: 'x', next: to() },
      ],
    }),
    () => ({
      kind: 'question',
      text: 'How?',
      save: 'f',
      answer: { kind: pick(['text', 'number']) },
      next: to(),
    }),
    () => ({
      kind: 'condition',
      cases: [{ when: { value: 'message.words', is: 'equals', to: '1' }, next: to() }],
      otherwise: to(),
    }),
    () => ({ kind: 'lookup', url: 'https://a.example/', save: [{ field: 'g', from: 'a' }], next: to() }),
    () => ({ kind: 'set', fields: { f: '{field.g}' }, addTags: ['t'], next: to() }),
    () => ({ kind: 'wait', minutes: 3, next: to(), ...(random() < 0.5 ? { heard: to() } : {}) }),
    () => ({ kind: 'returning', next: to() }),
    () => ({ kind: 'only_admin', yes: to(), no: to() }),
    () => ({ kind: 'assign', to: pick([{ sector: 'sales' }, { sector: 'gone' }, { admin: true }]) }),
    () => ({ kind: 'hand_over' }),
    () => ({ kind: 'close', ...(random() < 0.5 ? { satisfaction: { text: 'How was it?' } } : {}) }),
  ]
  const steps = ids.map((id) => ({ id, ...pick(kinds)(), ...(random() < 0.3 ? { fallback: to() } : {}) }))
  const document = flowOf(steps)
  assert.ok('flow' in parseFlow(document))
  return document
}
