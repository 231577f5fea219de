import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_CACHE_LIMITS } from '@eclusa/baileys'
import { sessionMemory } from '../src/memory.ts'

test('the caches in the memory table have the caps that sockets are given', () => {
  const lines = sessionMemory({ maxStarting: 1, maxHistoryBytes: 1 }).filter(({ place }) => place === 'cache')
  for (const [name, { maxEntries }] of Object.entries(DEFAULT_CACHE_LIMITS)) {
    const line = lines.find(({ boundedBy }) => boundedBy.startsWith(`DEFAULT_CACHE_LIMITS.${name},`))
    assert.equal(line?.maxCount, maxEntries, name)
    assert.equal(line.perSession, true)
  }
})
