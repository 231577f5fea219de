import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DeclaredRoute } from '../src/http/route-rules.ts'
import { type KeyScope, keyScopes } from '../src/keys/scopes.ts'
import { type Answer, newInstance, startGateway, tenantKey, type TestGateway } from './harness.ts'

/*
 * The walls between tenants, over the routes as they were declared: whoever adds a route is tested here without a line
 * more. A new kind of id in an address needs an object of the other tenant below, and the test says so.
 */

/** What the tests below do not ask: it answers only to upgrades, or who signs in. */
const SKIPPED = /^\/v1\/session(?:\/|$)/

interface Theirs {
  readonly gateway: TestGateway
  /** An object of acme for each parameter, by the part of the address before it. */
  readonly ids: Readonly<Record<string, string>>
}

/** A tenant with one of everything. */
async function acmeWithOneOfEverything(gateway: TestGateway): Promise<Theirs> {
  const tenant = '/v1/tenants/acme'
  const id = await newInstance(gateway)
  const idOf = async (path: string, body: object): Promise<string> => {
    const answer = await gateway.call('POST', path, body)
    assert.ok(answer.status < 300, `${path}: ${answer.text}`)
    return String(answer.body['id'])
  }
  const contact = await idOf(`${tenant}/contacts`, { address: '+5511999990000', name: 'Bia' })
  return {
    gateway,
    ids: {
      tenants: 'acme',
      instances: id,
      contacts: contact,
      messages: await idOf(`/v1/instances/${id}/messages`, { to: '+5511999990000', text: 'x' }),
      sectors: await idOf(`${tenant}/sectors`, { id: 'sales', name: 'Sales' }),
      operators: await idOf(`${tenant}/operators`, { name: 'Ana', capacity: 1 }),
      webhooks: await idOf(`${tenant}/webhooks`, {
        url: 'https://example.com/hook',
        types: ['outbound.sent'],
      }),
      keys: (await tenantKey(gateway, 'acme')).slice(4, 12),
      chats: '5511999990000@s.whatsapp.net',
    },
  }
}

/** The address of a route with ids of acme; others are ones that nobody has. */
function addressOf({ path }: DeclaredRoute, { ids }: Theirs): string {
  const parts = path.split('/')
  return parts
    .map((part, nth) => {
      if (!part.startsWith(':')) return part
      const whose = parts[nth - 1] ?? ''
      return encodeURIComponent(ids[whose] ?? (whose === 'conversations' ? `cnv_${'0'.repeat(20)}` : 'none'))
    })
    .join('/')
}

/** Routes with an object of a tenant in the address, or the tenant itself. */
function isOfTenant({ path }: DeclaredRoute): boolean {
  return /^\/v1\/(?:tenants|instances|messages|conversations|webhooks|keys)\/:/.test(path)
}

async function bearer(
  gateway: TestGateway,
  tenant: string | null,
  scopes: readonly KeyScope[],
): Promise<string> {
  const path = tenant === null ? '/v1/keys' : `/v1/tenants/${tenant}/keys`
  const made = await gateway.call('POST', path, { name: 'wall', scopes })
  assert.equal(made.status, 201, made.text)
  return `Bearer ${String(made.body['key'])}`
}

function ask(
  gateway: TestGateway,
  { method }: DeclaredRoute,
  address: string,
  authorization: string,
): Promise<Answer> {
  const body = method === 'GET' || method === 'HEAD' ? undefined : {}
  return gateway.call(method, address, body, { authorization, accept: 'application/json' })
}

function routesOf(gateway: TestGateway): readonly DeclaredRoute[] {
  return gateway.app.routes.filter(({ scope, path }) => scope !== 'public' && !SKIPPED.test(path))
}

/** What an answer says, but which request it was. */
function told({ status, body }: Answer): unknown {
  return { ...body, status, requestId: null }
}

const FAST = { ECLUSA_API_PER_SECOND: '100000', ECLUSA_API_BURST: '100000' }

test("no route lets one tenant's key at another's, with every scope there is, alone and together", async (t) => {
  const gateway = await startGateway(t, FAST)
  const theirs = await acmeWithOneOfEverything(gateway)
  const nobody: Theirs = {
    gateway,
    ids: {
      ...theirs.ids,
      instances: `ins_${'0'.repeat(20)}`,
      messages: theirs.ids['messages']!.replace(theirs.ids['instances']!.slice(4), '0'.repeat(20)),
      webhooks: `whk_${'0'.repeat(20)}`,
      keys: '0'.repeat(8),
    },
  }
  await gateway.call('POST', '/v1/tenants', { id: 'other' })
  const keys = await Promise.all(
    [keyScopes, ...keyScopes.map((scope) => [scope] as const)].map((scopes) =>
      bearer(gateway, 'other', scopes),
    ),
  )
  const routes = routesOf(gateway).filter(isOfTenant)
  assert.ok(routes.length > 100, `${routes.length} routes were found`)
  const eventsOf = async (): Promise<unknown> =>
    (await gateway.call('GET', '/v1/tenants/acme/audit?limit=1')).body['items']
  const before = await eventsOf()
  let asked = 0
  for (const route of routes) {
    const address = addressOf(route, theirs)
    for (const key of keys) {
      const answer = await ask(gateway, route, address, key)
      if (answer.status === 400) {
        // The body is judged first: then nothing tells whether the object is there.
        const nobodys = await ask(gateway, route, addressOf(route, nobody), key)
        assert.deepEqual(told(answer), told(nobodys), `${route.method} ${address}`)
      } else {
        assert.ok(
          [403, 404].includes(answer.status),
          `${route.method} ${address}: ${answer.status} ${answer.text}`,
        )
      }
      asked++
    }
  }
  // Nothing of acme was done, not even begun.
  assert.deepEqual(await eventsOf(), before)
  assert.ok(asked > 1000, `${asked} were asked`)
})

test('lists show a tenant nothing of another', async (t) => {
  const gateway = await startGateway(t, FAST)
  const { ids } = await acmeWithOneOfEverything(gateway)
  await gateway.call('POST', '/v1/tenants', { id: 'other' })
  const all = await bearer(gateway, 'other', keyScopes)
  const lists = routesOf(gateway).filter(
    ({ method, path, operatorsOnly }) => method === 'GET' && !path.includes(':') && !operatorsOnly,
  )
  assert.ok(lists.length >= 8, `${lists.length} lists were found`)
  const secrets = [
    ids['instances']!,
    ids['messages']!,
    ids['contacts']!,
    ids['keys']!,
    ids['webhooks']!,
    '"acme"',
  ]
  for (const route of lists) {
    const address = route.path === '/v1/events' ? '/v1/events?after=0' : route.path
    const { text } = await ask(gateway, route, address, all)
    for (const secret of secrets) assert.ok(!text.includes(secret), `${address} tells of ${secret}`)
  }
})

test('no route works without its scope, and says which one is lacking', async (t) => {
  const gateway = await startGateway(t, FAST)
  const theirs = await acmeWithOneOfEverything(gateway)
  const lacking = new Map<KeyScope, readonly string[]>()
  for (const scope of keyScopes) {
    const others = keyScopes.filter((one) => one !== scope)
    lacking.set(scope, [await bearer(gateway, 'acme', others), await bearer(gateway, null, others)])
  }
  for (const route of routesOf(gateway)) {
    const { scope } = route
    if (scope === 'public') continue
    for (const key of lacking.get(scope) ?? []) {
      const answer = await ask(gateway, route, addressOf(route, theirs), key)
      assert.equal(answer.status, 403, `${route.method} ${route.path}: ${answer.status} ${answer.text}`)
      if (route.method === 'HEAD') continue
      assert.equal(answer.body['code'], 'GATEWAY_SCOPE_MISSING')
      assert.match(String(answer.body['detail']), new RegExp(`"${scope}"$`))
    }
  }
})

test("what concerns all tenants is for operators' keys alone", async (t) => {
  const gateway = await startGateway(t, FAST)
  const theirs = await acmeWithOneOfEverything(gateway)
  const all = await bearer(gateway, 'acme', keyScopes)
  const routes = routesOf(gateway).filter(({ operatorsOnly }) => operatorsOnly)
  assert.ok(routes.length > 10)
  for (const route of routes) {
    const answer = await ask(gateway, route, addressOf(route, theirs), all)
    assert.equal(answer.status, 403, `${route.method} ${route.path}: ${answer.status}`)
  }
})
