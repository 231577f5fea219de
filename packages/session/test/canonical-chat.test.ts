import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ChatId } from '@eclusa/kernel'
import { ninthDigitVariant } from '../src/canonical-chat.ts'

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
