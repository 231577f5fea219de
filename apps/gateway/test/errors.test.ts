import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { errorKindOf, renderErrorDocs } from '../src/error-tables.ts'

test('docs/errors.md is what the tables say (npm run docs writes it)', () => {
  const written = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8')
  assert.equal(written, renderErrorDocs())
})

test('every code in the reference is known, and every known code has a sentence of its own', () => {
  const codes = [...renderErrorDocs().matchAll(/^\| `([A-Z_]+)` \|/gm)].map((match) => match[1] ?? '')
  assert.ok(codes.length > 40)
  assert.equal(new Set(codes).size, codes.length)
  for (const code of codes) assert.ok((errorKindOf(code)?.message.length ?? 0) > 10, code)
})
