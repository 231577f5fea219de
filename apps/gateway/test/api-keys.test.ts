import assert from 'node:assert/strict'
import {
  DAY,
  EclusaError,
  type InstanceId,
  makeInstanceId,
  parseTenantId,
  silentLogger,
  systemClock,
} from '@eclusa/kernel'
import { ManualClock, until } from '@eclusa/kernel/test-kit'
import { type Database, loadMigrations, openDatabase, type OpenedDatabase } from '@eclusa/storage'
import { eachDatabase, openTestDatabase, testEachDatabase as test } from '@eclusa/storage/test-kit'
import { AuditLog } from '../src/audit/audit-log.ts'
import { AuditStore } from '../src/audit/audit-store.ts'
import { AddressRanges } from '../src/keys/address-ranges.ts'
import { ApiKeyStore } from '../src/keys/api-key-store.ts'
import { ApiKeys, type NewKey, type Recorder } from '../src/keys/api-keys.ts'
import { MAX_KEYS_OF_TENANT } from '../src/keys/limits.ts'
import { type Caller, keyScopes } from '../src/keys/scopes.ts'

const migrations = loadMigrations(new URL('../migrations/', import.meta.url))
const own = 'f3b1-0c9a-77aa-4d52-8f60-19c2-e5d4-a1b0'
const HOME = '127.0.0.1'
const acme = parseTenantId('acme')

interface Opened {
  readonly keys: ApiKeys
  readonly audit: AuditLog
  readonly clock: ManualClock
}

async function open(
  database: Database,
  options: { preset?: string; clock?: ManualClock } = {},
): Promise<Opened> {
  const clock = options.clock ?? new ManualClock()
  const audit = new AuditLog({ store: new AuditStore(database), clock, key: new Uint8Array(32).fill(5) })
  const store = new ApiKeyStore(database)
  const keys = await ApiKeys.open({ store, audit, clock, log: silentLogger, preset: options.preset ?? null })
  return { keys, audit, clock }
}

const record: Recorder = (what) => ({
  ...what,
  keyId: 'test',
  person: null,
  addressHash: null,
  requestId: null,
  outcome: 'done',
})

function wanted(over: Partial<NewKey> = {}): NewKey {
  return {
    name: 'shop',
    reach: acme,
    scopes: new Set(['read', 'send']),
    instances: null,
    addresses: null,
    expiresAt: null,
    ...over,
  }
}

function master(keys: ApiKeys): Caller {
  const caller = keys.callerOf(keys.fresh ?? '', HOME)
  assert.ok(caller !== null)
  return caller
}

async function refused(code: string, field: string | null, act: Promise<unknown>): Promise<void> {
  await assert.rejects(act, (error) => {
    assert.ok(error instanceof EclusaError)
    assert.equal(error.code, code)
    assert.equal(error.details['field'] ?? null, field)
    return true
  })
}

test('the first start makes a key, later ones know it and show none', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys: first } = await open(db.database)
  const key = first.fresh
  assert.ok(key !== null)
  assert.match(key, /^ecl_[0-9a-z]{8}_[0-9A-Za-z_-]{43}$/)
  assert.equal(first.callerOf(key, HOME)?.reach, '*')
  const { keys: second } = await open(await db.reopen())
  assert.equal(second.fresh, null)
  assert.equal(second.callerOf(key, HOME)?.reach, '*')
})

test('anything else is no key: another secret, another id, a part, a longer one, nothing', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys } = await open(db.database)
  const key = keys.fresh ?? ''
  const turned = key.endsWith('A') ? `${key.slice(0, -1)}B` : `${key.slice(0, -1)}A`
  const wrongs = [
    turned,
    key.replace('ecl_', 'ecl_0').slice(0, -1),
    key.slice(0, -1),
    `${key}x`,
    '',
    'preset',
  ]
  for (const wrong of wrongs) assert.equal(keys.callerOf(wrong, HOME), null, wrong)
})

test('neither the secret nor the whole key is in the database, of a first key and of one made', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys } = await open(db.database)
  const { key } = await keys.make(wanted(), { caller: master(keys), record })
  for (const table of ['ApiKey', 'AuditEntry']) {
    const rows = await db.database.read(`select * from "${table}"`, [])
    const stored = rows
      .flatMap((row) => Object.values(row))
      .map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value)))
      .join('|')
    assert.ok(rows.length > 0)
    for (const secret of [key, keys.fresh ?? '']) assert.ok(!stored.includes(secret.slice(-43)))
  }
})

test('a preset key works without making another, stays, and gives way to the next preset', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys: first } = await open(db.database, { preset: own })
  assert.equal(first.fresh, null)
  assert.equal(first.callerOf(own, HOME)?.reach, '*')
  assert.equal((await open(db.database)).keys.callerOf(own, HOME)?.reach, '*')
  const { keys: next } = await open(db.database, { preset: `${own}-2` })
  assert.equal(next.callerOf(`${own}-2`, HOME)?.reach, '*')
  assert.equal(next.callerOf(own, HOME), null)
  const by = { caller: next.callerOf(`${own}-2`, HOME)!, record }
  await refused('GATEWAY_KEY_PRESET', null, next.revoke('preset', by))
  await refused('GATEWAY_KEY_PRESET', null, next.rotate('preset', { ...by, overlapMs: 0 }))
})

test('a preset key in our own form is found under its id', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const preset = `ecl_0123abcd_${'x'.repeat(43)}`
  const { keys } = await open(db.database, { preset })
  assert.equal(keys.callerOf(preset, HOME)?.reach, '*')
  assert.equal(keys.callerOf(`ecl_0123abcd_${'y'.repeat(43)}`, HOME), null)
})

test('a key that was made is what was asked for, also after a restart', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys, clock } = await open(db.database)
  const instances = new Set(['ins_00000000000000000001' as InstanceId])
  const addresses = new AddressRanges(['10.0.0.0/8', '2001:db8::/32'])
  const expiresAt = clock.now() + DAY
  const { key, view } = await keys.make(wanted({ instances, addresses, expiresAt }), {
    caller: master(keys),
    record,
  })
  const { keys: again } = await open(await db.reopen(), { clock })
  const caller = again.callerOf(key, '10.1.2.3')
  assert.deepEqual(caller, {
    keyId: view.id,
    person: null,
    reach: acme,
    scopes: new Set(['read', 'send']),
    instances,
  })
  assert.ok(again.callerOf(key, '::ffff:10.1.2.3') !== null)
  assert.ok(again.callerOf(key, '2001:db8::1') !== null)
  for (const elsewhere of ['11.0.0.1', '::ffff:11.0.0.1', '2001:db9::1', 'nonsense']) {
    assert.throws(() => again.callerOf(key, elsewhere), /may not be used from your address/, elsewhere)
  }
  await clock.tick(DAY - 1)
  assert.ok(again.callerOf(key, '10.1.2.3') !== null)
  await clock.tick(1)
  assert.equal(again.callerOf(key, '10.1.2.3'), null)
})

test('a key makes none that can do more: another tenant, scope, instance, address, or longer', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys, clock } = await open(db.database)
  const expiresAt = clock.now() + DAY
  const { key } = await keys.make(
    wanted({ scopes: new Set(['read', 'admin']), addresses: new AddressRanges(['10.0.0.0/8']), expiresAt }),
    { caller: master(keys), record },
  )
  const caller = keys.callerOf(key, '10.0.0.1')!
  const same = wanted({ scopes: new Set(['read']), addresses: new AddressRanges(['10.1.0.0/16']), expiresAt })
  const tooStrong: readonly (readonly [Partial<NewKey>, string])[] = [
    [{ reach: '*' }, 'tenant'],
    [{ reach: parseTenantId('globex') }, 'tenant'],
    [{ scopes: new Set(['read', 'send']) }, 'scopes'],
    [{ addresses: null }, 'addresses'],
    [{ addresses: new AddressRanges(['10.0.0.0/7']) }, 'addresses'],
    [{ addresses: new AddressRanges(['10.0.0.1', '11.0.0.1']) }, 'addresses'],
    [{ addresses: new AddressRanges(['::/1']) }, 'addresses'],
    [{ expiresAt: null }, 'expiresAt'],
    [{ expiresAt: expiresAt + 1 }, 'expiresAt'],
  ]
  for (const [over, field] of tooStrong) {
    await refused('GATEWAY_KEY_TOO_STRONG', field, keys.make({ ...same, ...over }, { caller, record }))
  }
  await keys.make(same, { caller, record })
  const limited = { ...caller, instances: new Set(['ins_00000000000000000001' as InstanceId]) }
  await refused('GATEWAY_KEY_TOO_STRONG', 'instances', keys.make(same, { caller: limited, record }))
  // The new key of a rotation would be stronger than the one that asks for it.
  const { view } = await keys.make(wanted({ scopes: new Set(keyScopes) }), { caller: master(keys), record })
  const rotation = keys.rotate(view.id, { overlapMs: 0, caller, record })
  await refused('GATEWAY_KEY_TOO_STRONG', 'scopes', rotation)
})

test('a rotated key works beside its successor until its time, and no longer than it would have', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys, clock } = await open(db.database)
  const by = { caller: master(keys), record }
  const { key: old, view } = await keys.make(wanted(), by)
  const { key: fresh, oldEndsAt } = await keys.rotate(view.id, { ...by, overlapMs: 1000 })
  assert.notEqual(fresh, old)
  assert.equal(oldEndsAt, clock.now() + 1000)
  const shape = (key: string): object => ({ ...keys.callerOf(key, HOME), keyId: '' })
  assert.deepEqual(shape(fresh), shape(old))
  await clock.tick(1000)
  assert.equal(keys.callerOf(old, HOME), null)
  assert.ok(keys.callerOf(fresh, HOME) !== null)
  await refused('GATEWAY_KEY_UNKNOWN', null, keys.rotate(view.id, { ...by, overlapMs: 1000 }))
  const soon = await keys.make(wanted({ expiresAt: clock.now() + 10 }), by)
  const early = await keys.rotate(soon.view.id, { ...by, overlapMs: 1000 })
  assert.equal(early.oldEndsAt, clock.now() + 10)
})

test('a revoked key ends before the answer; the last that may do everything stays', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys } = await open(db.database)
  const by = { caller: master(keys), record }
  const { key, view } = await keys.make(wanted(), by)
  await keys.revoke(view.id, by)
  assert.equal(keys.callerOf(key, HOME), null)
  await refused('GATEWAY_KEY_UNKNOWN', 'key', keys.revoke(view.id, by))
  const first = by.caller.keyId
  await refused('GATEWAY_KEY_LAST', null, keys.revoke(first, by))
  // Neither may make keys from everywhere, so neither takes its place.
  const all = { reach: '*', scopes: new Set(keyScopes) } as const
  const ofOne = new Set(['ins_00000000000000000000' as InstanceId])
  await keys.make(wanted({ ...all, instances: ofOne }), by)
  await keys.make(wanted({ ...all, addresses: new AddressRanges(['10.0.0.0/8']) }), by)
  await refused('GATEWAY_KEY_LAST', null, keys.revoke(first, by))
  const second = await keys.make(wanted({ reach: '*', scopes: new Set(keyScopes) }), by)
  await keys.revoke(first, { ...by, caller: keys.callerOf(second.key, HOME)! })
  assert.equal(keys.callerOf(keys.fresh ?? '', HOME), null)
})

test('a tenant sees and ends its own keys alone, and cannot take all places', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys } = await open(db.database)
  const by = { caller: master(keys), record }
  const admin = wanted({ scopes: new Set(['admin']) })
  const { key } = await keys.make(admin, by)
  const { view: other } = await keys.make({ ...admin, reach: parseTenantId('globex') }, by)
  const caller = keys.callerOf(key, HOME)!
  assert.deepEqual(
    keys.list(caller.reach).map(({ reach }) => reach),
    [acme],
  )
  assert.equal(keys.list('*').length, 3)
  for (const id of [other.id, by.caller.keyId]) {
    await refused('GATEWAY_KEY_UNKNOWN', 'key', keys.revoke(id, { caller, record }))
    await refused('GATEWAY_KEY_UNKNOWN', 'key', keys.rotate(id, { caller, record, overlapMs: 0 }))
  }
  for (let count = 1; count < MAX_KEYS_OF_TENANT; count++) await keys.make(admin, { caller, record })
  await refused('GATEWAY_TOO_MANY_KEYS', null, keys.make(admin, { caller, record }))
  await keys.make(wanted({ reach: parseTenantId('globex') }), by)
})

test('every change of a key stands in the audit log, and what was refused does not', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys, audit } = await open(db.database)
  const by = { caller: master(keys), record }
  const { view } = await keys.make(wanted(), by)
  const { view: next } = await keys.rotate(view.id, { ...by, overlapMs: 0 })
  await keys.revoke(next.id, by)
  await refused('GATEWAY_KEY_UNKNOWN', 'key', keys.revoke(next.id, by))
  const entries = await audit.list({ before: 99, limit: 99 })
  assert.deepEqual(
    entries.map(({ action, tenant, object }) => ({ action, tenant, object })),
    [
      { action: 'key.revoked', tenant: acme, object: { key: next.id } },
      { action: 'key.rotated', tenant: acme, object: { key: view.id, newKey: next.id } },
      { action: 'key.made', tenant: acme, object: { key: view.id } },
    ],
  )
  assert.deepEqual(await audit.verify(), { entryCount: 3, brokenAt: null })
})

test('when a key was last used is written once a minute, whatever comes in, and at the end', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys, clock } = await open(db.database)
  const { key, view } = await keys.make(wanted(), { caller: master(keys), record })
  // That of the key that made it.
  await keys.noteUses()
  await keys.start()
  t.after(() => keys.stop())
  const stored = async (): Promise<number | null> => {
    const [row] = await db.database.read('select last_used_at from "ApiKey" where id = ?', [view.id])
    return row?.['last_used_at'] as number | null
  }
  const before = db.database.stats().unitCount
  for (let calls = 0; calls < 500; calls++) keys.callerOf(key, HOME)
  assert.equal(keys.get(view.id, '*').lastUsedAt, clock.now())
  assert.equal(await stored(), null)
  assert.equal(db.database.stats().unitCount, before)
  const usedAt = clock.now()
  await keys.noteUses()
  assert.equal(await stored(), usedAt)
  await clock.tick(10)
  keys.callerOf(key, HOME)
  await keys.stop()
  assert.equal(await stored(), usedAt + 10)
})

test('what another process revoked or made counts here once the table is read again', async (t) => {
  const db = await openTestDatabase(t, migrations)
  const { keys: one, clock } = await open(db.database)
  const { keys: other } = await open(db.database, { clock })
  const by = { caller: master(one), record }
  const { key, view } = await one.make(wanted(), by)
  assert.equal(other.callerOf(key, HOME), null)
  await other.reload()
  assert.ok(other.callerOf(key, HOME) !== null)
  await one.revoke(view.id, by)
  await other.reload()
  assert.equal(other.callerOf(key, HOME), null)
})

eachDatabase(({ dialect, test: one, open: openHere }) => {
  if (dialect === 'sqlite') return
  one('a key revoked in one process stops working in another at its signal', async (t) => {
    const { place } = await openHere(t, migrations)
    const { url } = place as { readonly url: string }
    const node = async (name: string): Promise<{ database: OpenedDatabase; keys: ApiKeys }> => {
      const database = await openDatabase({ url, node: name, migrations, log: silentLogger })
      const audit = new AuditLog({
        store: new AuditStore(database),
        clock: systemClock,
        key: new Uint8Array(32),
      })
      const store = new ApiKeyStore(database)
      const { neighbours } = database
      const keys = await ApiKeys.open({
        store,
        audit,
        neighbours,
        clock: systemClock,
        log: silentLogger,
        preset: own,
      })
      await keys.start()
      t.after(async () => {
        await keys.stop()
        await database.stop()
      })
      return { database, keys }
    }
    const here = await node('here')
    const there = await node('there')
    // Who owns an instance is told at once; who owns none looks every 30 s.
    await there.database.ownership.take(makeInstanceId())
    const by = { caller: here.keys.callerOf(own, HOME)!, record }
    const { key, view } = await here.keys.make(wanted(), by)
    await until(() => there.keys.callerOf(key, HOME) !== null, 'the other process knows the new key')
    await here.keys.revoke(view.id, by)
    await until(() => there.keys.callerOf(key, HOME) === null, 'the other process refuses it')
  })
})
