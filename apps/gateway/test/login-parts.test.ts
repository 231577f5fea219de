import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINUTE } from '@eclusa/kernel'
import { ManualClock } from '@eclusa/kernel/test-kit'
import { Attempts, MAX_ATTEMPTS, MAX_REMEMBERED } from '../src/login/attempts.ts'
import { Passwords } from '../src/login/passwords.ts'
import { base32, hotp, totpStep } from '../src/login/totp.ts'

const RFC_SECRET = Buffer.from('12345678901234567890')

test('codes are those of RFC 4226 and RFC 6238', () => {
  // RFC 4226, appendix D.
  const expected = [
    '755224',
    '287082',
    '359152',
    '969429',
    '338314',
    '254676',
    '287922',
    '162583',
    '399871',
    '520489',
  ]
  assert.deepEqual(
    expected.map((_, counter) => hotp(RFC_SECRET, counter)),
    expected,
  )
  // RFC 6238, appendix B, SHA-1, eight digits.
  const times: readonly (readonly [seconds: number, code: string])[] = [
    [59, '94287082'],
    [1_111_111_109, '07081804'],
    [1_111_111_111, '14050471'],
    [1_234_567_890, '89005924'],
    [2_000_000_000, '69279037'],
    [20_000_000_000, '65353130'],
  ]
  for (const [seconds, code] of times) assert.equal(hotp(RFC_SECRET, Math.floor(seconds / 30), 8), code)
  assert.equal(base32(RFC_SECRET), 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ')
})

test('a code counts half a minute around its own, once', () => {
  const now = 1_700_000_000_000
  const step = Math.floor(now / 30_000)
  for (const distance of [-1, 0, 1])
    assert.equal(totpStep(RFC_SECRET, hotp(RFC_SECRET, step + distance), { now, after: 0 }), step + distance)
  for (const distance of [-2, 2])
    assert.equal(totpStep(RFC_SECRET, hotp(RFC_SECRET, step + distance), { now, after: 0 }), null)
  assert.equal(totpStep(RFC_SECRET, hotp(RFC_SECRET, step), { now, after: step }), null)
  for (const wrong of ['', '12345', `${hotp(RFC_SECRET, step)}0`, 'ééé'])
    assert.equal(totpStep(RFC_SECRET, wrong, { now, after: 0 }), null, wrong)
})

test('a password fits its own hash alone, whatever form its letters come in, and nobody’s fits none', async () => {
  const passwords = new Passwords()
  const hash = await passwords.hash('Olá, crème brûlée')
  assert.match(hash, /^argon2id\$19456\$2\$[\w-]{22}\$[\w-]{43}$/)
  assert.ok(await passwords.matches('Olá, crème brûlée'.normalize('NFD'), hash))
  assert.ok(!(await passwords.matches('Ola, creme brulee', hash)))
  assert.ok(!(await passwords.matches('', null)))
  assert.notEqual(await passwords.hash('Olá, crème brûlée'), hash)
})

test('passwords are hashed one at a time, and a crowd is told to come back', async () => {
  const passwords = new Passwords()
  const settled = await Promise.allSettled(Array.from({ length: 30 }, () => passwords.matches('a', null)))
  const refused = settled.filter(({ status }) => status === 'rejected')
  assert.equal(refused.length, 30 - 1 - 20)
  for (const one of refused)
    assert.equal(one.status === 'rejected' && (one.reason as { code: string }).code, 'GATEWAY_BUSY')
})

test('wrong tries count for a quarter of an hour, by user and address', () => {
  const clock = new ManualClock()
  const attempts = new Attempts(clock)
  for (let nth = 0; nth < MAX_ATTEMPTS; nth++) {
    assert.equal(attempts.waitMs('ana', '10.0.0.1'), 0)
    attempts.failed('ana', '10.0.0.1')
  }
  assert.equal(attempts.waitMs('ana', '10.0.0.1'), 15 * MINUTE)
  assert.equal(attempts.waitMs('ana', '10.0.0.2'), 0, 'she herself is elsewhere')
  assert.equal(attempts.waitMs('bob', '10.0.0.1'), 0)
  attempts.succeeded('bob', '10.0.0.1')
  assert.equal(attempts.waitMs('ana', '10.0.0.1'), 15 * MINUTE)
  for (let nth = 0; nth < 50; nth++) attempts.failed(`user ${nth}`, '10.0.0.9')
  assert.ok(attempts.waitMs('somebody new', '10.0.0.9') > 0, 'one address, many names')
  for (let nth = 0; nth < 50; nth++) attempts.failed('eve', `10.0.1.${nth}`)
  assert.ok(attempts.waitMs('eve', '10.0.2.1') > 0, 'one name, many addresses')
})

test('what is remembered of tries is bounded', () => {
  const attempts = new Attempts(new ManualClock())
  for (let nth = 0; nth < MAX_REMEMBERED; nth++) attempts.failed(`user ${nth}`, `address ${nth}`)
  for (let nth = 0; nth < MAX_ATTEMPTS; nth++) attempts.failed('ana', 'here')
  assert.ok(attempts.waitMs('ana', 'here') > 0)
  assert.ok(attempts.size <= MAX_REMEMBERED)
})
