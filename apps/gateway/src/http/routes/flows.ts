import { noOwnWords } from '@eclusa/contacts'
import {
  conversationErrors,
  dryRun,
  type DryRunReport,
  type Finding,
  flowErrors,
  type FlowEntry,
  type FlowRun,
  lintFlow,
  parseFlow,
  readTemplate,
  templateLanguages,
  templateNames,
} from '@eclusa/flows'
import { EclusaError, type TenantId } from '@eclusa/kernel'
import { z } from 'zod'
import { gatewayErrors } from '../../errors.ts'
import { dryRunCare } from '../../dry-run-care.ts'
import { httpErrors } from '../../guarded-http/errors.ts'
import { callerOf } from '../auth.ts'
import { conversationOf } from '../conversation-inputs.ts'
import { assertUnchanged, etagOf, ifMatch } from '../etag.ts'
import { instantInput, noBody, tenantOf, tenantParams } from '../inputs.ts'
import { badField } from '../problem.ts'
import type { HttpPorts, HttpServer } from '../server.ts'
import { iso } from '../instants.ts'

const MAX_LINES = 100
const MAX_SHOWN = 5

const flowParams = tenantParams.extend({
  flow: z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,39}$/, 'must be 1 to 40 lower-case letters, digits, "-" or "_"'),
})
const documentBody = z.record(
  z.string(),
  z.unknown(),
  'must be a flow: an object with format, starts, start and steps',
)
const versionInput = z.coerce
  .number('must be a whole number')
  .int('must be a whole number')
  .min(1, 'must be 1 or more')

const finding = z
  .object({
    level: z.enum(['error', 'warning']),
    step: z.string().nullable(),
    field: z.string(),
    message: z.string(),
  })
  .meta({ id: 'FlowFinding' })
const findings = z.object({ findings: z.array(finding) })

const entry = z
  .object({
    name: z.string(),
    publishedVersion: z.int().nullable().describe('Null: nothing of it serves anybody'),
    lastVersion: z.int(),
    createdAt: z.iso.datetime(),
    changedAt: z.iso.datetime(),
  })
  .meta({ id: 'FlowEntry' })
const document = entry.extend({ version: z.int(), definition: z.record(z.string(), z.unknown()) })
const version = z.object({ version: z.int(), createdAt: z.iso.datetime() })

const run = z
  .object({
    id: z.string(),
    instance: z.string(),
    contact: z.string(),
    conversation: z.string(),
    flow: z.string(),
    version: z.int(),
    sector: z.string().nullable(),
    step: z.string(),
    state: z.enum(['active', 'waiting', 'ended']),
    startedAt: z.iso.datetime(),
    dueAt: z.iso.datetime().nullable().describe('Until when it waits for the contact'),
    endedAt: z.iso.datetime().nullable(),
    outcome: z.string().nullable(),
  })
  .meta({ id: 'FlowRun' })

const words = z.string('must be a text').max(4096, 'must have at most 4096 characters')
const line = z.union(
  [
    z.strictObject({ say: words }),
    z.strictObject({ waitMinutes: z.number().min(0, 'must not be negative').max(100_000, 'is too long') }),
  ],
  'must be {"say": …} or {"waitMinutes": …}',
)
const dryRunBody = z
  .strictObject({
    /** The document itself, or one that was put, by its name. */
    definition: documentBody.optional(),
    flow: z.string().max(40).optional(),
    version: versionInput.optional(),
    lines: z.array(line, 'must be a list of lines').max(MAX_LINES, `must have at most ${MAX_LINES} lines`),
    startAt: instantInput.optional().describe('Default: now'),
    contact: z
      .strictObject({
        name: z.string().max(256).nullable().optional(),
        number: z
          .string()
          .regex(/^\d{5,15}$/, 'must be digits')
          .nullable()
          .optional(),
        tags: z.array(z.string().max(40)).max(50).optional(),
        fields: z.record(z.string().max(40), z.string().max(1000)).optional(),
      })
      .optional(),
    lookup: z.unknown().optional().describe('What every lookup answers; without it, lookups fail'),
    lastOperator: z.string().max(40).optional(),
    owner: z.string().max(40).optional(),
  })
  .meta({ id: 'DryRun', examples: [{ flow: 'reception', lines: [{ say: 'Hi' }, { waitMinutes: 5 }] }] })
const dryRunAnswer = z.object({
  entries: z.array(
    z.object({ afterMs: z.number(), who: z.enum(['contact', 'flow', 'event']), text: z.string() }),
  ),
  waitsAt: z.string().nullable(),
  outcome: z.string().nullable(),
  sector: z.string().nullable(),
  operator: z.string().nullable(),
  state: z.enum(['open', 'assigned', 'closed']),
  fields: z.record(z.string(), z.string()),
  tags: z.array(z.string()),
})

/** Flows: written, judged, tried, published; and the ones that run. */
export async function flowRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { flows, conversations, people, reads, outgoing, clock } = ports
  const { definitions, runs, runner } = flows

  http.get(
    '/tenants/:tenant/flows',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listFlows',
        summary: 'List the flows of a tenant',
        params: tenantParams,
        response: { 200: z.object({ items: z.array(entry) }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      return reads.run(async () => ({ items: (await definitions.list(tenant)).map(shownEntry) }))
    },
  )

  http.put(
    '/tenants/:tenant/flows/:flow',
    {
      config: {
        scope: 'flow',
        errors: [flowErrors.REFUSED, flowErrors.TOO_MANY, gatewayErrors.CHANGED_MEANWHILE],
      },
      schema: {
        operationId: 'putFlow',
        headers: ifMatch,
        summary: 'Store a new version of a flow',
        description:
          'A new version, which serves nobody before it is published. Its form must be right; what else is wrong is told.',
        params: flowParams,
        body: documentBody,
        response: { 201: findings.extend({ name: z.string(), version: z.int() }) },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const parsed = parseFlow(request.body)
      if ('findings' in parsed) throw refused(parsed.findings)
      if (request.headers['if-match'] !== undefined) {
        const there = await definitions.entry(tenant, request.params.flow)
        assertUnchanged(request, there?.lastVersion ?? null)
      }
      const put = await definitions.put(tenant, request.params.flow, request.body)
      const found = await lint(tenant, request.body)
      reply.header('etag', etagOf(put.version))
      return reply.code(201).send({ name: put.flow, version: put.version, findings: [...found] })
    },
  )

  http.get(
    '/tenants/:tenant/flows/:flow',
    {
      config: { scope: 'read', errors: [flowErrors.UNKNOWN] },
      schema: {
        operationId: 'getFlow',
        summary: 'Show a flow as it was put',
        description: 'As it was put; without `version` the published one, or the last when none is.',
        params: flowParams,
        querystring: z.strictObject({ version: versionInput.optional() }),
        response: { 200: document },
      },
    },
    async (request, reply) => {
      const tenant = tenantOf(request)
      const found = await entryOf(tenant, request.params.flow)
      reply.header('etag', etagOf(found.lastVersion))
      const wanted = request.query.version ?? found.publishedVersion ?? found.lastVersion
      const definition = await definitions.document(tenant, found.name, wanted)
      if (definition === undefined) throw new EclusaError(flowErrors.UNKNOWN)
      return { ...shownEntry(found), version: wanted, definition: { ...definition } }
    },
  )

  http.get(
    '/tenants/:tenant/flows/:flow/versions',
    {
      config: { scope: 'read', errors: [flowErrors.UNKNOWN] },
      schema: {
        operationId: 'listFlowVersions',
        summary: 'List the versions of a flow, newest first',
        description: 'Newest first; go on before the last `version`.',
        params: flowParams,
        querystring: z.strictObject({
          before: versionInput.default(Number.MAX_SAFE_INTEGER),
          limit: z.coerce.number().int().min(1, 'must be 1 to 500').max(500, 'must be 1 to 500').default(100),
        }),
        response: { 200: z.object({ items: z.array(version), next: z.int().nullable() }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { name } = await entryOf(tenant, request.params.flow)
      const items = await reads.run(() => definitions.versions(tenant, name, pageOf(request.query)))
      return {
        items: items.map((one) => ({ version: one.version, createdAt: iso(one.createdAt) })),
        next: items.length < request.query.limit ? null : (items.at(-1)?.version ?? null),
      }
    },
  )

  http.post(
    '/tenants/:tenant/flows/:flow/publish',
    {
      config: { scope: 'flow', errors: [flowErrors.UNKNOWN, flowErrors.REFUSED, flowErrors.STARTS_TAKEN] },
      schema: {
        operationId: 'publishFlow',
        summary: 'Let a version of a flow serve contacts',
        description: 'From its answer on it serves whoever begins. Refused while anything is wrong with it.',
        params: flowParams,
        body: z.strictObject({ version: versionInput.optional() }).nullish(),
        response: { 200: entry },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { name, lastVersion } = await entryOf(tenant, request.params.flow)
      const wanted = request.body?.version ?? lastVersion
      const stored = await definitions.document(tenant, name, wanted)
      if (stored === undefined) throw new EclusaError(flowErrors.UNKNOWN)
      const errors = (await lint(tenant, stored)).filter(({ level }) => level === 'error')
      if (errors.length > 0) throw refused(errors)
      return shownEntry(await definitions.publish(tenant, name, wanted))
    },
  )

  http.delete(
    '/tenants/:tenant/flows/:flow/publish',
    {
      config: { scope: 'flow', errors: [flowErrors.UNKNOWN] },
      schema: {
        operationId: 'unpublishFlow',
        summary: 'Let nobody begin a flow any more',
        description: 'Nobody begins it any more; what runs goes on.',
        params: flowParams,
        body: noBody,
        response: { 200: entry },
      },
    },
    async (request) => shownEntry(await definitions.publish(tenantOf(request), request.params.flow, null)),
  )

  http.post(
    '/tenants/:tenant/flows/lint',
    {
      config: { scope: 'flow', audit: 'none' },
      schema: {
        operationId: 'lintFlow',
        summary: 'Tell what is wrong with a flow',
        description: 'What is wrong with a document, whatever its form.',
        params: tenantParams,
        body: documentBody,
        response: { 200: findings },
      },
    },
    async (request) => ({ findings: [...(await lint(tenantOf(request), request.body))] }),
  )

  http.post(
    '/tenants/:tenant/flows/dry-run',
    {
      config: {
        scope: 'flow',
        audit: 'none',
        errors: [flowErrors.UNKNOWN, flowErrors.REFUSED, flowErrors.LOOPS],
      },
      schema: {
        operationId: 'dryRunFlow',
        summary: 'Try a flow against a contact who says these lines',
        description:
          'The document, or one that was put, against a contact who says these lines; nothing is sent, or kept.',
        params: tenantParams,
        body: dryRunBody,
        response: { 200: dryRunAnswer },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const { definition, flow, version, startAt, contact = {}, lines, ...rest } = request.body
      if ((definition === undefined) === (flow === undefined)) {
        throw badField('definition', 'must be given, or flow, and not both')
      }
      const document = definition ?? (await documentOf(tenant, flow ?? '', version))
      const parsed = parseFlow(document)
      if ('findings' in parsed) throw refused(parsed.findings)
      const words = (await people.settings.get(tenant, 'words')) ?? noOwnWords
      const made = await reads.run(() =>
        dryRun({
          definition: parsed.flow,
          lines,
          startAt: startAt ?? clock.now(),
          contact: given(contact),
          hear: dryRunCare(words),
          ...given(rest),
        }),
      )
      return shownReport(made)
    },
  )

  http.get(
    '/tenants/:tenant/contacts/:contact/flow-runs',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listFlowRuns',
        summary: 'List the runs of a contact, the live one first',
        description:
          'Runs of a contact, the live one first, then the newest; ended ones are kept for seven days.',
        params: tenantParams.extend({
          contact: z.string().regex(/^con_[0-9a-z]{20}$/, 'must be the id of a contact'),
        }),
        response: { 200: z.object({ items: z.array(run) }) },
      },
    },
    async (request) => {
      const tenant = tenantOf(request)
      const contact = request.params.contact as FlowRun['contact']
      return { items: (await reads.run(() => runs.listOf(tenant, contact, 100))).map(shownRun) }
    },
  )

  http.post(
    '/conversations/:id/flow',
    {
      config: {
        scope: 'flow',
        byInstance: true,
        errors: [
          conversationErrors.NOT_FOUND,
          flowErrors.UNKNOWN,
          flowErrors.NOT_BY_HAND,
          flowErrors.ALREADY_RUNS,
          flowErrors.STEP_GONE,
          flowErrors.LOOPS,
        ],
      },
      schema: {
        operationId: 'startFlow',
        summary: 'Start a flow by hand in a conversation',
        description:
          'Starts a flow that starts by hand, such as a satisfaction survey; the conversation stays with who has it.',
        params: z.object({ id: z.string() }),
        body: z.strictObject({ flow: z.string('must be the name of a flow').max(40) }),
        response: { 201: run },
      },
    },
    async (request, reply) => {
      const conversation = await conversationOf(request, conversations)
      const { tenant } = conversation
      const { name, publishedVersion } = await entryOf(tenant, request.body.flow)
      if (publishedVersion === null) throw new EclusaError(flowErrors.NOT_BY_HAND)
      const flow = await definitions.version(tenant, name, publishedVersion)
      return reply.code(201).send(shownRun(await runner.startByHand(conversation, flow)))
    },
  )

  http.get(
    '/flows/active',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'getActiveFlows',
        summary: 'Count the flows that walk just now',
        description:
          'Flows that walk just now, of all that the key may see; those that wait for a contact are no part of it.',
        response: {
          200: z.object({
            total: z.int(),
            oldestMs: z.number(),
            flows: z.array(
              z.object({ tenant: z.string(), sector: z.string(), count: z.int(), oldestMs: z.number() }),
            ),
          }),
        },
      },
    },
    async (request) => {
      const { reach } = callerOf(request)
      const seen = runner
        .getActiveFlowsStats()
        .flows.filter(({ tenant }) => reach === '*' || tenant === reach)
      return {
        total: seen.reduce((sum, { count }) => sum + count, 0),
        oldestMs: Math.max(0, ...seen.map(({ oldestMs }) => oldestMs)),
        flows: seen,
      }
    },
  )

  http.get(
    '/flow-templates',
    {
      config: { scope: 'read' },
      schema: {
        operationId: 'listFlowTemplates',
        summary: 'List the ready flows',
        response: { 200: z.object({ names: z.array(z.string()), languages: z.array(z.string()) }) },
      },
    },
    async () => ({ names: [...templateNames()], languages: [...templateLanguages()] }),
  )

  http.get(
    '/flow-templates/:name',
    {
      config: { scope: 'read', errors: [flowErrors.UNKNOWN] },
      schema: {
        operationId: 'getFlowTemplate',
        summary: 'Show a ready flow, to be adapted and put',
        description: 'A ready flow, to be adapted and put.',
        params: z.object({ name: z.string() }),
        querystring: z.strictObject({ language: z.string().default('en') }),
        response: { 200: z.record(z.string(), z.unknown()) },
      },
    },
    async (request) => {
      const template = readTemplate(request.params.name, request.query.language)
      if (template === undefined) throw new EclusaError(flowErrors.UNKNOWN)
      return { ...template }
    },
  )

  async function lint(tenant: TenantId, document: object): Promise<readonly Finding[]> {
    const [sectors, operators] = await Promise.all([
      conversations.sectors.list(tenant),
      conversations.operators.list(tenant),
    ])
    return lintFlow(document, {
      sectors: new Set<string>(sectors.map(({ id }) => id)),
      operators: new Set<string>(operators.map(({ id }) => id)),
      refusalOfUrl(url) {
        try {
          outgoing.check(url)
          return null
        } catch (error) {
          if (error instanceof EclusaError && error.code === httpErrors.ADDRESS_REFUSED.code) {
            return String(error.details['reason'])
          }
          throw error
        }
      },
    })
  }

  async function entryOf(tenant: TenantId, name: string): Promise<FlowEntry> {
    const found = await definitions.entry(tenant, name)
    if (found === undefined) throw new EclusaError(flowErrors.UNKNOWN)
    return found
  }

  async function documentOf(tenant: TenantId, name: string, version: number | undefined): Promise<object> {
    const { lastVersion } = await entryOf(tenant, name)
    const found = await definitions.document(tenant, name, version ?? lastVersion)
    if (found === undefined) throw new EclusaError(flowErrors.UNKNOWN)
    return found
  }
}

function refused(found: readonly Finding[]): EclusaError {
  const shown = found.slice(0, MAX_SHOWN).map(({ message }) => message)
  const rest = found.length > MAX_SHOWN ? `; and ${found.length - MAX_SHOWN} more` : ''
  return new EclusaError(flowErrors.REFUSED, {
    message: `${shown.join('; ')}${rest}`,
    details: { field: found[0]?.field ?? null, findings: found },
  })
}

function shownEntry({ createdAt, changedAt, ...rest }: FlowEntry): z.input<typeof entry> {
  return { ...rest, createdAt: iso(createdAt), changedAt: iso(changedAt) }
}

function shownRun(one: FlowRun): z.input<typeof run> {
  const { startedAt, dueAt, endedAt } = one
  return {
    ...one,
    startedAt: iso(startedAt),
    dueAt: dueAt === null ? null : iso(dueAt),
    endedAt: endedAt === null ? null : iso(endedAt),
  }
}

function shownReport(report: DryRunReport): z.input<typeof dryRunAnswer> {
  return { ...report, entries: [...report.entries], fields: { ...report.fields }, tags: [...report.tags] }
}

function pageOf(query: { readonly before: number; readonly limit: number }): {
  before: number
  limit: number
} {
  return { before: Math.min(query.before, 2_147_483_647), limit: query.limit }
}

/** Without the fields that were left out. */
function given<T extends object>(value: T): { [Key in keyof T]: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as {
    [Key in keyof T]: Exclude<T[Key], undefined>
  }
}
