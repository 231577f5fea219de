import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import type { Measured, Measurement } from './memory-probe.ts'

/** Measured in a process of its own, whose heap holds nothing else. */
function measure<Name extends Measurement>(name: Name): Measured[Name] {
  const probe = path.join(import.meta.dirname, 'memory-probe.ts')
  const answer = execFileSync(process.execPath, ['--expose-gc', probe, name], { encoding: 'utf8' })
  return JSON.parse(answer) as Measured[Name]
}

test('what is charged is what is used, within 25 %, for each kind of value a session keeps', () => {
  for (const { kind, chargedBytes, realBytes } of measure('accuracy')) {
    const ratio = chargedBytes / realBytes
    assert.ok(ratio > 0.75 && ratio < 1.25, `${kind}: ${chargedBytes} charged, ${realBytes} used`)
  }
})

test('evicted, expired, deleted and shed entries give their memory back', () => {
  for (const [way, { filledBytes, leftBytes }] of Object.entries(measure('release'))) {
    assert.ok(filledBytes > 8_000_000, `${way}: ${filledBytes} were in use`)
    assert.ok(leftBytes < filledBytes * 0.1, `${way}: ${leftBytes} of ${filledBytes} are still in use`)
  }
})

test('a small view does not keep the buffer that it was cut from', () => {
  const { perEntryBytes } = measure('pinning')
  assert.ok(perEntryBytes < 600, `${perEntryBytes} bytes for each 33-byte view`)
})

test('ten times the writes through a full cache leave it as large as before', () => {
  const { afterFirstBytes, afterLastBytes } = measure('churn')
  assert.ok(afterLastBytes < afterFirstBytes * 1.1, `${afterFirstBytes}, then ${afterLastBytes}`)
})

test('600 empty caches take less than 1 MiB, and disposed ones nothing', () => {
  const { emptyBytes, disposedBytes } = measure('empty')
  assert.ok(emptyBytes < 2 ** 20, `${emptyBytes} for 600`)
  assert.ok(disposedBytes < 100_000, `${disposedBytes} after disposal`)
})

test('a process ends although caches hold entries whose life has not', () => {
  assert.deepEqual(measure('exit'), { armed: true })
})
