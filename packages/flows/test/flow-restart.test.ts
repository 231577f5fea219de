import assert from 'node:assert/strict'
import { MINUTE, SECOND } from '@eclusa/kernel'
import { testEachDatabase as test } from '@eclusa/storage/test-kit'
import type { OperatorId } from '../src/index.ts'
import {
  contactOf,
  conversationOf,
  type Death,
  flowOf,
  lastRunOf,
  newOutside,
  type Outside,
  pass,
  type Process,
  publish,
  saidTo,
  say,
  startProcess,
} from './flow-world.ts'
import { acme, type Bench, openBench } from './harness.ts'

/** What the contact does: says something half a minute later, or waits so many minutes. */
type Line = string | number

interface Case {
  readonly name: string
  readonly flow: object
  readonly others?: Readonly<Record<string, object>>
  readonly lines: readonly Line[]
  readonly prepare?: (bench: Bench, contact: number, outside: Outside, people: People) => Promise<void>
  /** In the sector, or with `operator`; and how the run ended. */
  readonly ends: string
  readonly said: readonly string[]
  readonly fields?: Readonly<Record<string, string>>
}

interface People {
  readonly ana: OperatorId
  readonly chief: OperatorId
}

const person = { id: 'person', kind: 'hand_over' }
const weekday = [{ from: '09:00', to: '18:00' }]
const menu = {
  id: 'menu',
  kind: 'menu',
  text: 'Which?',
  list: false,
  again: 'Pardon?',
  options: [
    { label: 'Sales', next: 'sales' },
    { label: 'Support', next: 'support' },
  ],
}
const sales = {
  id: 'sales',
  kind: 'assign',
  to: { sector: 'sales', rule: 'random', seed: 7 },
  text: 'One moment',
}
const support = { id: 'support', kind: 'sector', sector: 'support' }

/** Every kind of step, every way out of it. The clock begins on a Monday at noon, UTC. */
const cases = (people: People): readonly Case[] => [
  {
    name: 'send, hand_over',
    flow: flowOf([
      { id: 'a', kind: 'send', text: 'Hi {contact.name}', next: 'b' },
      { id: 'b', kind: 'send', text: 'Once', onceInMinutes: 60, next: 'c' },
      { id: 'c', kind: 'hand_over', sector: 'sales', text: 'Wait' },
    ]),
    lines: ['hello'],
    said: ['Hi Ana', 'Once', 'Wait'],
    ends: 'sales in_line',
  },
  {
    name: 'hours: open',
    flow: flowOf([
      {
        id: 'h',
        kind: 'hours',
        hours: { zone: 'UTC', week: { monday: weekday } },
        open: 'person',
        closed: 'no',
      },
      { id: 'no', kind: 'send', text: 'Closed', next: 'person' },
      person,
    ]),
    lines: ['hello'],
    said: [],
    ends: 'general in_line',
  },
  {
    name: 'hours: closed',
    flow: flowOf([
      {
        id: 'h',
        kind: 'hours',
        hours: { zone: 'UTC', week: { sunday: weekday } },
        open: 'person',
        closed: 'no',
      },
      { id: 'no', kind: 'send', text: 'Closed', next: 'person' },
      person,
    ]),
    lines: ['hello'],
    said: ['Closed'],
    ends: 'general in_line',
  },
  {
    name: 'only_admin',
    flow: flowOf([
      { id: 'o', kind: 'only_admin', yes: 'admin', no: 'person' },
      { id: 'admin', kind: 'assign', to: { admin: true } },
      person,
    ]),
    prepare: async (_bench, contact, { contacts }) =>
      void contacts.set(contactOf(contact), { name: null, number: null, tags: ['only-admin'], fields: {} }),
    lines: ['hello'],
    said: [],
    ends: 'chief assigned',
  },
  {
    name: 'returning',
    flow: flowOf([{ id: 'r', kind: 'returning', next: 'person' }, person]),
    prepare: async (bench, contact, _outside, { ana }) => {
      const { id, tenant } = await bench.write(contact)
      await bench.conversations.assign({ id, tenant }, { by: 'api', operator: ana })
      await bench.conversations.close({ id, tenant }, { by: 'api', reason: 'done' })
    },
    lines: ['hello'],
    said: [],
    ends: 'ana assigned',
  },
  {
    name: 'owner',
    flow: flowOf([{ id: 'o', kind: 'owner', next: 'person' }, person]),
    prepare: async (bench, contact, _outside, { ana }) =>
      bench.conversations.owners.set(acme, contactOf(contact), ana),
    lines: ['hello'],
    said: [],
    ends: 'ana assigned',
  },
  {
    name: 'menu, assign to a sector',
    flow: flowOf([menu, sales, support]),
    lines: ['hello', 'what?', 'SALES'],
    said: ['Which?', 'Pardon?', 'One moment'],
    ends: 'sales in_line',
  },
  {
    name: 'menu: no answer that can be used',
    flow: flowOf([{ ...menu, tries: 2 }, sales, support]),
    lines: ['hello', 'what?', 'why?'],
    said: ['Which?', 'Pardon?'],
    ends: 'general in_line',
  },
  {
    name: 'menu: no answer at all',
    flow: flowOf([{ ...menu, timeOut: { minutes: 5, next: 'sales' } }, sales, support]),
    lines: ['hello', 6],
    said: ['Which?', 'One moment'],
    ends: 'sales in_line',
  },
  {
    name: 'sector, with a flow of its own',
    flow: flowOf([menu, sales, support]),
    others: {
      support: flowOf(
        [
          {
            id: 'q',
            kind: 'question',
            text: 'Your CPF?',
            save: 'cpf',
            answer: { kind: 'cpf' },
            again: 'Eleven digits',
            next: 'thanks',
          },
          { id: 'thanks', kind: 'send', text: 'Thanks, {field.cpf}', next: 'line' },
          { id: 'line', kind: 'hand_over' },
        ],
        { starts: { sector: 'support' } },
      ),
    },
    lines: ['hello', '2', '123', '529.982.247-25'],
    said: ['Which?', 'Your CPF?', 'Eleven digits', 'Thanks, 52998224725'],
    fields: { cpf: '52998224725' },
    ends: 'support in_line',
  },
  {
    name: 'condition, set',
    flow: flowOf([
      {
        id: 'c',
        kind: 'condition',
        cases: [{ when: { value: 'message.words', is: 'contains', to: 'boleto' }, next: 's' }],
        otherwise: 'person',
      },
      {
        id: 's',
        kind: 'set',
        fields: { topic: 'invoice of {contact.name}' },
        addTags: ['invoice'],
        next: 'send',
      },
      { id: 'send', kind: 'send', text: '{field.topic}', next: 'sales' },
      { ...sales, text: undefined },
      person,
    ]),
    lines: ['o BOLETO!'],
    said: ['invoice of Ana'],
    fields: { topic: 'invoice of Ana' },
    ends: 'sales in_line',
  },
  {
    name: 'lookup',
    flow: flowOf([
      {
        id: 'l',
        kind: 'lookup',
        url: 'https://crm.example/{contact.number}',
        save: [{ field: 'plan', from: 'customer.plans.0' }],
        fallback: 'person',
        next: 's',
      },
      { id: 's', kind: 'send', text: 'Plan {field.plan}', next: 'person' },
      person,
    ]),
    prepare: async (_bench, _contact, outside) => {
      outside.lookup = (url) => {
        assert.equal(url, 'https://crm.example/5511999990000')
        return { customer: { plans: ['gold'] } }
      }
    },
    lines: ['hello'],
    said: ['Plan gold'],
    ends: 'general in_line',
  },
  {
    name: 'lookup that fails: its fallback',
    flow: flowOf([
      { id: 'l', kind: 'lookup', url: 'https://crm.example/', save: [], fallback: 's', next: 'person' },
      { id: 's', kind: 'send', text: 'Our system is down', next: 'person' },
      person,
    ]),
    prepare: async (_bench, _contact, outside) => {
      outside.lookup = () => {
        throw new Error('down')
      }
    },
    lines: ['hello'],
    said: ['Our system is down'],
    ends: 'general in_line',
  },
  {
    name: 'assign to an operator',
    flow: flowOf([{ id: 'a', kind: 'assign', to: { operator: people.ana }, text: 'Ana comes' }]),
    lines: ['hello'],
    said: ['Ana comes'],
    ends: 'ana assigned',
  },
  {
    name: 'assign to an operator who is gone: a person',
    flow: flowOf([
      { id: 'a', kind: 'assign', to: { operator: `opr_${'0'.repeat(20)}` }, lineText: 'In line' },
    ]),
    lines: ['hello'],
    said: ['In line'],
    ends: 'general in_line',
  },
  {
    name: 'wait: time passes',
    flow: flowOf([
      { id: 'w', kind: 'wait', minutes: 3, heard: 'person', next: 's' },
      { id: 's', kind: 'send', text: 'Still there?', next: 'person' },
      person,
    ]),
    lines: ['hello', 4],
    said: ['Still there?'],
    ends: 'general in_line',
  },
  {
    name: 'wait: the contact writes',
    flow: flowOf([
      { id: 'w', kind: 'wait', minutes: 3, heard: 'sales', next: 's' },
      { id: 's', kind: 'send', text: 'Still there?', next: 'sales' },
      sales,
    ]),
    lines: ['hello', 'yes'],
    said: ['One moment'],
    ends: 'sales in_line',
  },
  {
    name: 'close, with a rating',
    flow: flowOf([
      {
        id: 'p',
        kind: 'condition',
        cases: [{ when: { value: 'message.words', is: 'set' }, next: 'c' }],
        otherwise: 'person',
      },
      {
        id: 'c',
        kind: 'close',
        reason: 'solved',
        text: 'Bye',
        satisfaction: { text: '1 to 5?', again: 'A number', thanks: 'Thanks' },
      },
      person,
    ]),
    lines: ['hello', 'great', 'a 5!'],
    said: ['Bye', '1 to 5?', 'A number', 'Thanks'],
    fields: { satisfaction: '5' },
    ends: 'closed closed',
  },
  {
    name: 'close, without an answer',
    flow: flowOf([
      {
        id: 'p',
        kind: 'condition',
        cases: [{ when: { value: 'message.words', is: 'set' }, next: 'c' }],
        otherwise: 'person',
      },
      { id: 'c', kind: 'close', satisfaction: { text: '1 to 5?', minutes: 2 } },
      person,
    ]),
    lines: ['hello', 3],
    said: ['1 to 5?'],
    ends: 'closed closed',
  },
]

test('ends in the same way wherever the process is killed, in every kind of step', async (t) => {
  const bench = await openBench(t, { reopenWithinMs: 0 })
  await bench.conversations.sectors.default(acme)
  await bench.sector('sales', 'manual')
  await bench.sector('support', 'manual')
  const ana = await bench.operator('ana', 1000, [])
  const chief = await bench.operator('chief', 1000, [])
  await bench.conversations.operators.change(acme, chief.id, { isAdmin: true })
  const people = { ana: ana.id, chief: chief.id }
  const names = new Map<string, string>([
    [ana.id, 'ana'],
    [chief.id, 'chief'],
  ])
  let contact = 0
  for (const one of cases(people)) {
    const { flows } = startProcess(bench, newOutside())
    const all = Object.entries({ ...one.others, main: one.flow })
    for (const [name, document] of all) await publish(flows, document, name)
    let effects = Number.POSITIVE_INFINITY
    // The first time nobody dies, and the effects are counted.
    for (let dies = 0; dies === 0 || dies < effects; dies++) {
      contact++
      const outside = newOutside()
      await one.prepare?.(bench, contact, outside, people)
      const made = await walk(bench, outside, contact, one.lines, dies)
      if (dies === 0) effects = made.effectCount
      const conversation = await conversationOf(bench, contact)
      const run = await lastRunOf(made.last, contact)
      const who = conversation?.operator ?? null
      const where =
        who === null ? (conversation?.state === 'closed' ? 'closed' : conversation?.sector) : names.get(who)
      const title = `${one.name}, killed after effect ${dies} of ${effects}`
      assert.equal(`${where} ${run?.outcome}`, one.ends, title)
      assert.deepEqual(saidTo(outside, contact), one.said, title)
      assert.deepEqual(outside.contacts.get(contactOf(contact))?.fields ?? {}, one.fields ?? {}, title)
      assert.equal((await made.last.runs.listOf(acme, contactOf(contact), 10)).length, 1, title)
      await made.last.runner.stop()
    }
    for (const [name] of all) await flows.publish(acme, name, null)
  }
})

/** The script, with a process that dies after its effect number `dies`, and one that does not after it. */
async function walk(
  bench: Bench,
  outside: Outside,
  contact: number,
  lines: readonly Line[],
  dies: number,
): Promise<{ readonly last: Process; readonly effectCount: number }> {
  const death: Death = { left: dies === 0 ? Number.POSITIVE_INFINITY : dies, isDead: false }
  let process = startProcess(bench, outside, { death })
  await process.runner.start()
  const reborn = async (): Promise<void> => {
    await process.runner.stop()
    process = startProcess(bench, outside)
    await process.runner.start()
  }
  let journalId = contact * 1000
  for (const line of lines) {
    if (typeof line === 'number') {
      await pass(bench.clock, process, line * MINUTE, death)
      if (death.isDead) {
        death.isDead = false
        death.left = Number.POSITIVE_INFINITY
        await reborn()
      }
      continue
    }
    await bench.clock.tick(30 * SECOND)
    journalId++
    try {
      await say(bench, process, contact, line, { journalId })
    } catch (error) {
      if (!death.isDead) throw error
      death.isDead = false
      death.left = Number.POSITIVE_INFINITY
      await reborn()
      // The inbox has not settled the message: it walks again.
      await say(bench, process, contact, line, { journalId })
    }
  }
  return { last: process, effectCount: process.effectCount() }
}
