import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { EclusaError } from '@eclusa/kernel'
import fc from 'fast-check'
import { openSealer } from '../src/index.ts'
import { openTestDatabase, testSealer } from '../test-kit/index.ts'

const broken = (error: EclusaError): boolean => error.code === 'STORAGE_SEAL_BROKEN'
const wrongKey = (error: EclusaError): boolean => error.code === 'STORAGE_WRONG_KEY'

test('what was sealed opens with its context, and with no other, and not when a bit is changed', () => {
  const sealer = testSealer()
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.string(), fc.nat(), (plain, context, at) => {
      const sealed = sealer.seal(plain, context)
      assert.deepEqual(new Uint8Array(sealer.open(sealed, context)), plain)
      assert.throws(() => sealer.open(sealed, `${context}|`), broken)
      const changed = new Uint8Array(sealed)
      changed[at % changed.length]! ^= 1
      assert.throws(() => sealer.open(changed, context), broken)
    }),
    { numRuns: 100 },
  )
  assert.throws(() => sealer.open(new Uint8Array(5), ''), broken)
})

test('the same text sealed twice looks different', () => {
  const plain = Buffer.from('the same')
  assert.notDeepEqual(testSealer().seal(plain, 'c'), testSealer().seal(plain, 'c'))
})

test('the key is made once, for its owner alone, and serves the same database again', async (t) => {
  const db = await openTestDatabase(t, [])
  const keyFile = join(db.folder, 'eclusa.key')
  const sealed = (await openSealer({ keyFile, database: db.database })).seal(Buffer.from('secret'), 'c')
  if (process.platform !== 'win32') assert.equal(statSync(keyFile).mode & 0o777, 0o600)
  assert.deepEqual(
    readdirSync(db.folder).filter((file) => file.includes('.key')),
    ['eclusa.key'],
  )
  const again = await openSealer({ keyFile, database: await db.reopen() })
  assert.equal(Buffer.from(again.open(sealed, 'c')).toString(), 'secret')
})

test('a missing, foreign or damaged key is refused and never replaced', async (t) => {
  const db = await openTestDatabase(t, [])
  const keyFile = join(db.folder, 'eclusa.key')
  await openSealer({ keyFile, database: db.database })
  const right = readFileSync(keyFile, 'utf8')

  const other = await openTestDatabase(t, [])
  const otherKey = join(other.folder, 'eclusa.key')
  await openSealer({ keyFile: otherKey, database: other.database })
  await assert.rejects(openSealer({ keyFile: otherKey, database: db.database }), wrongKey)

  writeFileSync(keyFile, 'not a key')
  await assert.rejects(openSealer({ keyFile, database: db.database }), wrongKey)
  rmSync(keyFile)
  await assert.rejects(openSealer({ keyFile, database: db.database }), wrongKey)
  assert.throws(() => statSync(keyFile), 'it was made again')
  writeFileSync(keyFile, right)
  await openSealer({ keyFile, database: db.database })
})
