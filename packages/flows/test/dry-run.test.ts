import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dryRun, type DryRunLine, type DryRunReport } from '../src/dry-run.ts'
import { parseFlow } from '../src/flow-definition.ts'
import { readTemplate, templateLanguages, templateNames } from '../src/templates.ts'

/** A Monday at noon, UTC. */
const startAt = Date.UTC(2026, 0, 5, 12)

async function tried(
  document: object | undefined,
  lines: readonly DryRunLine[],
  more: object = {},
): Promise<DryRunReport> {
  const parsed = parseFlow(document)
  assert.ok('flow' in parsed)
  return dryRun({ definition: parsed.flow, lines, startAt, ...more })
}

/** `who: text` of each entry. */
function told({ entries }: DryRunReport): readonly string[] {
  return entries.map(({ who, text }) => `${who}: ${text.split('\n')[0]}`)
}

test('walks a contact through a menu, and shows what is said and where it ends', async () => {
  const report = await tried(readTemplate('departments', 'en'), [
    { say: 'hi' },
    { say: 'cheese' },
    { say: 'an invoice' },
  ])
  assert.deepEqual(told(report), [
    'contact: hi',
    'flow: Hello! What can we help you with? Answer with the number.',
    'contact: cheese',
    'flow: I did not find that among the options. Please answer with 1, 2 or 3, or write HUMAN to speak with a person.',
    'contact: an invoice',
    'event: in line of the sector "billing"',
  ])
  assert.deepEqual([report.outcome, report.sector, report.waitsAt], ['in_line', 'billing', null])
  assert.deepEqual(
    report.entries.map(({ afterMs }) => afterMs),
    [0, 0, 30_000, 30_000, 60_000, 60_000],
  )
})

test('lets time pass, and tells where a flow waits', async () => {
  const departments = readTemplate('departments', 'pt-BR')
  const waits = await tried(departments, [{ say: 'oi' }, { waitMinutes: 59 }])
  assert.deepEqual([waits.waitsAt, waits.outcome], ['menu', null])
  const over = await tried(departments, [{ say: 'oi' }, { waitMinutes: 61 }])
  assert.deepEqual(told(over).slice(2), [
    'flow: Vou chamar alguém para atender você.',
    'event: in line of the sector "default"',
  ])
  assert.equal(over.entries.at(-1)?.afterMs, 60 * 60_000 + 0)
})

test('knows the hours, the contact and who answered them before', async () => {
  const hours = readTemplate('business-hours', 'en')
  // Noon UTC is seven in New York; at three in the afternoon they are there.
  assert.equal((await tried(hours, [{ say: 'hi' }])).entries.length, 3)
  assert.equal((await tried(hours, [{ say: 'hi' }], { startAt: startAt + 3 * 3_600_000 })).entries.length, 2)
  const returning = readTemplate('returning-customer', 'en')
  assert.equal((await tried(returning, [{ say: 'hi' }], { lastOperator: 'ana' })).operator, 'ana')
  assert.equal(
    (await tried(returning, [{ say: 'hi' }], { owner: 'bia', lastOperator: 'ana' })).operator,
    'bia',
  )
  assert.equal(
    (await tried(returning, [{ say: 'hi' }], { contact: { tags: ['only-admin'] } })).operator,
    'admin',
  )
  assert.equal((await tried(returning, [{ say: 'hi' }])).sector, 'default')
})

test('runs a survey that starts by hand', async () => {
  const report = await tried(readTemplate('satisfaction', 'pt-BR'), [{ say: 'nota 5' }])
  assert.deepEqual([report.state, report.fields], ['closed', { satisfaction: '5' }])
  assert.equal(told(report).at(-1), 'event: closed: settled')
})

test('answers lookups as it is told, and shows the step that fails without an answer', async () => {
  const document = {
    format: 1,
    starts: 'everybody',
    start: 'look',
    steps: [
      {
        id: 'look',
        kind: 'lookup',
        url: 'https://crm.example/',
        save: [{ field: 'plan', from: 'plan' }],
        fallback: 'person',
        next: 'say',
      },
      { id: 'say', kind: 'send', text: 'Plan {field.plan}', next: 'person' },
      { id: 'person', kind: 'hand_over' },
    ],
  }
  assert.deepEqual(
    told(await tried(document, [{ say: 'hi' }], { lookup: { plan: 'gold' } }))[1],
    'flow: Plan gold',
  )
  assert.equal(
    told(await tried(document, [{ say: 'hi' }]))[1],
    'event: step "look" failed: FLOW_LOOKUP_FAILED',
  )
})

test('comes to an end with every ready flow, whatever is said', async () => {
  for (const language of templateLanguages()) {
    for (const name of templateNames()) {
      const lines = ['?', '?', '?', '?', '?'].map((say) => ({ say }))
      const report = await tried(readTemplate(name, language), lines)
      assert.equal(report.waitsAt, null, `${language}/${name}`)
    }
  }
})
