import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_CONNECTION_CONFIG, encodeWAMessage, type BinaryNode } from 'baileys'
import { until } from '@eclusa/kernel/test-kit'
import type { Phone } from '../src/index.ts'
import type { ClientOptions, TestClient } from './client.ts'
import { makeRig } from './rig.ts'

type MakeRepository = NonNullable<ClientOptions['makeSignalRepository']>
type Encrypt = ReturnType<MakeRepository>['encryptMessage']

/** A client whose encryption is broken on purpose: `alter` stands between Baileys and libsignal. */
function brokenEncryption(
  alter: (encrypt: Encrypt, o: Parameters<Encrypt>[0]) => ReturnType<Encrypt>,
): ClientOptions {
  return {
    makeSignalRepository: (...args) => {
      const repository = DEFAULT_CONNECTION_CONFIG.makeSignalRepository(...args)
      const encrypt = repository.encryptMessage.bind(repository)
      repository.encryptMessage = (o) => alter(encrypt, o)
      return repository
    },
  }
}

/** The stanza Baileys would send for a text, encrypted but not sent. */
async function encrypted(client: TestClient, contact: Phone, text: string, id: string): Promise<BinaryNode> {
  const { nodes } = await client.sock.createParticipantNodes([contact.jid], { conversation: text }, {})
  return {
    tag: 'message',
    attrs: { id, to: contact.jid, type: 'text' },
    content: [{ tag: 'participants', attrs: {}, content: nodes }],
  }
}

async function talk(client: TestClient, contact: Phone): Promise<void> {
  // An answer ends the pre-key phase, so that stanzas made by hand need no device identity.
  contact.behave({ replyWith: (m) => (m.text === 'hello' ? 'hi' : undefined) })
  await client.send(contact.number, 'hello')
  await until(() => client.texts.includes('hi'), 'a session both ways')
}

test('wrong order: a client that sends its messages in another order than it encrypted them is caught', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  await talk(client, carol)
  await sim.assertClean()
  const first = await encrypted(client, carol, 'first', '3EB0000000000000000001')
  const second = await encrypted(client, carol, 'second', '3EB0000000000000000002')
  await client.sock.sendNode(second)
  await client.sock.sendNode(first)
  await carol.waitFor((m) => m.text === 'first')
  await assert.rejects(
    sim.assertClean(),
    /wrong-order by 5511900000001:1@s.whatsapp.net: message key \d+ .* came after/,
  )
  assert.deepEqual(
    sim.violations.map(({ kind }) => kind),
    ['wrong-order'],
  )
})

test('duplicate: a client that sends one message twice over one connection is caught', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  await talk(client, carol)
  const stanza = await encrypted(client, carol, 'twice', '3EB0000000000000000003')
  await client.sock.sendNode(stanza)
  await client.sock.sendNode(stanza)
  await until(() => carol.inbox.at(-1)?.repeats === 1, 'the repeat')
  await assert.rejects(sim.assertClean(), /duplicate by .*: message 3EB0000000000000000003 was sent twice/)
  assert.deepEqual(
    sim.violations.map(({ kind }) => kind),
    ['duplicate'],
  )
})

test('wrong MAC: a client that damages what it encrypts is caught, though the message comes right at the retry', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  let damage = false
  const { client } = await number(
    {},
    brokenEncryption(async (encrypt, o) => {
      const result = await encrypt(o)
      if (!damage || result.type !== 'msg' || !o.jid.startsWith('5521')) return result
      damage = false
      const ciphertext = Buffer.from(result.ciphertext)
      ciphertext[ciphertext.length - 1] = (ciphertext.at(-1) ?? 0) ^ 1
      return { type: result.type, ciphertext }
    }),
  )
  const carol = contact()
  await talk(client, carol)
  damage = true
  await client.send(carol.number, 'damaged')
  await carol.waitFor((m) => m.text === 'damaged')
  await assert.rejects(sim.assertClean(), /wrong-mac by 5511900000001:1@s.whatsapp.net: the MAC is wrong/)
  assert.deepEqual(
    sim.violations.map(({ kind }) => kind),
    ['wrong-mac'],
  )
})

test('reused message key: a client that goes back to an older ratchet is caught', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  await talk(client, carol)
  // As a client whose key store lost the last write: the session is put back to before the message.
  const address = `${carol.account.lid}_1.0`
  const before = structuredClone((await client.auth.keys.get('session', [address]))[address])
  assert.ok(before)
  await client.send(carol.number, 'one')
  await carol.waitFor((m) => m.text === 'one')
  await client.auth.keys.set({ session: { [address]: before } })
  await client.send(carol.number, 'two')
  await carol.waitFor((m) => m.text === 'two')
  await assert.rejects(
    sim.assertClean(),
    /reused-message-key by .*: message key \d+ .* was used before by 3EB0/,
  )
  assert.deepEqual(
    sim.violations.map(({ kind }) => kind),
    ['reused-message-key'],
  )
})

test('the same message sent again with an older ratchet, as after a crash, is no violation', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  await talk(client, carol)
  const address = `${carol.account.lid}_1.0`
  const before = structuredClone((await client.auth.keys.get('session', [address]))[address])
  assert.ok(before)
  await client.send(carol.number, 'one', '3EB0000000000000000004')
  await carol.waitFor((m) => m.text === 'one')
  client.end()
  await client.auth.keys.set({ session: { [address]: before } })
  client.reconnect()
  await client.untilOpen()
  await client.send(carol.number, 'one', '3EB0000000000000000004')
  await until(() => carol.inbox.at(-1)?.repeats === 1, 'the repeat')
  await sim.assertClean()
})

test('missing receipt: a client that takes a message and never says so is caught', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  let swallow = false
  const { client, phone } = await number(
    {},
    {
      makeSignalRepository: (...args) => {
        const repository = DEFAULT_CONNECTION_CONFIG.makeSignalRepository(...args)
        const decrypt = repository.decryptMessage.bind(repository)
        // Never comes back: the client has the message and sends neither receipt nor refusal.
        repository.decryptMessage = async (o) => {
          const plain = await decrypt(o)
          if (swallow) await new Promise(() => {})
          return plain
        }
        return repository
      },
    },
  )
  const carol = contact()
  await talk(client, carol)
  await sim.assertClean()
  swallow = true
  const { waMessageId } = carol.send(phone, 'anybody there?')
  await assert.rejects(
    sim.assertClean(300),
    new RegExp(`missing-receipt by .*: message ${waMessageId} was delivered and never acknowledged`),
  )
  assert.deepEqual(
    sim.violations.map(({ kind }) => kind),
    ['missing-receipt'],
  )
})

test('undecryptable: a client that lost the keys of a session is caught, though it recovers', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client, phone } = await number()
  const carol = contact()
  await talk(client, carol)
  await client.auth.keys.set({ session: { [`${carol.account.lid}_1.0`]: null } })
  carol.send(phone, 'can you read this?')
  await until(() => client.texts.includes('can you read this?'), 'after the retry')
  await assert.rejects(sim.assertClean(), /undecryptable by .*: the client could not decrypt a message/)
})

test('missing identity: a pre-key message without the device identity is caught', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  await client.sock.getUSyncDevices([carol.jid], true, false)
  await client.sock.assertSessions([carol.jid], false)
  await client.sock.sendNode(await encrypted(client, carol, 'who am I?', '3EB0000000000000000005'))
  await carol.waitFor((m) => m.text === 'who am I?')
  await assert.rejects(sim.assertClean(), /missing-identity by .*: a pkmsg without <device-identity>/)
})

test('an unknown stanza is caught and answered as unknown', async (t) => {
  const { sim, number } = await makeRig(t)
  const { client } = await number()
  const answer = client.sock.query({
    tag: 'iq',
    attrs: { to: '@s.whatsapp.net', type: 'get', xmlns: 'w:moon' },
    content: [{ tag: 'phase', attrs: {} }],
  })
  await assert.rejects(answer, /feature-not-implemented/)
  await client.sock.sendNode({ tag: 'moonbeam', attrs: { id: '1' } })
  await until(() => sim.unknown.length === 2, 'both')
  await assert.rejects(sim.assertClean(), /unknown stanza from .*w:moon[\s\S]*moonbeam/)
})

test('a message that is no Signal ciphertext is caught', async (t) => {
  const { sim, number, contact } = await makeRig(t)
  const { client } = await number()
  const carol = contact()
  const enc: BinaryNode = {
    tag: 'enc',
    attrs: { v: '2', type: 'msg' },
    content: encodeWAMessage({ conversation: 'in clear' }),
  }
  await client.sock.sendNode({
    tag: 'message',
    attrs: { id: '3EB0000000000000000006', to: carol.jid, type: 'text' },
    content: [
      { tag: 'participants', attrs: {}, content: [{ tag: 'to', attrs: { jid: carol.jid }, content: [enc] }] },
    ],
  })
  await until(() => sim.violations.length > 0, 'noticed')
  await assert.rejects(sim.assertClean(), /bad-stanza by .*no Signal message/)
})
