import assert from 'node:assert/strict'
import { systemClock } from '@eclusa/kernel'
import { loadMigrations } from '@eclusa/storage'
import { openTestDatabase, testEachDatabase as test } from '@eclusa/storage/test-kit'
import { ApiKeyStore } from '../src/keys/api-key-store.ts'
import { ApiKeys } from '../src/keys/api-keys.ts'

const migrations = loadMigrations(new URL('../migrations/', import.meta.url))
const own = 'f3b1-0c9a-77aa-4d52-8f60-19c2-e5d4-a1b0'

test('the first start makes a key, later ones know it and show none', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const open = (): Promise<ApiKeys> =>
    ApiKeys.open({ store: new ApiKeyStore(db.database), clock: systemClock, preset: null })
  const first = await open()
  const key = first.fresh
  assert.ok(key !== null)
  assert.match(key, /^ecl_[0-9a-z]{8}_[0-9A-Za-z_-]{43}$/)
  assert.equal(first.callerOf(key)?.reach, '*')
  await db.reopen()
  const second = await open()
  assert.equal(second.fresh, null)
  assert.equal(second.callerOf(key)?.reach, '*')
})

test('anything else is no key: another secret, another id, a part, a longer one, nothing', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const keys = await ApiKeys.open({ store: new ApiKeyStore(db.database), clock: systemClock, preset: null })
  const key = keys.fresh ?? ''
  const turned = key.endsWith('A') ? `${key.slice(0, -1)}B` : `${key.slice(0, -1)}A`
  for (const wrong of [
    turned,
    key.replace('ecl_', 'ecl_0').slice(0, -1),
    key.slice(0, -1),
    `${key}x`,
    '',
    'preset',
  ]) {
    assert.equal(keys.callerOf(wrong), null, wrong)
  }
})

test('neither the secret nor the whole key is in the table', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const keys = await ApiKeys.open({ store: new ApiKeyStore(db.database), clock: systemClock, preset: null })
  const secret = (keys.fresh ?? '').slice(-43)
  const [row] = await db.database.read('select * from "ApiKey"', [])
  const stored = Object.values(row ?? {}).map((value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value),
  )
  assert.ok(!stored.join('|').includes(secret))
  assert.equal(row?.['scope'], '*')
})

test('a preset key works without making another, stays, and gives way to the next preset', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const open = (preset: string | null): Promise<ApiKeys> =>
    ApiKeys.open({ store: new ApiKeyStore(db.database), clock: systemClock, preset })
  const first = await open(own)
  assert.equal(first.fresh, null)
  assert.equal(first.callerOf(own)?.reach, '*')
  assert.equal((await open(null)).callerOf(own)?.reach, '*')
  const next = await open(`${own}-2`)
  assert.equal(next.callerOf(`${own}-2`)?.reach, '*')
  assert.equal(next.callerOf(own), null)
})

test('a preset key in our own form is found under its id', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const preset = `ecl_0123abcd_${'x'.repeat(43)}`
  const keys = await ApiKeys.open({ store: new ApiKeyStore(db.database), clock: systemClock, preset })
  assert.equal(keys.callerOf(preset)?.reach, '*')
  assert.equal(keys.callerOf(`ecl_0123abcd_${'y'.repeat(43)}`), null)
})
