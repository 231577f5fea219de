import { EclusaError, parseBusinessHours, parseZone } from '@eclusa/kernel'
import { z } from 'zod'

/** The format of the document; a change that old documents do not survive makes it 2. */
const FLOW_FORMAT = 1

export const flowLimits = {
  /** Of the document as JSON. */
  bytes: 65_536,
  steps: 200,
  options: 20,
  cases: 20,
  text: 4096,
  /** Of a wait for a person. */
  waitMinutes: 7 * 24 * 60,
} as const

/** How long a menu or a question waits when its step does not say. */
export const DEFAULT_WAIT_MINUTES = 60
const DEFAULT_TRIES = 3

/** What an answer may have to be; `readAnswer` says how each is read. */
const ANSWER_KINDS = [
  'text',
  'number',
  'digits',
  'email',
  'phone',
  'date',
  'yes_no',
  'choice',
  'cpf',
  'cnpj',
] as const

const stepId = z
  .string('must be the id of a step')
  .regex(/^[a-z0-9][a-z0-9_-]{0,39}$/, 'must be 1 to 40 lower-case letters, digits, "-" or "_"')
  .meta({ id: 'StepId' })
const sectorId = z
  .string('must be the id of a sector')
  .regex(/^[a-z0-9][a-z0-9_-]{0,39}$/, 'must be 1 to 40 lower-case letters, digits, "-" or "_"')
  .meta({ id: 'SectorId' })
const operatorId = z
  .string('must be the id of an operator')
  .regex(/^opr_[0-9a-hjkmnp-tv-z]{20}$/, 'must look like opr_ and 20 letters or digits')
  .meta({ id: 'OperatorId' })
const fieldName = z
  .string('must be the name of a field')
  .regex(/^[a-z][a-z0-9_]{0,39}$/, 'must be at most 40 lower-case letters, digits and _, a letter first')
  .meta({ id: 'FieldName' })
const tag = z
  .string('must be a tag')
  .regex(/^(?! )[^\p{Cc},;|]{1,40}(?<! )$/u, 'must be 1 to 40 characters without , ; and |')
  .meta({ id: 'Tag' })
const text = z
  .string('must be a text')
  .max(flowLimits.text, `must have at most ${flowLimits.text} characters`)
  .refine((value) => value.trim() !== '', 'must not be empty')
  .refine((value) => value.isWellFormed() && !value.includes('\0'), 'must be well-formed Unicode')
  .meta({ id: 'Text' })
const word = z
  .string('must be a text')
  .trim()
  .min(1, 'must not be empty')
  .max(60, 'must have at most 60 characters')
  .meta({ id: 'Word' })
const minutes = z
  .number('must be a number of minutes')
  .min(1 / 60, 'must be at least a second')
  .max(flowLimits.waitMinutes, `must be at most ${flowLimits.waitMinutes} minutes (7 days)`)
  .meta({ id: 'Minutes' })
const tries = z
  .int('must be a whole number')
  .min(1, 'must be 1 to 10')
  .max(10, 'must be 1 to 10')
  .meta({ id: 'Tries' })
const zone = z
  .string('must be the name of a time zone')
  .refine(isZone, 'must be the name of a time zone such as America/Sao_Paulo')

/** What every step has. `fallback`: where it goes when it cannot do its part; without one, to a person. */
const common = { id: stepId, fallback: stepId.optional(), note: z.string().max(1000).optional() }
const timeOut = z.strictObject({ minutes, next: stepId.optional() })

const hours = z
  .unknown()
  .superRefine((input, context) => {
    try {
      parseBusinessHours(input)
    } catch (error) {
      if (!(error instanceof EclusaError)) throw error
      const field = String(error.details['field'])
      const path = field
        .split(/[.[\]]+/)
        .slice(1)
        .filter((key) => key !== '')
      context.addIssue({ code: 'custom', path, message: error.message.slice(field.length + 1) })
    }
  })
  .transform((input) => parseBusinessHours(input))
  .meta({
    type: 'object',
    description: 'zone (IANA), week (days with stretches such as {"from":"08:00","to":"18:00"}), holidays',
    required: ['zone'],
    properties: {
      zone: { type: 'string' },
      week: { type: 'object' },
      holidays: { type: 'array' },
    },
  })

/** What a condition compares: `field.NAME`, or one of these. */
const SUBJECTS = [
  'message.words',
  'message.kind',
  'contact.name',
  'contact.tags',
  'contact.number',
  'time.hour',
  'time.weekday',
  'time.date',
] as const

const subject = z.union(
  [z.enum(SUBJECTS), z.string().regex(/^field\.[a-z][a-z0-9_]{0,39}$/)],
  `must be field.NAME or one of ${SUBJECTS.join(', ')}`,
)
const OPERATORS = ['set', 'equals', 'contains', 'begins_with', 'one_of', 'above', 'below'] as const
const comparison = z
  .strictObject({
    value: subject,
    /** Upper and lower case, accents and blanks around do not count. `above` and `below` compare numbers, else texts. */
    is: z.enum(OPERATORS, `must be one of ${OPERATORS.join(', ')}`),
    to: z.union([z.string().max(1000), z.number(), z.array(z.string().max(1000)).max(100)]).optional(),
    /** Of `time.…`; default UTC. */
    zone: zone.optional(),
  })
  .meta({ id: 'Comparison' })

export type Comparison = z.output<typeof comparison>
export type Test =
  | Comparison
  | { readonly all: readonly Test[] }
  | { readonly any: readonly Test[] }
  | { readonly not: Test }

const testOf = (depth: number): z.ZodType<Test> =>
  depth === 0
    ? comparison
    : z.union(
        [
          comparison,
          z.strictObject({
            all: z
              .array(testOf(depth - 1))
              .min(1)
              .max(20),
          }),
          z.strictObject({
            any: z
              .array(testOf(depth - 1))
              .min(1)
              .max(20),
          }),
          z.strictObject({ not: testOf(depth - 1) }),
        ],
        'must be a comparison {"value", "is", "to"}, or {"all": […]}, {"any": […]}, {"not": …} of such, at most 3 deep',
      )
const test = testOf(3)

const answer = z.strictObject({
  kind: z.enum(ANSWER_KINDS, `must be one of ${ANSWER_KINDS.join(', ')}`),
  /** Characters of a text or digits, or the number itself. */
  min: z.number().optional(),
  max: z.number().optional(),
  /** Of a `choice`. */
  choices: z.array(word).min(1).max(flowLimits.options).optional(),
})
export type AnswerRule = z.output<typeof answer>

/** To the step that follows by itself. */
const next = stepId

const steps = {
  send: z.strictObject({
    ...common,
    kind: z.literal('send'),
    text,
    /** To the same contact at most once in so many minutes. */
    onceInMinutes: z.number().min(1).max(525_600).optional(),
    next,
  }),
  hours: z.strictObject({ ...common, kind: z.literal('hours'), hours, open: stepId, closed: stepId }),
  only_admin: z.strictObject({
    ...common,
    kind: z.literal('only_admin'),
    /** Contacts with this tag are the admin's alone. */
    tag: tag.default('only-admin'),
    yes: stepId,
    no: stepId,
  }),
  returning: z.strictObject({
    ...common,
    kind: z.literal('returning'),
    /** How long the last conversation counts. */
    withinDays: z.int().min(1).max(3650).default(90),
    /** When there is no last operator, or they cannot take it now. */
    next,
  }),
  owner: z.strictObject({
    ...common,
    kind: z.literal('owner'),
    /** When the contact belongs to nobody, or they cannot take it now. */
    next,
  }),
  menu: z.strictObject({
    ...common,
    kind: z.literal('menu'),
    text,
    options: z
      .array(
        z.strictObject({
          /** What the contact types; default: its place in the list. */
          key: word.optional(),
          label: word,
          words: z.array(word).max(20).optional(),
          next: stepId,
        }),
        'must be a list of options',
      )
      .max(flowLimits.options, `must have at most ${flowLimits.options} options`),
    /** Lists the options below the text. */
    list: z.boolean().default(true),
    tries: tries.default(DEFAULT_TRIES),
    again: text.optional(),
    timeOut: timeOut.optional(),
  }),
  question: z.strictObject({
    ...common,
    kind: z.literal('question'),
    text,
    /** The field of the contact that takes the answer. */
    save: fieldName,
    answer: answer.default({ kind: 'text' }),
    tries: tries.default(DEFAULT_TRIES),
    again: text.optional(),
    timeOut: timeOut.optional(),
    next,
  }),
  condition: z.strictObject({
    ...common,
    kind: z.literal('condition'),
    cases: z
      .array(z.strictObject({ when: test, next: stepId }), 'must be a list of cases')
      .min(1, 'must have at least one case')
      .max(flowLimits.cases, `must have at most ${flowLimits.cases} cases`),
    otherwise: stepId,
  }),
  lookup: z.strictObject({
    ...common,
    kind: z.literal('lookup'),
    method: z.enum(['GET', 'POST']).default('GET'),
    /** Placeholders may stand behind the host, where they are percent-encoded. */
    url: z.string('must be a URL').min(1).max(2048),
    headers: z.record(z.string().regex(/^[a-z0-9-]{1,64}$/), z.string().max(4096)).optional(),
    /** Sent as JSON; placeholders may stand in its texts. */
    body: z.json().optional(),
    /** What to keep of the JSON answer: the field, and where it is: `customer.orders.0.state`. */
    save: z
      .array(
        z.strictObject({ field: fieldName, from: z.string().regex(/^[^.\s]{1,100}(\.[^.\s]{1,100}){0,9}$/) }),
      )
      .max(20),
    next,
  }),
  set: z.strictObject({
    ...common,
    kind: z.literal('set'),
    fields: z.record(fieldName, z.string().max(1000).nullable()).optional(),
    addTags: z.array(tag).max(20).optional(),
    removeTags: z.array(tag).max(20).optional(),
    next,
  }),
  /** Goes on with the flow of a sector when it has one; else the sector's operators get it. */
  sector: z.strictObject({ ...common, kind: z.literal('sector'), sector: sectorId }),
  assign: z.strictObject({
    ...common,
    kind: z.literal('assign'),
    to: z.union(
      [
        z.strictObject({ operator: operatorId }),
        z.strictObject({
          sector: sectorId,
          /** Default: the sector's own. */
          rule: z.enum(['least_busy', 'round_robin', 'random']).optional(),
          /** Of \`random\`: the same one chooses the same operator among the same. */
          seed: z.int().min(0).max(4_294_967_295).optional(),
          /** Only operators who are marked for it there. */
          skill: z
            .string()
            .regex(/^[a-z0-9][a-z0-9_-]{0,39}$/, 'must be 1 to 40 lower-case letters, digits, "-" or "_"')
            .optional(),
        }),
        z.strictObject({ admin: z.literal(true) }),
      ],
      'must be {"operator": …}, {"sector": …, "rule": …} or {"admin": true}',
    ),
    /** Said before. */
    text: text.optional(),
    /** Said when they wait in a line: nobody who knows the skill has room for them. */
    lineText: text.optional(),
  }),
  /** A person takes over: the line of this sector, else that of the flow's sector, else the tenant's default one. */
  hand_over: z.strictObject({
    ...common,
    kind: z.literal('hand_over'),
    sector: sectorId.optional(),
    text: text.optional(),
  }),
  wait: z.strictObject({
    ...common,
    kind: z.literal('wait'),
    minutes,
    /** When the contact writes before; default: it does not wake it. */
    heard: stepId.optional(),
    next,
  }),
  close: z.strictObject({
    ...common,
    kind: z.literal('close'),
    reason: z
      .string()
      .regex(/^[a-z0-9][a-z0-9_-]{0,39}$/, 'must be 1 to 40 lower-case letters, digits, "-" or "_"')
      .default('flow'),
    text: text.optional(),
    satisfaction: z
      .strictObject({
        text,
        /** The answers are 1 to this. */
        best: z.int().min(2).max(10).default(5),
        save: fieldName.default('satisfaction'),
        again: text.optional(),
        thanks: text.optional(),
        minutes: minutes.default(DEFAULT_WAIT_MINUTES),
      })
      .optional(),
  }),
} as const

const STEP_KINDS = Object.keys(steps) as readonly (keyof typeof steps)[]

const step = z.discriminatedUnion(
  'kind',
  [
    steps.send,
    steps.hours,
    steps.only_admin,
    steps.returning,
    steps.owner,
    steps.menu,
    steps.question,
    steps.condition,
    steps.lookup,
    steps.set,
    steps.sector,
    steps.assign,
    steps.hand_over,
    steps.wait,
    steps.close,
  ],
  { error: () => `must be one of ${STEP_KINDS.join(', ')}` },
)

const flow = z.strictObject({
  $schema: z.string().max(200).optional(),
  format: z.literal(FLOW_FORMAT, `must be ${FLOW_FORMAT}`),
  description: z.string().max(1000).optional(),
  /**
   * Whom it serves: `everybody` who writes and belongs to no sector yet, the conversations of a `sector`, or, when
   * started `by_hand`, one conversation with whoever has it.
   */
  starts: z.union(
    [z.literal('everybody'), z.literal('by_hand'), z.strictObject({ sector: sectorId })],
    'must be "everybody", "by_hand" or {"sector": …}',
  ),
  start: stepId,
  /** Asked when it is not clear whether the contact wants to be left alone for good. */
  stopQuestion: text.optional(),
  steps: z
    .array(step, 'must be a list of steps')
    .min(1, 'must have at least one step')
    .max(flowLimits.steps, `must have at most ${flowLimits.steps} steps`),
})

export type FlowDefinition = z.output<typeof flow>
export type Step = FlowDefinition['steps'][number]
export type StepOf<Kind extends Step['kind']> = Extract<Step, { readonly kind: Kind }>

/** Levels of lists and objects in a document. */
const MAX_DEPTH = 32

/** What is wrong with a definition: an `error` keeps it from being published. */
export interface Finding {
  readonly level: 'error' | 'warning'
  /** The id of the step; null when it is not about one. */
  readonly step: string | null
  /** Where in the document: `steps.3.options`. */
  readonly field: string
  /** A whole sentence that names the step. */
  readonly message: string
}

/** The definition, with its defaults filled in; or what is wrong with its form, which is all in errors. */
export function parseFlow(
  input: unknown,
): { readonly flow: FlowDefinition } | { readonly findings: readonly Finding[] } {
  const tooMuch = isDeeperThan(MAX_DEPTH, input)
    ? `must be at most ${MAX_DEPTH} levels deep`
    : Buffer.byteLength(JSON.stringify(input ?? null)) > flowLimits.bytes
      ? `must have at most ${flowLimits.bytes} bytes`
      : null
  if (tooMuch !== null) {
    return { findings: [{ level: 'error', step: null, field: '', message: `The flow ${tooMuch}` }] }
  }
  const parsed = flow.safeParse(input)
  if (parsed.success) return { flow: parsed.data }
  return { findings: parsed.error.issues.slice(0, 50).map((issue) => findingOf(issue, input)) }
}

/** The JSON Schema of a definition as people write it: the text of flow.schema.json. */
export function renderFlowSchema(): string {
  const schema = {
    $id: 'urn:eclusa:flow:1',
    title: 'Eclusa flow',
    ...z.toJSONSchema(flow, { io: 'input', unrepresentable: 'any' }),
  }
  return `${JSON.stringify(schema, null, 2)}\n`
}

/** Whoever walks into a value level by level must know first that its stack suffices. */
function isDeeperThan(max: number, value: unknown): boolean {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > max) return true
    level = level.flatMap((one) => (typeof one === 'object' && one !== null ? Object.values(one) : []))
  }
  return false
}

function findingOf(issue: z.core.$ZodIssue, input: unknown): Finding {
  // Inside a union the deepest fault is the one that is meant.
  const { path, message } = deepest(issue)
  const nth = path[0] === 'steps' && typeof path[1] === 'number' ? path[1] : null
  const step = nth === null ? null : idOf(input, nth)
  const inner = nth === null ? path : path.slice(2)
  const where = inner.length === 0 ? '' : `${inner.join('.')} `
  const who = nth === null ? 'The flow' : step === null ? `The step at place ${nth + 1}` : `Step "${step}"`
  return { level: 'error', step, field: path.join('.'), message: `${who}: ${where}${message}` }
}

function deepest(issue: z.core.$ZodIssue): {
  readonly path: readonly PropertyKey[]
  readonly message: string
} {
  if (issue.code === 'unrecognized_keys') {
    return { path: [...issue.path, issue.keys[0] ?? ''], message: 'is not known' }
  }
  const message = issue.message.startsWith('Invalid')
    ? issue.message.replace(/^Invalid input: /, 'must be: ')
    : issue.message
  return { path: issue.path, message }
}

function idOf(input: unknown, nth: number): string | null {
  const { steps } = input as { readonly steps: readonly unknown[] }
  const one = steps[nth]
  const id = typeof one === 'object' && one !== null && 'id' in one ? one.id : null
  return typeof id === 'string' ? id.slice(0, 60) : null
}

function isZone(text: string): boolean {
  try {
    parseZone(text)
    return true
  } catch {
    return false
  }
}
