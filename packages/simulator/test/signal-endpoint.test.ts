import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generateKeyPair, sign, typedKey, verify } from '../src/curve.ts'
import { SignalEndpoint } from '../src/signal-endpoint.ts'

const text = (words: string): Buffer => Buffer.from(words)

function pair(): { readonly alice: SignalEndpoint; readonly bob: SignalEndpoint } {
  const alice = new SignalEndpoint()
  const bob = new SignalEndpoint()
  alice.startSession('bob', bob.bundle())
  return { alice, bob }
}

test('a session is built by the first message and carries on both ways', () => {
  const { alice, bob } = pair()
  const first = alice.encrypt('bob', text('one'))
  assert.equal(first.kind, 'pkmsg')
  assert.deepEqual(bob.decrypt('alice', first.kind, first.bytes), text('one'))
  for (let round = 0; round < 20; round++) {
    const back = bob.encrypt('alice', text(`back ${round}`))
    assert.equal(back.kind, 'msg')
    assert.deepEqual(alice.decrypt('bob', back.kind, back.bytes), text(`back ${round}`))
    const forth = alice.encrypt('bob', text(`forth ${round}`))
    assert.equal(forth.kind, 'msg')
    assert.deepEqual(bob.decrypt('alice', forth.kind, forth.bytes), text(`forth ${round}`))
  }
})

test('messages may come in another order, across a ratchet step too, but each only once', () => {
  const { alice, bob } = pair()
  const sent = ['a', 'b', 'c'].map((words) => alice.encrypt('bob', text(words)))
  assert.deepEqual(bob.decrypt('alice', 'pkmsg', sent[2]!.bytes), text('c'))
  const answer = bob.encrypt('alice', text('d'))
  alice.decrypt('bob', answer.kind, answer.bytes)
  const later = alice.encrypt('bob', text('e'))
  assert.deepEqual(bob.decrypt('alice', later.kind, later.bytes), text('e'))
  assert.deepEqual(bob.decrypt('alice', 'pkmsg', sent[0]!.bytes), text('a'))
  assert.deepEqual(bob.decrypt('alice', 'pkmsg', sent[1]!.bytes), text('b'))
  assert.throws(() => bob.decrypt('alice', 'pkmsg', sent[1]!.bytes), { reason: 'used-key' })
  assert.throws(() => bob.decrypt('alice', later.kind, later.bytes), { reason: 'used-key' })
})

test('a failure says why and changes nothing', () => {
  const { alice, bob } = pair()
  const { kind, bytes } = alice.encrypt('bob', text('one'))
  const damaged = Buffer.from(bytes)
  damaged[damaged.length - 8] = (damaged.at(-8) ?? 0) ^ 1
  assert.throws(() => bob.decrypt('alice', 'msg', bytes), { reason: 'malformed' })
  assert.throws(() => bob.decrypt('alice', kind, Buffer.from('nonsense')), { reason: 'malformed' })
  assert.deepEqual(bob.decrypt('alice', kind, bytes), text('one'))
  const next = alice.encrypt('bob', text('two'))
  const wrong = Buffer.from(next.bytes)
  // The last bytes of a pkmsg are the ids behind the message; its MAC lies before them.
  const mac = wrong.length - 8
  wrong[mac] = (wrong[mac] ?? 0) ^ 1
  assert.throws(() => bob.decrypt('alice', next.kind, wrong))
  assert.deepEqual(bob.decrypt('alice', next.kind, next.bytes), text('two'))
  assert.throws(() => new SignalEndpoint().decrypt('alice', next.kind, next.bytes), { reason: 'no-key' })
  const answer = bob.encrypt('alice', text('three'))
  assert.throws(() => new SignalEndpoint().decrypt('bob', answer.kind, answer.bytes), {
    reason: 'no-session',
  })
  const broken = Buffer.from(answer.bytes)
  broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1
  assert.throws(() => alice.decrypt('bob', answer.kind, broken), { reason: 'bad-mac' })
  assert.deepEqual(alice.decrypt('bob', answer.kind, answer.bytes), text('three'))
})

test('both sides may begin at once and still understand each other', () => {
  const alice = new SignalEndpoint()
  const bob = new SignalEndpoint()
  alice.startSession('bob', bob.bundle())
  bob.startSession('alice', alice.bundle())
  const fromAlice = alice.encrypt('bob', text('a'))
  const fromBob = bob.encrypt('alice', text('b'))
  assert.deepEqual(bob.decrypt('alice', fromAlice.kind, fromAlice.bytes), text('a'))
  assert.deepEqual(alice.decrypt('bob', fromBob.kind, fromBob.bytes), text('b'))
  for (let round = 0; round < 5; round++) {
    const one = alice.encrypt('bob', text('x'))
    assert.deepEqual(bob.decrypt('alice', one.kind, one.bytes), text('x'))
    const two = bob.encrypt('alice', text('y'))
    assert.deepEqual(alice.decrypt('bob', two.kind, two.bytes), text('y'))
  }
})

test('a sender key is read by those who have it, signed by its owner', () => {
  const alice = new SignalEndpoint()
  const bob = new SignalEndpoint()
  bob.learnSenderKey('group', 'alice', alice.senderKeyDistribution('group'))
  const messages = ['a', 'b', 'c'].map((words) => alice.encryptGroup('group', text(words)))
  assert.deepEqual(bob.decryptGroup('group', 'alice', messages[1]!), text('b'))
  assert.deepEqual(bob.decryptGroup('group', 'alice', messages[0]!), text('a'))
  assert.throws(() => bob.decryptGroup('group', 'alice', messages[0]!), { reason: 'used-key' })
  const forged = Buffer.from(messages[2]!)
  forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1
  assert.throws(() => bob.decryptGroup('group', 'alice', forged), { reason: 'bad-mac' })
  assert.throws(() => bob.decryptGroup('group', 'carol', messages[2]!), { reason: 'no-key' })
})

test('signatures are really checked', () => {
  const keys = generateKeyPair()
  const other = generateKeyPair()
  const signature = sign(keys.private, text('words'))
  assert.equal(verify(keys.public, text('words'), signature), true)
  assert.equal(verify(typedKey(keys.public), text('words'), signature), true)
  assert.equal(verify(other.public, text('words'), signature), false)
  assert.equal(verify(keys.public, text('other words'), signature), false)
  assert.equal(verify(keys.public, text('words'), Buffer.alloc(64)), false)
  assert.equal(verify(keys.public, text('words'), Buffer.alloc(10)), false)
})
