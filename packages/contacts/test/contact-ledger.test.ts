import assert from 'node:assert/strict'
import { type ChatId, chatOfNumber, parseTenantId } from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { openTestDatabase, testEachDatabase as test } from '@eclusa/storage/test-kit'
import { ContactLedger, contactMigrations, type LedgerKind } from '../src/index.ts'

const hashKey = new Uint8Array(32)
const acme = parseTenantId('acme')
const other = parseTenantId('other')
const ana = chatOfNumber('5511999990000')

test('the last word counts: opt-out ends a consent, a new consent or opt-in takes the opt-out back', async (t) => {
  const { database } = await openTestDatabase(t, contactMigrations)
  const clock = new ManualClock()
  const ledger = new ContactLedger({ database, clock, hashKey })
  const said: LedgerKind[] = [
    'consent',
    'opt_out',
    'opt_in',
    'consent',
    'consent_revoked',
    'opt_out',
    'consent',
  ]
  const seen: (readonly [boolean, boolean])[] = []
  for (const kind of said) {
    await clock.tick(1000)
    const entry = { contact: ana, kind, channel: 'api', proof: null, recordedBy: 'key', expiresAt: null }
    await ledger.record(acme, [entry])
    const { optedOutAt, consent } = await ledger.standing(acme, [ana])
    if (optedOutAt !== null) assert.equal(optedOutAt, clock.now())
    seen.push([optedOutAt !== null, consent])
  }
  assert.deepEqual(seen, [
    [false, true],
    [true, false],
    [false, false],
    [false, true],
    [false, false],
    [true, false],
    [false, true],
  ])
  assert.deepEqual(await ledger.standing(other, [ana]), { optedOutAt: null, consent: false })
  const all = await ledger.list(acme, { after: 0, limit: 100 })
  assert.deepEqual(
    all.map(({ kind }) => kind),
    said,
  )
  const rest = await ledger.list(acme, { contact: ana, after: all[4]!.id, limit: 1 })
  assert.deepEqual(rest, [all[5]])
  assert.deepEqual(await ledger.list(other, { after: 0, limit: 100 }), [])
})

test('a consent ends at its time', async (t) => {
  const { database } = await openTestDatabase(t, contactMigrations)
  const clock = new ManualClock()
  const ledger = new ContactLedger({ database, clock, hashKey })
  const expiresAt = clock.now() + 1000
  const entry = { contact: ana, channel: 'form', proof: 'form 17', recordedBy: 'key', expiresAt }
  await ledger.record(acme, [{ ...entry, kind: 'consent' }])
  assert.equal((await ledger.standing(acme, [ana])).consent, true)
  await clock.tick(1000)
  assert.equal((await ledger.standing(acme, [ana])).consent, false)
})

test('what was said under any address of a person counts, the last word last', async (t) => {
  const { database } = await openTestDatabase(t, contactMigrations)
  const ledger = new ContactLedger({ database, clock: new ManualClock(), hashKey })
  const addresses = ['1@lid', '2@s.whatsapp.net', '3@s.whatsapp.net'] as ChatId[]
  const say = (contact: ChatId, kind: LedgerKind): Promise<void> =>
    ledger.record(acme, [{ contact, kind, channel: 'api', proof: null, recordedBy: 'key', expiresAt: null }])
  await say(addresses[0]!, 'opt_out')
  assert.notEqual((await ledger.standing(acme, addresses)).optedOutAt, null)
  assert.equal((await ledger.standing(acme, addresses.slice(1))).optedOutAt, null)
  await say(addresses[2]!, 'opt_in')
  assert.equal((await ledger.standing(acme, addresses)).optedOutAt, null)
})

test('of who was erased only the opt-out stays, under a hash, until they take it back', async (t) => {
  const { database } = await openTestDatabase(t, contactMigrations)
  const clock = new ManualClock()
  const ledger = new ContactLedger({ database, clock, hashKey })
  const say = (kind: LedgerKind): Promise<void> =>
    ledger.record(acme, [
      { contact: ana, kind, channel: 'api', proof: 'Ana Lima', recordedBy: 'key', expiresAt: null },
    ])
  await say('consent')
  await say('opt_out')
  const standing = await ledger.standing(acme, [ana])
  await ledger.run(ledger.eraseStatements(acme, [ana], standing))
  assert.deepEqual(await ledger.list(acme, { after: 0, limit: 10 }), [])
  assert.deepEqual(await ledger.standing(acme, [ana]), standing)
  assert.equal((await ledger.standing(other, [ana])).optedOutAt, null)
  for (const row of await database.read('select * from "ErasedOptOut"', [])) {
    assert.doesNotMatch(JSON.stringify(row), /99990000|Ana/)
  }
  await clock.tick(1)
  await say('consent_revoked')
  assert.deepEqual(await ledger.standing(acme, [ana]), standing)
  await say('opt_in')
  assert.deepEqual(await ledger.standing(acme, [ana]), { optedOutAt: null, consent: false })
})
