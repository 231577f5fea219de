import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeWAMessage, proto } from '@eclusa/baileys'
import { readEnvelope, translateInbound } from '../src/engines/baileys/inbound.ts'

const own = { number: '5511900000001@s.whatsapp.net', lid: '900@lid' }
const CAROL = '5511910000001@s.whatsapp.net'
const numberOfLid = (lid: string): Promise<string | null> => Promise.resolve(lid === '77@lid' ? CAROL : null)

const envelope = (attrs: Record<string, string>): ReturnType<typeof readEnvelope> =>
  readEnvelope({ tag: 'message', attrs: { id: 'A', ...attrs } }, own, numberOfLid)

test('one person is one chat, however the stanza names them', async () => {
  for (const attrs of [
    { from: CAROL },
    { from: '5511910000001:3@s.whatsapp.net', sender_lid: '77@lid' },
    { from: '77@lid', sender_pn: CAROL },
    { from: '77:2@lid' },
    { from: '5511910000001:99@hosted' },
    { from: '77:99@hosted.lid' },
    { from: '123@broadcast', participant: CAROL },
    { from: '123@broadcast', participant: '77@lid', participant_pn: CAROL },
  ]) {
    const read = await envelope(attrs)
    assert.deepEqual([read?.chat, read?.author, read?.fromMe], [CAROL, CAROL, false], JSON.stringify(attrs))
    assert.equal(read?.addressedAs, attrs.from)
  }
})

test('in a group the chat is the group and the author the person', async () => {
  const read = await envelope({ from: '1203@g.us', participant: '77:1@lid', participant_pn: CAROL })
  assert.deepEqual([read?.chat, read?.author], ['1203@g.us', CAROL])
})

test('what the own account wrote elsewhere belongs to the chat of its recipient', async () => {
  const read = await envelope({ from: '5511900000001:1@s.whatsapp.net', recipient: CAROL })
  assert.deepEqual([read?.chat, read?.fromMe], [CAROL, true])
})

test('a sender of a kind that we do not know is taken as it is, never refused', async () => {
  for (const jid of ['867051314767696@bot', 'x@new.server', 'no-at-sign']) {
    const read = await envelope({ from: '5511900000001:1@s.whatsapp.net', recipient: jid })
    assert.equal(read?.fromMe, true)
    assert.ok(await envelope({ from: jid }))
  }
})

test('status updates and newsletters are no messages to us', async () => {
  assert.equal(await envelope({ from: 'status@broadcast', participant: CAROL }), undefined)
  assert.equal(await envelope({ from: '120@newsletter' }), undefined)
})

test('each kind of content has one name, and arrangements between devices have none', async () => {
  const read = await envelope({ from: CAROL })
  assert.ok(read !== undefined)
  const { Type } = proto.Message.ProtocolMessage
  const translate = (message: proto.IMessage): [string, string | null] | undefined => {
    const stanza = { tag: 'message', attrs: { id: 'A', from: CAROL, t: '100', notify: 'Carol' } }
    const translated = translateInbound(stanza, read, encodeWAMessage(message))
    return translated === undefined ? undefined : [translated.kind, translated.text]
  }
  assert.deepEqual(translate({ conversation: 'hi' }), ['text', 'hi'])
  assert.deepEqual(translate({ extendedTextMessage: { text: 'hi' } }), ['text', 'hi'])
  assert.deepEqual(translate({ imageMessage: { caption: 'look' } }), ['media', 'look'])
  assert.deepEqual(translate({ audioMessage: {} }), ['media', null])
  assert.deepEqual(translate({ locationMessage: {} }), ['location', null])
  assert.deepEqual(translate({ contactMessage: {} }), ['contact', null])
  assert.deepEqual(translate({ reactionMessage: { text: '👍' } }), ['reaction', '👍'])
  assert.deepEqual(translate({ protocolMessage: { type: Type.REVOKE } }), ['delete', null])
  assert.deepEqual(
    translate({ protocolMessage: { type: Type.MESSAGE_EDIT, editedMessage: { conversation: 'better' } } }),
    ['edit', 'better'],
  )
  assert.deepEqual(translate({ deviceSentMessage: { message: { conversation: 'mine' } } }), ['text', 'mine'])
  assert.equal(translate({ protocolMessage: { type: Type.APP_STATE_SYNC_KEY_SHARE } }), undefined)
  assert.equal(translate({ senderKeyDistributionMessage: { groupId: '1203@g.us' } }), undefined)
})
