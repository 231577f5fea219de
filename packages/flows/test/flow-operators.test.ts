import assert from 'node:assert/strict'
import { MINUTE, SECOND } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import type { Flows } from '../src/flow-store.ts'
import type { Operator, SectorId } from '../src/index.ts'
import {
  acme,
  conversationOf,
  flowOf,
  lastRunOf,
  newOutside,
  pass,
  publish,
  saidTo,
  say,
  startProcess,
} from './flow-world.ts'
import { type Bench, openBench } from './harness.ts'

const person = { id: 'person', kind: 'hand_over' }
const survey = flowOf(
  [{ id: 'c', kind: 'close', satisfaction: { text: '1 to 5?', thanks: 'Thanks', minutes: 60 } }],
  { starts: 'by_hand' },
)

/** Somebody with room for one has contact 1, and contact 2 waits for them. */
async function busyOperator(bench: Bench, flows: Flows): Promise<Operator> {
  const sector = await bench.sector('sales')
  await publish(flows, survey, 'survey')
  const ana = await bench.operator('ana', 1, [{ sector, skills: [] }])
  for (const contact of [1, 2]) {
    await bench.conversations.distribute(await bench.write(contact), { by: 'api', sector })
  }
  assert.equal((await conversationOf(bench, 2))?.state, 'open')
  return ana
}

test('gives the room of who started a survey to who waits, whatever becomes of the survey', async (t) => {
  for (const [answer, said, ends] of [
    ['4', ['1 to 5?', 'Thanks'], 'closed'],
    [null, ['1 to 5?'], 'closed'],
    ['wants_person', ['1 to 5?'], 'open'],
  ] as const) {
    const bench = await openBench(t)
    const outside = newOutside()
    const process = startProcess(bench, outside)
    const ana = await busyOperator(bench, process.flows)
    const first = (await conversationOf(bench, 1)) ?? assert.fail()
    await process.runner.startByHand(first, await process.flows.version(acme, 'survey', 1))
    await bench.conversations.line.move(acme, 'sales' as SectorId)
    assert.equal((await conversationOf(bench, 2))?.operator, ana.id, 'who waits need not wait for the answer')
    const asked = await conversationOf(bench, 1)
    assert.deepEqual([asked?.state, asked?.operator, asked?.waitingSince], ['open', null, null])
    assert.equal(asked?.lastOperator, ana.id)

    await bench.clock.tick(30 * SECOND)
    if (answer === null) await pass(bench.clock, process, 61 * MINUTE)
    else if (answer === 'wants_person') await say(bench, process, 1, 'atendente', { heard: answer })
    else await say(bench, process, 1, answer)
    const after = await conversationOf(bench, 1)
    assert.deepEqual([after?.state, saidTo(outside, 1)], [ends, said], `${answer}`)
    const { operators } = await bench.conversations.statistics.since(acme, 0)
    assert.equal(operators.get(ana.id)?.closedCount, ends === 'closed' ? 1 : 0, 'they have served')
    if (ends === 'open') assert.equal(after?.sector, 'sales', 'in the line of those who know them')
    assert.ok((await bench.eventTypes()).includes('conversation.released'))
    await process.runner.stop()
  }
})

test('leaves a survey alone whose conversation somebody took meanwhile', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const process = startProcess(bench, outside)
  await busyOperator(bench, process.flows)
  const first = (await conversationOf(bench, 1)) ?? assert.fail()
  await process.runner.startByHand(first, await process.flows.version(acme, 'survey', 1))
  const bia = await bench.operator('bia', 1, [])
  await bench.conversations.assign(first, { by: 'api', operator: bia.id })
  await bench.clock.tick(30 * SECOND)
  await say(bench, process, 1, '4')
  assert.deepEqual(
    [(await conversationOf(bench, 1))?.operator, (await lastRunOf(process, 1))?.outcome],
    [bia.id, 'taken_over'],
  )
  assert.deepEqual(saidTo(outside, 1), ['1 to 5?'])
})

test('frees the room once, wherever the process is killed while a survey begins', async (t) => {
  for (const dies of [1, 2, 3]) {
    const bench = await openBench(t)
    const outside = newOutside()
    const death = { left: dies, isDead: false }
    const before = startProcess(bench, outside, { death })
    const ana = await busyOperator(bench, before.flows)
    const first = (await conversationOf(bench, 1)) ?? assert.fail()
    const flow = await before.flows.version(acme, 'survey', 1)
    await assert.rejects(before.runner.startByHand(first, flow))
    const process = startProcess(bench, outside)
    await process.runner.start()
    await bench.conversations.line.move(acme, 'sales' as SectorId)
    assert.equal((await lastRunOf(process, 1))?.state, 'waiting', `${dies}`)
    assert.deepEqual(saidTo(outside, 1), ['1 to 5?'])
    const { assignedCount } = (await bench.conversations.operators.get(acme, ana.id)) ?? assert.fail()
    assert.deepEqual([assignedCount, (await conversationOf(bench, 2))?.operator], [1, ana.id])
    await process.runner.stop()
  }
})

test('says that they wait to who does: by skill, by who is before them, by who serves the line', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const process = startProcess(bench, outside)
  const sales = await bench.sector('sales')
  const manual = await bench.sector('manual', 'manual')
  const support = await bench.sector('support')
  const to = (more: object): object =>
    flowOf([{ id: 'a', kind: 'assign', to: { sector: sales, ...more }, lineText: 'You are in line' }])
  let contact = 0
  const told = async (flow: object): Promise<boolean> => {
    await publish(process.flows, flow)
    contact++
    await say(bench, process, contact, 'hello')
    const texts = saidTo(outside, contact)
    const isWaiting = (await conversationOf(bench, contact))?.waitingSince !== null
    await bench.conversations.line.pass()
    const waits = (await conversationOf(bench, contact))?.state === 'open'
    assert.ok(isWaiting)
    assert.equal(texts.includes('You are in line'), waits, 'what was said is what happens')
    return waits
  }
  assert.equal(await told(to({})), true, 'nobody is there')
  await bench.operator('ana', 3, [{ sector: sales, skills: [] }])
  await bench.conversations.line.pass()
  assert.equal(await told(to({})), false)
  assert.equal(await told(to({ skill: 'money' })), true, 'who is free does not know of it')
  const bia = await bench.operator('bia', 1, [{ sector: sales, skills: ['money'] }])
  await bench.conversations.line.pass()
  assert.equal(await told(to({ skill: 'money' })), true, 'who knows of it has the one before')
  assert.equal(await told(to({})), false, 'another has room for what anybody knows')
  assert.equal(await told(to({})), true, 'and has none any more')
  await bench.operator('caio', 10, [{ sector: manual, skills: [] }])
  assert.equal(await told(to({ sector: manual })), true, 'nobody gets from a line that is served by hand')

  // Somebody comes, but takes no more than who were there before.
  assert.equal(await told(to({ sector: support })), true)
  assert.equal(await told(to({ sector: support })), true)
  await bench.operator('dora', 2, [{ sector: support, skills: [] }])
  assert.equal(await told(to({ sector: support })), true)

  // An operator by name who cannot: only who ends in a line is told so.
  const named = (more: object): object => ({
    id: 'a',
    kind: 'assign',
    to: { operator: bia.id },
    lineText: 'You are in line',
    ...more,
  })
  const other = { id: 'other', kind: 'send', text: 'Bia is busy', next: 'person' }
  assert.equal(await told(flowOf([named({})])), true)
  await publish(process.flows, flowOf([named({ fallback: 'other' }), other, person]))
  await say(bench, process, ++contact, 'hello')
  assert.deepEqual(saidTo(outside, contact), ['Bia is busy'])
})
