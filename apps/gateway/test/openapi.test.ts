import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import { errorKindOf } from '../src/error-tables.ts'
import { renderOpenApi } from '../src/http/reference.ts'
import { ApiJudge, type Operation, readDocument } from './api-judge.ts'
import { startGateway } from './harness.ts'

const document = readDocument()

const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    name: `${method} ${path}`,
    path,
    method,
    operation,
  })),
)

test('docs/openapi.json is what the routes say (npm run docs writes it)', async () => {
  assert.ok(
    JSON.stringify(document) === JSON.stringify(JSON.parse(await renderOpenApi())),
    'docs/openapi.json is stale: run "npm run docs" and look at what changed in the API',
  )
})

test('the document is valid OpenAPI 3.1', async () => {
  const { valid, errors } = await new Validator().validate(
    JSON.parse(JSON.stringify(document)) as Record<string, unknown>,
  )
  assert.ok(valid, JSON.stringify(errors, null, 2))
  assert.match(document.openapi, /^3\.1\./)
})

test('the document names every route of a running gateway, each with the scope it asks for', async (t) => {
  const gateway = await startGateway(t)
  const served = gateway.app.routes.filter(({ method, hidden }) => method !== 'HEAD' && !hidden)
  assert.deepEqual(
    operations.map(({ name, operation }) => `${name} ${operation['x-scope'] ?? 'public'}`).toSorted(),
    served
      .map(
        ({ method, path, scope }) => `${method.toLowerCase()} ${path.replaceAll(/:(\w+)/g, '{$1}')} ${scope}`,
      )
      .toSorted(),
  )
})

test('every operation is complete: a name of its own, a summary, a tag, parameters, answers and errors', () => {
  const tags = new Set(document.tags.map(({ name }) => name))
  const ids = operations.map(({ operation }) => operation.operationId)
  assert.equal(new Set(ids).size, ids.length, 'an operationId is there twice')
  const faults = operations.flatMap(({ name, path, operation }) =>
    faultsOf(operation, path, tags).map((fault) => `${name} ${fault}`),
  )
  assert.deepEqual(faults, [])
})

test('every code that an operation answers stands in the error table, under its status', () => {
  const responses = [
    ...operations.flatMap(({ operation }) => Object.entries(operation.responses)),
    ...Object.entries(document.components.responses),
  ]
  const problems = responses.flatMap(([, { content }]) => {
    const schema = content?.['application/problem+json']?.schema['allOf'] as
      | readonly [unknown, { properties: { status: { const: number }; code: { enum: string[] } } }]
      | undefined
    return schema === undefined ? [] : [schema[1].properties]
  })
  assert.ok(problems.length > 40)
  for (const { status, code } of problems) {
    for (const one of code.enum) assert.equal(errorKindOf(one)?.status, status.const, one)
  }
})

test('every example is valid by the schema that it is an example of', () => {
  const judge = new ApiJudge(document)
  let count = 0
  for (const [name, schema] of Object.entries(document.components.schemas)) {
    for (const example of (schema['examples'] as readonly unknown[] | undefined) ?? []) {
      count++
      assert.equal(judge.faultOfValue(`/components/schemas/${name}`, example), null, name)
    }
  }
  assert.ok(count >= 5, 'there are examples')
})

function faultsOf(operation: Operation, path: string, tags: ReadonlySet<string>): readonly string[] {
  const faults: string[] = []
  const {
    operationId,
    summary,
    parameters = [],
    responses,
  } = operation as Operation & {
    readonly summary?: string
    readonly tags?: readonly string[]
    readonly parameters?: readonly { readonly in: string; readonly name: string }[]
  }
  if (!/^[a-z][A-Za-z]+$/.test(operationId)) faults.push('has an operationId that is no name')
  if (summary === undefined || !/^[A-Z].{5,80}[^.]$/.test(summary)) faults.push('has no summary of one line')
  const own = (operation['tags'] as readonly string[] | undefined) ?? []
  if (own.length !== 1 || !own.every((tag) => tags.has(tag))) faults.push('has not one known tag')
  const inPath = new Set([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name))
  const described = parameters.filter((one) => one.in === 'path').map(({ name }) => name)
  if (described.length !== inPath.size || !described.every((name) => inPath.has(name)))
    faults.push('describes other path parameters')
  const statuses = Object.keys(responses)
  if (!statuses.some((status) => /^2\d\d$/.test(status))) faults.push('has no answer of success')
  const wanted = operation['x-scope'] === undefined ? ['500'] : ['400', '401', '403', '500', '503']
  for (const status of wanted) if (!statuses.includes(status)) faults.push(`does not describe ${status}`)
  for (const [status, answer] of Object.entries(responses)) {
    const isError = Number(status) >= 400
    const { content } = answer
    if (answer.$ref !== undefined) continue
    if (isError && content?.['application/problem+json'] === undefined) faults.push(`${status} is no problem`)
    if (status === '200' && content === undefined) faults.push('200 has no body')
  }
  return faults
}
