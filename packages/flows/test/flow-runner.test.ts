import assert from 'node:assert/strict'
import { DAY, HOUR, type Logger, MINUTE, SECOND, silentLogger } from '@eclusa/kernel'
import { codeOf, ManualClock, settle, until } from '@eclusa/kernel/test-kit'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import { FlowLog, flowLines } from '../src/flow-log.ts'
import { MAX_ACTIVE_FLOWS, WARN_ACTIVE_FLOWS } from '../src/flow-runner.ts'
import {
  acme,
  contactOf,
  conversationOf,
  type Death,
  flowOf,
  lastRunOf,
  newOutside,
  pass,
  publish,
  saidTo,
  say,
  shop,
  startProcess,
} from './flow-world.ts'
import { openBench, originOf } from './harness.ts'

const person = { id: 'person', kind: 'hand_over' }
const menu = {
  id: 'menu',
  kind: 'menu',
  text: 'Which?',
  list: false,
  again: 'Pardon?',
  options: [
    { label: 'Sales', next: 'person' },
    { label: 'Support', next: 'person' },
  ],
}
const lookup = { id: 'look', kind: 'lookup', url: 'https://crm.example/', save: [], next: 'person' }

test('lets messages of one contact share a run, whoever of two processes hears them', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const [one, other] = [startProcess(bench, outside), startProcess(bench, outside)]
  await publish(one.flows, flowOf([menu, person]))
  for (let contact = 1; contact <= 5; contact++) {
    await Promise.all(
      Array.from({ length: 8 }, (_, nth) =>
        say(bench, nth % 2 === 0 ? one : other, contact, `message ${nth}`),
      ),
    )
    assert.deepEqual(
      saidTo(outside, contact),
      ['Which?'],
      'asked once, and not again for what was still being said',
    )
    const runs = await one.runs.listOf(acme, contactOf(contact), 10)
    assert.deepEqual(
      runs.map(({ state }) => state),
      ['waiting'],
    )
  }
  // And when an answer comes twice at once, it is one answer.
  await bench.clock.tick(30 * SECOND)
  const journalId = 50_000
  await Promise.all([
    say(bench, one, 1, 'sales', { journalId }),
    say(bench, other, 1, 'sales', { journalId }),
  ])
  assert.equal((await lastRunOf(one, 1))?.outcome, 'in_line')
})

test('takes what comes in the same breath as part of what was said, and asks again only later', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const process = startProcess(bench, outside)
  const question = { id: 'q', kind: 'question', text: 'Your name?', save: 'name', next: 'menu' }
  await publish(process.flows, flowOf([question, menu, person]))
  await say(bench, process, 1, 'hello')
  // Sent before it was asked, arrived after it: not the name.
  await say(bench, process, 1, 'is anybody there', { sentAt: bench.clock.now() - 2 * SECOND })
  assert.equal((await lastRunOf(process, 1))?.step, 'q')
  await bench.clock.tick(3 * SECOND)
  await say(bench, process, 1, 'Ana')
  assert.equal(outside.contacts.get(contactOf(1))?.fields['name'], 'Ana')
  await say(bench, process, 1, 'Ana Souza')
  assert.deepEqual(saidTo(outside, 1), ['Your name?', 'Which?'])
  await bench.clock.tick(11 * SECOND)
  await say(bench, process, 1, 'hm')
  assert.deepEqual(saidTo(outside, 1), ['Your name?', 'Which?', 'Pardon?'])
})

test('drops a run that is active since 5 minutes before the next one of the contact starts', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  outside.lookup = () => ({})
  const death: Death = { left: 2, isDead: false }
  const dying = startProcess(bench, outside, { death })
  await publish(dying.flows, flowOf([lookup, person]))
  await assert.rejects(say(bench, dying, 1, 'hello'))
  const process = startProcess(bench, outside)
  assert.equal((await lastRunOf(process, 1))?.state, 'active', 'the process ended in the middle of it')
  await bench.clock.tick(5 * MINUTE)
  await say(bench, process, 1, 'hello?')
  assert.equal((await process.runs.listOf(acme, contactOf(1), 10)).length, 1, 'not a moment too early')

  death.isDead = false
  death.left = 2
  await assert.rejects(say(bench, dying, 2, 'hello'))
  await bench.clock.tick(5 * MINUTE + 1)
  await say(bench, process, 2, 'hello?')
  const runs = await process.runs.listOf(acme, contactOf(2), 10)
  assert.deepEqual(new Set(runs.map(({ outcome }) => outcome)), new Set(['in_line', 'orphaned']))
})

test('hands who was left in the middle of a flow to a person when a process starts after 5 minutes', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  outside.lookup = () => ({})
  const dying = startProcess(bench, outside, { death: { left: 2, isDead: false } })
  await publish(dying.flows, flowOf([lookup, person]))
  await assert.rejects(say(bench, dying, 1, 'hello', { journalId: 77 }))
  await bench.clock.tick(6 * MINUTE)
  const process = startProcess(bench, outside)
  await process.runner.start()
  assert.equal((await lastRunOf(process, 1))?.outcome, 'orphaned')
  assert.notEqual((await conversationOf(bench, 1))?.waitingSince, null)
  await say(bench, process, 1, 'hello', { journalId: 77 })
  assert.equal(
    (await process.runs.listOf(acme, contactOf(1), 10)).length,
    1,
    'the same message starts nothing',
  )
  await process.runner.stop()
})

test('ends a walk that hangs after 5 minutes with a person, and lets nothing of it be stored later', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  let answer: (value: unknown) => void = () => {}
  outside.lookup = () => new Promise((resolve) => (answer = resolve))
  const process = startProcess(bench, outside)
  await publish(process.flows, flowOf([lookup, person]))
  const hanging = codeOf(say(bench, process, 1, 'hello', { journalId: 9 }))
  await until(() => process.runner.getActiveFlowsStats().total === 1, 'it walks')
  await bench.clock.tick(45 * SECOND)
  assert.deepEqual(process.runner.getActiveFlowsStats(), {
    total: 1,
    oldestMs: 45 * SECOND,
    flows: [{ tenant: acme, sector: 'default', count: 1, oldestMs: 45 * SECOND }],
  })
  await until(async () => (await lastRunOf(process, 1))?.state === 'active', 'it has begun')
  await bench.clock.tick(5 * MINUTE)
  assert.equal(await hanging, 'KERNEL_DEADLINE_PASSED')
  assert.equal((await lastRunOf(process, 1))?.outcome, 'orphaned')
  assert.notEqual((await conversationOf(bench, 1))?.waitingSince, null)
  answer({})
  await settle()
  await say(bench, process, 1, 'hello', { journalId: 9 })
  assert.equal((await process.runs.listOf(acme, contactOf(1), 10)).length, 1)
  assert.equal(process.runner.getActiveFlowsStats().total, 0)
})

test('warns once above 100 flows that walk, refuses none, and lets more than 200 wait', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const answers: ((value: unknown) => void)[] = []
  outside.lookup = () => new Promise((resolve) => answers.push(resolve))
  const warnings: string[] = []
  const log: Logger = { ...silentLogger, warn: (_fields, message) => warnings.push(message) }
  const process = startProcess(bench, outside, { log })
  await publish(process.flows, flowOf([lookup, person]))
  const hear = (count: number, from: number) =>
    Array.from({ length: count }, (_, nth) => say(bench, process, from + nth, 'hello'))
  const first = hear(WARN_ACTIVE_FLOWS, 1)
  await until(() => answers.length === WARN_ACTIVE_FLOWS, 'a hundred walk')
  assert.equal(warnings.length, 0)
  const rest = hear(MAX_ACTIVE_FLOWS - WARN_ACTIVE_FLOWS + 5, 1001)
  await until(() => answers.length === MAX_ACTIVE_FLOWS, 'two hundred walk')
  assert.equal(process.runner.getActiveFlowsStats().total, MAX_ACTIVE_FLOWS)
  assert.equal(warnings.filter((one) => one.startsWith('many flows')).length, 1)
  await settle()
  assert.equal(answers.length, MAX_ACTIVE_FLOWS, 'the others wait')
  const all = Promise.all([...first, ...rest])
  let answered = 0
  const loop = until(() => {
    for (; answered < answers.length; answered++) answers[answered]?.({})
    return answered === MAX_ACTIVE_FLOWS + 5
  }, 'all have walked')
  await Promise.all([all, loop])
  assert.equal(process.runner.getActiveFlowsStats().total, 0)
})

test('goes to a step’s fallback when it fails, else to the sector’s line, else to the default one', async (t) => {
  const bench = await openBench(t)
  await bench.conversations.sectors.default(acme)
  const sector = await bench.sector('sales', 'manual')
  const outside = newOutside()
  outside.lookup = () => assert.fail('down')
  const process = startProcess(bench, outside)
  const sorry = { id: 'sorry', kind: 'send', text: 'Sorry', next: 'person' }
  await publish(process.flows, flowOf([{ ...lookup, fallback: 'sorry' }, sorry, person]))
  await say(bench, process, 1, 'hello')
  assert.deepEqual(saidTo(outside, 1), ['Sorry'])
  await publish(process.flows, flowOf([{ ...lookup, fallback: 'again' }, { ...lookup, id: 'again' }, person]))
  await say(bench, process, 2, 'hello')
  assert.equal((await conversationOf(bench, 2))?.sector, 'general', 'both failed')
  // A run of a sector's flow goes to the line of that sector.
  await publish(process.flows, flowOf([{ id: 's', kind: 'sector', sector }]))
  await publish(process.flows, flowOf([lookup, person], { starts: { sector } }), 'sales')
  await say(bench, process, 3, 'hello')
  assert.equal((await conversationOf(bench, 3))?.sector, sector)
  // And one that names a sector which is gone, to the default one.
  await publish(process.flows, flowOf([{ id: 'h', kind: 'hand_over', sector: 'gone' }]))
  await say(bench, process, 4, 'hello')
  assert.equal((await conversationOf(bench, 4))?.sector, 'general')
  assert.deepEqual(
    (await bench.events.read({ after: 0, limit: 1000 }))
      .filter(({ type }) => type === 'flow.failed')
      .map(({ payload }) => (payload as { step: string }).step),
    ['look', 'look', 'again', 'look'],
  )
})

test('gives up on a flow that goes in circles, and on one whose step is gone', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const process = startProcess(bench, outside)
  // The linter would find it; what is in the database may be older than the linter.
  const say1 = { id: 'a', kind: 'send', text: 'a', next: 'b' }
  await publish(process.flows, flowOf([say1, { id: 'b', kind: 'send', text: 'b', next: 'a' }]))
  await say(bench, process, 1, 'hello')
  assert.equal(saidTo(outside, 1).length, 100)
  assert.equal((await lastRunOf(process, 1))?.outcome, 'in_line')
  await publish(process.flows, flowOf([{ ...say1, next: 'nowhere' }]))
  await say(bench, process, 2, 'hello')
  assert.equal((await lastRunOf(process, 2))?.outcome, 'in_line')
})

test('lets words that always work win over a flow', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const process = startProcess(bench, outside)
  await publish(process.flows, flowOf([menu, person]))
  for (let contact = 1; contact <= 4; contact++) await say(bench, process, contact, 'hello')
  await bench.clock.tick(MINUTE)
  assert.equal(await process.runner.isWaiting(originOf(0), contactOf(1)), true)

  await say(bench, process, 1, 'HUMAN', { heard: 'wants_person' })
  assert.equal((await lastRunOf(process, 1))?.outcome, 'wants_person')
  assert.notEqual((await conversationOf(bench, 1))?.waitingSince, null)
  assert.equal(await process.runner.isWaiting(originOf(0), contactOf(1)), false)

  await say(bench, process, 2, 'STOP', { heard: 'opted_out' })
  assert.equal((await lastRunOf(process, 2))?.outcome, 'opted_out')
  const left = await conversationOf(bench, 2)
  assert.deepEqual([left?.state, left?.sector], ['open', 'general'])
  assert.deepEqual(saidTo(outside, 2), ['Which?'], 'nothing more is said')

  // Asked once; then it is an answer as any other.
  await say(bench, process, 3, 'sair', { heard: 'asks_to_stop' })
  assert.match(saidTo(outside, 3)[1] ?? '', /PARAR/, 'in the language of the number')
  assert.equal(await process.runner.isWaiting(originOf(0), contactOf(3)), true)
  await bench.clock.tick(MINUTE)
  await say(bench, process, 3, 'sair', { heard: 'asks_to_stop' })
  assert.deepEqual(saidTo(outside, 3).slice(2), ['Pardon?'])
  await bench.clock.tick(MINUTE)
  await say(bench, process, 3, 'sales')
  assert.equal((await lastRunOf(process, 3))?.outcome, 'in_line')

  // Before any flow: to a person at once.
  await say(bench, process, 5, 'atendente', { heard: 'wants_person' })
  assert.notEqual((await conversationOf(bench, 5))?.waitingSince, null)
  assert.equal(await lastRunOf(process, 5), undefined)
  // Opted out before any flow: none begins, also not by the same message again.
  const journalId = await say(bench, process, 6, 'STOP', { heard: 'opted_out' })
  await say(bench, process, 6, 'STOP', { journalId, heard: 'nothing' })
  assert.notEqual((await conversationOf(bench, 6))?.waitingSince, null)
  assert.equal(await lastRunOf(process, 6), undefined)
})

test('leaves a conversation alone that a person took, and ends the flow', async (t) => {
  const bench = await openBench(t)
  const ana = await bench.operator('ana', 10, [])
  const outside = newOutside()
  const process = startProcess(bench, outside)
  await publish(process.flows, flowOf([menu, person]))
  const take = async (contact: number): Promise<void> => {
    const { id } = (await conversationOf(bench, contact)) ?? assert.fail()
    await bench.conversations.assign({ tenant: acme, id }, { by: ana.id, operator: ana.id })
  }
  await say(bench, process, 1, 'hello')
  await take(1)
  await bench.clock.tick(MINUTE)
  await say(bench, process, 1, '1')
  assert.deepEqual(saidTo(outside, 1), ['Which?'])
  assert.equal((await lastRunOf(process, 1))?.outcome, 'taken_over')
  // Also when nobody writes, and its time is up.
  await say(bench, process, 2, 'hello')
  await take(2)
  await process.runner.start()
  await pass(bench.clock, process, HOUR)
  assert.equal((await lastRunOf(process, 2))?.outcome, 'taken_over')
  assert.equal((await conversationOf(bench, 2))?.operator, ana.id)
  await process.runner.stop()
})

test('puts everybody in the default line while no flow is published, where there is a line', async (t) => {
  const bench = await openBench(t)
  const process = startProcess(bench, newOutside())
  const journalId = await say(bench, process, 1, 'hello')
  await say(bench, process, 1, 'hello', { journalId })
  const alone = await conversationOf(bench, 1)
  // Nobody made a sector: nobody looks into a line, so there is none.
  assert.deepEqual([alone?.sector, alone?.state, alone?.waitingSince], [null, 'open', null])
  await bench.sector('sales')
  await say(bench, process, 1, 'hello again')
  const conversation = await conversationOf(bench, 1)
  assert.deepEqual([conversation?.sector, conversation?.state], ['sales', 'open'])
  assert.deepEqual(
    (await bench.eventTypes()).filter((type) => type.startsWith('conversation')),
    ['conversation.opened', 'conversation.waiting'],
  )
})

test('says what is to be said once only again when its time is over', async (t) => {
  const bench = await openBench(t, { reopenWithinMs: 0 })
  const outside = newOutside()
  const process = startProcess(bench, outside)
  await publish(
    process.flows,
    flowOf([{ id: 's', kind: 'send', text: 'Closed', onceInMinutes: 60, next: 'person' }, person]),
  )
  const writes = async (): Promise<void> => {
    await say(bench, process, 1, 'hello')
    const { id } = (await conversationOf(bench, 1)) ?? assert.fail()
    await bench.conversations.close({ tenant: acme, id }, { by: 'api', reason: 'done' })
  }
  await writes()
  await bench.clock.tick(59 * MINUTE)
  await writes()
  assert.deepEqual(saidTo(outside, 1), ['Closed'])
  await bench.clock.tick(MINUTE)
  await writes()
  assert.deepEqual(saidTo(outside, 1), ['Closed', 'Closed'])
})

test('asks for a rating by hand, then closes it', async (t) => {
  const bench = await openBench(t)
  const ana = await bench.operator('ana', 10, [])
  const outside = newOutside()
  const process = startProcess(bench, outside)
  const close = { id: 'c', kind: 'close', satisfaction: { text: '1 to 5?', thanks: 'Thanks' } }
  await publish(process.flows, flowOf([close], { starts: 'by_hand' }), 'survey')
  await publish(process.flows, flowOf([menu, person]))
  const conversation = await bench.write(1)
  await bench.conversations.assign(conversation, { by: 'api', operator: ana.id })
  const assigned = (await conversationOf(bench, 1)) ?? assert.fail()
  const survey = await process.flows.version(acme, 'survey', 1)
  const other = await process.flows.version(acme, 'main', 1)
  assert.equal(await codeOf(process.runner.startByHand(assigned, other)), 'FLOW_NOT_BY_HAND')
  await process.runner.startByHand(assigned, survey)
  assert.equal(await codeOf(process.runner.startByHand(assigned, survey)), 'FLOW_ALREADY_RUNS')
  await bench.clock.tick(30 * SECOND)
  await say(bench, process, 1, '4')
  assert.deepEqual(saidTo(outside, 1), ['1 to 5?', 'Thanks'])
  assert.equal(outside.contacts.get(contactOf(1))?.fields['satisfaction'], '4')
  assert.deepEqual(
    [(await conversationOf(bench, 1))?.state, (await lastRunOf(process, 1))?.outcome],
    ['closed', 'closed'],
  )
})

test('goes on with the version that it began with', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const process = startProcess(bench, outside)
  await publish(process.flows, flowOf([menu, person]))
  await say(bench, process, 1, 'hello')
  await publish(process.flows, flowOf([{ id: 'x', kind: 'hand_over', text: 'New' }]))
  await bench.clock.tick(MINUTE)
  await say(bench, process, 1, 'what?')
  await say(bench, process, 2, 'hello')
  assert.deepEqual([saidTo(outside, 1), saidTo(outside, 2)], [['Which?', 'Pardon?'], ['New']])
})

test('lets one flow serve a start, and gives back what was put', async (t) => {
  const bench = await openBench(t)
  const { flows } = startProcess(bench, newOutside())
  const document = flowOf([person], { description: 'first' })
  assert.equal((await flows.put(acme, 'a', document)).version, 1)
  const puts = await Promise.all([1, 2, 3].map(() => flows.put(acme, 'a', document)))
  assert.deepEqual(new Set(puts.map(({ version }) => version)), new Set([2, 3, 4]))
  assert.equal(await flows.serving(acme, null), undefined)
  await flows.publish(acme, 'a', 2)
  await flows.put(acme, 'b', document)
  assert.equal(await codeOf(flows.publish(acme, 'b', 1)), 'FLOW_STARTS_TAKEN')
  assert.equal(await codeOf(flows.publish(acme, 'b', 9)), 'FLOW_UNKNOWN')
  assert.equal(await codeOf(flows.publish(acme, 'c', 1)), 'FLOW_UNKNOWN')
  assert.equal(await codeOf(flows.publish(acme, 'c', null)), 'FLOW_UNKNOWN')
  await flows.publish(acme, 'a', null)
  await flows.publish(acme, 'b', 1)
  assert.equal((await flows.serving(acme, null))?.name, 'b')
  assert.deepEqual(await flows.document(acme, 'a', 1), document)
  assert.deepEqual(
    (await flows.versions(acme, 'a', { before: 4, limit: 2 })).map(({ version }) => version),
    [3, 2],
  )
  assert.deepEqual(
    (await flows.list(acme)).map(({ name, publishedVersion, lastVersion }) => [
      name,
      publishedVersion,
      lastVersion,
    ]),
    [
      ['a', null, 4],
      ['b', 1, 1],
    ],
  )
})

test('leaves runs of instances alone that another process acts for', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const process = startProcess(bench, outside)
  await publish(process.flows, flowOf([menu, person]))
  for (let contact = 1; contact <= 3; contact++) await say(bench, process, contact, 'hello')
  await process.runner.stop()
  const [other, owner] = [startProcess(bench, outside, { owns: () => false }), startProcess(bench, outside)]
  await bench.clock.tick(2 * HOUR)
  await other.runner.pass(0)
  assert.equal((await lastRunOf(process, 1))?.state, 'waiting')
  await owner.runner.pass(0)
  for (let contact = 1; contact <= 3; contact++) {
    assert.equal((await lastRunOf(process, contact))?.outcome, 'in_line')
  }
  await other.runner.stop()
  await owner.runner.stop()
})

test('follows a contact who proves to be another, and forgets one who is to be forgotten', async (t) => {
  const bench = await openBench(t)
  const outside = newOutside()
  const process = startProcess(bench, outside)
  await publish(
    process.flows,
    flowOf([{ id: 's', kind: 'send', text: 'Hi', onceInMinutes: 60, next: 'menu' }, menu, person]),
  )
  await say(bench, process, 1, 'hello')
  await say(bench, process, 2, 'hello')
  await say(bench, process, 3, 'hello')
  await process.runs.merged({ tenant: acme, from: contactOf(1), to: contactOf(4) })
  assert.equal((await process.runs.liveOf(shop, contactOf(4)))?.step, 'menu')
  assert.notEqual(await process.runs.onceUntil(acme, contactOf(4), 'main s'), 0)
  await process.runs.merged({ tenant: acme, from: contactOf(2), to: contactOf(3) })
  const both = await process.runs.listOf(acme, contactOf(3), 10)
  assert.deepEqual(
    both.map(({ state, outcome }) => [state, outcome]),
    [
      ['waiting', null],
      ['ended', 'merged'],
    ],
  )
  assert.equal(await process.runs.forgetContact(acme, contactOf(3)), 2)
  assert.equal(await process.runs.onceUntil(acme, contactOf(3), 'main s'), 0)
  await process.runs.forgetInstance(shop)
  assert.equal(await process.runs.liveOf(shop, contactOf(4)), undefined)
})

test('sweeps what has ended, and keeps what runs', async (t) => {
  const bench = await openBench(t)
  const process = startProcess(bench, newOutside())
  await publish(process.flows, flowOf([menu, person]))
  const journalId = await say(bench, process, 1, 'hello')
  await say(bench, process, 2, 'hello')
  await bench.clock.tick(MINUTE)
  await say(bench, process, 1, '1')
  // So that nobody's time runs out meanwhile.
  await process.runner.stop()
  await bench.clock.tick(8 * DAY)
  assert.equal(await process.runs.sweep({ endedForMs: 7 * DAY, heardForMs: 30 * DAY }), 1)
  assert.deepEqual(
    [(await lastRunOf(process, 1))?.state, (await lastRunOf(process, 2))?.state],
    [undefined, 'waiting'],
  )
  assert.equal(await process.runs.wasHeard(originOf(journalId)), true)
  await bench.clock.tick(30 * DAY)
  await process.runs.sweep({ endedForMs: 7 * DAY, heardForMs: 30 * DAY })
  assert.equal(await process.runs.wasHeard(originOf(journalId)), false)
})

test('tells of its flows in the log and the events, and of nothing that was said', async (t) => {
  const bench = await openBench(t)
  const lines: string[] = []
  const log: Logger = { ...silentLogger, info: (_fields, line) => lines.push(line) }
  const flows = [
    { tenant: acme, sector: '1', count: 3, oldestMs: 45_999 },
    { tenant: acme, sector: 'default', count: 1, oldestMs: 0 },
  ]
  const clock = new ManualClock()
  const flowLog = new FlowLog({ stats: () => ({ total: 4, oldestMs: 45_999, flows }), clock, log })
  await flowLog.start()
  await settle()
  const own = [
    'flow acme:1: 3 active, oldest 45s',
    'flow acme:default: 1 active, oldest 0s',
    'active flows: 4 | oldest: 45s',
  ]
  assert.deepEqual(lines, own)
  await clock.tick(10 * MINUTE)
  assert.deepEqual(lines, [...own, ...own])
  await flowLog.stop()
  assert.equal(clock.pendingTimers, 0)
  assert.deepEqual(flowLines({ total: 0, oldestMs: 0, flows: [] }), ['active flows: 0 | oldest: 0s'])

  const process = startProcess(bench, newOutside())
  await publish(process.flows, flowOf([menu, person]))
  await say(bench, process, 1, 'a secret')
  await bench.clock.tick(MINUTE)
  await say(bench, process, 1, 'sales, secretly')
  const events = (await bench.events.read({ after: 0, limit: 100 })).filter(({ type }) =>
    type.startsWith('flow.'),
  )
  assert.deepEqual(
    events.map(({ type }) => type),
    ['flow.started', 'flow.ended'],
  )
  assert.doesNotMatch(JSON.stringify(events), /secret|55119/)
  assert.match(JSON.stringify(events[1]?.payload), /"outcome":"in_line"/)
})
