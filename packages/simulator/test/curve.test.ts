import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import * as curve25519 from 'curve25519-js'
import { generateKeyPair, sign, verify } from '../src/curve.ts'

test('signs what another implementation of XEdDSA accepts, and accepts what that signs', () => {
  for (let round = 0; round < 16; round++) {
    const pair = generateKeyPair()
    const message = randomBytes(1 + round * 7)
    assert.ok(curve25519.verify(pair.public, message, sign(pair.private, message)))
    assert.ok(verify(pair.public, message, curve25519.sign(pair.private, message, undefined)))
    assert.ok(verify(pair.public, message, curve25519.sign(pair.private, message, randomBytes(64))))
  }
})

test('refuses another message, another key, and any changed bit of a signature', () => {
  const pair = generateKeyPair()
  const message = Buffer.from('a signed pre-key')
  const signature = sign(pair.private, message)
  assert.ok(verify(pair.public, message, signature))
  assert.ok(!verify(pair.public, Buffer.from('another one'), signature))
  assert.ok(!verify(generateKeyPair().public, message, signature))
  assert.ok(!verify(pair.public, message, signature.subarray(1)))
  for (let bit = 0; bit < 512; bit += 5) {
    const changed = Buffer.from(signature)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    assert.ok(!verify(pair.public, message, changed), `bit ${bit}`)
  }
})
