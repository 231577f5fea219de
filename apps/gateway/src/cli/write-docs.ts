import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { renderFlowSchema } from '@eclusa/flows'
import { renderConfigDocs } from '../config.ts'
import { renderEventDocs, renderEventSchema } from '../events/event-types.ts'
import { renderErrorDocs } from '../error-tables.ts'
import { renderOpenApi } from '../http/reference.ts'
import { renderMemoryDocs } from '../memory/render-plan.ts'

// `npm run docs` writes the references that are made from tables and schemas; with `--check` it only says which of them
// are stale, and fails.
const docs = new URL('../../../../docs/', import.meta.url)
const references = {
  'config.md': renderConfigDocs(),
  'errors.md': renderErrorDocs(),
  'event-types.md': renderEventDocs(),
  'events.schema.json': renderEventSchema(),
  'memory.md': renderMemoryDocs(),
  'openapi.json': await renderOpenApi(),
  '../packages/flows/flow.schema.json': renderFlowSchema(),
}
for (const [name, text] of Object.entries(references)) {
  const file = new URL(name, docs)
  if (existsSync(file) && readFileSync(file, 'utf8') === text) continue
  if (!process.argv.includes('--check')) writeFileSync(file, text)
  else {
    console.error(`${name} is stale: run "npm run docs"`)
    process.exitCode = 1
  }
}
