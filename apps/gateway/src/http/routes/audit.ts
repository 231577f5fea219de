import { z } from 'zod'
import type { ChainedEntry } from '../../audit/audit-store.ts'
import { callerOf } from '../auth.ts'
import { cursorInput, limitInput } from '../conversation-inputs.ts'
import { tenantOf, tenantParams } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const query = z.strictObject({
  before: cursorInput.default(Number.MAX_SAFE_INTEGER),
  limit: limitInput(500, 100),
})

const change = z.record(z.string(), z.unknown()).nullable()

const entry = z.object({
  seq: z.int(),
  at: z.iso.datetime(),
  tenant: z.string().describe('`*`: of the installation'),
  key: z.string(),
  person: z.string().nullable().describe('Who logged in; null when the key itself was presented'),
  addressHash: z
    .string()
    .nullable()
    .describe('The same address has the same hash in all entries of an installation'),
  requestId: z.string().nullable(),
  action: z.string(),
  outcome: z
    .enum(['intended', 'done', 'failed'])
    .describe('`intended` stands before the act; a `failed` one with the same request id takes it back'),
  object: z.record(z.string(), z.string()),
  before: change,
  after: change,
  hash: z.string().describe("SHA-256 under the installation's key, over this entry and the hash before it"),
})

const page = z.object({
  items: z.array(entry),
  next: z.int().nullable().describe('Give it as `before` to go on; null at the end'),
})

/** Who did what. Nobody can change it; what is older than a year goes. */
export async function auditRoutes(http: HttpServer, ports: HttpPorts): Promise<void> {
  const { audit, reads } = ports

  http.get(
    '/audit',
    {
      config: { scope: 'admin' },
      schema: {
        operationId: 'listAudit',
        summary: 'Who did what, newest first',
        description: 'All that the key may see.',
        querystring: query,
        response: { 200: page },
      },
    },
    async (request) => {
      const { reach } = callerOf(request)
      return pageOf(request.query, reach === '*' ? {} : { tenant: reach })
    },
  )

  http.get(
    '/tenants/:tenant/audit',
    {
      config: { scope: 'admin' },
      schema: {
        operationId: 'listAuditOfTenant',
        summary: 'Who did what for a tenant, newest first',
        params: tenantParams,
        querystring: query,
        response: { 200: page },
      },
    },
    async (request) => pageOf(request.query, { tenant: tenantOf(request) }),
  )

  http.get(
    '/audit/check',
    {
      config: { scope: 'admin', operatorsOnly: true },
      schema: {
        operationId: 'checkAudit',
        summary: 'Whether the audit log is as it was written',
        description:
          'Walks all of it: whether every entry is as it was written, and none is missing between two.',
        response: { 200: z.object({ entries: z.int(), brokenAt: z.int().nullable() }) },
      },
    },
    async (request) => {
      const left = new AbortController()
      request.raw.once('close', () => left.abort())
      const { entryCount, brokenAt } = await reads.run(() => audit.verify(left.signal))
      return { entries: entryCount, brokenAt }
    },
  )

  async function pageOf(
    { before, limit }: z.output<typeof query>,
    whose: Pick<Parameters<typeof audit.list>[0], 'tenant'>,
  ): Promise<z.input<typeof page>> {
    const items = await reads.run(() => audit.list({ before, limit, ...whose }))
    return {
      items: items.map(shown),
      next: items.length < limit ? null : (items.at(-1)?.seq ?? null),
    }
  }
}

function shown(one: ChainedEntry): z.input<typeof entry> {
  const { seq, at, tenant, keyId, person, addressHash, requestId, action, outcome, object } = one
  return {
    seq,
    at: new Date(at).toISOString(),
    tenant,
    key: keyId,
    person,
    addressHash,
    requestId,
    action,
    outcome,
    object,
    before: one.before as Record<string, unknown> | null,
    after: one.after as Record<string, unknown> | null,
    hash: Buffer.from(one.hash).toString('hex'),
  }
}
