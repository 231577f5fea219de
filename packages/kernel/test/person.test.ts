import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ChatId, ninthDigitVariant, personKey } from '../src/index.ts'

test('a Brazilian mobile number has a twin with or without its ninth digit; no other number has', () => {
  const cases: readonly (readonly [string, string | null])[] = [
    ['5511987654321', '551187654321'],
    ['551187654321', '5511987654321'],
    ['551132654321', null],
    ['55119876543', null],
    ['4915112345678', null],
  ]
  for (const [digits, twin] of cases) {
    const variant = ninthDigitVariant(`${digits}@s.whatsapp.net` as ChatId)
    assert.equal(variant, twin === null ? null : `${twin}@s.whatsapp.net`, digits)
    if (variant !== null) assert.equal(ninthDigitVariant(variant), `${digits}@s.whatsapp.net`)
  }
  assert.equal(ninthDigitVariant('12345@lid' as ChatId), null)
})

test('both spellings of a Brazilian mobile number are one person; a fixed line and a LID are themselves', () => {
  const key = (address: string): string => personKey(address as ChatId)
  assert.equal(key('551187654321@s.whatsapp.net'), key('5511987654321@s.whatsapp.net'))
  assert.notEqual(key('551132654321@s.whatsapp.net'), key('5511932654321@s.whatsapp.net'))
  assert.equal(key('551187654321@lid'), '551187654321@lid')
})
