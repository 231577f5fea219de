import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeWAMessage, proto } from '@eclusa/baileys'
import {
  byNumbers,
  type Inbound,
  lidsIn,
  readEnvelope,
  translateInbound,
} from '../src/engines/baileys/inbound.ts'

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

const { Type } = proto.Message.ProtocolMessage

async function read(
  message: proto.IMessage,
  attrs: Record<string, string> = { from: CAROL },
): Promise<Inbound> {
  const from = await envelope(attrs)
  assert.ok(from !== undefined)
  const stanza = { tag: 'message', attrs: { id: 'A', t: '100', notify: 'Carol', ...attrs } }
  return translateInbound(stanza, from, own, encodeWAMessage(message))
}

async function contentOf(message: proto.IMessage, attrs?: Record<string, string>): Promise<unknown> {
  const inbound = await read(message, attrs)
  return inbound.is === 'message' ? inbound.message.content : inbound.is
}

const FILE = {
  mimetype: 'image/jpeg',
  fileLength: 1234,
  directPath: '/v/t62.1/x',
  mediaKey: new Uint8Array(32).fill(1),
  fileSha256: new Uint8Array(32).fill(2),
  fileEncSha256: new Uint8Array(32).fill(3),
}
const REFERENCE = {
  mimeType: 'image/jpeg',
  fileName: null,
  sizeBytes: 1234,
  seconds: null,
  directPath: '/v/t62.1/x',
  mediaKey: Buffer.alloc(32, 1).toString('base64'),
  sha256: Buffer.alloc(32, 2).toString('base64'),
  encryptedSha256: Buffer.alloc(32, 3).toString('base64'),
}

const KINDS: readonly (readonly [string, proto.IMessage, unknown])[] = [
  ['a text', { conversation: 'hi' }, { kind: 'text', text: 'hi' }],
  ['a text with more to it', { extendedTextMessage: { text: 'hi' } }, { kind: 'text', text: 'hi' }],
  [
    'a text that disappears',
    { ephemeralMessage: { message: { extendedTextMessage: { text: 'hi' } } } },
    { kind: 'text', text: 'hi' },
  ],
  [
    'an image',
    { imageMessage: { ...FILE, caption: 'look' } },
    { kind: 'media', media: { type: 'image', ...REFERENCE }, text: 'look' },
  ],
  [
    'an image to be seen once',
    { viewOnceMessageV2: { message: { imageMessage: FILE } } },
    { kind: 'media', media: { type: 'image', ...REFERENCE }, text: null },
  ],
  [
    'a round video',
    { ptvMessage: { ...FILE, seconds: 7 } },
    { kind: 'media', media: { type: 'video', ...REFERENCE, seconds: 7 }, text: null },
  ],
  [
    'a voice message',
    { audioMessage: { ...FILE, ptt: true, seconds: 3 } },
    { kind: 'media', media: { type: 'voice', ...REFERENCE, seconds: 3 }, text: null },
  ],
  [
    'a document with a caption',
    {
      documentWithCaptionMessage: {
        message: { documentMessage: { ...FILE, fileName: 'bill.pdf', caption: 'paid' } },
      },
    },
    { kind: 'media', media: { type: 'document', ...REFERENCE, fileName: 'bill.pdf' }, text: 'paid' },
  ],
  [
    'a moving sticker',
    { lottieStickerMessage: { message: { stickerMessage: FILE } } },
    { kind: 'media', media: { type: 'sticker', ...REFERENCE }, text: null },
  ],
  [
    'a place',
    { locationMessage: { degreesLatitude: -23.5, degreesLongitude: -46.6, name: 'Sé', address: 'Centro' } },
    {
      kind: 'location',
      latitude: -23.5,
      longitude: -46.6,
      name: 'Sé',
      address: 'Centro',
      live: false,
      text: null,
    },
  ],
  [
    'a place that moves',
    { liveLocationMessage: { degreesLatitude: 1, degreesLongitude: 2, caption: 'coming' } },
    { kind: 'location', latitude: 1, longitude: 2, name: null, address: null, live: true, text: 'coming' },
  ],
  [
    'contact cards',
    { contactsArrayMessage: { contacts: [{ displayName: 'Dave', vcard: 'BEGIN:VCARD' }, {}] } },
    {
      kind: 'contact',
      cards: [
        { name: 'Dave', vcard: 'BEGIN:VCARD' },
        { name: null, vcard: null },
      ],
    },
  ],
  [
    'a button that was pressed',
    { buttonsResponseMessage: { selectedButtonId: 'b1', selectedDisplayText: 'Sales' } },
    { kind: 'answer', of: 'buttons', choiceId: 'b1', text: 'Sales' },
  ],
  [
    'a line of a list',
    { listResponseMessage: { title: 'Sales', singleSelectReply: { selectedRowId: 'r1' } } },
    { kind: 'answer', of: 'list', choiceId: 'r1', text: 'Sales' },
  ],
  [
    'a button of a template',
    { templateButtonReplyMessage: { selectedId: 't1', selectedDisplayText: 'Yes' } },
    { kind: 'answer', of: 'template', choiceId: 't1', text: 'Yes' },
  ],
  [
    'an answer of a flow',
    {
      interactiveResponseMessage: {
        body: { text: 'Done' },
        nativeFlowResponseMessage: { name: 'menu', paramsJson: '{"id":"f1"}' },
      },
    },
    { kind: 'answer', of: 'flow', choiceId: 'f1', text: 'Done' },
  ],
  [
    'an answer of a flow without an id',
    { interactiveResponseMessage: { nativeFlowResponseMessage: { name: 'menu', paramsJson: 'null' } } },
    { kind: 'answer', of: 'flow', choiceId: 'menu', text: '' },
  ],
  [
    'a poll',
    {
      pollCreationMessageV3: {
        name: 'Lunch?',
        options: [{ optionName: 'yes' }, { optionName: 'no' }],
        selectableOptionsCount: 1,
      },
    },
    { kind: 'poll', text: 'Lunch?', options: ['yes', 'no'], maxChoices: 1 },
  ],
  [
    'a reaction to ours',
    { reactionMessage: { key: { id: 'X', fromMe: false, remoteJid: own.number }, text: '👍' } },
    { kind: 'reaction', target: { waMessageId: 'X', author: own.number }, text: '👍' },
  ],
  [
    'a reaction to their own, taken back',
    { reactionMessage: { key: { id: 'X', fromMe: true }, text: '' } },
    { kind: 'reaction', target: { waMessageId: 'X', author: CAROL }, text: '' },
  ],
  [
    'a deletion',
    { protocolMessage: { type: Type.REVOKE, key: { id: 'X', fromMe: true } } },
    { kind: 'delete', target: { waMessageId: 'X', author: CAROL } },
  ],
  [
    'an edit, which nobody can make of what another wrote',
    {
      editedMessage: {
        message: {
          protocolMessage: {
            type: Type.MESSAGE_EDIT,
            key: { id: 'X', fromMe: false },
            editedMessage: { conversation: 'better' },
          },
        },
      },
    },
    { kind: 'edit', target: { waMessageId: 'X', author: CAROL }, text: 'better' },
  ],
  [
    'an order',
    { orderMessage: { message: 'two of each', orderTitle: 'x' } },
    { kind: 'other', name: 'orderMessage', text: 'two of each' },
  ],
  [
    'buttons with a text',
    { interactiveMessage: { body: { text: 'choose' } } },
    { kind: 'other', name: 'interactiveMessage', text: 'choose' },
  ],
  [
    'what the own account wrote elsewhere',
    { deviceSentMessage: { message: { conversation: 'mine' } } },
    { kind: 'text', text: 'mine' },
  ],
  ['keys for a group', { senderKeyDistributionMessage: { groupId: '1203@g.us' } }, 'arrangement'],
  ['the announcement of an album', { albumMessage: { expectedImageCount: 2 } }, 'arrangement'],
  ['nothing', {}, 'arrangement'],
]

for (const [name, message, content] of KINDS) {
  test(`reads ${name}`, async () => assert.deepEqual(await contentOf(message), content))
}

test('a quoted message comes with its author and its words, and the people named come by number', async () => {
  const inbound = await read({
    extendedTextMessage: {
      text: 'as you said, @77',
      contextInfo: {
        stanzaId: 'Q',
        participant: '900@lid',
        quotedMessage: { imageMessage: { caption: 'the bill' } },
        mentionedJid: ['77@lid', '5511910000002@s.whatsapp.net'],
      },
    },
  })
  assert.ok(inbound.is === 'message')
  assert.deepEqual(lidsIn(inbound.message), ['77@lid', '900@lid'])
  const numbers = new Map([
    ['77@lid', CAROL],
    ['900@lid', own.number],
  ]) as never
  const { quoted, mentions, pushName, sentAt } = byNumbers(inbound.message, numbers)
  assert.deepEqual(quoted, { waMessageId: 'Q', author: own.number, text: 'the bill' })
  assert.deepEqual(mentions, [CAROL, '5511910000002@s.whatsapp.net'])
  assert.deepEqual([pushName, sentAt], ['Carol', 100_000])
})

test('the other name of the author is told where the stanza tells it', async () => {
  for (const [attrs, alias] of [
    [{ from: CAROL, sender_lid: '77:2@lid' }, '77@lid'],
    [{ from: '77@lid', sender_pn: CAROL }, '77@lid'],
    [{ from: '78@lid' }, null],
    [{ from: CAROL }, null],
    [{ from: '1203@g.us', participant: CAROL, participant_lid: '77@lid' }, '77@lid'],
  ] as const) {
    assert.equal((await envelope(attrs))?.alias, alias, JSON.stringify(attrs))
  }
})

test('what is too long is cut, and never in the middle of a character', async () => {
  const inbound = await read({
    extendedTextMessage: {
      text: `${'x'.repeat(65_535)}😀`,
      contextInfo: { mentionedJid: Array.from({ length: 1_500 }, (_, index) => `${index}@lid`) },
    },
  })
  assert.ok(inbound.is === 'message')
  assert.deepEqual(inbound.message.content, { kind: 'text', text: 'x'.repeat(65_535) })
  assert.equal(inbound.message.mentions.length, 1_000)
  const poll = await contentOf({
    pollCreationMessage: {
      name: 'n',
      options: Array.from({ length: 200 }, () => ({ optionName: 'o'.repeat(5_000) })),
    },
  })
  assert.equal((poll as { options: string[] }).options.length, 100)
  assert.equal((poll as { options: string[] }).options[0]?.length, 1_024)
})

test('only the own account may arrange what its devices arrange, whatever the type says', async () => {
  const carried: readonly [string, proto.Message.IProtocolMessage][] = [
    ['HISTORY_SYNC_NOTIFICATION', { historySyncNotification: { syncType: 0 } }],
    ['APP_STATE_SYNC_KEY_SHARE', { appStateSyncKeyShare: { keys: [] } }],
    ['LID_MIGRATION_MAPPING_SYNC', { lidMigrationMappingSyncMessage: {} }],
    ['PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE', { peerDataOperationRequestResponseMessage: {} }],
  ]
  for (const [name, fields] of carried) {
    for (const type of [Type[name as keyof typeof Type], Type.REVOKE]) {
      const message = { protocolMessage: { ...fields, type } }
      assert.deepEqual(await read(message), { is: 'spoofed', name })
      assert.deepEqual(await read({ ephemeralMessage: { message } }), { is: 'spoofed', name })
      assert.deepEqual(await read({ deviceSentMessage: { message } }), { is: 'spoofed', name })
      assert.equal((await read(message, { from: own.number })).is === 'spoofed', false)
    }
  }
})

test('what cannot be read is kept as a message without words', async () => {
  const from = await envelope({ from: CAROL })
  assert.ok(from !== undefined)
  const stanza = { tag: 'message', attrs: { id: 'A\0B', from: CAROL } }
  for (const bytes of [new Uint8Array(0), Uint8Array.of(0xff, 0xff, 1), Uint8Array.of(0x0a, 0x7f, 1)]) {
    const inbound = translateInbound(stanza, from, own, bytes)
    assert.ok(inbound.is === 'unreadable')
    assert.deepEqual(inbound.message.content, { kind: 'other', name: 'unreadable', text: null })
    assert.equal(inbound.message.waMessageId, 'A\uFFFDB', 'an id that every database takes')
  }
})
