import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { plain, readAnswer } from '../src/answer.ts'
import { holds } from '../src/condition.ts'
import {
  type FlowDefinition,
  flowLimits,
  parseFlow,
  renderFlowSchema,
  type Test,
} from '../src/flow-definition.ts'
import { lintFlow } from '../src/flow-linter.ts'
import { chosenFrom, menuText } from '../src/menu-choice.ts'
import { fill } from '../src/placeholders.ts'
import { readTemplate, templateLanguages, templateNames } from '../src/templates.ts'

const person = { id: 'person', kind: 'hand_over' }

function flowOf(steps: readonly object[], more: object = {}): object {
  const [first] = steps as readonly { id?: string }[]
  return { format: 1, starts: 'everybody', start: first?.id ?? 'x', steps, ...more }
}

/** `level field: message` of each finding. */
function lint(document: unknown, around = {}): readonly string[] {
  return lintFlow(document, around).map(({ level, field, message }) => `${level} ${field}: ${message}`)
}

test('the published schema is the one of the code', () => {
  const published = readFileSync(new URL('../flow.schema.json', import.meta.url), 'utf8')
  assert.equal(published.replaceAll('\r\n', '\n'), renderFlowSchema(), 'run `npm run docs`')
})

test('finds nothing wrong with the ready flows, which are the same in each language', () => {
  assert.deepEqual(templateLanguages(), ['en', 'pt-BR'])
  for (const name of templateNames()) {
    const shapes = templateLanguages().map((language) => {
      const document = readTemplate(name, language)
      assert.deepEqual(lint(document), [], `${language}/${name}`)
      return (document as FlowDefinition).steps.map(({ id, kind }) => `${id} ${kind}`)
    })
    assert.deepEqual(shapes[0], shapes[1], name)
  }
  assert.equal(templateNames().length, 5)
  assert.equal(readTemplate('../package', 'en'), undefined)
  assert.equal(readTemplate('departments', '..'), undefined)
})

test('names the step and the field of what has the wrong form', () => {
  assert.deepEqual(
    lint(
      flowOf([
        { id: 'a', kind: 'dance' },
        { id: 'b', kind: 'menu', text: ' ', options: 'x', nxt: 1 },
        { id: 'c', kind: 'assign', to: { operator: 'ana' } },
        { kind: 'send' },
        { id: 'd', kind: 'hours', hours: { zone: 'Mars' }, open: 'a', closed: 'a' },
        {
          id: 'e',
          kind: 'hours',
          hours: { zone: 'UTC', week: { monday: [{ from: '9', to: '18:00' }] } },
          open: 'a',
          closed: 'a',
        },
        { id: 'f', kind: 'wait', minutes: 99_999, next: 'a' },
        { id: 'G', kind: 'hand_over' },
      ]),
    ),
    [
      'error steps.0.kind: Step "a": kind must be one of send, hours, only_admin, returning, owner, menu, question, condition, lookup, set, sector, assign, hand_over, wait, close',
      'error steps.1.text: Step "b": text must not be empty',
      'error steps.1.options: Step "b": options must be a list of options',
      'error steps.1.nxt: Step "b": nxt is not known',
      'error steps.2.to.operator: Step "c": to.operator must look like opr_ and 20 letters or digits',
      'error steps.3.id: The step at place 4: id must be the id of a step',
      'error steps.3.text: The step at place 4: text must be a text',
      'error steps.3.next: The step at place 4: next must be the id of a step',
      'error steps.4.hours.zone: Step "d": hours.zone must be the name of a time zone such as America/Sao_Paulo',
      'error steps.5.hours.week.monday.0.from: Step "e": hours.week.monday.0.from must be a time of the day, 00:00 to 23:59',
      'error steps.6.minutes: Step "f": minutes must be at most 10080 minutes (7 days)',
      'error steps.7.id: Step "G": id must be 1 to 40 lower-case letters, digits, "-" or "_"',
    ],
  )
  for (const nothing of [null, undefined, 1, 'x', [], {}]) assert.notDeepEqual(lint(nothing), [])
})

test('refuses a document that is too long or too deep, without walking into it', () => {
  const long = flowOf([{ ...person, note: 'x'.repeat(flowLimits.bytes) }])
  assert.deepEqual(lint(long), [`error : The flow must have at most ${flowLimits.bytes} bytes`])
  const deep = JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`) as unknown
  assert.deepEqual(lint(deep), ['error : The flow must be at most 32 levels deep'])
})

test('finds targets that are no steps, and ids that are taken', () => {
  assert.deepEqual(
    lint(
      flowOf([{ id: 'a', kind: 'send', text: 'hi', next: 'b', fallback: 'c' }, person, person], {
        start: 'z',
      }),
    ),
    [
      'error steps.2.id: Step "person" has the id of a step before it',
      'error start: The flow begins at "z", which is no step',
      'error steps.0.next: Step "a" goes to "b" (next), which is no step',
      'error steps.0.fallback: Step "a" goes to "c" (fallback), which is no step',
    ],
  )
})

test('finds steps that are never reached, loops without a wait, and a flow without a person', () => {
  const say = (id: string, next: string) => ({ id, kind: 'send', text: 'hi', next })
  assert.deepEqual(lint(flowOf([say('a', 'b'), say('b', 'c'), say('c', 'b'), person])), [
    'error steps.3: Step "person" is never reached',
    'error steps.1: Step "b" is in a loop without a wait: b → c → b',
    'error steps: The flow has no way to a person',
  ])
  const menu = {
    id: 'a',
    kind: 'menu',
    text: 'Which?',
    options: [
      { label: 'again', next: 'b' },
      { label: 'me', next: 'person' },
    ],
  }
  assert.deepEqual(lint(flowOf([menu, say('b', 'a'), person])), [], 'a menu waits')
  assert.deepEqual(lint(flowOf([{ id: 'a', kind: 'close' }])), [
    'error steps: The flow has no way to a person',
  ])
  assert.deepEqual(lint(flowOf([{ id: 'a', kind: 'close' }], { starts: 'by_hand' })), [])
})

test('finds a menu without options, and options that cannot be told apart', () => {
  const menu = (options: readonly object[]) =>
    flowOf([{ id: 'm', kind: 'menu', text: 'Which?', options }, person])
  assert.deepEqual(lint(menu([])), ['error steps.0.options: Step "m" is a menu without options'])
  assert.deepEqual(
    lint(
      menu([
        { label: 'Sales', next: 'person' },
        { key: '1', label: 'sáles!', words: ['x'], next: 'person' },
      ]),
    ),
    [
      'error steps.0.options.1: Step "m" has "1" for the options 1 and 2',
      'error steps.0.options.1: Step "m" has "sales" for the options 1 and 2',
    ],
  )
})

test('judges conditions, questions, lookups and placeholders', () => {
  const question = (answer: object) =>
    flowOf([{ id: 'q', kind: 'question', text: '?', save: 'a', answer, next: 'person' }, person])
  assert.match(lint(question({ kind: 'choice' }))[0] ?? '', /must have choices/)
  assert.match(lint(question({ kind: 'text', choices: ['a'] }))[0] ?? '', /must have choices/)
  assert.match(lint(question({ kind: 'number', min: 3, max: 2 }))[0] ?? '', /min is above max/)
  const when = (test: object) =>
    flowOf([
      { id: 'c', kind: 'condition', cases: [{ when: test, next: 'person' }], otherwise: 'person' },
      person,
    ])
  assert.match(lint(when({ value: 'field.a', is: 'equals' }))[0] ?? '', /compares field.a with nothing/)
  assert.match(
    lint(when({ all: [{ value: 'time.hour', is: 'one_of', to: 3 }] }))[0] ?? '',
    /"one_of" takes a list/,
  )
  assert.match(
    lint(when({ not: { value: 'contact.tags', is: 'set', to: 'x' } }))[0] ?? '',
    /"set" with something/,
  )
  const lookup = (more: object) =>
    flowOf([{ id: 'l', kind: 'lookup', save: [], next: 'person', fallback: 'person', ...more }, person])
  assert.match(
    lint(lookup({ url: 'https://{field.a}.example/' }))[0] ?? '',
    /anybody could choose the server/,
  )
  assert.match(lint(lookup({ url: 'https://a.example/', body: {} }))[0] ?? '', /GET with a body/)
  const refusalOfUrl = (url: string) => (url.startsWith('http:') ? 'plainHttp' : null)
  assert.match(
    lint(lookup({ url: 'http://a.example/{field.x}' }), { refusalOfUrl })[0] ?? '',
    /not called: plainHttp/,
  )
  assert.deepEqual(
    lint(flowOf([{ id: 's', kind: 'send', text: '{field.a} {contact.age}', next: 'person' }, person])),
    [
      'error steps.0.text: Step "s" has the placeholder {contact.age}, which is none: there is contact.name, contact.number and field.NAME',
      'warning steps.0.text: Step "s" uses {field.a}, which no step of this flow sets; it is empty unless the contact has it',
    ],
  )
})

test('finds sectors and operators that do not exist, and a sector that leads to itself', () => {
  const around = { sectors: new Set(['sales']), operators: new Set<string>() }
  const operator = `opr_${'0'.repeat(20)}`
  assert.deepEqual(
    lint(
      flowOf(
        [
          {
            id: 'm',
            kind: 'menu',
            text: '?',
            options: ['a', 'b', 'c', 'd'].map((id) => ({ label: id, next: id })),
          },
          { id: 'a', kind: 'assign', to: { sector: 'sales' } },
          { id: 'b', kind: 'hand_over', sector: 'gone' },
          { id: 'c', kind: 'assign', to: { operator } },
          { id: 'd', kind: 'sector', sector: 'sales' },
        ],
        { starts: { sector: 'sales' } },
      ),
      around,
    ),
    [
      'error steps.2.sector: Step "b" names the sector "gone", which does not exist',
      'error steps.3.to.operator: Step "c" names an operator who does not exist',
      'error steps.4.sector: Step "d" goes on with the flow of the sector whose flow this is',
    ],
  )
})

test('fills the defaults in', () => {
  const parsed = parseFlow(
    flowOf([{ id: 'q', kind: 'question', text: '?', save: 'name', next: 'person' }, person]),
  )
  assert.ok('flow' in parsed)
  assert.deepEqual(parsed.flow.steps[0], {
    id: 'q',
    kind: 'question',
    text: '?',
    save: 'name',
    answer: { kind: 'text' },
    tries: 3,
    next: 'person',
  })
})

test('reads answers in the ways that people write them', () => {
  const read = (kind: Parameters<typeof readAnswer>[0]['kind'], words: string, more = {}) =>
    readAnswer({ kind, ...more }, words)
  const cases: readonly (readonly [string | null, string | null])[] = [
    [read('text', '  Ana Souza '), 'Ana Souza'],
    [read('text', ' '), null],
    [read('text', 'ab', { min: 3 }), null],
    [read('number', '1.234,56'), '1234.56'],
    [read('number', '1,234.56'), '1234.56'],
    [read('number', 'R$ 12,50'), '12.5'],
    [read('number', '1.000'), '1000'],
    [read('number', '-3'), '-3'],
    [read('number', '0', { min: 1 }), null],
    [read('number', 'twelve'), null],
    [read('digits', '123-45', { min: 5, max: 5 }), '12345'],
    [read('digits', '12a'), null],
    [read('email', ' Ana@Example.COM'), 'ana@example.com'],
    [read('email', 'ana@example'), null],
    [read('email', 'a@b@c.de'), null],
    [read('phone', '+55 (11) 99999-0000'), '5511999990000'],
    [read('phone', '0800'), null],
    [read('date', '31/12/2026'), '2026-12-31'],
    [read('date', '1.2.26'), '2026-02-01'],
    [read('date', '2026-2-1'), '2026-02-01'],
    [read('date', '30/02/2026'), null],
    [read('yes_no', 'Sim!'), 'yes'],
    [read('yes_no', 'NÃO'), 'no'],
    [read('yes_no', 'maybe'), null],
    [read('choice', 'médio', { choices: ['Pequeno', 'Medio'] }), 'Medio'],
    [read('choice', '1', { choices: ['Pequeno', 'Medio'] }), 'Pequeno'],
    [read('choice', '3', { choices: ['Pequeno', 'Medio'] }), null],
    [read('cpf', '529.982.247-25'), '52998224725'],
    [read('cpf', '529.982.247-24'), null],
    [read('cpf', '111.111.111-11'), null],
    [read('cnpj', '11.222.333/0001-81'), '11222333000181'],
    [read('cnpj', '12.abc.345/01de-35'), '12ABC34501DE35'],
    [read('cnpj', '12.ABC.345/01DE-36'), null],
  ]
  for (const [nth, [got, wanted]] of cases.entries()) assert.equal(got, wanted, `case ${nth}`)
})

test('finds the option that is meant, and none when it could be two', () => {
  const parsed = parseFlow(
    flowOf([
      {
        id: 'm',
        kind: 'menu',
        text: 'Which?',
        options: [
          { label: 'Vendas', words: ['comprar', 'preço'], next: 'person' },
          { label: 'Segunda via', words: ['boleto'], next: 'person' },
          { key: '9', label: 'Outro assunto', next: 'person' },
        ],
      },
      person,
    ]),
  )
  assert.ok('flow' in parsed)
  const [menu] = parsed.flow.steps
  assert.ok(menu?.kind === 'menu')
  assert.equal(menuText(menu), 'Which?\n\n1. Vendas\n2. Segunda via\n9. Outro assunto')
  const chosen = (words: string): string | null => chosenFrom(menu, words)?.label ?? null
  for (const words of [
    '1',
    ' 1 ',
    '1.',
    '1)',
    '01',
    'vendas',
    'VENDAS!',
    'opção 1',
    '1 - vendas',
    'quero comprar',
    'qual o preço?',
  ])
    assert.equal(chosen(words), 'Vendas', words)
  for (const words of ['2', 'boleto', 'segunda via', 'preciso da segunda via por favor'])
    assert.equal(chosen(words), 'Segunda via', words)
  assert.equal(chosen('9'), 'Outro assunto')
  for (const words of ['', '3', '12', 'bom dia', 'comprar ou boleto', 'vendaval', '10 vendas'])
    assert.equal(chosen(words), null, words)
})

test('takes no longer for words that are made to take long', () => {
  // A pattern that looks for signs at the end would be tried from each of these.
  const words = `a${'!'.repeat(60_000)}b ${'\u00bf'.repeat(60_000)}c${' !'.repeat(30_000)}`
  assert.equal(plain(words).length, 120_004)
  assert.equal(plain(' ¡¡Olá,  MUNDO!! 👍 '), 'ola, mundo')
  assert.equal(plain('?!'), '')
  assert.equal(plain('👍Olá👍!'), 'ola')
})

test('compares what conditions name', () => {
  const facts = {
    contact: { name: 'Ana', number: '5511999990000', tags: ['vip', 'São Paulo'], fields: {} },
    message: { kind: 'text', words: 'Quero o BOLETO, por favor', sentAt: 0 },
    fields: { plan: 'Gold', age: '30', empty: ' ' },
    // A Saturday, 21:30 in São Paulo, where it is still Saturday; Sunday in UTC.
    now: Date.UTC(2026, 10, 29, 0, 30),
  } as const
  const zone = 'America/Sao_Paulo'
  const cases: readonly (readonly [Test, boolean])[] = [
    [{ value: 'message.words', is: 'contains', to: 'boleto' }, true],
    [{ value: 'message.words', is: 'contains', to: '' }, false],
    [{ value: 'message.words', is: 'begins_with', to: 'quero' }, true],
    [{ value: 'message.kind', is: 'equals', to: 'media' }, false],
    [{ value: 'contact.tags', is: 'equals', to: 'sao paulo' }, true],
    [{ value: 'contact.tags', is: 'one_of', to: ['a', 'VIP'] }, true],
    [{ value: 'contact.number', is: 'begins_with', to: '55' }, true],
    [{ value: 'contact.name', is: 'set' }, true],
    [{ value: 'field.plan', is: 'equals', to: 'gold' }, true],
    [{ value: 'field.age', is: 'above', to: 9 }, true],
    [{ value: 'field.age', is: 'below', to: '100' }, true],
    [{ value: 'field.none', is: 'below', to: 100 }, false],
    [{ value: 'field.empty', is: 'set' }, false],
    [{ value: 'field.constructor', is: 'set' }, false],
    [{ value: 'time.weekday', is: 'equals', to: 'saturday', zone }, true],
    [{ value: 'time.weekday', is: 'equals', to: 'sunday' }, true],
    [{ value: 'time.hour', is: 'equals', to: 21, zone }, true],
    [{ value: 'time.date', is: 'below', to: '2026-11-29', zone }, true],
    [
      {
        any: [
          { value: 'contact.name', is: 'equals', to: 'x' },
          { not: { value: 'field.plan', is: 'equals', to: 'x' } },
        ],
      },
      true,
    ],
    [
      {
        all: [
          { value: 'contact.name', is: 'equals', to: 'x' },
          { value: 'contact.name', is: 'set' },
        ],
      },
      false,
    ],
  ]
  for (const [test, wanted] of cases) assert.equal(holds(test, facts), wanted, JSON.stringify(test))
})

test('puts values into texts, once, and leaves alone what is no placeholder', () => {
  const named = { contactName: 'Ana', contactNumber: null, fields: { a: '{field.b}', b: 'x/y' } }
  assert.equal(
    fill('Hi {contact.name}{contact.number}, {field.a} {field.none}{json} {}', named),
    'Hi Ana, {field.b} {json} {}',
  )
  assert.equal(fill('/{field.b}', named, encodeURIComponent), '/x%2Fy')
})
