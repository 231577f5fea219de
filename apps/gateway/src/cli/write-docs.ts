import { writeFileSync } from 'node:fs'
import { renderFlowSchema } from '@eclusa/flows'
import { renderConfigDocs } from '../config.ts'
import { renderEventDocs, renderEventSchema } from '../events/event-types.ts'
import { renderErrorDocs } from '../error-tables.ts'
import { renderMemoryDocs } from '../memory/render-plan.ts'

// `npm run docs`: writes the references that are made from tables; tests check that they are current.
const docs = new URL('../../../../docs/', import.meta.url)
writeFileSync(new URL('config.md', docs), renderConfigDocs())
writeFileSync(new URL('errors.md', docs), renderErrorDocs())
writeFileSync(new URL('event-types.md', docs), renderEventDocs())
writeFileSync(new URL('events.schema.json', docs), renderEventSchema())
writeFileSync(new URL('memory.md', docs), renderMemoryDocs())
writeFileSync(new URL('../packages/flows/flow.schema.json', docs), renderFlowSchema())
